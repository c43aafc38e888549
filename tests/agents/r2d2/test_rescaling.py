"""The rescaling of values and its inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mbrl_agents.r2d2.rescaling import rescale, unscale

SIZES = np.append(np.logspace(-30, 6, 4001), 0.0)
VALUES = np.concatenate([-SIZES, SIZES])


def textbook(x: float, epsilon: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2, 0.5])
def test_it_is_the_published_function(epsilon: float) -> None:
    for x in (-1e6, -37.5, -1.0, 0.0, 0.25, 3.0, 1000.0, 1e6):
        assert float(rescale(np.array(x), epsilon)) == pytest.approx(textbook(x, epsilon), rel=1e-12)
    assert float(rescale(np.float32(3.0), 1e-3)) == pytest.approx(1.003)
    assert float(rescale(np.float32(-8.0), 1e-2)) == pytest.approx(-2.08)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2])
def test_the_inverse_is_exact_up_to_a_million(dtype: type[np.floating], epsilon: float) -> None:
    values = VALUES.astype(dtype)
    there_and_back, back_and_there = unscale(rescale(values, epsilon), epsilon), rescale(unscale(values, epsilon), epsilon)
    if epsilon == 0:  # the inverse squares: beyond float32 for what no return's image is
        values, back_and_there = values[np.abs(values) < 1e3], back_and_there[np.abs(values) < 1e3]
        there_and_back = there_and_back[np.abs(VALUES) < 1e3]
    for again in (there_and_back, back_and_there):
        assert again.dtype == dtype
        error = np.abs(again.astype(float) - values)
        assert (error <= 1e-6 * np.abs(values.astype(float))).all()


def test_float32_agrees_with_float64() -> None:
    for function in (rescale, unscale):
        exact, single = function(VALUES), function(VALUES.astype(np.float32)).astype(float)
        assert (np.abs(single - exact) <= 1e-6 * np.abs(exact)).all()
