"""How often actors explore."""

from __future__ import annotations

import numpy as np

SCHEDULE, LADDER = "schedule", "ladder"


def epsilon_ladder(n_envs: int, base: float = 0.4, exponent: float = 7.0) -> np.ndarray:
    """ε of several actors, from much exploring to almost none: ε_i = base^(1 + exponent·i/(N − 1)) (Horgan et al. 2018).

    Args:
        n_envs: Number of actors N, at least 1; a single one has ε = base.
        base: ε of the first actor, in (0, 1].
        exponent: The last actor has base^(1 + exponent).

    Returns:
        ε of each actor, float (n_envs,).
    """
    return base ** (1 + exponent * np.arange(n_envs) / max(n_envs - 1, 1))


def explore(greedy: np.ndarray, epsilon: np.ndarray | float, num_actions: int, rng: np.random.Generator) -> np.ndarray:
    """Replaces each action, with probability ε, by a uniformly drawn one.

    Args:
        greedy: Actions, int (n,).
        epsilon: One ε for all, or one for each.
        num_actions: Number of actions.
        rng: Source of randomness.

    Returns:
        Actions, int64 (n,).
    """
    drawn = rng.random(len(greedy)) < epsilon
    return np.where(drawn, rng.integers(num_actions, size=len(greedy)), greedy) if drawn.any() else greedy
