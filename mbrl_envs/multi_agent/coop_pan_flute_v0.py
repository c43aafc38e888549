"""Cooperative PanFlute for PettingZoo: ``parallel_env`` and ``env`` of :class:`~mbrl_envs.multi_agent.CoopPanFlute`."""

from mbrl_envs.adapters.parallel_env import makers
from mbrl_envs.multi_agent.coop_pan_flute import CoopPanFlute

parallel_env, env = makers(CoopPanFlute)
