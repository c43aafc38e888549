"""Sets of grid cells as bits in 32-bit words.

A *board* is a tuple of W = ceil(rows*columns / 32) unsigned words; cell ``c = row*columns + column`` is bit ``c % 32`` of word
``c // 32``. Words are separate arrays, so that under ``vmap`` each is one long contiguous vector and every set operation is a
plain elementwise instruction: no gathers, no scatters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Board: TypeAlias = tuple[jax.Array, ...]
WORD_BITS = 32


def num_words(num_cells: int) -> int:
    """Number of 32-bit words that hold ``num_cells`` bits."""
    return -(-num_cells // WORD_BITS)


def from_cells(cells: Iterable[int], num_cells: int) -> Board:
    """The board with the given (static) cells on."""
    bits = sum(1 << cell for cell in set(cells))
    return tuple(jnp.uint32((bits >> (WORD_BITS * i)) & 0xFFFFFFFF) for i in range(num_words(num_cells)))


def one_hot(cell: jax.Array, num_cells: int) -> Board:
    """The board with only ``cell`` (a non-negative integer scalar, traced) on; empty if the cell is beyond all words."""
    word, bit = _place(cell)
    return tuple(jnp.where(word == i, bit, jnp.uint32(0)) for i in range(num_words(num_cells)))


def map_words(function: Callable[..., jax.Array], *boards: Board) -> Board:
    """Applies ``function`` word by word."""
    return tuple(function(*words) for words in zip(*boards, strict=True))


def union(a: Board, b: Board) -> Board:
    """Cells in ``a`` or ``b``."""
    return map_words(jnp.bitwise_or, a, b)


def intersection(a: Board, b: Board) -> Board:
    """Cells in both ``a`` and ``b``."""
    return map_words(jnp.bitwise_and, a, b)


def difference(a: Board, b: Board) -> Board:
    """Cells in ``a`` but not in ``b``."""
    return map_words(lambda x, y: x & ~y, a, b)


def where(condition: jax.Array, a: Board, b: Board) -> Board:
    """``a`` where ``condition`` (a bool scalar) holds, else ``b``."""
    return map_words(lambda x, y: jnp.where(condition, x, y), a, b)


def any_cell(board: Board) -> jax.Array:
    """Whether the board has any cell on (bool scalar)."""
    return functools.reduce(jnp.bitwise_or, board) != 0


def shift(board: Board, offset: int) -> Board:
    """Moves every cell ``c`` to ``c + offset`` (static; bits shifted out at the ends are lost)."""
    words, bits = divmod(abs(offset), WORD_BITS)
    out = []
    for i in range(len(board)):
        near, far = (i - words, i - words - 1) if offset > 0 else (i + words, i + words + 1)
        word = board[near] if 0 <= near < len(board) else jnp.zeros_like(board[0])
        if bits:
            carry = board[far] if 0 <= far < len(board) else jnp.zeros_like(board[0])
            shifted, carried = (
                (word << bits, carry >> (WORD_BITS - bits)) if offset > 0 else (word >> bits, carry << (WORD_BITS - bits))
            )
            word = shifted | carried
        out.append(word)
    return tuple(out)


def count(board: Board) -> jax.Array:
    """Number of cells on (int32 scalar)."""
    return functools.reduce(jnp.add, [lax.population_count(word).astype(jnp.int32) for word in board])


def select(board: Board, rank: jax.Array) -> jax.Array:
    """The ``rank``-th cell that is on, counted from cell 0 (int32 scalar; ``0 <= rank < count(board)``)."""
    word, base = board[0], jnp.int32(0)
    for i in range(1, len(board)):
        before = lax.population_count(word).astype(jnp.int32)
        # `word` is the last word taken; go on only while the rank lies beyond all words so far.
        beyond = (base == WORD_BITS * (i - 1)) & (rank >= before)
        word, base, rank = (
            jnp.where(beyond, board[i], word),
            jnp.where(beyond, WORD_BITS * i, base),
            jnp.where(beyond, rank - before, rank),
        )
    cell = base
    for half in (16, 8, 4, 2, 1):  # Binary search inside the word by population counts.
        low = word & jnp.uint32((1 << half) - 1)
        before = lax.population_count(low).astype(jnp.int32)
        beyond = rank >= before
        word, cell, rank = (
            jnp.where(beyond, word >> half, low),
            jnp.where(beyond, cell + half, cell),
            jnp.where(beyond, rank - before, rank),
        )
    return cell


def to_mask(words: jax.Array | Board, num_cells: int) -> jax.Array:
    """Unpacks a board, or its words stacked (uint32, shape (W,)), into a bool mask of shape (num_cells,)."""
    bits = np.uint32(1) << np.arange(WORD_BITS, dtype=np.uint32)
    pieces = [words[i] & jnp.asarray(bits[: num_cells - WORD_BITS * i]) for i in range(num_words(num_cells))]
    return jnp.concatenate(pieces) != 0


def from_mask(mask: np.ndarray) -> np.ndarray:
    """Packs a bool mask of shape (num_cells,) into stacked words, uint32 (W,); NumPy's way back from :func:`to_mask`."""
    padded = np.zeros(WORD_BITS * num_words(mask.size), bool)
    padded[: mask.size] = mask
    return (padded.reshape(-1, WORD_BITS) << np.arange(WORD_BITS, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)


def contains(words: jax.Array, cell: jax.Array) -> jax.Array:
    """Whether ``cell`` (int32 scalar, non-negative) is on in stacked words of shape (W,)."""
    index, bit = _place(cell)
    word = words[0]
    for i in range(1, words.shape[0]):
        word = jnp.where(index == i, words[i], word)
    return (word & bit) != 0


def _place(cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The word a cell is in, and its bit there. By shifts: a division of signed integers costs ten times as much."""
    return cell >> (WORD_BITS - 1).bit_length(), jnp.uint32(1) << (cell & (WORD_BITS - 1)).astype(jnp.uint32)
