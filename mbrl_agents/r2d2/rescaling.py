"""The rescaling of values that stands in for clipped rewards, and its exact inverse.

Kapturowski et al. 2019 (after Pohlen et al. 2018, arXiv 1805.11593) learn values on the scale of

    h(x) = sign(x)·(√(|x| + 1) − 1) + ε·x,

which shrinks large returns and leaves small ones almost as they are; ε > 0 keeps the inverse Lipschitz. A target becomes
``h(R + γⁿ·h⁻¹(Q(s′)))``.

Both functions are written without differences of nearly equal numbers, which in float32 would lose all digits of small values:
the textbook's ``√(|x| + 1) − 1`` is 0 for |x| < 6e-8, and its inverse divides a rounding error by 4ε².
"""

from __future__ import annotations

import numpy as np


def rescale(values: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
    """``h(x)``, with √(|x| + 1) − 1 computed as |x| / (√(|x| + 1) + 1).

    Args:
        values: Values on the scale of returns, any shape, floating point.
        epsilon: The slope ε that h keeps for large values, at least 0.

    Returns:
        Rescaled values, same shape and dtype.
    """
    return values / (np.sqrt(np.abs(values) + 1) + 1) + epsilon * values


def unscale(values: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
    """``h⁻¹(y)``, the exact inverse of :func:`rescale`.

    For y ≥ 0 let u = √(x + 1) − 1, so that x = u·(u + 2) and y = ε·u² + (1 + 2ε)·u. The positive root of that, in the form
    that adds instead of subtracting, is u = 2y / (1 + 2ε + √((1 + 2ε)² + 4ε·y)).

    Args:
        values: Rescaled values, any shape, floating point.
        epsilon: As for :func:`rescale`.

    Returns:
        Values on the scale of returns, same shape and dtype.
    """
    size, slope = np.abs(values), 1 + 2 * epsilon
    root = 2 * size / (slope + np.sqrt(slope**2 + 4 * epsilon * size))
    return np.sign(values) * root * (root + 2)
