"""A small ReplayDQN for the tests."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

from mbrl_agents import ReplayDQN

TINY: dict[str, Any] = {
    "learning_starts": 30,
    "buffer_size": 500,
    "batch_size": 16,
    "policy_kwargs": {"net_arch": [8]},
    "seed": 1,
}
LIMIT = 20


def flute() -> gymnasium.Env:
    return gymnasium.make("mbrl/PanFlute-v0", num_pipes=3, max_episode_steps=LIMIT)


def agent(device_loop: bool = True, **changes: Any) -> ReplayDQN:
    return ReplayDQN("MlpPolicy", flute(), device_loop=device_loop, **(TINY | changes))


both_loops = pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])
