"""Agents in a process that was forked from one that had used JAX say so; JAX itself would wait there for ever."""

from __future__ import annotations

import pytest

from tests.envs.helpers import fresh_interpreter
from tests.envs.test_forks import TOO_LATE, USED

AGENT = "ReplayDQN('MlpPolicy', 'mbrl/PanFlute-v0', learning_starts=5, policy_kwargs={'net_arch': [4]})"
IMPORT = "from mbrl_agents import ReplayDQN"


@pytest.mark.parametrize(
    ("before", "late"),
    [
        (USED, AGENT),
        (f"agent = {AGENT}", "agent.learn(20)"),
        (f"agent = {AGENT}.learn(20); observation = agent.observation_space.sample()", "agent.predict(observation)"),
    ],
    ids=["make", "learn", "predict"],
)
def test_agents_forked_too_late_say_so(before: str, late: str) -> None:
    said = fresh_interpreter(TOO_LATE.format(before=f"{IMPORT}; {before}", late=late))
    assert said.startswith("RuntimeError: JAX had been used in the process that this one was forked from"), said
