"""The cue–reward tasks as environments and as arrays: what is drawn, what checkers demand, pictures."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.utils.env_checker import check_env
from scipy import stats
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import mbrl_envs
from mbrl_envs.conditioning import (
    Babayan,
    ConditioningTask,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
    sample_trials,
    values,
)
from mbrl_envs.conditioning.chain import Micro
from mbrl_envs.rendering import ansi
from tests.envs.trial_simulators import Drawn, draw

TASKS = (CueReward, Starkweather, Babayan, Contingency, VariableMagnitude, VariableProbability)
VARIANTS = [
    CueReward(),
    CueReward((((2, 0.5), (4, 0.3), (9, 0.2)), 3), 0.3, 2.0, (0.25, 0.75), 0, 0.5, 2),
    Starkweather(1),
    Starkweather(2, "ABCD", iti_min=2, iti_probability=0.5),
    Babayan((1.0, 2.0, 10.0), (0.5, 0.3, 0.2)),
    Contingency("cued"),
    VariableMagnitude(iti_min=1, iti_probability=1.0),
    VariableProbability(),
]


# --- What is drawn --------------------------------------------------------------------------------------------------------


def taken_apart(env: ConditioningTask, num: int) -> Drawn:
    """Single trials that all have a cue, from their observations."""
    trials = sample_trials(env, num, 3)
    onset = np.array([t.observations[:, :-1].any(axis=1).argmax() for t in trials])
    cue = np.array([t.observations[i, :-1].argmax() for t, i in zip(trials, onset, strict=True)])
    end = np.array([len(t.rewards) - 1 - getattr(env, "padding", 0) for t in trials])
    return Drawn(onset, cue, end - onset, np.array([t.rewards.sum() for t in trials]))


@pytest.mark.parametrize("env", VARIANTS, ids=str)
def test_trials_are_drawn_as_told(env: ConditioningTask) -> None:
    """Beside whole trials drawn by NumPy: intervals, and cue, delay and reward together."""
    num = 4000
    ours, theirs = taken_apart(env, num), draw(env, num, np.random.default_rng(5))
    if isinstance(env, Babayan):  # single trials: each is a block's first
        theirs = theirs._replace(
            reward=draw(Babayan(env.sizes, env.size_probabilities, 1), num, np.random.default_rng(5)).reward
        )
    for name, columns in (("iti", ("iti",)), ("rest", ("cue", "delay", "reward"))):
        rows = [np.stack([getattr(d, column).astype(np.float32) for column in columns], axis=1) for d in (ours, theirs)]
        _, inverse = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
        table = np.stack([np.bincount(part, minlength=inverse.max() + 1) for part in np.split(inverse.ravel(), 2)])
        common = table.sum(axis=0) >= 20
        table = np.column_stack([table[:, common], table[:, ~common].sum(axis=1)])
        table = table[:, table.any(axis=0)]
        assert table.shape[1] == 1 or stats.chi2_contingency(table).pvalue > 1e-4, name


def test_blocks_have_one_size_and_follow_each_other_by_chance() -> None:
    episodes = sample_trials(Babayan(), 100, 0, trials_per_episode=50)
    sizes = np.array([episode.rewards[episode.rewards > 0].reshape(10, 5) for episode in episodes])
    assert (sizes == sizes[..., :1]).all()
    first = sizes[..., 0] == 10
    assert stats.binomtest(int(first.sum()), first.size, 0.5).pvalue > 1e-4
    repeated = first[:, 1:] == first[:, :-1]
    assert stats.binomtest(int(repeated.sum()), repeated.size, 0.5).pvalue > 1e-4


def test_uncued_rewards_come_between_the_cued() -> None:
    counts = {}
    for phase in ("conditioning", "degradation", "cued"):
        episodes = sample_trials(Contingency(phase), 50, 1, trials_per_episode=40)
        seen = np.concatenate([episode.observations for episode in episodes])
        assert sum(episode.observations[:, 0].sum() for episode in episodes) / 2000 == pytest.approx(0.4, abs=0.05)
        counts[phase] = (seen[:, 2].sum() / 2000, seen[:, 3].sum() / 2000)
    assert counts["conditioning"] == pytest.approx((0, 0.3), abs=0.05)
    assert counts["degradation"] == pytest.approx((0, 0.6), abs=0.05)
    assert counts["cued"] == pytest.approx((0.4, 0.6), abs=0.05)


def test_arrays_of_trials() -> None:
    few, more = sample_trials("mbrl/CueReward-v0", 5, 0), sample_trials(CueReward(), 9, 0)
    for one, same in zip(few, more, strict=False):
        np.testing.assert_array_equal(one.states, same.states)
    for episode in more:
        observations, rewards, states, terminated = episode
        assert observations.dtype == rewards.dtype == np.float32
        assert observations.shape == (len(rewards), 3)
        assert terminated
        assert observations.flags.owndata
        np.testing.assert_array_equal(observations[:, -1], rewards)
        assert CueReward().chain.terminal[states].tolist() == [False] * (len(states) - 1) + [True]
    assert len({len(episode.rewards) for episode in more}) > 1
    assert any((a.states[:3] != b.states[:3]).any() for a, b in zip(more, sample_trials(CueReward(), 9, 1), strict=True))
    long = sample_trials(gymnasium.make("mbrl/Starkweather-v0"), 3, 0, trials_per_episode=20)
    assert [int(episode.rewards.sum()) for episode in long] == [20] * 3
    assert not any(episode.terminated for episode in long)
    assert all(episode.rewards[-1] == 1 for episode in long)
    three = sample_trials(CueReward(num_trials=3), 20, 0)
    assert [int(episode.rewards.sum()) for episode in three] == [3] * 20


def test_the_chain_names_its_states() -> None:
    states = CueReward((2,), omission=0.5).chain.states
    assert Micro(0, "interval", elapsed=1) in states
    assert Micro(0, "trial", 0, 1, True) in states
    assert Micro(0, "outcome", reward=1.0) in states
    assert Micro(0, "after", elapsed=1) in states
    assert len(states) == 1 + 2 * 2 + 3


# --- Environments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_checkers_have_nothing_to_say(task: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(task.env_id, render_mode="rgb_array")
        check_env(env.unwrapped)
        sb3_check_env(env)
    assert env.action_space == Discrete(1)
    assert env.observation_space.shape == (len(task().cue_names) + 1,)


@pytest.mark.parametrize("env", VARIANTS, ids=str)
def test_through_gymnasium(env: ConditioningTask) -> None:
    """What is seen is possible, rewards are those of the observations, and values can follow the episode."""
    single = mbrl_envs.FunctionalGymEnv(env)
    seen, total = [single.reset(seed=4)[0]], 0.0
    for _ in range(60):
        observation, reward, terminated, _, _ = single.step(0)
        assert env.observation_space.contains(observation)
        assert observation[-1] == np.float32(reward)
        seen.append(observation)
        total += reward
        if terminated:
            break
    assert terminated != env.continuing
    assert np.isfinite(values(env, np.stack(seen), 0.9)).all()
    assert np.stack(seen)[:, -1].sum() == pytest.approx(total)


def test_all_ways_to_step_agree() -> None:
    envs = gymnasium.make_vec("mbrl/Starkweather-v0", num_envs=3, task=2, odours="ABCD")
    vec_env = mbrl_envs.FunctionalVecEnv("Starkweather", 3, task=2, odours="ABCD")
    vec_env.seed(5)
    first, second = [envs.reset(seed=5)[0]], [vec_env.reset()]
    single = gymnasium.make("mbrl/Starkweather-v0", task=2, odours="ABCD")
    third = [single.reset(seed=6)[0]]
    for _ in range(50):
        first.append(envs.step(np.zeros(3, int))[0])
        second.append(vec_env.step(np.zeros(3, int))[0])
        third.append(single.step(0)[0])
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(np.array(first)[:, 1], third)


def test_a_terminal_state_gives_nothing_any_more() -> None:
    env = CueReward((1,), padding=0)
    state = env.reset(jax.random.key(0))
    rewards = []
    for t in range(40):
        state, reward, terminated = env.step(jax.random.key(t), state, np.int32(0))
        rewards.append(float(reward))
    assert bool(terminated)
    assert sum(rewards) == 1


def test_specifications_survive_json() -> None:
    from gymnasium.envs.registration import EnvSpec

    env = gymnasium.make("mbrl/CueReward-v0", delays=(((2, 0.5), (3, 0.5)), 4), cue_probabilities=(0.2, 0.8))
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert mbrl_envs.functional(again) == mbrl_envs.functional(env)


def test_pictures_show_what_was_seen() -> None:
    env = CueReward((2, 3), iti_min=1, iti_probability=1.0, cue_probabilities=(0.0, 1.0), padding=0)
    state = env.reset(jax.random.key(0))
    for t in range(4):
        state = env.step(jax.random.key(t), state, np.int32(0)).state
    lines = ansi(env.picture(jax.tree.map(np.asarray, state))).splitlines()
    assert lines[:3] == ["0" + " " * 55 + "- - - - -", "1" + " " * 55 + "- | - - -", "R" + " " * 55 + "- - - - $"]
    small = Babayan(iti_min=1, iti_probability=1.0, size_probabilities=(1.0, 0.0), sizes=(1.0, 10.0))
    assert small.chain.reward.max() == 1  # a size that never comes is none to compare with
