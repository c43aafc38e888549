"""R2D2 learns what needs memory, and values that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy

import mbrl_envs
from tests.agents.r2d2.agents import Counting, agent


@pytest.mark.parametrize(("cell", "delay"), [("gru", 2), ("lstm", 4)])
def test_cues_are_remembered(cell: str, delay: int) -> None:
    env = mbrl_envs.FunctionalVecEnv("CueRecall", 8, delay=delay, num_cues=3)
    learner = agent(
        env,
        cell=cell,
        lstm_hidden_size=24,
        net_arch=[],
        learning_rate=3e-3,
        buffer_size=8000,
        learning_starts=500,
        batch_size=16,
        train_freq=2,
        gamma=0.9,
        burn_in=0,
        sequence_length=delay + 2,
        overlap=0,
        target_update_interval=200,
        exploration_fraction=0.5,
    )
    learner.learn(9000)
    mean, _ = evaluate_policy(learner, env, n_eval_episodes=100)
    assert mean >= 0.95


@pytest.mark.parametrize("terminates", [True, False], ids=["terminated", "truncated"])
def test_values_of_a_known_return(terminates: bool) -> None:
    """Rewards 1, 2, 3 and then the end, or (truncated, though it would go on so that time decides) a bootstrap beyond it."""
    env: Any = Counting(spaces.Box(0, 2, (1,)), 3, terminates)
    if not terminates:
        from gymnasium.wrappers import TimeLimit

        env = TimeLimit(env, 3)
    learner = agent(
        env,
        gamma=0.5,
        burn_in=0,
        n_steps=1,
        sequence_length=3,
        overlap=0,
        batch_size=16,
        learning_rate=3e-3,
        train_freq=2,
        previous_action=False,
        target_update_interval=20,
        value_rescaling=False,
    )
    learner.learn(3000)
    batch = learner.replay_buffer._get_samples(learner.replay_buffer.sequences[:1])
    with th.no_grad():
        values, _ = learner.policy.q_net.unroll(*batch[:4])
    found = values[:, 0].max(dim=-1).values.numpy()
    if terminates:
        np.testing.assert_allclose(found[:3], [1 + 1 + 0.75, 2 + 1.5, 3], rtol=0.05)
    else:  # the final observation is valued like any other, so what comes before it holds together
        following = np.array([1.0, 2.0, 3.0]) + 0.5 * found[1:4]
        np.testing.assert_allclose(found[:3], following, rtol=0.05)
        assert found[2] > 3.3  # what follows counts
