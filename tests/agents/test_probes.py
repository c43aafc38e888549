"""Both loops reach closed-form action values on environments with one or two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mbrl_agents import ReplayDQN
from tests.agents.probes import Probe, make

GAMMA = 0.9
SMALL: dict[str, Any] = {
    "learning_rate": 3e-3,
    "buffer_size": 2000,
    "learning_starts": 50,
    "batch_size": 64,
    "gamma": GAMMA,
    "target_update_interval": 10,
    "temperature": 1.0,
    "weight_decay": 0.0,
    "policy_kwargs": {"net_arch": [32], "activation_fn": "tanh"},
    "seed": 0,
}


def trained(probe: Probe, device_loop: bool, limit: int | None = None, steps: int = 900, **changes: Any) -> ReplayDQN:
    agent = ReplayDQN("MlpPolicy", make(probe, limit), device_loop=device_loop, **(SMALL | changes))
    return agent.learn(steps)


def values(agent: ReplayDQN, *observations: tuple[float, float]) -> np.ndarray:
    features = np.array(observations, np.float32)
    return np.asarray(agent.learner.q.values(agent.learner_state.params, features))


both_loops = pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])
ALTOGETHER = {"double_q": True, "tau": 0.1, "max_grad_norm": 5.0, "exploration": "epsilon_greedy"}


@both_loops
@pytest.mark.parametrize("changes", [{}, ALTOGETHER], ids=str)
def test_a_constant_reward_is_the_value(device_loop: bool, changes: dict) -> None:
    agent = trained(Probe(1, "always"), device_loop, **changes)
    np.testing.assert_allclose(values(agent, (0, 1), (0, -1)), 1.0, atol=0.05)


@both_loops
@pytest.mark.parametrize("changes", [{"double_q": True}, {"n_steps": 5}], ids=str)
def test_a_reward_two_steps_away_is_discounted_once(device_loop: bool, changes: dict) -> None:
    agent = trained(Probe(2, "last"), device_loop, **changes)
    np.testing.assert_allclose(values(agent, (0, 1), (0, -1)), GAMMA, atol=0.05)
    np.testing.assert_allclose(values(agent, (1, 1), (1, -1)), 1.0, atol=0.05)


@both_loops
def test_a_reward_that_the_observation_tells(device_loop: bool) -> None:
    agent = trained(Probe(1, "sign"), device_loop)
    np.testing.assert_allclose(values(agent, (0, 1)), 1.0, atol=0.05)
    np.testing.assert_allclose(values(agent, (0, -1)), -1.0, atol=0.05)


@both_loops
def test_a_reward_that_the_action_decides(device_loop: bool) -> None:
    agent = trained(Probe(1, "action"), device_loop, temperature=2.0)
    np.testing.assert_allclose(values(agent, (0, 1), (0, -1)), [[-1, 1], [-1, 1]], atol=0.07)
    assert agent.predict(np.array([0, 1], np.float32), deterministic=True)[0] == 1


@both_loops
@pytest.mark.parametrize("n_steps", [1, 3])
def test_truncation_bootstraps_and_termination_does_not(device_loop: bool, n_steps: int) -> None:
    # One step of an endless task, then cut: worth 1/(1-γ), not 1. A network that forgot to bootstrap would say 1.
    faster = {"gamma": 0.5, "n_steps": n_steps}
    cut = trained(Probe(0, "always"), device_loop, limit=1, **faster)
    np.testing.assert_allclose(values(cut, (0, 1), (0, -1)), 2.0, atol=0.1)
    # The same with longer episodes; n-step returns end at the cut and bootstrap there.
    longer = trained(Probe(0, "always"), device_loop, limit=4, **faster)
    np.testing.assert_allclose(values(longer, (0, 1), (0, -1)), 2.0, atol=0.1)
    # Ended by termination at the same moment as by the limit: termination wins.
    ended = trained(Probe(1, "always"), device_loop, limit=1, **faster)
    np.testing.assert_allclose(values(ended, (0, 1), (0, -1)), 1.0, atol=0.05)
