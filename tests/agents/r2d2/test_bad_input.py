"""Mistakes are told at the door, by the argument's name, with what was given and what is allowed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

import mbrl_envs
from mbrl_agents.r2d2 import R2D2
from tests.agents.r2d2.agents import Counting, agent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence_length": 1}, "sequence_length must be at least n_steps=2, got 1"),
        ({"burn_in": 500}, "burn_in must be below the environment's time limit of 500 steps, got 500"),
        ({"buffer_size": 11}, r"buffer_size must hold a sequence for each environment, at least 12 .* times 1, got 11"),
        ({"overlap": 6}, "overlap must be an integer from 0 to 5, got 6"),
        ({"cell": "rnn"}, "cell must be one of 'lstm', 'gru'; got 'rnn'"),
        ({"lstm_hidden_size": 0}, "lstm_hidden_size must be an integer from 1"),
        ({"net_arch": [8, -1]}, "every width in net_arch must be an integer from 1"),
        ({"gamma": 1.5}, "gamma must be a finite number of at least 0 and at most 1, got 1.5"),
        ({"tau": 2}, "tau must be a finite number of at least 0 and at most 1, got 2"),
        ({"batch_size": 0}, "batch_size must be an integer from 1"),
        ({"stats_window_size": 0}, "stats_window_size must be an integer from 1"),
        ({"exploration": "softmax"}, "exploration must be one of 'schedule', 'ladder'; got 'softmax'"),
        ({"priority_eta": -0.1}, "priority_eta must be"),
        ({"importance_exponent": -1}, "importance_exponent must be"),
        ({"max_grad_norm": 0}, "max_grad_norm must be a finite number above 0, got 0"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be a finite number above 0, got inf"),
        ({"activation_fn": "swoosh"}, "activation_fn must be one of 'elu', .* got 'swoosh'"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"learning_rate": lambda remaining: remaining - 0.5}, r"learning_rate\(progress_remaining=0\) must be"),
        ({"importance_exponent": lambda remaining: remaining - 0.5}, r"importance_exponent\(progress_remaining=0\) must be"),
        ({"learning_starts": -1}, "learning_starts must be an integer from 0"),
        ({"train_freq": (4, "hours")}, "the unit of train_freq must be one of 'step', 'episode'; got 'hours'"),
        ({"train_freq": 0}, "train_freq must be an integer from 1"),
        ({"train_freq": (0, "episode")}, "train_freq must be an integer from 1"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"env": None}, "env must be an environment or the id of one, got None"),
        ({"policy": "MlpPolicy"}, "Policy MlpPolicy unknown"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"burn_in": 2.0}, "burn_in must be an integer"),
        ({"double_q": 1}, "double_q must be True or False, got 1"),
        ({"stored_state": "no"}, "stored_state must be True or False"),
        ({"previous_reward": 0}, "previous_reward must be True or False"),
        ({"gamma": "big"}, "gamma must be a finite number"),
        ({"net_arch": 64}, "net_arch must be a list of layer widths .* got 64"),
        ({"activation_fn": 3}, "activation_fn must be a class of PyTorch modules .* got 3"),
        ({"train_freq": 2.5}, "train_freq must be an integer from 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_of_the_wrong_kind(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        agent(**changes)


def test_continuous_actions() -> None:
    with pytest.raises(AssertionError, match=r"only supports .*Discrete.* but Box"):
        agent("Pendulum-v1")


def test_actions_that_do_not_start_at_zero() -> None:
    env = Counting(spaces.Box(0, 1, (2,)))
    env.action_space = spaces.Discrete(3, start=1)
    with pytest.raises(ValueError, match="actions must be counted from 0"):
        agent(env)


def test_dictionaries_need_their_policy() -> None:
    with pytest.raises(ValueError, match="policy must be 'MultiInputLstmPolicy'"):
        agent(Counting(spaces.Dict({"a": spaces.Box(0, 1, (2,))})))


@pytest.mark.parametrize(
    ("env", "limit"),
    [
        (lambda: gymnasium.make("CartPole-v1", max_episode_steps=3), 3),
        (lambda: gymnasium.wrappers.TimeLimit(Counting(spaces.Box(0, 1, (2,))), 2), 2),
        (lambda: make_vec_env("CartPole-v1", 2, env_kwargs={"max_episode_steps": 3}), 3),
        (lambda: mbrl_envs.FunctionalVecEnv("PanFlute", 2, max_episode_steps=3), 3),
    ],
)
def test_burn_in_and_time_limits(env: Any, limit: int) -> None:
    with pytest.raises(ValueError, match=f"time limit of {limit} steps, got 3"):
        agent(env())
    agent(env(), burn_in=limit - 1)


def test_burn_in_without_a_time_limit() -> None:
    agent(Counting(spaces.Box(0, 1, (2,))), burn_in=100)


@pytest.mark.parametrize(
    ("state", "given"),
    [
        ((np.zeros((1, 2, 8)),), r"\(\(1, 2, 8\),\)"),
        ((np.zeros((1, 3, 8)),) * 2 + (np.zeros((1, 2, 2)),), r"\(1, 3, 8\)"),
        ((np.zeros((2, 2, 8)),) * 2 + (np.zeros((1, 2, 2)),), r"\(2, 2, 8\)"),
        (np.zeros((3, 1, 2, 8)), "ndarray"),
    ],
)
def test_states_of_another_shape(state: Any, given: str) -> None:
    wanted = r"\(\(1, 2, 8\), \(1, 2, 8\), \(1, 2, 2\)\)"
    with pytest.raises(ValueError, match=f"state must be a tuple of arrays of shapes {wanted}.*got .*{given}"):
        agent().predict(np.zeros((2, 4), np.float32), state)


def test_episode_starts_of_another_number() -> None:
    learner = agent()
    _, state = learner.predict(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="episode_start must have an entry for each of 2 observations, got 3"):
        learner.predict(np.zeros((2, 4), np.float32), state, np.zeros(3, bool))


def test_unknown_arguments_are_told() -> None:
    with pytest.raises(TypeError, match="sequence_lenght"):
        R2D2("MlpLstmPolicy", "CartPole-v1", sequence_lenght=3)  # type: ignore[call-arg]
