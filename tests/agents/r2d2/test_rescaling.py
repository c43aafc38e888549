"""The rescaling of values and its inverse."""

from __future__ import annotations

import math

import pytest
import torch as th

from mbrl_agents.r2d2.rescaling import rescale, unscale

SIZES = th.cat([th.logspace(-30, 6, 4001, dtype=th.float64), th.zeros(1, dtype=th.float64)])
VALUES = th.cat([-SIZES, SIZES])


def textbook(x: float, epsilon: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2, 0.5])
def test_it_is_the_published_function(epsilon: float) -> None:
    for x in (-1e6, -37.5, -1.0, 0.0, 0.25, 3.0, 1000.0, 1e6):
        assert float(rescale(th.tensor(x, dtype=th.float64), epsilon)) == pytest.approx(textbook(x, epsilon), rel=1e-12)
    assert float(rescale(th.tensor(3.0), 1e-3)) == pytest.approx(1.003)
    assert float(rescale(th.tensor(-8.0), 1e-2)) == pytest.approx(-2.08)


@pytest.mark.parametrize("dtype", [th.float32, th.float64])
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2])
def test_the_inverse_is_exact_up_to_a_million(dtype: th.dtype, epsilon: float) -> None:
    values = VALUES.to(dtype)
    there_and_back, back_and_there = unscale(rescale(values, epsilon), epsilon), rescale(unscale(values, epsilon), epsilon)
    if epsilon == 0:  # the inverse squares: beyond float32 for what no return's image is
        values, back_and_there = values[values.abs() < 1e3], back_and_there[values.abs() < 1e3]
        there_and_back = there_and_back[VALUES.abs() < 1e3]
    for again in (there_and_back, back_and_there):
        assert again.dtype == dtype
        error = (again.double() - values.double()).abs()
        assert bool((error <= 1e-6 * values.abs().double()).all())


def test_float32_agrees_with_float64() -> None:
    for function in (rescale, unscale):
        exact, single = function(VALUES), function(VALUES.float()).double()
        assert bool(((single - exact).abs() <= 1e-6 * exact.abs()).all())


def test_gradients_are_finite_at_zero() -> None:
    x = th.zeros(1, requires_grad=True)
    rescale(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad) == pytest.approx(0.501)
