"""Shortest ways to switch all buttons on.

Only entering a button's cell changes anything, so a way is a sequence of buttons entered. Its legs may be solved apart: the
moves from a cell to a button with no other button entered in between; and then the order, by dynamic programming over (button
entered last, buttons on). Entering a button that is on turns it off, which is allowed, and now and then part of a shortest
way.
"""

from __future__ import annotations

import numpy as np

UNREACHABLE = 1 << 20  # sums of a few stay far from overflow in 32 bits


def _spread(cells: np.ndarray) -> np.ndarray:
    """The cells that are neighbours of marked cells, bool (..., n, n)."""
    out = np.zeros_like(cells)
    out[..., 1:, :] |= cells[..., :-1, :]
    out[..., :-1, :] |= cells[..., 1:, :]
    out[..., :, 1:] |= cells[..., :, :-1]
    out[..., :, :-1] |= cells[..., :, 1:]
    return out


def leg_lengths(buttons: np.ndarray, n: int) -> np.ndarray:
    """Fewest moves from every cell that end by entering button j, no other button being entered on the way.

    From the button itself that means to leave and come back.

    Args:
        buttons: Button cells, int (B, k).
        n: Side length.

    Returns:
        Numbers of moves, int32 (B, k, n·n); ``UNREACHABLE`` where there is no such way.
    """
    num, k = buttons.shape
    at = np.arange(n * n) == buttons[:, :, None]
    free = ~at.any(axis=1).reshape(num, 1, n, n)
    frontier = at.reshape(num, k, n, n)
    length = np.full((num, k, n, n), UNREACHABLE, np.int32)
    moves = 0
    while frontier.any():
        moves += 1
        reached = _spread(frontier) & (length == UNREACHABLE)
        length[reached] = moves
        frontier = reached & free  # a way may start on a button, but not lead through one
    return length.reshape(num, k, n * n)


def route_lengths(buttons: np.ndarray, n: int) -> np.ndarray:
    """Fewest moves from every cell, with all buttons off, until all are on.

    There always is a way: going somewhere and straight back toggles the far cell and the near one and nothing else, so closed
    ways toggle every even number of cells, and one move more makes it odd.

    Args:
        buttons: Button cells, int (B, k).
        n: Side length.

    Returns:
        Numbers of moves, int32 (B, n·n).
    """
    k = buttons.shape[1]
    legs = leg_lengths(buttons, n)
    between = np.take_along_axis(legs, buttons[:, None, :], axis=2)  # [set, to, from]
    masks = np.arange(1 << k)
    # remaining[i, mask]: moves left when button i was entered last and `mask` is on. Sets go last, for contiguous work.
    remaining = np.full((k, 1 << k, len(buttons)), UNREACHABLE, np.int32)
    remaining[:, -1] = 0
    while True:
        after = np.stack([remaining[j, masks ^ (1 << j)] for j in range(k)])
        better = remaining.copy()
        for i in range(k):
            for j in range(k):
                np.minimum(better[i], between[:, j, i] + after[j], out=better[i])
        if np.array_equal(better, remaining):
            break
        remaining = better
    first = np.stack([remaining[j, 1 << j] for j in range(k)], axis=1)
    return (legs + first[:, :, None]).min(axis=1)
