"""Batch TD on sampled episodes beside the formula in plain NumPy; the tabular path beside the general one."""

import itertools

import numpy as np
import pytest

from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_agents.td_dynamics.least_squares import count, largest_stable_step, td_values
from mbrl_agents.td_dynamics.linear_features import FourierModes
from mbrl_agents.td_dynamics.policy_evaluation import BatchTD, evaluate, gram_scale

CELLS, STEPS, GAMMA = 12, 9, 0.9
MODES = FourierModes((0, 0), (1, 1), (4, 3))


def walks(number, seed=0):
    """Random walks over cells by −1 to 1 cells in a step, that may end early and then stay."""
    rng = np.random.default_rng(seed)
    path = (rng.integers(0, CELLS, (number, 1)) + np.cumsum(rng.integers(-1, 2, (number, STEPS)), axis=1)) % CELLS
    lengths = np.minimum(rng.integers(3, 2 * STEPS, number), STEPS)
    for row, length in zip(path, lengths, strict=True):
        row[length:] = row[min(length, STEPS - 1)]
    return Episodes(path.astype(np.int16), lengths.astype(np.int16))


EPISODES = walks(48)


def in_plain_numpy(episodes, table, gamma, step_size, batch_size, reward):
    """Weights after every update, by the formula."""
    weights, found = np.zeros(table.shape[1]), []
    for first in range(0, len(episodes.cells) - batch_size + 1, batch_size):
        change = np.zeros_like(weights)
        for cells, length in zip(*(each[first : first + batch_size] for each in episodes), strict=True):
            for t in range(len(cells) - 1):
                now, after = table[cells[t]], table[cells[t + 1]]
                change += now * ((reward if t < length else 0) + gamma * after @ weights - now @ weights)
        weights = weights + step_size / batch_size * change
        found.append(weights)
    return np.array(found)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", ["tabular", "random"])
def test_updates_are_the_formula(kind, batch_size):
    table = np.eye(CELLS) if kind == "tabular" else np.random.default_rng(1).normal(size=(CELLS, 5)) / 3
    expected = in_plain_numpy(EPISODES, table, GAMMA, 0.07, batch_size, -1.5)
    found = evaluate(
        [EPISODES],
        CELLS,
        gamma=GAMMA,
        step_size=0.07,
        batch_size=batch_size,
        features=None if kind == "tabular" else table,
        reward=-1.5,
        every=1,
    )
    np.testing.assert_allclose(found.records, expected @ table.T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.weights, expected[-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.batches, np.arange(1, 48 // batch_size + 1))


def test_tabular_path_gives_the_weights_of_the_general_one():
    """With all Fourier modes the Gram matrix is S times the identity: tabular TD with S times the step size, exactly."""
    table = MODES.table()
    settings = {"gamma": GAMMA, "step_size": 0.3 / STEPS / 12, "batch_size": 2, "every": 4}
    general = evaluate([EPISODES], CELLS, features=table, path="general", **settings)
    tabular = evaluate([EPISODES], CELLS, features=table, **settings)
    assert gram_scale(table) == pytest.approx(12)
    np.testing.assert_allclose(tabular.weights, general.weights, atol=2e-6)
    np.testing.assert_allclose(tabular.values, general.values, atol=2e-5)
    scaled = evaluate([EPISODES], CELLS, **{**settings, "step_size": 0.3 / STEPS})
    np.testing.assert_allclose(scaled.records, tabular.records, rtol=1e-6)
    expected = in_plain_numpy(EPISODES, table, GAMMA, 0.3 / STEPS / 12, 2, -1.0)[-1]
    np.testing.assert_allclose(tabular.weights, expected, atol=2e-6)


@pytest.mark.parametrize("table", [None, MODES.table()], ids=["cells", "modes"])
def test_several_step_sizes_side_by_side_are_each_alone(table):
    settings, sizes = {"gamma": GAMMA, "batch_size": 3, "every": 4, "features": table}, [0.01, 0.02, 0.005]
    together = evaluate([EPISODES], CELLS, step_size=sizes, **settings)
    assert together.records.shape == (4, 3, CELLS)
    truth = np.linspace(-5, 0, CELLS)
    for i, size in enumerate(sizes):
        alone = evaluate([EPISODES], CELLS, step_size=size, **settings)
        np.testing.assert_allclose(together.records[:, i], alone.records, rtol=1e-6)
        np.testing.assert_allclose(together.values[i], alone.values, rtol=1e-6)
        np.testing.assert_allclose(together.weights[i], alone.weights, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(together.errors(truth)[:, i], alone.errors(truth), rtol=1e-6)


def test_blocks_do_not_matter():
    settings = {"gamma": GAMMA, "step_size": 0.1, "batch_size": 2, "every": 4}
    whole = evaluate([EPISODES], CELLS, **settings)
    cuts = [0, 5, 6, 30, 31, 48]
    parts = [Episodes(*(each[a:b] for each in EPISODES)) for a, b in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(evaluate(parts, CELLS, **settings).records, whole.records)
    first = evaluate(parts, CELLS, num_batches=8, **settings)
    np.testing.assert_array_equal(first.records, whole.records[:2])
    assert first.batches.tolist() == [4, 8]


def test_errors():
    found = evaluate([EPISODES], CELLS, gamma=GAMMA, step_size=0.1, every=12)
    truth, weighting = np.linspace(-5, 0, CELLS), np.arange(CELLS)
    squares = np.square(found.records.astype(float) - truth)
    np.testing.assert_allclose(found.errors(truth), squares.mean(1), rtol=1e-5)
    np.testing.assert_allclose(found.errors(truth, weighting), np.average(squares, axis=1, weights=weighting), rtol=1e-5)


def test_counts_and_fixed_point():
    counts = count([EPISODES, walks(20, seed=1)], CELLS)
    moves, running = np.zeros((CELLS, CELLS)), np.zeros(CELLS)
    for episodes in (EPISODES, walks(20, seed=1)):
        for cells, length in zip(*episodes, strict=True):
            for t in range(STEPS - 1):
                moves[cells[t], cells[t + 1]] += 1
                running[cells[t]] += t < length
    np.testing.assert_array_equal(counts.moves, moves)
    np.testing.assert_array_equal(counts.running, running)
    assert counts.num_episodes == 68
    values = td_values(counts, gamma=GAMMA, reward=-2.0)
    update = -2.0 * running + GAMMA * moves @ values - moves.sum(1) * values
    np.testing.assert_allclose(update, 0, atol=1e-9)


def test_values_of_a_corridor():
    """0 → 1 → 2 → 3, there for good: V(s) = −(1 − γ^(3−s)) / (1 − γ), which TD finds as well."""
    episodes = Episodes(np.tile(np.int16([0, 1, 2, 3, 3, 3]), (400, 1)), np.full(400, 3))
    expected = [-(1 - GAMMA ** (3 - s)) / (1 - GAMMA) for s in range(4)] + [0]  # the fifth is never seen
    np.testing.assert_allclose(td_values(count([episodes], 5), gamma=GAMMA), expected, atol=1e-12)
    found = evaluate([episodes], 5, gamma=GAMMA, step_size=0.5, every=100)
    np.testing.assert_allclose(found.values, expected, atol=1e-5)


def test_largest_stable_step_is_where_the_mean_update_diverges():
    counts = count([EPISODES], CELLS)
    limit = largest_stable_step(counts, gamma=GAMMA)
    for factor, stays in ((0.99, True), (1.01, False)):
        error = np.ones(CELLS) + np.arange(CELLS) % 2
        for _ in range(3000):
            error += factor * limit / counts.num_episodes * (GAMMA * counts.moves @ error - counts.visits * error)
        assert (np.abs(error).max() < 1) == stays


def test_divergence_names_a_step_size():
    episodes = walks(4000)
    limit = largest_stable_step(count([episodes], CELLS), gamma=GAMMA)
    with pytest.raises(FloatingPointError, match=rf"step_size = 30; the largest .* is {limit:.4g}"):
        evaluate([episodes], CELLS, gamma=GAMMA, step_size=30.0, every=40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gamma": 1.0}, "gamma must be a finite number of at least 0 and below 1"),
        ({"gamma": -0.1}, "gamma"),
        ({"gamma": "0.9"}, "gamma"),
        ({"step_size": -1.0}, "step_size"),
        ({"step_size": float("nan")}, "step_size"),
        ({"step_size": [0.1, -1.0]}, "step_size"),
        ({"step_size": []}, "step_size"),
        ({"step_size": [0.1, 0.2], "features": np.ones((CELLS, 2))}, "step_size must be one number on the general path"),
        ({"batch_size": 0}, "batch_size"),
        ({"every": 0}, "every"),
        ({"features": np.ones((CELLS + 1, 3))}, r"features must have a row for each of 12 cells, got shape \(13, 3\)"),
        ({"features": np.ones(CELLS)}, "features must be a non-empty array of 2 dimensions"),
        ({"features": np.full((CELLS, 2), np.nan)}, "features must be finite"),
        ({"features": np.ones((CELLS, 2)), "path": "tabular"}, "multiple of the identity"),
        ({"path": "general"}, "path 'general' needs features"),
        ({"path": "fast"}, "path must be one of"),
        ({"reward": np.inf}, "reward"),
        ({"num_batches": 7, "every": 4}, "num_batches must be a multiple of every"),
        ({"num_batches": 100}, "blocks hold episodes for 48 batches, which is less than 100"),
        ({"every": 100}, "blocks hold episodes for 0 batches"),
        ({"speed": 1}, "speed"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        evaluate([EPISODES], CELLS, **{"gamma": GAMMA, "step_size": 0.1, "every": 1} | changes)


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        (Episodes(EPISODES.cells + 1, EPISODES.lengths), "cells must be from 0 to 11, got 1 to 12"),
        (Episodes(EPISODES.cells.astype(float), EPISODES.lengths), "cells must be integers"),
        (Episodes(EPISODES.cells[0], EPISODES.lengths), "cells must be integers"),
        (Episodes(EPISODES.cells, EPISODES.lengths[1:]), "lengths must be one for each of 48 episodes"),
    ],
)
def test_bad_episodes(episodes, message):
    with pytest.raises(ValueError, match=message):
        BatchTD(CELLS, gamma=GAMMA, step_size=0.1).learn(episodes)


def test_bad_truth():
    found = evaluate([EPISODES], CELLS, gamma=GAMMA, step_size=0.1, every=12)
    for truth, weighting in ((np.zeros(3), None), (np.zeros(CELLS), np.zeros(CELLS)), (np.zeros(CELLS), -np.ones(CELLS))):
        with pytest.raises(ValueError, match=r"truth|weighting"):
            found.errors(truth, weighting)
