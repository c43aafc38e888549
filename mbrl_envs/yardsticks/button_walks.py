"""How long the uniformly random walk takes to switch all buttons on.

As in :mod:`.random_walk`, an event of probability q per step ends the search as well: N = min(τ, G).
"""

from __future__ import annotations

import numpy as np

from mbrl_envs.grid import ACTION_NAMES
from mbrl_envs.yardsticks.random_walk import walk_matrix


def mean_search(buttons: np.ndarray, n: int, event: float) -> np.ndarray:
    """E[N] for every set of buttons, the start being uniform.

    **From button to button.** Write s = 1 − q, m = n·n, G = (I − sP)⁻¹ restricted to the k button cells, D = I − s·diag(P)
    there. The (defective) probability that the walk, standing on button i, enters j before any other button and before the
    event is K = I − D⁻¹G⁻¹: hitting probabilities are G_{p·}G⁻¹, to be taken after the first step that leaves the cell.

    **From all off to all on.** A walk over (button, buttons on) that goes on for ever is a walk in a group, so a Fourier
    transform over the sets of buttons decouples it: for every set σ, K_σ is K with the columns of σ negated. Its Green's
    function is Σ_σ ±(I − K_σ)⁻¹ / 2^k, and first-passage probabilities F to (j, all on) solve "Green's function to there from
    the start = Σ_i F_i · Green's function to there from (i, all on)". Then E[N] = (1 − Σ F) / q.

    **No event.** G grows like 1/(q·m) as q → 0. With Y = (I − sP + s/m)⁻¹ that is finite, G = Y + s/(q·m), and the unknown
    x = (1 − ΣF)·s/(q·m) instead of 1 − ΣF, everything below is finite at q = 0 too; see :func:`_unsuccessful`.

    Args:
        buttons: Button cells, int (B, k).
        n: Side length.
        event: Probability q per step that all buttons turn on, in [0, 1).

    Returns:
        Expected steps until all buttons are on, float64 (B,).
    """
    m, stay = n * n, 1 - event
    walk = walk_matrix(np.arange(m)[None], n)[0]
    potential = np.linalg.inv(np.eye(m) - stay * walk + stay / m)  # Y
    local = potential[buttons[:, :, None], buttons[:, None, :]]
    leaving = 1 - stay * np.diag(walk)[buttons]  # D
    inverse = np.linalg.inv(local)
    column = inverse.sum(axis=2)
    capacity = stay * column.sum(axis=1) + m * event
    enter = -(inverse - stay * column[:, :, None] * column[:, None, :] / capacity[:, None, None]) / leaving[:, :, None]
    enter += np.eye(buttons.shape[1])  # K

    # From a uniform start: the first button entered, and the time until then. On a button, it is as after entering it.
    to_next = column / leaving * (m / capacity)[:, None]
    time = (m - column.sum(axis=1)) / capacity + to_next.sum(axis=1) / m
    first = column / capacity[:, None] + (enter.sum(axis=1) - 1) / m
    modes = [np.ones(buttons.shape)]
    if buttons.shape[1] == m:  # Every cell is a button, so that every entry changes the colour of a chequerboard.
        modes.append(1.0 - 2 * ((buttons // n + buttons % n) % 2))
    return time + m / stay * _unsuccessful(enter, local * leaving[:, None, :], leaving, first, modes, m * event / stay)


def _unsuccessful(
    enter: np.ndarray, regular: np.ndarray, growth: np.ndarray, first: np.ndarray, modes: list[np.ndarray], slope: float
) -> np.ndarray:
    """The unknown x = (1 − ΣF)·s/(q·m) of :func:`mean_search`, ΣF being the probability of success by walking.

    (I − K)⁻¹ = ``regular`` + 1·``growth``ᵀ / ``slope``, of which the second part is infinite without the event. If all cells
    are buttons, the same holds for σ = all buttons: K leads from colour to colour, so −K = TKT with T the colours ±1 on a
    diagonal, and its Green's function is that of the empty set between two T. Each such mode brings one unknown and one
    equation.

    Args:
        enter: K, float64 (B, k, k).
        regular: Finite part of (I − K)⁻¹, float64 (B, k, k).
        growth: Row of the other part, float64 (B, k).
        first: Probabilities of the button entered first, float64 (B, k).
        modes: Diagonals of T, float64 (B, k) each: ones for the empty set; colours for all buttons, if that is a mode.
        slope: q·m/s.

    Returns:
        x, float64 (B,).
    """
    num, k = first.shape
    subsets = np.arange(1, (1 << k) - (len(modes) - 1))  # all whose Green's function is finite
    signs = 1.0 - 2 * (subsets[:, None] >> np.arange(k) & 1)
    again = np.zeros_like(enter)  # from (i, all on): no button has to change
    start = np.zeros_like(enter)  # from (i, only i on): the others have to
    for part in np.array_split(np.arange(len(subsets)), max(1, num * len(subsets) * k * k >> 22)):
        green = np.linalg.inv(np.eye(k) - enter[:, None] * signs[part][:, None, :])
        again += green.sum(axis=1)
        start += np.einsum("bsij,si->bij", green, signs[part] * signs[part].prod(axis=1, keepdims=True))
    system = np.zeros((num, k + len(modes), k + len(modes)))
    known = np.zeros((num, k + len(modes)))
    for row, mode in enumerate(modes, start=k):
        parity = 1 if row == k else (-1) ** (k - 1)  # the mode's sign for the k − 1 buttons to change
        finite = mode[:, :, None] * regular * mode[:, None, :]
        again += finite
        start += parity * finite
        system[:, :k, row], system[:, row, :k], system[:, row, row] = -mode * growth, mode, slope
        known[:, row] = parity * (first * mode).sum(axis=1)
    system[:, :k, :k] = again.transpose(0, 2, 1)
    known[:, :k] = np.einsum("bi,bij->bj", first, start)
    return np.linalg.solve(system, known[:, :, None])[:, k, 0]


def still_searching(buttons: np.ndarray, n: int, event: float, steps: int) -> np.ndarray:
    """P(N > t) for every set of buttons, the start being uniform: the walk's distribution, pushed forward step by step.

    Args:
        buttons: Button cells, int (B, k).
        n: Side length.
        event: Probability q per step that all buttons turn on.
        steps: Number of times S.

    Returns:
        Probabilities for t = 0 … S − 1, float64 (B, S).
    """
    num, k = buttons.shape
    masks, sets = np.arange(1 << k), np.arange(num)
    stays = np.diag(walk_matrix(np.arange(n * n)[None], n)[0]).reshape(n, n, 1, 1)
    # mass[row, column, on, set]: what moves goes first, so that moves copy long contiguous stretches.
    mass = np.zeros((n, n, 1 << k, num))
    mass[:, :, 0] = 1 / (n * n)
    moved = np.empty_like(mass)
    entering = moved.reshape(n * n, 1 << k, num)
    searching = np.empty((num, steps))
    for t in range(steps):
        searching[:, t] = mass.sum(axis=(0, 1, 2))
        moved[:] = 0
        moved[1:] += mass[:-1]
        moved[:-1] += mass[1:]
        moved[:, 1:] += mass[:, :-1]
        moved[:, :-1] += mass[:, 1:]
        for i in range(k):
            cell = buttons[:, i]
            entering[cell, :, sets] = entering[cell, :, sets][:, masks ^ (1 << i)]
        moved *= (1 - event) / len(ACTION_NAMES)
        mass *= (1 - event) * stays
        mass += moved
        mass[:, :, -1] = 0
    return searching
