"""Random depth-first mazes, generated with bit operations on whole boards.

The maze of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222): from a random cell, walk to a random
*expandable* neighbour (unvisited, with exactly one visited neighbour) as long as there is one, else go back; end when the way
back is used up. Cells walked on are open, all others are walls.

Nobody has to walk back. A cell that is left for good has no expandable neighbour and never gets one again, because a cell's
number of visited neighbours never falls; so the walk always goes on from the cell opened last among those that have an
expandable neighbour, and it ends when there is none. Hence every iteration opens a cell, and their number is known beforehand.
The order in which cells were opened is kept in binary, one board for each digit. An iteration is then a few dozen elementwise
instructions, which vectorise over a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_envs import bitboard, draws
from mbrl_envs.bitboard import Board

MAX_GRID_SIZE = 32
_NO_CELL = 2047  # beyond all cells of the largest grid

# Words of the source that a maze does not use, for whoever draws something in it. Words 0, 1, … are the maze's own.
FREE_WORDS = (2**32 - 1, 2**32 - 2)


def most_open_cells(n: int) -> int:
    """The number of open cells that no maze on an n × n grid exceeds.

    Open cells form a tree. So each block of 2 × 2 cells has a wall. And as k open cells have k − 1 doors between them, all
    other pairs of neighbours, 2n(n−1) − (k−1), must have a wall, of which each of the n² − k is in at most four.
    """
    return min(n * n - (n // 2) ** 2, (2 * n * n + 2 * n - 1) // 3)


def _steps(n: int) -> list[Callable[[Board], Board]]:
    """The four moves up, left, down, right on boards. Moves off the grid vanish."""
    cells = range(n * n)
    not_left = bitboard.from_cells((c for c in cells if c % n != 0), n * n)
    not_right = bitboard.from_cells((c for c in cells if c % n != n - 1), n * n)
    grid = bitboard.from_cells(cells, n * n)
    return [
        lambda board: bitboard.shift(board, -n),
        lambda board: bitboard.shift(bitboard.intersection(board, not_left), -1),
        lambda board: bitboard.intersection(bitboard.shift(board, n), grid),
        lambda board: bitboard.shift(bitboard.intersection(board, not_right), 1),
    ]


def _latest(cells: Board, order: list[Board]) -> Board:
    """The one of ``cells`` that was opened last; ``order`` holds the digits, lowest first, of the opened cells' numbers."""
    for digit in reversed(order):
        later = bitboard.intersection(cells, digit)
        cells = bitboard.where(bitboard.any_cell(later), later, cells)
    return cells


def _choose(cells: Board, word: jax.Array) -> jax.Array:
    """One of at most four cells, by a random word, or ``_NO_CELL`` if there is none; uint32 scalar."""
    counts = [lax.population_count(each) for each in cells]
    total = functools.reduce(jnp.add, counts)
    rank = ((word >> 2) * total) >> 30  # uniform in [0, total), to 2**-30
    chosen, base, before = cells[0], jnp.uint32(0), jnp.uint32(0)
    rank_in_chosen = rank
    for i in range(1, len(cells)):
        before = before + counts[i - 1]
        here = (rank >= before) & (counts[i] > 0)
        chosen = jnp.where(here, cells[i], chosen)
        base = jnp.where(here, jnp.uint32(bitboard.WORD_BITS * i), base)
        rank_in_chosen = jnp.where(here, rank - before, rank_in_chosen)
    for lower in range(3):
        chosen = jnp.where(rank_in_chosen > lower, chosen & (chosen - 1), chosen)
    lowest = lax.population_count((chosen & (0 - chosen)) - 1)
    return jnp.where(total > 0, base + lowest, jnp.uint32(_NO_CELL))


def generate(key: jax.Array, n: int) -> jax.Array:
    """Draws one maze on an ``n`` × ``n`` grid.

    Args:
        key: JAX random key.
        n: Side length, 1 to ``MAX_GRID_SIZE`` (static).

    Returns:
        Open cells as bits, uint32 of shape (ceil(n*n/32),); see :mod:`mbrl_envs.bitboard`.
    """
    return carve(draws.source(key), n)


def carve(source: draws.Source, n: int) -> jax.Array:
    """As :func:`generate`, from a source of random words, of which it leaves out ``FREE_WORDS``."""
    num_cells = n * n
    steps = _steps(n)
    most = most_open_cells(n)

    def neighbours(board: Board) -> Board:
        return functools.reduce(bitboard.union, [step(board) for step in steps])

    def open_next(iteration: jax.Array, walk: tuple[Board, Board, list[Board]]) -> tuple[Board, Board, list[Board]]:
        untouched, expandable, order = walk
        number = jnp.asarray(iteration, jnp.uint32)
        from_here = bitboard.intersection(neighbours(_latest(neighbours(expandable), order)), expandable)
        # Once: this is nearly all the work, and each of the boards below would do it anew.
        cell = draws.once(_choose(from_here, draws.word(source, number)))
        new = bitboard.one_hot(cell, num_cells)
        beside = neighbours(new)
        expandable = bitboard.union(bitboard.intersection(untouched, beside), bitboard.difference(expandable, beside))
        digits = [0 - ((number >> bit) & 1) for bit in range(len(order))]  # words of ones or zeros
        order = [
            bitboard.map_words(lambda word, bits, digit=digit: word | (bits & digit), board, new)
            for digit, board in zip(digits, order, strict=True)
        ]
        return bitboard.difference(untouched, beside), bitboard.difference(expandable, new), order

    root = bitboard.one_hot(draws.below(draws.word(source, 0), num_cells), num_cells)
    everywhere = bitboard.from_cells(range(num_cells), num_cells)
    untouched = bitboard.difference(bitboard.difference(everywhere, root), neighbours(root))
    nothing = bitboard.map_words(jnp.zeros_like, root)
    order = [root, *[nothing for _ in range(most.bit_length() - 1)]]
    # Cells are numbered from 1, the root. A fixed number of iterations: a maze that is finished before stays as it is.
    order = lax.fori_loop(2, most + 1, open_next, (untouched, neighbours(root), order))[2]
    return jnp.stack(functools.reduce(bitboard.union, order))
