"""Exact values of the cue–reward tasks: the published numbers, closed forms, and simulations of whole trials."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_envs import yardsticks
from mbrl_envs.conditioning import (
    Babayan,
    ConditioningTask,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
    beliefs,
    prediction_errors,
    sample_trials,
    state_values,
    values,
)
from tests.envs.trial_simulators import draw, lay_out

GAMMA = 0.93
CONTINUING = [
    Starkweather(1),
    Starkweather(2),
    Starkweather(2, "ABCD"),
    Babayan(),
    Babayan((1.0, 2.0, 10.0), (0.5, 0.3, 0.2), block_length=2, jitter=0),
    Contingency("conditioning"),
    Contingency("degradation"),
    Contingency("cued"),
    Contingency("degradation", 0.5, delay=3, jitter=2, iti_min=0, iti_probability=0.3),
    VariableMagnitude(),
    VariableMagnitude(cued=False),
    VariableProbability(),
]
EPISODIC = [CueReward(), CueReward((((2, 0.5), (4, 0.3), (9, 0.2)), 3), 0.3, 2.0, (0.25, 0.75), 0, 0.5, 2)]


def trial(iti: int, delay: int, cue: int = 0, num_cues: int = 1, reward: float = 1.0, after: int = 0) -> np.ndarray:
    """Observations of one trial."""
    observations = np.zeros((iti + delay + 1 + after, num_cues + 1), np.float32)
    observations[iti, cue] = 1
    observations[iti + delay, -1] = reward
    return observations


# --- The published numbers ------------------------------------------------------------------------------------------------


def starkweather_errors(task: int) -> np.ndarray:
    """Prediction errors at the reward, delays 6 to 14."""
    return np.array([prediction_errors(Starkweather(task), trial(10, delay), GAMMA)[-1] for delay in range(6, 15)])


def test_starkweather_task_1() -> None:
    errors = starkweather_errors(1)
    assert values(Starkweather(1), trial(10, 14), GAMMA)[10] == pytest.approx(0.6177, abs=5e-5)
    assert errors[0] == pytest.approx(0.286, abs=5e-4)
    assert errors[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(errors) < 0).all()


def test_starkweather_task_2() -> None:
    errors, omitted = starkweather_errors(2), trial(10, 14, reward=0)
    expected = values(Starkweather(2), omitted, GAMMA)
    assert expected[10] == pytest.approx(0.5535, abs=5e-5)
    assert expected.max() == pytest.approx(0.896, abs=5e-4)
    assert errors[[0, 4, 8]] == pytest.approx([0.360, 0.259, 0.700], abs=5e-4)
    assert errors.argmin() == 4
    assert (np.diff(errors[:5]) < 0).all()
    assert (np.diff(errors[4:]) > 0).all()


def test_a_fixed_delay_of_six() -> None:
    """Renewals: V(cue) = γ⁵ (1 + γ V(reward)), V(reward) = γ E[γ^ITI] V(cue)."""
    env = Starkweather(odours="B")
    discount = GAMMA**10 * 0.125 / (1 - 0.875 * GAMMA)  # E[γ^ITI]
    closed = GAMMA**5 / (1 - GAMMA**7 * discount)
    assert values(env, trial(12, 6), GAMMA)[12] == pytest.approx(closed, rel=1e-12)
    assert closed == pytest.approx(0.8647, abs=5e-5)


@pytest.mark.parametrize("task", [1, 2])
def test_starkweather_as_sums_over_delays(task: int) -> None:
    """The same by Bayes' rule on delays, without a chain: each delay that is still possible, and the omission."""
    delays, omission = np.arange(6, 15), 0.1 * (task == 2)
    weights = stats.norm.pdf(delays * 0.2, 2.0, 0.5)
    weights *= (1 - omission) / weights.sum()
    interval = GAMMA * GAMMA**10 * 0.125 / (1 - 0.875 * GAMMA)  # from a trial's last step to the next cue
    again = interval * (weights @ GAMMA**delays + omission * GAMMA**14)
    at_cue = weights @ GAMMA ** (delays - 1.0) / (1 - again)
    expected = []
    for t in range(14):
        later = delays > t
        future = GAMMA ** (delays - t - 1.0) * (1 + GAMMA * interval * at_cue)
        total = (weights * future)[later].sum() + omission * GAMMA ** (14 - t) * interval * at_cue
        expected.append(total / (weights[later].sum() + omission))
    np.testing.assert_allclose(values(Starkweather(task), trial(10, 14, reward=1 - omission * 10), GAMMA)[10:24], expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.93, 1.0])
def test_the_public_example(gamma: float) -> None:
    """V(t) = γ^(T−t−1) from the cue to the reward at T, 0 from then on; before the cue the mean, discounted."""
    for cue, delay in enumerate((10, 15)):
        observations = trial(3, delay, cue, 2, after=1)
        assert len(observations) == 3 + delay + 2
        expected = values(CueReward(), observations, gamma)
        end = 3 + delay
        np.testing.assert_allclose(expected[3:end], float(gamma) ** np.arange(delay - 1, -1, -1), atol=1e-12)
        np.testing.assert_allclose(expected[end:], 0, atol=1e-12)
        at_cue = (gamma**9 + gamma**14) / 2
        np.testing.assert_allclose(expected[:3], gamma * 0.5 * at_cue / (1 - gamma * 0.5), atol=1e-12)


def test_degradation_lowers_the_error_at_the_cue_more_than_cued_rewards_do() -> None:
    errors = {}
    for phase in ("conditioning", "degradation", "cued"):
        env, at_cue = Contingency(phase), []
        for episode in sample_trials(env, 20, 0, trials_per_episode=20):
            found = prediction_errors(env, episode.observations, GAMMA)
            at_cue.append(found[episode.observations[1:, 0] == 1])
        errors[phase] = np.concatenate(at_cue).mean()
    assert errors["conditioning"] > 1.5 * errors["cued"] > 2 * errors["degradation"]


# --- Simulations of whole trials ------------------------------------------------------------------------------------------


def streams(env: ConditioningTask, num: int) -> Iterator[np.ndarray]:
    """Observations of about ``num`` trials in all, in batches (N, T, F) that begin with an episode."""
    rng = np.random.default_rng(7)
    if not env.continuing:
        observations, owner = lay_out(env, draw(env, num, rng))
        lengths = np.bincount(owner)
        starts = np.cumsum(lengths) - lengths
        for length in np.unique(lengths):
            yield observations[starts[lengths == length][:, None] + np.arange(length)]
        return
    per_lane, lanes = 250, min(200, num // 250)
    for _ in range(num // (per_lane * lanes)):
        rows = [lay_out(env, draw(env, per_lane, rng))[0] for _ in range(lanes)]
        yield np.stack([row[: min(map(len, rows))] for row in rows])


def classes(observations: np.ndarray) -> np.ndarray:
    """A number for what happened last and when, int (N, T): the last cue or reward, and up to 24 steps since."""
    happened = np.concatenate([observations[..., :-1] > 0, observations[..., -1:] > 0], axis=-1)
    time = np.arange(observations.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(happened, time, -1), axis=1)
    since = np.minimum(time[..., 0] - last.max(axis=-1), 24)
    return np.where(last.max(axis=-1) < 0, 24, last.argmax(axis=-1) * 25 + since)


def check_by_simulation(env: ConditioningTask, num: int) -> None:
    """Errors δ must be 0 on average after every history, as only true values' are; values at cues must be the mean return."""
    count = 25 * (len(env.cue_names) + 2)
    sums, squares, counts = np.zeros(count), np.zeros(count), np.zeros(count)
    differences = []
    for batch in streams(env, num):
        rewards, expected, kind = batch[..., -1].astype(float), values(env, batch, GAMMA), classes(batch)[:, :-1]
        errors = rewards[:, 1:] + GAMMA * expected[:, 1:] - expected[:, :-1]
        for total, weights in ((sums, errors), (squares, errors**2), (counts, np.ones_like(errors))):
            total += np.bincount(kind.ravel(), weights.ravel(), count)
        returns = np.zeros(batch.shape[:2])
        returns[:, -1] = expected[:, -1]  # what is cut off is replaced by its value
        for t in range(batch.shape[1] - 2, -1, -1):
            returns[:, t] = rewards[:, t + 1] + GAMMA * returns[:, t + 1]
        shown = batch[..., :-1].any(axis=-1)
        differences.append((returns - expected)[shown])
    used = counts >= 200
    means, variances = sums[used] / counts[used], squares[used] / counts[used]
    standard = np.sqrt(np.maximum(variances, 1e-12) / counts[used])
    assert used.sum() > 10
    assert (np.abs(means) < 5 * standard + 1e-6).all()
    off = np.concatenate(differences)
    if off.size:
        # Returns overlap with those of neighbouring trials, hence the margin.
        assert abs(off.mean()) < 8 * off.std() / np.sqrt(off.size) + 1e-6


@pytest.mark.parametrize("env", [*EPISODIC, *CONTINUING], ids=str)
def test_values_agree_with_simulated_trials(env: ConditioningTask) -> None:
    check_by_simulation(env, 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("env", [*EPISODIC, *CONTINUING], ids=str)
def test_values_agree_with_a_million_simulated_trials(env: ConditioningTask) -> None:
    check_by_simulation(env, 1_000_000)


@pytest.mark.parametrize("env", [*EPISODIC, *CONTINUING], ids=str)
def test_scores_agree_with_simulated_trials(env: ConditioningTask) -> None:
    drawn = draw(env, 50_000, np.random.default_rng(1))
    steps = drawn.iti + drawn.delay + 1
    if not env.continuing:
        assert yardsticks.optimal_score(env) == pytest.approx(drawn.reward.mean(), rel=0.03)
        assert yardsticks.uniform_score(env, steps=1) == 0
        return
    blocks = drawn.reward.reshape(-1, 10).mean(axis=1)
    rate, error = drawn.reward.mean() / steps.mean(), blocks.std() / np.sqrt(blocks.size) / steps.mean()
    assert yardsticks.optimal_score(env) == pytest.approx(rate, rel=0.005, abs=5 * error)
    assert yardsticks.uniform_score(env, steps=10_000) == pytest.approx(yardsticks.optimal_score(env), rel=0.005)


# --- Beliefs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "env", [Contingency("degradation", 0.5, 2, 1, 1, 0.5), CueReward((((1, 0.5), (3, 0.5)), 2), 0.3, iti_min=0)], ids=str
)
def test_beliefs_are_how_often_states_are_behind_the_same_history(env: ConditioningTask) -> None:
    steps = 5
    walk = jax.jit(jax.vmap(lambda key: _states(env, key, steps)))
    states = np.asarray(walk(jax.random.split(jax.random.key(0), 100_000)))
    states = states[~env.chain.terminal[states[:, :-1]].any(axis=1)]  # nothing is seen after the end
    cue, reward = env.chain.cue[states], env.chain.reward[states]
    codes = (cue + 1) * 2 + (reward > 0)
    histories, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    checked = 0
    for i in np.flatnonzero(counts > 2000):
        behind = states[inverse.ravel() == i]
        observations = np.zeros((steps, len(env.cue_names) + 1), np.float32)
        for t, code in enumerate(histories[i]):
            observations[t, -1] = env.chain.reward[behind[0, t]]
            if code >= 2:
                observations[t, code // 2 - 1] = 1
        # Only the last step's: the earlier ones are chosen by what came after.
        belief = beliefs(env, observations)[-1]
        share = np.bincount(behind[:, -1], minlength=env.chain.num_states) / len(behind)
        assert np.abs(share - belief).max() < 5 * np.sqrt(0.25 / len(behind))
        checked += 1
    assert checked >= 5


def _states(env: ConditioningTask, key: jax.Array, steps: int) -> jax.Array:
    keys = jax.random.split(key, steps)
    state = env.reset(keys[0])
    found = [state.current]
    for t in range(1, steps):
        state = env.step(keys[t], state, jnp.int32(0)).state
        found.append(state.current)
    return jnp.stack(found)


def test_beliefs_sum_to_one_and_give_the_values() -> None:
    for env in (Starkweather(2), Babayan(), Contingency("degradation")):
        observations = sample_trials(env, 1, 0, trials_per_episode=6)[0].observations
        belief = beliefs(env, observations)
        np.testing.assert_allclose(belief.sum(axis=1), 1)
        np.testing.assert_allclose(belief @ state_values(env, 0.9), values(env, observations, 0.9))
        twice = np.stack([observations, observations])
        np.testing.assert_allclose(beliefs(env, twice), np.stack([belief, belief]))
        np.testing.assert_allclose(values(env, twice, 0.9)[1], values(env, observations, 0.9))


def test_the_first_reward_of_a_block_tells_its_size_and_a_size_between_is_weighed() -> None:
    env = Babayan()
    large = np.array([state.slot >= 5 for state in env.chain.states])
    first = trial(10, 10, reward=10.0)
    share = beliefs(env, first)[:, large].sum(axis=1)
    assert share[:-1] == pytest.approx(0.5)
    assert share[-1] == pytest.approx(1)
    for size in (1, 2, 4, 6, 8, 10):
        blurred = beliefs(env, trial(10, 10, reward=size), reward_noise=2.0)[-1, large].sum()
        densities = stats.norm.pdf(size, [1, 10], 2.0)
        assert blurred == pytest.approx(densities[1] / densities.sum())
    assert beliefs(env, trial(10, 10, reward=1000.0), reward_noise=0.1)[-1, large].sum() == pytest.approx(1)


def test_the_next_block_is_unknown_again() -> None:
    env = Babayan(block_length=2)
    three = np.concatenate([trial(10, 10, reward=10.0)] * 3)[:-1]
    at_cue = values(env, three, GAMMA)[[10, 31, 52]]
    assert at_cue[1] > at_cue[0]
    assert at_cue[2] == pytest.approx(at_cue[0])
