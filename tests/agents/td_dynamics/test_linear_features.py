"""Features of observations beside plain Python, and what is refused at the door."""

import itertools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.td_dynamics.given_features import FunctionFeatures, TableFeatures, as_features, from_json, to_json
from mbrl_agents.td_dynamics.linear_features import FourierBasis, FourierModes, PlaceCells, TabularBins, TileCoding

LOW, HIGH = (-1.0, 0.0), (1.0, 3.0)
BOX = spaces.Box(np.float32(LOW), np.float32(HIGH))
POINTS = np.float32([[-1, 0], [1, 3], [-0.3, 1.7], [0.99, 0.01], [0.2, 2.9], [-7, 9]])


def scaled(point):
    return [min(max((x - a) / (b - a), 0), 1) for x, a, b in zip(map(float, point), LOW, HIGH, strict=True)]


def test_cells_of_a_grid():
    bins = TabularBins(LOW, HIGH, (4, 3))
    expected = []
    for point in POINTS:
        x, y = (min(int(s * n), n - 1) for s, n in zip(scaled(point), (4, 3), strict=True))
        expected.append(3 * x + y)
    np.testing.assert_array_equal(bins.cell(POINTS), expected)
    np.testing.assert_array_equal(bins(POINTS), np.eye(12)[expected])
    np.testing.assert_array_equal(bins(jnp.asarray(POINTS).reshape(2, 3, 2)).shape, (2, 3, 12))
    assert TabularBins(LOW, HIGH, 5).shape == (5, 5)


def test_every_cell_can_be_reached_and_edges_are_where_they_should_be():
    bins = TabularBins((-1.2, -0.07), (0.6, 0.07), (42, 28))
    centres = np.float32([[-1.2 + 1.8 * (i + 0.5) / 42, -0.07 + 0.14 * (j + 0.5) / 28] for i in range(42) for j in range(28)])
    np.testing.assert_array_equal(bins.cell(centres), np.arange(1176))


def test_fourier_modes_have_a_gram_matrix_of_s_times_the_identity():
    modes = FourierModes(LOW, HIGH, (4, 3))
    table = modes.table()
    assert table.shape == (12, 24)
    np.testing.assert_allclose(table @ table.T, 12 * np.eye(12), atol=1e-12)
    cells, frequencies = (list(itertools.product(range(4), range(3))) for _ in range(2))
    for s, (x, y) in enumerate(cells):
        for k, (a, b) in enumerate(frequencies):
            angle = 2 * math.pi * (a * x / 4 + b * y / 3)
            assert table[s, k] == pytest.approx(math.cos(angle), abs=1e-12)
            assert table[s, 12 + k] == pytest.approx(math.sin(angle), abs=1e-12)
    np.testing.assert_allclose(modes(POINTS), table[np.asarray(modes.cell(POINTS))], atol=1e-6)


def test_fourier_basis():
    features = FourierBasis(LOW, HIGH, (2, 1))
    expected = [[math.cos(math.pi * (a * s[0] + b * s[1])) for a in range(3) for b in range(2)] for s in map(scaled, POINTS)]
    np.testing.assert_allclose(features(POINTS), expected, atol=1e-6)


def test_tile_coding():
    features = TileCoding(LOW, HIGH, tiles=(2, 3), tilings=4)
    assert features.num_features == 4 * 3 * 4
    for point, found in zip(POINTS, np.asarray(features(POINTS)), strict=True):
        expected = np.zeros((4, 3, 4))
        for i in range(4):
            x, y = (min(int(s * n + (i * shift % 4) / 4), n) for s, n, shift in zip(scaled(point), (2, 3), (1, 3), strict=True))
            expected[i, x, y] = 1
        np.testing.assert_array_equal(found, expected.ravel())


@pytest.mark.parametrize("normalised", [False, True])
def test_place_cells(normalised):
    centres = [[0.0, 0.0], [0.5, 2.0], [-1.0, 1.0]]
    found = PlaceCells(centres, 0.8, normalised)(POINTS)
    expected = np.exp(-np.square(POINTS[:, None].astype(float) - np.array(centres)).sum(-1) / (2 * 0.8**2))
    if normalised:
        expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-30)


def test_what_users_bring_along():
    table = np.arange(6.0).reshape(3, 2)
    features = as_features(table, spaces.Discrete(3))
    np.testing.assert_array_equal(features(jnp.array([[2, 0]])), table[[[2, 0]]])
    np.testing.assert_array_equal(as_features("tabular", spaces.Discrete(3))(jnp.arange(3)), np.eye(3))
    np.testing.assert_array_equal(as_features("linear", BOX)(POINTS), np.column_stack([POINTS, np.ones(6)]))
    squares = as_features(lambda o: jnp.stack([o[0], o[0] ** 2, o[1]]), BOX)
    assert squares.num_features == 3
    np.testing.assert_allclose(squares(POINTS), np.stack([POINTS[:, 0], POINTS[:, 0] ** 2, POINTS[:, 1]], 1))
    assert squares(POINTS[0]).shape == (3,)
    assert as_features(squares, BOX) is squares


@pytest.mark.parametrize(
    "features",
    [
        TabularBins(LOW, HIGH, (4, 3)),
        FourierModes(LOW, HIGH, 2),
        FourierBasis(LOW, HIGH, 3),
        TileCoding(LOW, HIGH, 2, 3),
        PlaceCells([[0, 1]], 2),
        TableFeatures([[1, 2], [3, 4]]),
    ],
    ids=lambda features: type(features).__name__,
)
def test_features_are_plain_data(features):
    again = from_json(json.loads(json.dumps(to_json(features))))
    assert again == features
    assert hash(again) == hash(features)
    jax.jit(lambda x, which: which(x), static_argnums=1)(jnp.zeros(2, int if features.discrete else float), again)


def test_functions_are_no_data():
    with pytest.raises(ValueError, match="code"):
        to_json(FunctionFeatures(lambda o: o, BOX))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TabularBins((0, 0), (1,), 2), "low and high must have one number for each dimension, got 2 and 1"),
        (lambda: TabularBins((0, 1), (1, 1), 2), "low must lie below high"),
        (lambda: TabularBins((0, np.nan), (1, 1), 2), "low must be a finite number"),
        (lambda: TabularBins("ab", (1, 1), 2), "low must be a sequence"),
        (lambda: TabularBins((0, 0), (1, 1), (2, 3, 4)), "bins must be 2 integers"),
        (lambda: TabularBins((0, 0), (1, 1), 0), "bins must be an integer from 1"),
        (lambda: TabularBins((0, 0), (1, 1), 10_000), "the number of cells"),
        (lambda: FourierBasis((0,), (1,), -1), "order must be"),
        (lambda: TileCoding((0,), (1,), 2, 1.5), "tilings must be"),
        (lambda: PlaceCells([[0, 1], [0]], 1), "centres must be rows"),
        (lambda: PlaceCells([0, 1], 1), "centres must be rows"),
        (lambda: PlaceCells([[0]], 0), "width must be"),
        (lambda: TableFeatures([1, 2]), "a row for each observation"),
        (lambda: TableFeatures([[np.inf]]), "finite"),
        (lambda: as_features(np.eye(4), spaces.Discrete(3)), "TableFeatures, which read a Discrete space of 4 values"),
        (lambda: as_features(np.eye(2), BOX), "TableFeatures, which read a Discrete space"),
        (lambda: as_features(TabularBins((0,), (1,), 2), BOX), "of 1 entries; observations are"),
        (lambda: as_features(PlaceCells([[0, 0, 0]], 1), BOX), "of 3 entries"),
        (lambda: as_features("tabular", BOX), "'tabular' are for a Discrete space; observations are"),
        (lambda: as_features(3, BOX), "features must be Features, an array"),
        (lambda: as_features(lambda o: o[7:].sum() / o.sum(), BOX), "must return a vector"),
        (lambda: as_features(lambda o: jnp.log(o - 10), BOX), "finite"),
        (lambda: as_features(lambda o: 1 / 0, BOX), "must be a JAX function"),
        (lambda: from_json({"kind": "Wavelets"}), "kind must be one of"),
    ],
)
def test_bad_features(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
