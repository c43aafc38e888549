"""Mazes: their distribution against exact probabilities and an independent generator, and the bit boards they are made on."""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_envs import bitboard, maze
from mbrl_envs.proc_maze import ProcMaze
from tests.envs import simulators
from tests.envs.simulators import Cell

P_VALUE = 1e-4
BATCH = 16384


def bits_of(words: Any) -> int:
    return sum(int(word) << (32 * i) for i, word in enumerate(words))


# --- Bit boards against Python's integers ---------------------------------------------------------------------------------

SIZES = [1, 9, 31, 32, 33, 64, 100, 1024]


def random_boards(num_cells: int, num: int) -> list[int]:
    """Boards as integers: empty, full, the first and the last cell, and random ones, sparse and dense."""
    rng = random.Random(num_cells)
    full = (1 << num_cells) - 1
    dense = [rng.getrandbits(num_cells) for _ in range(num)]
    sparse = [rng.getrandbits(num_cells) & rng.getrandbits(num_cells) & rng.getrandbits(num_cells) for _ in range(num)]
    return [0, full, 1, 1 << (num_cells - 1), *dense, *sparse]


def cells_on(bits: int) -> list[int]:
    return [c for c in range(bits.bit_length()) if bits >> c & 1]


def stacked(boards: list[int], num_cells: int) -> np.ndarray:
    return np.array([[bits >> (32 * i) & 0xFFFFFFFF for i in range(-(-num_cells // 32))] for bits in boards], np.uint32)


def integers_of(board: bitboard.Board) -> list[int]:
    """A batch of boards as Python integers."""
    assert all(word.dtype == jnp.uint32 for word in board)
    return [bits_of(words) for words in zip(*map(np.asarray, board), strict=True)]


@pytest.mark.parametrize("num_cells", SIZES)
def test_boards_of_cells(num_cells: int) -> None:
    assert bitboard.num_words(num_cells) == len(stacked([0], num_cells)[0])
    for bits in random_boards(num_cells, 3):
        board = bitboard.from_cells(cells_on(bits), num_cells)
        assert len(board) == bitboard.num_words(num_cells)
        assert all(word.dtype == jnp.uint32 for word in board)
        assert bits_of(board) == bits
    one_hot = jax.jit(jax.vmap(lambda cell: bitboard.one_hot(cell, num_cells)))(jnp.arange(num_cells))
    assert integers_of(one_hot) == [1 << c for c in range(num_cells)]


@pytest.mark.parametrize("num_cells", SIZES)
def test_set_operations(num_cells: int) -> None:
    first = random_boards(num_cells, 10)
    second = first[::-1]
    chosen = [i % 3 == 0 for i in range(len(first))]

    @jax.jit
    @jax.vmap
    def operations(a: bitboard.Board, b: bitboard.Board, condition: jax.Array) -> tuple:
        boards = [bitboard.union(a, b), bitboard.intersection(a, b), bitboard.difference(a, b), bitboard.where(condition, a, b)]
        return boards, bitboard.any_cell(a), bitboard.count(a)

    boards = [tuple(stacked(each, num_cells).T) for each in (first, second)]
    (union, intersection, difference, where), any_cell, count = operations(*boards, jnp.array(chosen))
    pairs = list(zip(first, second, strict=True))
    assert integers_of(union) == [a | b for a, b in pairs]
    assert integers_of(intersection) == [a & b for a, b in pairs]
    assert integers_of(difference) == [a & ~b for a, b in pairs]
    assert integers_of(where) == [a if condition else b for (a, b), condition in zip(pairs, chosen, strict=True)]
    assert any_cell.tolist() == [a != 0 for a in first]
    assert count.tolist() == [a.bit_count() for a in first]
    assert count.dtype == jnp.int32


@pytest.mark.parametrize("num_cells", SIZES)
def test_shift(num_cells: int) -> None:
    boards = random_boards(num_cells, 10)
    everything = (1 << 32 * bitboard.num_words(num_cells)) - 1
    offsets = {0, *[sign * size for sign in (-1, 1) for size in (1, 2, 5, 10, 31, 32, 33, 63, 64, 65, num_cells)]}

    def all_shifts(*board: jax.Array) -> Any:
        return {offset: bitboard.shift(board, offset) for offset in offsets}

    shifted = jax.jit(jax.vmap(all_shifts))(*stacked(boards, num_cells).T)
    for offset, words in shifted.items():
        moved = [(bits << offset if offset >= 0 else bits >> -offset) & everything for bits in boards]
        assert integers_of(words) == moved, offset


@pytest.mark.parametrize("num_cells", SIZES)
def test_select_counts_the_cells_that_are_on(num_cells: int) -> None:
    boards = [bits for bits in random_boards(num_cells, 5) if bits]
    table = [(bits, rank, cell) for bits in boards for rank, cell in enumerate(cells_on(bits))]
    words = stacked([bits for bits, _, _ in table], num_cells)
    ranks = jnp.array([rank for _, rank, _ in table], jnp.int32)
    selected = jax.jit(jax.vmap(bitboard.select))(tuple(words.T), ranks)
    assert selected.dtype == jnp.int32
    assert selected.tolist() == [cell for _, _, cell in table]


@pytest.mark.parametrize("num_cells", SIZES)
def test_masks_and_membership(num_cells: int) -> None:
    boards = random_boards(num_cells, 5)
    words = stacked(boards, num_cells)
    expected = [[bool(bits >> c & 1) for c in range(num_cells)] for bits in boards]

    @jax.jit
    @jax.vmap
    def both(words: jax.Array) -> tuple[jax.Array, jax.Array]:
        members = jax.vmap(lambda cell: bitboard.contains(words, cell))(jnp.arange(num_cells))
        return bitboard.to_mask(words, num_cells), members

    for each in both(words):
        assert each.dtype == jnp.bool_
        assert each.tolist() == expected


# --- Drawing mazes, and comparing samples ------------------------------------------------------------------------------------


def cells_of(words: Any, n: int) -> frozenset[Cell]:
    bits = bits_of(words)
    assert bits >> (n * n) == 0
    return frozenset(divmod(c, n) for c in range(n * n) if bits >> c & 1)


@functools.cache
def compiled(n: int) -> Any:
    """One program a size, whatever the number of mazes a test asks for: compiling is what costs here."""
    return jax.jit(lambda keys: jax.vmap(functools.partial(maze.generate, n=n))(keys))


def draw(n: int, num: int, seed: int = 0) -> np.ndarray:
    """``num`` mazes as bits, uint32 (num, words)."""
    keys = jax.random.split(jax.random.key(seed), (-(-num // BATCH), BATCH))
    return np.concatenate([compiled(n)(batch) for batch in keys])[:num]


exact_distribution = functools.cache(simulators.maze_distribution)


def pooled_chi_square(counts: list[int], expected: list[float], least: float = 10.0) -> float:
    """p-value of a goodness-of-fit test; outcomes expected less than ``least`` times are pooled."""
    rare = [i for i, e in enumerate(expected) if e < least]
    common = [i for i, e in enumerate(expected) if e >= least]
    observed, hoped = [counts[i] for i in common], [expected[i] for i in common]
    if rare:
        observed.append(sum(counts[i] for i in rare))
        hoped.append(sum(expected[i] for i in rare))
    assert min(hoped) >= 1
    return float(stats.chisquare(observed, hoped).pvalue)


def two_sample_chi_square(first: Iterable[Any], second: Iterable[Any], least: int = 10) -> float:
    """p-value of the hypothesis that two samples of hashable values are of one distribution; rare values are pooled."""
    a, b = collections.Counter(first), collections.Counter(second)
    table: dict[Any, list[int]] = {}
    for value in {*a, *b}:
        row = table.setdefault(value if a[value] + b[value] >= 2 * least else "rare", [0, 0])
        row[0] += a[value]
        row[1] += b[value]
    if len(table) == 1:
        return 1.0
    return float(stats.chi2_contingency(list(table.values())).pvalue)


# --- Whole mazes against exact probabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "num_mazes", "num"), [(1, 1, 100), (2, 4, 40_000), (3, 18, 400_000), (4, 200, 1_000_000), (5, 3550, 1_000_000)]
)
def test_whole_mazes_have_their_exact_probabilities(n: int, num_mazes: int, num: int) -> None:
    exact = exact_distribution(n)
    assert sum(exact.values()) == 1
    assert len(exact) == num_mazes
    masks, counts = np.unique(draw(n, num)[:, 0], return_counts=True)
    found = {cells_of([mask], n): int(count) for mask, count in zip(masks, counts, strict=True)}
    assert not set(found) - set(exact), "a maze that cannot be"
    if num_mazes > 1:
        assert pooled_chi_square([found.get(m, 0) for m in exact], [float(p) * num for p in exact.values()]) > P_VALUE


@pytest.mark.parametrize(("n", "num"), [(3, 10_000), (4, 10_000)])
def test_the_two_references_agree(n: int, num: int) -> None:
    """The generator in plain Python, which judges the larger mazes below, against the exact probabilities."""
    rng = random.Random(0)
    found = collections.Counter(simulators.generate_maze(n, rng) for _ in range(num))
    exact = exact_distribution(n)
    assert pooled_chi_square([found[m] for m in exact], [float(p) * num for p in exact.values()]) > P_VALUE


def dead_ends(cells: frozenset[Cell], n: int) -> int:
    return sum(sum(other in cells for other in simulators.neighbours(cell, n)) == 1 for cell in cells)


def diameter(cells: frozenset[Cell], n: int) -> int:
    one_end = simulators.distances(min(cells), cells, n)
    other_end = max(one_end, key=one_end.__getitem__)
    return max(simulators.distances(other_end, cells, n).values())


FEATURES = {
    "open cells": lambda cells, n: len(cells),
    "dead ends": dead_ends,
    "diameter": diameter,
    "corners": lambda cells, n: tuple(corner in cells for corner in [(0, 0), (0, n - 1), (n - 1, 0), (n - 1, n - 1)]),
    "centre": lambda cells, n: tuple((n // 2 + i, n // 2 + j) in cells for i in (-1, 0) for j in (-1, 0)),
    # Cells on both sides of the border between two words of 32 bits.
    "border of words": lambda cells, n: tuple(divmod(c, n) in cells for c in range(29, 36)) if n * n > 36 else (),
}


@pytest.mark.parametrize(("n", "num"), [(6, 6_000), pytest.param(10, 2_000, marks=pytest.mark.slow)])
def test_larger_mazes_are_distributed_as_those_of_the_independent_generator(n: int, num: int) -> None:
    rng = random.Random(1)
    theirs = [simulators.generate_maze(n, rng) for _ in range(num)]
    ours = [cells_of(words, n) for words in draw(n, num)]
    for name, feature in FEATURES.items():
        p_value = two_sample_chi_square([feature(m, n) for m in ours], [feature(m, n) for m in theirs])
        assert p_value > P_VALUE, name
    # How often each single cell is open: n*n tests, hence the bound divided by their number.
    many, theirs_counts = 200_000, collections.Counter(cell for cells in theirs for cell in cells)
    for cell, ours_open in enumerate(open_counts(n, many)):
        theirs_open = theirs_counts[divmod(cell, n)]
        table = [[ours_open, theirs_open], [many - ours_open, num - theirs_open]]
        assert stats.chi2_contingency(table).pvalue > P_VALUE / n**2, cell


def open_counts(n: int, num: int) -> list[int]:
    """How often each cell is open in ``num`` mazes."""
    bits = np.unpackbits(draw(n, num, seed=6).view(np.uint8), axis=1, bitorder="little")
    return bits[:, : n * n].sum(0).tolist()


@pytest.mark.parametrize(("n", "num"), [(6, 400_000), (10, 200_000)])
def test_no_direction_is_preferred(n: int, num: int) -> None:
    """A cell and its mirror images are open equally often."""
    frequency = np.array(open_counts(n, num)).reshape(n, n) / num
    turned = [np.rot90(frequency, quarter) for quarter in range(4)]
    mean = sum([*turned, *[each.T for each in turned]]) / 8
    z = (frequency - mean) / np.sqrt(mean * (1 - mean) / num)
    assert abs(z).max() < stats.norm.isf(P_VALUE / n**2 / 2)


# --- Start and goal -------------------------------------------------------------------------------------------------------


@functools.cache
def draw_starts(n: int, num: int) -> Any:
    return jax.device_get(jax.jit(jax.vmap(ProcMaze(grid_size=n).reset))(jax.random.split(jax.random.key(2), num)))


@pytest.mark.parametrize(("n", "num"), [(3, 400_000), (4, 400_000), (6, 200_000)])
def test_start_and_goal_are_uniform_and_independent(n: int, num: int) -> None:
    starts = draw_starts(n, num)
    masks = (starts.open.astype(np.uint64) << (np.uint64(32) * np.arange(starts.open.shape[1], dtype=np.uint64))).sum(1)
    is_open = (masks[:, None] >> np.arange(n * n, dtype=np.uint64)) & np.uint64(1)
    num_open = is_open.sum(1).astype(int)
    rank = np.cumsum(is_open, axis=1).astype(int) - 1
    rows = np.arange(num)
    for where in (starts.position, starts.goal):
        assert where.dtype == np.int32
        assert is_open[rows, where].all()
    player, goal = rank[rows, starts.position], rank[rows, starts.goal]
    tested = 0
    for k in np.unique(num_open):
        those = num_open == k
        if those.sum() < 10 * k * k:
            continue
        tested += those.sum()
        pairs = np.bincount(player[those] * k + goal[those], minlength=k * k)
        assert pairs.size == k * k
        assert stats.chisquare(pairs).pvalue > P_VALUE, k
    assert tested > 0.95 * num


@pytest.mark.parametrize(("n", "num"), [(3, 400_000), (4, 400_000)])
def test_maze_start_and_goal_together_have_their_exact_probabilities(n: int, num: int) -> None:
    """Catches any dependence between the maze and the two cells drawn in it."""
    starts = draw_starts(n, num)
    code = (starts.open[:, 0].astype(np.int64) << 10) | (starts.position << 5) | starts.goal
    found = dict(zip(*[values.tolist() for values in np.unique(code, return_counts=True)], strict=True))
    counts, expected = [], []
    for cells, probability in exact_distribution(n).items():
        numbers = [row * n + column for row, column in cells]
        mask = sum(1 << c for c in numbers)
        for a in numbers:
            for b in numbers:
                counts.append(found.pop(mask << 10 | a << 5 | b, 0))
                expected.append(num * float(probability) / len(cells) ** 2)
    assert not found
    assert pooled_chi_square(counts, expected) > P_VALUE


def test_published_figures_of_the_four_by_four_mazes() -> None:
    """Open cells 7 to 12; player on the goal 8.9 % of the time; mean distance 3.49. (So sampled; exactly 8.795 % and 3.458.)"""
    n, num = 4, 400_000
    exact = exact_distribution(n)
    coincidence = float(sum(p / len(cells) for cells, p in exact.items()))
    mean_distance = float(
        sum(
            p * sum(sum(simulators.distances(a, cells, n).values()) for a in cells) / len(cells) ** 2
            for cells, p in exact.items()
        )
    )
    assert coincidence == pytest.approx(0.089, abs=0.0015)
    assert mean_distance == pytest.approx(3.49, abs=0.04)
    assert {min(map(len, exact)), max(map(len, exact))} == {7, 12}

    starts = draw_starts(n, num)
    num_open = sum((starts.open[:, 0] >> c) & 1 for c in range(n * n))
    assert (num_open.min(), num_open.max()) == (7, 12)
    assert stats.binomtest(int((starts.position == starts.goal).sum()), num, coincidence).pvalue > P_VALUE
    table = {}
    for cells in exact:
        mask = sum(1 << (row * n + column) for row, column in cells)
        for a in cells:
            for b, distance in simulators.distances(a, cells, n).items():
                table[mask, a[0] * n + a[1], b[0] * n + b[1]] = distance
    rows = zip(starts.open[:, 0].tolist(), starts.position.tolist(), starts.goal.tolist(), strict=True)
    ours = np.array([table[row] for row in rows])
    assert abs(ours.mean() - mean_distance) < 4 * ours.std() / num**0.5


# --- What holds for every maze --------------------------------------------------------------------------------------------


FINISHED_TREES = [(1, 10), (2, 200), (3, 1000), (4, 1000), (5, 1000), (6, 1000), (10, 200)]


@pytest.mark.parametrize(("n", "num"), [*FINISHED_TREES, *[pytest.param(n, 50, marks=pytest.mark.slow) for n in (15, 32)]])
def test_every_maze_is_a_finished_tree(n: int, num: int) -> None:
    for words in draw(n, num, seed=3):
        cells = cells_of(words, n)
        assert cells
        assert len(simulators.distances(min(cells), cells, n)) == len(cells), "not connected"
        doors = sum(other in cells for cell in cells for other in simulators.neighbours(cell, n)) // 2
        assert doors == len(cells) - 1, "a loop"
        for row in range(n - 1):
            for column in range(n - 1):
                block = [(row + i, column + j) for i in (0, 1) for j in (0, 1)]
                assert not cells.issuperset(block), "a block without walls"
        for cell in cells:
            assert not simulators.expandable_neighbours(cell, cells, n), "ended too early"


def test_mazes_do_not_repeat() -> None:
    words = draw(10, 10_000, seed=4)
    assert len(np.unique(words, axis=0)) == len(words)


@pytest.mark.parametrize("n", [4, 10])
def test_a_maze_depends_on_its_key_alone(n: int) -> None:
    """Not on vmap, jit, or the company in the batch, whose longest walk decides how long all of them go on."""
    keys = jax.random.split(jax.random.key(5), BATCH)
    generate = functools.partial(maze.generate, n=n)
    batched = np.asarray(compiled(n)(keys))[:64]
    keys = keys[:64]
    assert batched.dtype == np.uint32
    assert batched.shape == (64, -(-n * n // 32))
    jitted = jax.jit(generate)
    np.testing.assert_array_equal([jitted(key) for key in keys], batched)
    if n == 4:
        np.testing.assert_array_equal(jax.jit(lambda keys: jax.lax.map(generate, keys))(keys), batched)


def test_consecutive_seeds_give_unrelated_mazes() -> None:
    """Users seed with 0, 1, 2, …: such keys, too, must give every maze its probability, whatever the maze before."""
    n, num = 4, 1_000_000
    seeds = np.arange(-(-num // BATCH) * BATCH).reshape(-1, BATCH)
    key_of = jax.jit(jax.vmap(jax.random.key))
    masks = np.concatenate([compiled(n)(key_of(batch))[:, 0] for batch in seeds])[:num]
    exact = exact_distribution(n)
    index = np.full(1 << n * n, len(exact))
    for i, cells in enumerate(exact):
        index[sum(1 << (row * n + column) for row, column in cells)] = i
    drawn = index[masks]
    assert drawn.max() < len(exact), "a maze that cannot be"
    probabilities = np.array([float(p) for p in exact.values()])
    assert pooled_chi_square(np.bincount(drawn).tolist(), (probabilities * num).tolist()) > P_VALUE
    pairs = np.bincount(drawn[:-1] * len(exact) + drawn[1:], minlength=len(exact) ** 2)
    expected = (np.outer(probabilities, probabilities) * (num - 1)).ravel()
    assert pooled_chi_square(pairs.tolist(), expected.tolist()) > P_VALUE
