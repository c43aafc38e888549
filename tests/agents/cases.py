"""One small agent of every kind of this package, for properties that hold of all of them.

Compiling an agent's program takes seconds: tests that need some small agent of a kind take these, which share them.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from mbrl_agents import (
    OMD,
    OMDSAC,
    R2D2,
    JaxR2D2,
    LatentModelDQN,
    LinearTD,
    PerfectModelDQN,
    ReplayDQN,
    SimpleModelDQN,
    ValueRNN,
)
from tests.agents import probes

DQN: dict[str, Any] = {"learning_starts": 30, "batch_size": 8, "buffer_size": 90, "policy_kwargs": {"net_arch": [8]}}
MODEL: dict[str, Any] = DQN | {"rollout_length": 2, "target_update_interval": 10}
RECURRENT: dict[str, Any] = {
    "policy_kwargs": {"lstm_hidden_size": 4, "net_arch": [4], "pre_net_arch": []},
    **{"learning_starts": 30, "batch_size": 4, "buffer_size": 90, "train_freq": 5},
    **{"burn_in": 2, "sequence_length": 4, "overlap": 1, "n_steps": 2},
}
CASES: dict[str, tuple[type[OffPolicyAlgorithm], str, dict[str, Any]]] = {
    "replay": (ReplayDQN, "MlpPolicy", DQN),
    "perfect": (PerfectModelDQN, "MlpPolicy", MODEL),
    "simple": (SimpleModelDQN, "MlpPolicy", MODEL | {"max_grad_norm": 1.0}),
    "gaussian": (LatentModelDQN, "MlpPolicy", MODEL | {"latent": "gaussian"}),
    "categorical": (LatentModelDQN, "MlpPolicy", MODEL),
    "omd": (OMD, "MlpPolicy", DQN | {"model_net_arch": [4]}),
    "omdsac": (OMDSAC, "MlpPolicy", DQN | {"model_net_arch": [4]}),
    "sac": (OMDSAC, "MlpPolicy", DQN | {"model_loss": "none"}),
    "linear": (LinearTD, "linear", {"episode_steps": 6, "learning_rate": 0.01}),
    "rnn": (
        ValueRNN,
        "RnnPolicy",
        {
            **{"hidden_size": 3, "sequence_length": 10, "burn_in": 2},
            **{"learning_starts": 30, "batch_size": 4, "buffer_size": 90, "train_freq": 5},
        },
    ),
    "r2d2": (R2D2, "MlpLstmPolicy", RECURRENT),
    "r2d2_jax": (JaxR2D2, "MlpLstmPolicy", RECURRENT),
}
JAX_CASES = [case for case in CASES if case != "r2d2"]
# Agents in JAX share copying, files and loops: some of them stand for all by default; the slow tests have the others.
DIFFERENT = ("replay", "omdsac", "linear", "rnn", "r2d2_jax")
SOME_IN_JAX = [case if case in DIFFERENT else pytest.param(case, marks=pytest.mark.slow) for case in JAX_CASES]


def environment(case: str) -> gymnasium.Env:
    """A functional environment for the agent, with episodes of at most 13 steps."""
    if CASES[case][0] is OMDSAC:
        return probes.make(probes.Aim(5), 13)  # actions are vectors
    return gymnasium.make("mbrl/CartPole-v0", max_episode_steps=13)


def make(case: str, env: Any = None, **changes: Any) -> Any:
    """The agent, with changed arguments."""
    cls, first, arguments = CASES[case]
    return cls(first, environment(case) if env is None else env, **({"seed": 3} | arguments | changes))
