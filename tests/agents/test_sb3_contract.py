"""ReplayDQN keeps Stable-Baselines3's contract."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

import mbrl_envs
from mbrl_agents import ReplayDQN, SimpleModelDQN
from tests.agents.comparing import assert_same_parameters
from tests.agents.small import LIMIT, TINY, agent, both_loops, flute
from tests.agents.watching import bars_made


class Notes(BaseCallback):
    """Takes down what a callback sees at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.timesteps: list[int] = []
        self.dones: list[bool] = []
        self.rewards: list[float] = []
        self.events: list[str] = []

    def _on_training_start(self) -> None:
        self.events.append("start")

    def _on_step(self) -> bool:
        self.timesteps.append(self.num_timesteps)
        self.dones.append(bool(self.locals["dones"][0]))
        self.rewards.append(float(self.locals["rewards"][0]))
        return True

    def _on_training_end(self) -> None:
        self.events.append("end")


@both_loops
def test_callbacks_see_every_step(device_loop: bool) -> None:
    notes = Notes()
    agent(device_loop).learn(123, callback=notes)
    assert notes.timesteps == list(range(1, 124))
    assert [i + 1 for i, done in enumerate(notes.dones) if done] == list(range(LIMIT, 124, LIMIT))
    assert notes.events == ["start", "end"]


@both_loops
def test_eval_checkpoint_and_periodic_callbacks_see_the_right_model(device_loop: bool, tmp_path: pathlib.Path) -> None:
    seen: list[tuple[int, int]] = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append((self.num_timesteps, self.model._n_updates))
            return True

    learner = agent(device_loop)
    callbacks = CallbackList(
        [
            EvalCallback(Monitor(flute()), eval_freq=35, n_eval_episodes=2, log_path=str(tmp_path), verbose=0),
            CheckpointCallback(50, str(tmp_path), save_replay_buffer=True),
            EveryNTimesteps(40, Look()),
        ]
    )
    learner.learn(170, callback=callbacks)
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [35, 70, 105, 140]
    assert {path.name for path in tmp_path.glob("rl_model_*_steps.zip")} == {f"rl_model_{n}_steps.zip" for n in (50, 100, 150)}
    assert ReplayDQN.load(tmp_path / "rl_model_100_steps.zip").num_timesteps == 100
    # SB3 trains after the callbacks of a step: at timestep t the model has t - 1 - learning_starts updates, on the device t - …
    assert [t for t, _ in seen] == [40, 80, 120, 160]
    assert [t - n for t, n in seen] == [30 if device_loop else 31] * 4


@both_loops
def test_training_can_be_stopped(device_loop: bool) -> None:
    learner = agent(device_loop)
    learner.learn(5000, callback=StopTrainingOnMaxEpisodes(3))
    assert 3 * LIMIT <= learner.num_timesteps < 5000
    evaluation = EvalCallback(
        Monitor(flute()), eval_freq=40, callback_on_new_best=StopTrainingOnRewardThreshold(-1.0), verbose=0
    )
    learner.learn(5000, callback=evaluation)
    assert learner.num_timesteps == 40


@both_loops
def test_logs_and_tensorboard(device_loop: bool, tmp_path: pathlib.Path) -> None:
    learner = agent(device_loop, tensorboard_log=str(tmp_path / "tb"))
    learner.learn(200, tb_log_name="flute")
    assert list((tmp_path / "tb" / "flute_1").glob("events*"))
    learner.set_logger(configure(str(tmp_path / "csv"), ["csv"]))
    learner.learn(200, log_interval=2)
    header = (tmp_path / "csv" / "progress.csv").read_text().splitlines()[0].split(",")
    assert {"rollout/ep_rew_mean", "rollout/ep_len_mean", "train/loss", "train/n_updates", "time/total_timesteps"} <= set(
        header
    )
    assert learner.ep_info_buffer is not None
    assert [episode["l"] for episode in learner.ep_info_buffer] == [LIMIT] * 10


@both_loops
def test_progress_bar(device_loop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = bars_made(monkeypatch)
    agent(device_loop).learn(60, progress_bar=True)
    assert bars == [(60, 60)]


@both_loops
def test_num_timesteps_and_going_on(device_loop: bool) -> None:
    learner = agent(device_loop)
    learner.learn(50)
    learner.learn(30, reset_num_timesteps=False)
    assert learner.num_timesteps == 80
    learner.learn(30)
    assert learner.num_timesteps == 30


@both_loops
def test_predict_and_evaluate_policy(device_loop: bool) -> None:
    learner = agent(device_loop).learn(60)
    observation, _ = flute().reset(seed=0)
    action, state = learner.predict(observation, deterministic=True)
    assert np.shape(action) == ()
    assert state is None
    actions, _ = learner.predict(np.stack([observation] * 7))
    assert actions.shape == (7,)
    assert learner.predict(observation, deterministic=True)[0] == action
    mean, spread = evaluate_policy(learner, Monitor(flute()), n_eval_episodes=3)
    assert np.isfinite([mean, spread]).all()


def test_prediction_changes_nothing_in_training() -> None:
    one, other = agent(), agent()
    one.learn(80)
    for _ in range(5):
        other.predict(np.zeros((4, 6), bool))
    other.learn(80)
    assert_same_parameters(one, other)


@both_loops
def test_seeds(device_loop: bool) -> None:
    one, same = agent(device_loop).learn(80), agent(device_loop).learn(80)
    assert_same_parameters(one, same)
    first, other = agent(device_loop), agent(device_loop, seed=2)
    a, b = first.get_parameters()["policy"], other.get_parameters()["policy"]
    assert all((a[name] != b[name]).any() for name in a if name.endswith("kernel"))


@both_loops
def test_get_and_set_parameters(device_loop: bool) -> None:
    learner, other = agent(device_loop).learn(60), agent(device_loop, seed=9)
    parameters = learner.get_parameters()
    assert set(parameters) == {"policy", "policy.target", "policy.optimizer"}
    assert all(isinstance(array, np.ndarray) for part in parameters.values() for array in part.values())
    other.set_parameters(parameters)
    assert_same_parameters(learner, other)
    with pytest.raises(ValueError, match="missing"):
        other.set_parameters({"policy": parameters["policy"]})
    other.set_parameters({"policy": parameters["policy"]}, exact_match=False)
    with pytest.raises(ValueError, match="unknown"):
        other.set_parameters({**parameters, "critic": {}})
    wrong = {name: array[..., :1] for name, array in parameters["policy"].items()}
    with pytest.raises(ValueError, match="must have shape"):
        other.set_parameters({**parameters, "policy": wrong})
    assert_same_parameters(learner, other)


def test_set_env_and_vec_envs() -> None:
    learner = agent().learn(60)
    learner.set_env(flute())
    learner.learn(60, reset_num_timesteps=False)
    for vec_env in (
        make_vec_env("CartPole-v1", n_envs=3, seed=0),
        make_vec_env("mbrl/PanFlute-v0", n_envs=3),
        mbrl_envs.FunctionalVecEnv("PanFlute", num_envs=3),
    ):
        several = ReplayDQN("MlpPolicy", vec_env, **TINY).learn(90)
        assert several.num_timesteps == 90
        assert several._n_updates == 20
    with pytest.raises(AssertionError, match="number of environments"):
        learner.set_env(make_vec_env("mbrl/PanFlute-v0", n_envs=3))


def test_after_set_env_episodes_are_new_ones() -> None:
    learner = ReplayDQN("MlpPolicy", "mbrl/ProcMaze-v0", **TINY)
    starts = []
    for _ in range(3):
        learner.set_env(gymnasium.make("mbrl/ProcMaze-v0"))
        learner.learn(5, reset_num_timesteps=False)
        starts.append(np.asarray(learner.memory.state.stored.observation)[learner.num_timesteps - 5].tobytes())
    assert len(set(starts)) == 3


@both_loops
def test_no_log_interval(device_loop: bool, tmp_path: pathlib.Path) -> None:
    notes = Notes()
    learner = agent(device_loop)
    learner.set_logger(configure(str(tmp_path), ["csv"]))
    assert learner.learn(60, notes, log_interval=None).num_timesteps == 60
    assert notes.timesteps == list(range(1, 61))
    assert not (tmp_path / "progress.csv").read_text()


def test_train_freq_in_episodes_and_cartpole() -> None:
    learner = ReplayDQN("MlpPolicy", "CartPole-v1", train_freq=(1, "episode"), gradient_steps=-1, **TINY).learn(150)
    assert learner._n_updates > 0
    with pytest.raises(ValueError, match="device_loop=True"):
        ReplayDQN("MlpPolicy", "CartPole-v1", device_loop=True, **TINY).learn(10)


def test_vec_normalize_and_larger_batches_of_starts() -> None:
    env = VecNormalize(make_vec_env("CartPole-v1", n_envs=2))
    learner = SimpleModelDQN("MlpPolicy", env, rollout_batch_size=32, rollout_length=2, **TINY)
    sizes, sample = [], learner.memory.sample
    learner.memory.sample = lambda size, *rest: sizes.append(size) or sample(size, *rest)
    learner.learn(40)
    assert set(sizes) == {32}


def test_vec_normalize_around_bytes_is_refused() -> None:
    """They are divided by 255 when they are read, and what comes out of VecNormalize are no bytes."""

    class Bytes(gymnasium.ObservationWrapper):
        observation_space = gymnasium.spaces.Box(0, 255, (4,), np.uint8)

        def observation(self, observation: np.ndarray) -> np.ndarray:
            return np.uint8(np.clip(observation * 50 + 128, 0, 255))

    def plain() -> Any:
        return make_vec_env(lambda: Bytes(gymnasium.make("CartPole-v1")))

    with pytest.raises(ValueError, match="VecNormalize around them needs norm_obs=False"):
        ReplayDQN("MlpPolicy", VecNormalize(plain()), **TINY)
    learner = ReplayDQN("MlpPolicy", VecNormalize(plain(), norm_obs=False), **TINY).learn(40)
    with pytest.raises(ValueError, match="VecNormalize around them needs norm_obs=False"):
        learner.set_env(VecNormalize(plain()))
    assert not learner.get_vec_normalize_env().norm_obs  # as before


def test_torch_and_numpy_states_are_not_touched_by_learning() -> None:
    learner = agent()
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()  # noqa: NPY002  (SB3 seeds this one)
    learner.learn(60)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
