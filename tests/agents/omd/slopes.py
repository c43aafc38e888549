"""The gradient of a model in one whole update, beside central differences through inner problems solved anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import numpy as np
import pytest


def assert_gradient_is_that_of_solving_anew(before: Any, after: Any, metrics: dict, outer: Callable[[Any], float]) -> None:
    """Compares the step that the model took, at a step size and an ε of Adam that make it the gradient, to differences.

    Args:
        before: The learner's state before the update, in float64.
        after: That after it.
        metrics: Those of the update.
        outer: The true loss of a model, at the solution of its inner problem.
    """
    assert metrics["residual"] < 1e-8
    assert float(metrics["model_loss"]) == pytest.approx(outer(before.model), rel=1e-10)
    flat, unravel = jax.flatten_util.ravel_pytree(before.model)
    ours = flat - jax.flatten_util.ravel_pytree(after.model)[0]
    moves = 1e-6 * np.eye(len(flat))
    slopes = np.array([(outer(unravel(flat + m)) - outer(unravel(flat - m))) / 2e-6 for m in moves])
    np.testing.assert_allclose(ours, slopes, rtol=1e-5, atol=1e-6 * np.abs(slopes).max())
    assert np.abs(slopes).max() > 1e-3
