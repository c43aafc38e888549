"""Returns and targets, against values by hand and loops in NumPy; the rescaling of values and its inverse."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.core.returns import (
    double_q_value,
    greedy_value,
    lambda_returns,
    n_step_return,
    rescale,
    rescaled_td_target,
    soft_value,
    td_target,
    unscale,
)

SIZES = np.append(np.logspace(-30, 6, 4001), 0.0)
VALUES = np.concatenate([-SIZES, SIZES])


# --- targets ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrays", [np, jnp])
def test_one_step_targets(arrays: Any) -> None:
    reward, discount, value = (arrays.asarray(each, arrays.float32) for each in ([1, -2, 0.5], [0.5, 0, 0.5], [4, 9, -3]))
    target = td_target(reward, discount, value)
    assert isinstance(target, type(reward))
    np.testing.assert_array_equal(target, [3, -2, -1])


def test_gradients_go_through_targets() -> None:
    """A model's prediction of r and s′ learns through them; who wants constants stops gradients."""
    slopes = jax.grad(lambda reward, value: td_target(reward, jnp.float32(0.5), value), argnums=(0, 1))(1.0, 2.0)
    assert [float(each) for each in slopes] == [1.0, 0.5]
    ones = jnp.ones(3)
    slopes = jax.grad(lambda values: lambda_returns(ones, 0.5 * ones, values, jnp.zeros(3)).sum())(ones)
    np.testing.assert_array_equal(slopes, [0.5] * 3)


@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_n_step_returns_against_loops(n_steps: int) -> None:
    rng, gamma = np.random.default_rng(n_steps), 0.9
    rewards, ends = rng.normal(size=(n_steps, 200)), rng.random((n_steps, 200)) < 0.3
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, jax.jit(n_step_return)(list(rewards), list(ends), gamma))
    for i in range(200):
        total, steps = 0.0, 0
        for reward, end in zip(rewards[:, i], ends[:, i], strict=True):
            total, steps = total + gamma**steps * reward, steps + 1
            if end:
                break
        assert found.steps[i] == steps
        np.testing.assert_allclose([found.reward[i], found.discount[i]], [total, gamma**steps], rtol=1e-12)
    assert set(found.steps) == set(range(1, n_steps + 1))


def weighted_returns(next_values: list[float], rewards: list[float], ends: bool, gamma: float, td_lambda: float) -> list[float]:
    """The λ-return as the weighted sum of n-step returns (Sutton & Barto 2018, eq. 12.3), from each step."""
    found, steps = [], len(rewards)
    for t in range(steps):
        returns = []
        for n in range(1, steps - t + 1):
            bootstrap = 0.0 if ends and t + n == steps else next_values[t + n - 1]
            returns.append(sum(gamma**i * rewards[t + i] for i in range(n)) + gamma**n * bootstrap)
        weights = [(1 - td_lambda) * td_lambda**i for i in range(len(returns) - 1)] + [td_lambda ** (len(returns) - 1)]
        found.append(sum(weight * each for weight, each in zip(weights, returns, strict=True)))
    return found


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("td_lambda", [0.0, 0.4, 1.0])
def test_lambda_returns(td_lambda: float, ends: bool) -> None:
    next_values, rewards, gamma = [0.3, -0.2, 0.5, 1.0], [0.0, 1.0, 0.0, 2.0], 0.9
    discounts = gamma * jnp.array([1.0, 1, 1, not ends])
    ours = lambda_returns(jnp.array(rewards), discounts, jnp.array(next_values), jnp.float32(td_lambda))
    np.testing.assert_allclose(ours, weighted_returns(next_values, rewards, ends, gamma, td_lambda), rtol=1e-6)
    if td_lambda == 0:
        np.testing.assert_allclose(td_target(jnp.array(rewards), discounts, jnp.array(next_values)), ours, rtol=1e-6)


def test_an_episode_ends_in_the_middle() -> None:
    """Two episodes in one sequence are as two sequences."""
    values, rewards = jnp.array([0.3, -0.2, 0.5, 1.0]), jnp.array([0.0, 1.0, 0.0, 2.0])
    lambdas, discounts = jnp.array([0.5, 0, 0.5, 0]), 0.9 * jnp.array([1.0, 0, 1, 1])
    ours = lambda_returns(rewards, discounts, values, lambdas)
    first = weighted_returns([0.3, -0.2], [0.0, 1.0], True, 0.9, 0.5)
    second = weighted_returns([0.5, 1.0], [0.0, 2.0], False, 0.9, 0.5)
    np.testing.assert_allclose(ours, first + second, rtol=1e-6)


def test_lambda_returns_of_sequences_side_by_side_against_loops() -> None:
    """Arguments with fewer axes than the values are broadcast."""
    rng = np.random.default_rng(0)
    values, rewards = rng.normal(size=(7, 3, 2)), rng.normal(size=(7, 3, 1))
    discounts, lambdas = rng.uniform(size=(7, 3, 1)), rng.uniform(size=(7, 1, 1))
    with jax.enable_x64(True):
        found = np.asarray(jax.jit(lambda_returns)(rewards, discounts, values, lambdas))
    wanted = np.zeros_like(values)
    for t in reversed(range(7)):
        later = values[t] if t == 6 else (1 - lambdas[t]) * values[t] + lambdas[t] * wanted[t + 1]
        wanted[t] = rewards[t] + discounts[t] * later
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


# --- values to bootstrap from -------------------------------------------------------------------------------------------------


def test_values_of_states() -> None:
    """The network prefers the second and the first action, the target network the first and the second."""
    q_values, target_q_values = jnp.array([[1.0, 3.0], [0.5, 0.0]]), jnp.array([[5.0, 2.0], [-1.0, 4.0]])
    np.testing.assert_array_equal(greedy_value(target_q_values), [5, 4])
    np.testing.assert_array_equal(double_q_value(target_q_values, q_values), [2, -1])
    np.testing.assert_allclose(soft_value(q_values, 0.5), 0.5 * np.log(np.exp(2 * np.asarray(q_values)).sum(1)), rtol=1e-6)
    np.testing.assert_allclose(soft_value(1000 * q_values, 1e-2), [3000, 500], rtol=1e-6)  # the maximum, without overflow


# --- values on another scale --------------------------------------------------------------------------------------------------


def textbook(x: float, epsilon: float) -> float:
    return math.copysign(math.sqrt(abs(x) + 1) - 1, x) + epsilon * x


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1e-2, 0.5])
def test_rescaling_is_the_published_function(epsilon: float) -> None:
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


def test_jax_agrees_with_numpy() -> None:
    values = VALUES[np.abs(VALUES) > 1e-30]
    for function in (rescale, unscale):
        with jax.enable_x64(True):
            found = jax.jit(function)(values)
            assert isinstance(found, jax.Array)
            np.testing.assert_allclose(found, function(values), rtol=1e-12)


def test_rescaled_targets() -> None:
    """h(r + γ h⁻¹(v)): of v = h(8), r = 2 and γ = 0.75 it is h(8)."""
    value = rescale(np.array(8.0), 1e-2)
    assert float(value) == pytest.approx(2.08)
    assert float(rescaled_td_target(np.array(2.0), np.array(0.75), value, 1e-2)) == pytest.approx(2.08)
