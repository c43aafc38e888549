"""Competitive ButtonGrid for PettingZoo: ``parallel_env`` and ``env`` of :class:`~mbrl_envs.multi_agent.ButtonContest`."""

from mbrl_envs.adapters.parallel_env import makers
from mbrl_envs.multi_agent.button_contest import ButtonContest

parallel_env, env = makers(ButtonContest)
