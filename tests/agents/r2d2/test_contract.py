"""R2D2 keeps Stable-Baselines3's contract, and sb3-contrib's for recurrent policies."""

from __future__ import annotations

import copy
import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

import mbrl_envs
from mbrl_agents.r2d2 import R2D2
from mbrl_agents.r2d2.policies import MlpLstmPolicy
from tests.agents.comparing import assert_same_parameters
from tests.agents.r2d2.agents import Counting, agent, shown
from tests.agents.watching import bars_made

VECTOR = spaces.Box(-10, 10, (2,), np.float32)


def limited(length: int = 100, limit: int = 9) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(Counting(VECTOR, length), limit)


# --- What acting and storing make of an environment -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["terminated", "truncated", "vec"])
def test_episodes_are_stored_with_their_true_final_observation(kind: str) -> None:
    env: Any = {"terminated": limited(9, 100), "truncated": limited(), "vec": make_vec_env(limited, 2)}[kind]
    learner = agent(env, burn_in=1).learn(80)
    buffer = learner.replay_buffer
    batch = buffer._get_samples(buffer.sequences)
    assert isinstance(batch.observations, th.Tensor)
    final = batch.observations[batch.last, np.arange(len(batch.last)), 0] * 10
    ends = (final - 9).abs() < 1e-5
    assert bool(ends.any())
    assert batch.terminated[ends.numpy()].tolist() == [kind == "terminated"] * int(ends.sum())
    begins = batch.observations[0, : batch.num_from_start, 0]
    assert bool((begins == 0).all())  # and the next episode begins with its own first one
    assert bool((batch.previous_rewards[1] == batch.observations[1, :, 0] * 10).all())


def test_the_state_is_zero_at_the_first_observation_of_an_episode() -> None:
    learner = agent(limited(5, 100))
    before: list[tuple[float, bool]] = []
    plain = learner.policy.act

    def act(observations: Any, state: Any) -> Any:
        before.append((float(observations[0, 0]), all(not each.any() for each in state)))
        return plain(observations, state)

    learner.policy.act = act  # type: ignore[method-assign]
    learner.learn(40)
    assert all(zero == (t == 0) for t, zero in before)
    assert {t for t, _ in before} == {0.0, *(np.float32(t / 10) for t in range(1, 5))}  # it never acts on the final one


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.MultiBinary(3),
        spaces.MultiDiscrete([3, 4]),
        spaces.Box(-1, 1, (2, 2), np.float64),
        spaces.Box(0, 1, (3,), np.int8),
    ],
    ids=str,
)
def test_all_kinds_of_observations(space: spaces.Space) -> None:
    """They are learned from, and what is drawn is what was shown."""
    space = roomy(space)
    learner = agent(Counting(space))
    learner.learn(90)
    assert learner._n_updates > 0
    buffer = learner.replay_buffer
    batch = buffer._get_samples(buffer.sequences)
    assert isinstance(batch.observations, th.Tensor)
    assert len(batch.observations.unique()) > 1
    for i in range(batch.num_from_start):
        found = batch.observations[: batch.last[i] + 1, i].numpy()
        expected = np.stack([np.reshape(shown(space, t), found.shape[1:]) for t in range(len(found))])
        np.testing.assert_array_equal(found, expected.astype(found.dtype))
    evaluate_policy(learner, learner.get_env(), n_eval_episodes=1)


def roomy(space: Any) -> spaces.Space:
    """The space, with room for what Counting shows."""
    return space if not isinstance(space, spaces.Box) else spaces.Box(0, 100, space.shape, space.dtype)


# --- predict ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_predict_carries_a_state_as_recurrent_ppo_does(cell: str) -> None:
    learner = agent(cell=cell, n_lstm_layers=2, previous_action=False)
    observations = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    state, starts = None, np.ones(3, bool)
    for t in range(5):
        actions, state = learner.predict(observations[t], state, starts, deterministic=True)
        assert actions.shape == (3,)
        assert [each.shape for each in state] == [(2, 3, 8)] * (2 if cell == "lstm" else 1)
        starts = np.array([t == 2, False, False])
    alone, own = None, None
    for t in range(3, 5):  # the first environment began anew at t = 3
        alone, own = learner.predict(observations[t, 0], own, np.array([False]), deterministic=True)
    assert np.shape(alone) == ()
    np.testing.assert_allclose(own[0][:, 0], state[0][:, 0], atol=1e-6)
    assert alone == actions[0]


def test_predict_remembers_what_it_did_also_when_exploring() -> None:
    learner = agent()
    learner.exploration_rate = 1.0
    observations = np.zeros((200, 4), np.float32)
    actions, state = learner.predict(observations)
    assert 50 < actions.sum() < 150
    np.testing.assert_array_equal(state[-1][0].argmax(axis=1), actions)
    greedy, _ = learner.predict(observations, deterministic=True)
    assert len(set(greedy)) == 1


@pytest.mark.parametrize("value_rescaling", [False, True])
def test_q_values_are_those_of_the_network_on_the_scale_of_returns(value_rescaling: bool) -> None:
    learner = agent(previous_action=False, value_rescaling=value_rescaling)
    observations = np.random.default_rng(0).normal(size=(4, 3, 4)).astype(np.float32)
    states = tuple(th.zeros(1, 3, 8) for _ in range(2))
    with th.no_grad():
        none = th.full((4, 3), 2), th.zeros(4, 3)
        wanted = learner.policy.q_net.unroll(th.as_tensor(observations), *none, states)[0].numpy()
    state = None
    for t in range(4):
        values = learner.q_values(observations[t], state, np.zeros(3, bool))
        scaled = np.sign(values) * (np.sqrt(np.abs(values) + 1) - 1) + 1e-3 * values if value_rescaling else values
        np.testing.assert_allclose(scaled, wanted[t], atol=1e-6)
        actions, state = learner.predict(observations[t], state, np.zeros(3, bool), deterministic=True)
        np.testing.assert_array_equal(values.argmax(axis=1), actions)
    assert learner.q_values(observations[0, 0]).shape == (2,)


def test_evaluate_policy() -> None:
    learner = agent().learn(100)
    mean, spread = evaluate_policy(learner, make_vec_env("CartPole-v1", 3), n_eval_episodes=4)
    assert np.isfinite([mean, spread]).all()


def test_previous_rewards_must_be_handed_in() -> None:
    learner = agent(previous_reward=True).learn(100)
    env = make_vec_env("CartPole-v1", 2)
    with pytest.raises(ValueError, match=r"state lacks the previous rewards.*evaluation_callback"):
        evaluate_policy(learner, env, n_eval_episodes=2)
    evaluate_policy(learner, env, n_eval_episodes=2, callback=learner.evaluation_callback)


def test_prediction_changes_nothing_in_training() -> None:
    one, other = agent().learn(70), agent().learn(70)
    for _ in range(5):
        other.predict(np.zeros((4, 4), np.float32))
    assert_same_parameters(one.learn(60, reset_num_timesteps=False), other.learn(60, reset_num_timesteps=False))


# --- callbacks, logs --------------------------------------------------------------------------------------------------------


def test_callbacks(tmp_path: pathlib.Path) -> None:
    seen: list[int] = []

    class Look(BaseCallback):
        def _on_step(self) -> bool:
            seen.append(self.num_timesteps)
            assert {"rewards", "dones", "infos", "new_obs"} <= set(self.locals)
            return True

    evaluation = EvalCallback(Monitor(limited()), eval_freq=35, n_eval_episodes=2, log_path=str(tmp_path), verbose=0)
    checkpoints = CheckpointCallback(50, str(tmp_path), save_replay_buffer=True)
    agent(limited()).learn(120, callback=CallbackList([evaluation, checkpoints, EveryNTimesteps(40, Look())]))
    assert seen == [40, 80, 120]
    assert np.load(tmp_path / "evaluations.npz")["timesteps"].tolist() == [35, 70, 105]
    assert R2D2.load(tmp_path / "rl_model_100_steps.zip").num_timesteps == 100
    stopped = agent(limited()).learn(5000, callback=StopTrainingOnMaxEpisodes(3))
    assert stopped.num_timesteps == 27


def test_logs_and_tensorboard(tmp_path: pathlib.Path) -> None:
    learner = agent(tensorboard_log=str(tmp_path / "tb")).learn(200)
    assert list((tmp_path / "tb" / "R2D2_1").glob("events*"))
    learner.set_logger(configure(str(tmp_path / "csv"), ["csv"]))
    learner.learn(300, log_interval=2)
    header = (tmp_path / "csv" / "progress.csv").read_text().splitlines()[0].split(",")
    assert {"rollout/ep_rew_mean", "rollout/exploration_rate", "train/loss", "train/n_updates", "train/priority"} <= set(header)


def test_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = bars_made(monkeypatch)
    agent().learn(60, progress_bar=True)
    assert bars == [(60, 60)]


# --- environments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num", [1, 3])
def test_any_number_of_environments(num: int) -> None:
    for env in (make_vec_env("CartPole-v1", num), mbrl_envs.FunctionalVecEnv("PanFlute", num, max_episode_steps=20)):
        learner = agent(env, buffer_size=600 * num).learn(60 * num)
        assert learner.num_timesteps == 60 * num
        learner.learn(60 * num, reset_num_timesteps=False)
        assert learner._n_updates > 0


def test_training_by_episodes() -> None:
    learner = agent(limited(), train_freq=(1, "episode"), gradient_steps=-1).learn(99)
    assert learner._n_updates == 9 * 5  # after each of 5 episodes that end beyond learning_starts, one update a step


def test_vec_normalize(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored is not normalised; what is learned from is."""
    env = VecNormalize(make_vec_env(limited, 2), norm_reward=True)
    learner = agent(env)
    buffer, drawn = learner.replay_buffer, []
    sample = buffer.sample

    def note(batch_size: int, *rest: Any) -> Any:
        drawn.append((env.obs_rms.mean.copy(), env.obs_rms.var.copy(), env.ret_rms.var, sample(batch_size, *rest)))
        return drawn[-1][-1]

    monkeypatch.setattr(buffer, "sample", note)
    learner.learn(200)
    stored = buffer.observations
    assert isinstance(stored, np.ndarray)
    assert set(np.round(stored[:, 0] * 10).astype(int)) == set(range(10))
    assert len(drawn) == learner._n_updates > 0
    for mean, var, spread, batch in drawn:
        first, length = batch.indices[0], batch.last[0] + 1  # no ring is full yet
        expected = (stored[first : first + length] - mean) / np.sqrt(var + env.epsilon)
        np.testing.assert_allclose(batch.observations[:length, 0].numpy(), expected, rtol=1e-4, atol=1e-5)
        rewards = buffer.previous_rewards[first : first + length] / np.sqrt(spread + env.epsilon)
        np.testing.assert_allclose(batch.previous_rewards[:length, 0].numpy(), rewards, rtol=1e-4, atol=1e-5)
    evaluate_policy(learner, env, n_eval_episodes=2)


def test_set_env_begins_a_new_episode() -> None:
    learner = agent(limited()).learn(85)
    learner.set_env(limited())
    learner.learn(85, reset_num_timesteps=False)
    assert learner.num_timesteps == 170
    batch = learner.replay_buffer._get_samples(learner.replay_buffer.sequences)
    assert isinstance(batch.observations, th.Tensor)
    steps = batch.observations[:, :, 0] * 10
    for i, last in enumerate(batch.last):
        assert bool(((steps[1 : last + 1, i] - steps[:last, i] - 1).abs() < 1e-4).all())  # no sequence spans the change
    with pytest.raises(AssertionError, match="number of environments"):
        learner.set_env(make_vec_env(limited, 3))


# --- saving -----------------------------------------------------------------------------------------------------------------


def test_continuing_equals_never_having_stopped(tmp_path: pathlib.Path) -> None:
    one, other = agent(limited()).learn(130), agent(limited()).learn(130)
    other.save(tmp_path / "agent")
    other.save_replay_buffer(tmp_path / "replay")
    loaded = R2D2.load(tmp_path / "agent", env=limited(), device="cpu")
    assert loaded.replay_buffer.empty
    loaded.load_replay_buffer(tmp_path / "replay")
    assert loaded.num_timesteps == 130
    assert_same_parameters(one, loaded)
    one.set_env(limited())  # somebody else's environment cannot be saved: both begin a new episode
    for each in (one, loaded):
        each.learn(120, reset_num_timesteps=False)
    assert_same_parameters(one, loaded)
    assert one.replay_buffer.sequences.tolist() == loaded.replay_buffer.sequences.tolist()
    assert one._episode_num == loaded._episode_num


def test_loading_for_prediction_with_other_numbers_of_environments(tmp_path: pathlib.Path) -> None:
    learner = agent(make_vec_env("CartPole-v1", 2), cell="gru").learn(200)
    learner.save(tmp_path / "agent")
    observations = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    expected = learner.predict(observations, deterministic=True)[0]
    for env in (None, gymnasium.make("CartPole-v1"), make_vec_env("CartPole-v1", 3)):
        loaded = R2D2.load(tmp_path / "agent", env=env)
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)
        if env is not None:
            loaded.learn(90)


def test_replay_buffers_of_others_are_refused(tmp_path: pathlib.Path) -> None:
    agent().learn(30).save_replay_buffer(tmp_path / "replay")
    for changes, message in (
        ({"burn_in": 2}, "layout must be SequenceLayout"),
        ({"cell": "gru"}, r"state_shapes must be \(\(1, 8\),\), got \(\(1, 8\), \(1, 8\)\)"),
    ):
        learner = agent(**changes)
        before = learner.replay_buffer
        with pytest.raises(ValueError, match=f"the replay buffer's {message}"):
            learner.load_replay_buffer(tmp_path / "replay")
        assert learner.replay_buffer is before


def test_policies_can_be_copied_saved_and_loaded(tmp_path: pathlib.Path) -> None:
    learner = agent(cell="gru", n_lstm_layers=2, dueling=False)
    observation = np.ones((2, 4), np.float32)
    actions, state = learner.policy.predict(observation)
    learner.policy.save(str(tmp_path / "policy"))
    for policy in (MlpLstmPolicy.load(str(tmp_path / "policy")), copy.deepcopy(learner.policy)):
        same, again = policy.predict(observation)
        np.testing.assert_array_equal(same, actions)
        np.testing.assert_array_equal(again[0], state[0])
        policy.load_from_vector(policy.parameters_to_vector() * 2)
        assert not np.allclose(policy.predict(observation)[1][0], state[0])
    np.testing.assert_array_equal(learner.policy.predict(observation)[1][0], state[0])


def test_seeds_and_parameters() -> None:
    one, same, other = agent().learn(120), agent().learn(120), agent(seed=2)
    assert_same_parameters(one, same)
    assert not th.equal(one.policy.q_net.rnn.weight_ih_l0, other.policy.q_net.rnn.weight_ih_l0)
    other.set_parameters(one.get_parameters())
    assert_same_parameters(one, other)


def test_hard_and_soft_target_updates() -> None:
    for tau in (1.0, 0.25):
        learner = agent(tau=tau, target_update_interval=1, gradient_steps=0, train_freq=1)
        net, target = learner.policy.q_net.advantages.bias, learner.policy.q_net_target.advantages.bias
        with th.no_grad():
            net.fill_(1.0)
            target.fill_(0.0)
        learner.learn(1)
        assert bool((target == tau).all())
