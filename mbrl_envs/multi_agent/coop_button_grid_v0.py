"""Cooperative ButtonGrid for PettingZoo: ``parallel_env`` and ``env`` of :class:`~mbrl_envs.multi_agent.CoopButtonGrid`."""

from mbrl_envs.adapters.parallel_env import makers
from mbrl_envs.multi_agent.coop_button_grid import CoopButtonGrid

parallel_env, env = makers(CoopButtonGrid)
