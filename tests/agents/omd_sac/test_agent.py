"""OMDSAC behind Stable-Baselines3's interface: usual values, saving, going on, sweeps, bad input."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

from mbrl_agents import OMDSAC, train_sweep
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs import FunctionalVecEnv
from tests.agents.comparing import assert_same
from tests.agents.probes import Aim, make
from tests.agents.watching import assert_normalized, batches_drawn

TINY: dict[str, Any] = {
    "learning_starts": 20,
    "batch_size": 8,
    "buffer_size": 200,
    "policy_kwargs": {"net_arch": [4]},
    "model_net_arch": [4],
}
both_loops = pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])


def pendulum() -> gymnasium.Env:
    return gymnasium.make("Pendulum-v1", max_episode_steps=20)


def tiny(model_loss: str = "omd", env: Any = None, **changes: Any) -> OMDSAC:
    return OMDSAC("MlpPolicy", env or pendulum(), model_loss, **({"seed": 1} | TINY | changes))


def test_the_usual_number_of_inner_steps() -> None:
    """Three to follow a model that is trained for return; without one, and by likelihood, soft actor-critic's one."""
    assert {loss: tiny(loss).learner.inner_steps for loss in ("omd", "mle", "none")} == {"omd": 3, "mle": 1, "none": 1}
    assert tiny("none", inner_steps=2).learner.inner_steps == 2


def test_the_usual_target_entropy_is_that_of_sb3() -> None:
    """−|A|, a nat below 0 for each component."""
    assert float(tiny(env=make(Aim(1))).learner_state.hyper.target_entropy) == -2.0
    assert float(tiny(env=make(Aim(1)), target_entropy=-6).learner_state.hyper.target_entropy) == -6.0


# ------------------------------------------------------------------ the contract


@pytest.mark.parametrize("model_loss", ["omd", *(pytest.param(each, marks=pytest.mark.slow) for each in ("none", "mle"))])
def test_saved_and_gone_on_with_as_if_never_stopped(model_loss: str, tmp_path: pathlib.Path) -> None:
    undisturbed = tiny(model_loss, make(Aim(3))).learn(60).learn(40, reset_num_timesteps=False)
    first = tiny(model_loss, make(Aim(3))).learn(60)
    first.save(tmp_path / "agent")
    first.save_replay_buffer(tmp_path / "replay")
    second = OMDSAC.load(tmp_path / "agent", env=make(Aim(3)))
    second.load_replay_buffer(tmp_path / "replay")
    second.learn(40, reset_num_timesteps=False)
    assert_same(second.learner_state, undisturbed.learner_state)
    parts = {"policy", "policy.target", "policy.optimizer"} | ({"model", "model.optimizer"} if model_loss != "none" else set())
    assert set(second.get_parameters()) == parts
    observation = np.array([[0, 1], [0, -1]], np.float32)
    loaded = OMDSAC.load(tmp_path / "agent")  # without an environment
    np.testing.assert_array_equal(
        loaded.predict(observation, deterministic=True)[0], first.predict(observation, deterministic=True)[0]
    )


def test_parameters_are_given_and_taken() -> None:
    learner, other = tiny().learn(60), tiny(seed=9)
    other.set_parameters(learner.get_parameters())
    assert_same(learner.learner_state, other.learner_state)
    with pytest.raises(ValueError, match="missing"):
        other.set_parameters({"policy": learner.get_parameters()["policy"]})


def test_a_run_of_a_sweep_is_the_run_alone() -> None:
    swept = TINY | {"model_learning_rate": [1e-3, 1e-2], "model_net_arch": [[4], [4]]}
    result = train_sweep(OMDSAC, Aim(3), swept, seeds=2, total_timesteps=80, eval_interval=80, execution="loop")
    alone = OMDSAC("MlpPolicy", make(Aim(3)), model_learning_rate=1e-2, seed=1, **TINY).learn(80)
    assert_same(result.agent(3).learner_state, alone.learner_state)


def test_acting() -> None:
    agent = tiny()
    observation, _ = pendulum().reset(seed=0)
    action, state = agent.predict(observation, deterministic=True)
    assert action.shape == (1,)
    assert action.dtype == np.float32
    assert state is None
    mean, _ = agent.learner.actor.moments(agent.learner_state.params.actor, observation[None])
    np.testing.assert_allclose(action, 2 * np.tanh(mean[0]), rtol=1e-5)  # the pendulum's torques go from -2 to 2
    drawn = agent.predict(np.tile(observation, (500, 1)))[0]
    assert drawn.shape == (500, 1)
    assert np.abs(drawn).max() <= 2
    assert drawn.std() > 0.5
    assert np.isfinite(evaluate_policy(agent, Monitor(pendulum()), n_eval_episodes=2)).all()


@both_loops
def test_actions_before_learning_are_uniform(device_loop: bool) -> None:
    agent = OMDSAC("MlpPolicy", make(Aim(3)), "none", device_loop=device_loop, **(TINY | {"learning_starts": 200, "seed": 0}))
    agent.learn(200)
    stored = np.asarray(agent.memory.state.stored.action)[:, 0]
    assert stored.shape == (200, 2)
    assert np.abs(stored).max() <= 1
    np.testing.assert_allclose(stored.mean(axis=0), 0, atol=0.15)
    np.testing.assert_allclose(stored.std(axis=0), 3**-0.5, atol=0.06)


def test_callbacks_and_logs(tmp_path: pathlib.Path) -> None:
    agent = tiny()
    agent.set_logger(configure(str(tmp_path), ["csv"]))
    callbacks = [
        EvalCallback(Monitor(pendulum()), eval_freq=35, n_eval_episodes=2, log_path=str(tmp_path), verbose=0),
        CheckpointCallback(50, str(tmp_path)),
    ]
    agent.learn(110, callback=callbacks, log_interval=1)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [35, 70, 105]
    assert OMDSAC.load(tmp_path / "rl_model_100_steps.zip").num_timesteps == 100
    header = set((tmp_path / "progress.csv").read_text().splitlines()[0].split(","))
    metrics = {"actor_loss", "critic_loss", "ent_coef", "ent_coef_loss", "model_loss", "n_updates", "fallbacks", "residual"}
    assert {f"train/{name}" for name in metrics} <= header


@pytest.mark.slow
def test_several_environments() -> None:
    for env in (make_vec_env("Pendulum-v1", n_envs=3, seed=0), FunctionalVecEnv(Aim(3), 3)):
        agent = tiny(env=env).learn(90)
        assert (agent.num_timesteps, agent._n_updates) == (90, 24)
    agent.set_env(FunctionalVecEnv(Aim(3), 3))
    agent.learn(30, reset_num_timesteps=False)
    with pytest.raises(AssertionError, match="number of environments"):
        agent.set_env(make(Aim(3)))


def test_vec_normalize(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is not normalised; what is learned from is."""
    agent = tiny("none", VecNormalize(make_vec_env("Pendulum-v1", n_envs=2, seed=0)))
    batches = batches_drawn(agent, monkeypatch)
    agent.learn(120)
    stored = np.asarray(agent.memory.state.stored.reward)[: agent.memory.size()]
    assert stored.min() < -0.5
    assert len(batches) == agent._n_updates > 0
    assert_normalized(batches)


@pytest.mark.parametrize("model_loss", ["omd", *(pytest.param(each, marks=pytest.mark.slow) for each in ("none", "mle"))])
def test_seeds(model_loss: str) -> None:
    assert_same(tiny(model_loss).learn(60).get_parameters(), tiny(model_loss).learn(60).get_parameters())
    one, other = tiny(model_loss).get_parameters()["policy"], tiny(model_loss, seed=2).get_parameters()["policy"]
    assert all((one[name] != other[name]).any() for name in one if name.endswith("kernel"))


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_loss": "vep"}, "model_loss must be one of 'omd', 'mle', 'none'; got 'vep'"),
        ({"ent_coef": 0.0}, "ent_coef .* must be a finite number above 0, got 0.0"),
        ({"ent_coef": "auto_x"}, "ent_coef must be .*, got 'auto_x'"),
        ({"ent_coef": "auto_-1"}, "ent_coef must be .*, got 'auto_-1'"),
        ({"ent_coef": "0.1"}, "ent_coef must be .*, got '0.1'"),
        ({"target_entropy": "half"}, "target_entropy .* must be a finite number"),
        ({"target_entropy": float("nan")}, "target_entropy .* must be a finite number"),
        ({"model_learning_rate": -1.0}, "model_learning_rate must be"),
        ({"inner_steps": 0}, "inner_steps must be"),
        ({"inner_loop": "both"}, "inner_loop must be one of 'critics', 'all'; got 'both'"),
        ({"model_trunk": "one"}, "model_trunk must be one of 'shared', 'separate'; got 'one'"),
        ({"initializer": "zeros"}, "initializer must be one of 'torch', 'orthogonal'; got 'zeros'"),
        ({"carry_optimizer": None}, "carry_optimizer must be"),
        ({"solver": "lu"}, "solver must be one of 'gauss_newton', 'cg'"),
        ({"damping": -1.0}, "damping must be"),
        ({"solver": "direct"}, "solver='direct' takes at most 4096 unknowns, the weights of the networks, got 13"),
        ({"model_net_arch": [0]}, "every width in model_net_arch"),
        ({"tau": -0.1}, "tau must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"policy_kwargs": {"net": [2]}}, "policy_kwargs has no 'net'"),
    ],
    ids=str,
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        OMDSAC("MlpPolicy", pendulum(), **changes)


def test_bad_spaces() -> None:
    class Unbounded(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
        action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)

    with pytest.raises(ValueError, match="OMDSAC needs a Box action space, got Discrete"):
        OMDSAC("MlpPolicy", "CartPole-v1")
    with pytest.raises(AssertionError, match="finite lower and upper bound"):  # SB3's own
        OMDSAC("MlpPolicy", Unbounded())


def test_without_mujoco_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == "mujoco" or name.startswith(("mujoco.", "gymnasium.envs.mujoco")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)  # as if it were not there
    message = r'needs MuJoCo, which is not installed: pip install "mbrl-lab\[mujoco\]"'
    with pytest.raises(DependencyNotInstalled, match=message):
        OMDSAC("MlpPolicy", "HalfCheetah-v5")
    with pytest.raises(DependencyNotInstalled, match=message):
        EnvironmentSpec("HalfCheetah-v5").make()
