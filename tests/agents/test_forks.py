"""Agents in a process that was forked from one that had used JAX say so; JAX itself would wait there for ever."""

from __future__ import annotations

import functools
import json

import pytest

from tests.envs.helpers import SAID_BY_A_CHILD, fresh_interpreter

TOO_LATE = (
    SAID_BY_A_CHILD
    + """
import json
from mbrl_agents import ReplayDQN

def make():
    return ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", learning_starts=5, policy_kwargs={"net_arch": [4]})

made, learned = make(), make().learn(20)
observation = learned.observation_space.sample()

late = {"make": make, "learn": lambda: made.learn(20), "predict": lambda: learned.predict(observation)}
print(json.dumps({name: said_by_a_child(each) for name, each in late.items()}))
"""
)


@functools.cache
def told_too_late() -> dict[str, str]:
    """What is raised where, in one interpreter: each case in a process that is forked after JAX was used."""
    return json.loads(fresh_interpreter(TOO_LATE).splitlines()[-1])


@pytest.mark.parametrize("case", ["make", "learn", "predict"])
def test_agents_forked_too_late_say_so(case: str) -> None:
    said = told_too_late()[case]
    assert said.startswith("RuntimeError: JAX had been used in the process that this one was forked from"), said
