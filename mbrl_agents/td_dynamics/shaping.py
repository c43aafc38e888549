"""Weights of potentials for shaping."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbrl_agents.td_dynamics import arguments
from mbrl_envs.checks import number_in

_ALONG = 1e-12  # share of a direction that must be across the weights


def rotated_shaping(weights: Any, angle: float, towards: Any) -> np.ndarray:
    """Weights as long as given ones, at an angle to them: cos θ · w + sin θ · ‖w‖ · u.

    u is the unit vector across w in the plane of w and ``towards``, on the side of the latter.

    Args:
        weights: w, float (N,), not 0; such as w_V.
        angle: θ, radians.
        towards: A direction, float (N,), not along w.

    Returns:
        float64 (N,); w_S for :func:`~mbrl_agents.td_dynamics.theory.theory_curve` and ``simulate_td``.

    Raises:
        TypeError, ValueError: An argument is no such number or array, or the two vectors do not span a plane.
    """
    given = arguments.finite_array("weights", weights, (1,))
    direction = arguments.weights("towards", towards, given.size)
    theta = number_in("angle", angle, -np.inf)
    length, far = np.linalg.norm(given), np.linalg.norm(direction)
    across = direction - (direction @ given) / max(length**2, 1e-300) * given
    if length == 0 or np.linalg.norm(across) <= _ALONG * far:
        raise ValueError("weights and towards must span a plane, got vectors along each other, or 0")
    return np.cos(theta) * given + np.sin(theta) * length * across / np.linalg.norm(across)
