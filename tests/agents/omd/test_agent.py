"""OMD behind Stable-Baselines3's interface: saving, going on, sweeps, bad input."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest

from mbrl_agents import OMD, train_sweep
from tests.agents.comparing import assert_same

TINY: dict[str, Any] = {
    "learning_starts": 20,
    "batch_size": 8,
    "buffer_size": 200,
    "policy_kwargs": {"net_arch": [4]},
    "model_net_arch": [4],
}
ENV = "mbrl/CartPole-v0"


def test_saved_and_gone_on_with_as_if_never_stopped(tmp_path: pathlib.Path) -> None:
    undisturbed = OMD("MlpPolicy", ENV, seed=3, **TINY).learn(60).learn(40, reset_num_timesteps=False)
    first = OMD("MlpPolicy", ENV, seed=3, **TINY).learn(60)
    first.save(tmp_path / "agent")
    first.save_replay_buffer(tmp_path / "replay")
    second = OMD.load(tmp_path / "agent", env=gymnasium.make(ENV))
    second.load_replay_buffer(tmp_path / "replay")
    second.learn(40, reset_num_timesteps=False)
    assert_same(second.learner_state, undisturbed.learner_state)
    assert set(second.get_parameters()) == {"policy", "policy.target", "policy.optimizer", "model", "model.optimizer"}


def test_a_run_of_a_sweep_is_the_run_alone() -> None:
    swept = TINY | {"model_learning_rate": [1e-3, 1e-2], "model_net_arch": [[4], [4]]}
    result = train_sweep(OMD, ENV, swept, seeds=2, total_timesteps=80, eval_interval=80, execution="loop")
    alone = OMD("MlpPolicy", ENV, model_learning_rate=1e-2, seed=1, **TINY).learn(80)
    assert_same(result.agent(3).learner_state, alone.learner_state)


def test_acting() -> None:
    agent = OMD("MlpPolicy", ENV, seed=0, temperature=100.0, exploration_initial_eps=0.0, exploration_final_eps=0.0, **TINY)
    observation = np.zeros((4000, 4), np.float32)
    assert len(np.unique(agent.predict(observation, deterministic=True)[0])) == 1
    assert abs(agent.predict(observation)[0].mean() - 0.5) < 0.04  # softmax at a high temperature
    cold = OMD("MlpPolicy", ENV, seed=0, temperature=1e-4, exploration_initial_eps=0.5, **TINY)
    actions = cold.predict(np.full((4000, 4), 0.3, np.float32))[0]
    best = cold.predict(np.full(4, 0.3, np.float32), deterministic=True)[0]
    assert abs((actions == best).mean() - 0.75) < 0.04  # half of them uniform


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_loss": "return"}, "model_loss must be one of 'omd', 'mle', 'vep', 'vagram'; got 'return'"),
        ({"model_learning_rate": -1.0}, "model_learning_rate must be"),
        ({"inner_steps": 0}, "inner_steps must be"),
        ({"inner_tolerance": -1.0}, "inner_tolerance must be"),
        ({"warm_start": None}, "warm_start must be"),
        ({"soft_targets": 1.5}, "soft_targets must be"),
        ({"learn_reward": "no"}, "learn_reward must be"),
        ({"num_value_networks": 0}, "num_value_networks must be"),
        ({"solver": "lu"}, "solver must be one of"),
        ({"solver_tolerance": 0.0}, "solver_tolerance must be"),
        ({"solver_steps": 0}, "solver_steps must be"),
        ({"damping": -1.0}, "damping must be"),
        ({"twin": 2}, "twin must be"),
        ({"carry_optimizer": "no"}, "carry_optimizer must be"),
        ({"model_net_arch": [0]}, "every width in model_net_arch"),
        ({"model_net_arch": "32"}, "model_net_arch must be"),
        ({"model_activation_fn": "swosh"}, "model_activation_fn must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"policy_kwargs": {"net": [2]}}, "policy_kwargs has no 'net'"),
    ],
    ids=str,
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        OMD("MlpPolicy", ENV, **changes)


def test_bad_spaces() -> None:
    with pytest.raises(ValueError, match="OMD needs a Discrete action space"):
        OMD("MlpPolicy", "Pendulum-v1")
    for name in ("stochastic_model", "predict_change"):
        with pytest.raises(ValueError, match=f"{name} must be False where observations are not real-valued"):
            OMD("MlpPolicy", "mbrl/PanFlute-v0", **{name: True})
