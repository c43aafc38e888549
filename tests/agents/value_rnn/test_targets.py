"""Losses of TD errors and values of heads, against computations by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from mbrl_agents.value_rnn import targets


@pytest.mark.parametrize("kind", targets.LOSSES)
def test_losses_against_loops(kind: str) -> None:
    rng = np.random.default_rng(0)
    size = 1 if kind == "td" else 3
    levels = np.array([0.5]) if kind == "td" else np.array([0.2, 0.5, 0.9])
    values, goals = rng.normal(size=(4, size)), rng.normal(size=(4, size))
    wanted = []
    for value, goal in zip(values, goals, strict=True):
        total = 0.0
        for i, tau in enumerate(levels):
            for j in range(size):
                error = goal[j] - value[i]
                weight = abs(tau - (error < 0))
                if kind in ("td", "asymmetric") and i == j:
                    total += weight * error**2
                elif kind == "quantile":
                    total += weight * abs(error) / size
                elif kind == "expectile":
                    total += weight * error**2 / size
        wanted.append(total)
    np.testing.assert_allclose(targets.losses(kind, jnp.array(values), jnp.array(goals), jnp.array(levels)), wanted, rtol=1e-5)


def expectile(samples: np.ndarray, tau: float, shares: np.ndarray | None = None) -> float:
    """The τ-expectile of samples, equally likely or not, by bisection."""
    shares = np.full(len(samples), 1 / len(samples)) if shares is None else shares

    def imbalance(e: float) -> float:
        return float((shares * np.where(samples < e, 1 - tau, tau)) @ (samples - e))

    return samples[0] if np.ptp(samples) == 0 else brentq(imbalance, samples.min(), samples.max(), xtol=1e-12)


@pytest.mark.parametrize("samples", [[0.0, 1, 2, 5, 9], [0.0, 0, 0, 0, 1], [3.0, 3, 3, 3, 3], [-2.0, -1, 4, 4, 10]])
def test_a_distribution_of_given_expectiles(samples: list[float]) -> None:
    levels = (np.arange(5) + 0.5) / 5
    given = np.array([expectile(np.array(samples), tau) for tau in levels])
    points, shares = (np.asarray(each) for each in targets.distribution_of_expectiles(jnp.array(given), jnp.array(levels)))
    assert shares.min() >= 0
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert points @ shares == pytest.approx(np.mean(samples), abs=2e-3)
    np.testing.assert_allclose([expectile(points, tau, shares) for tau in levels], given, atol=5e-3)


def test_values_that_are_no_expectiles_still_give_a_distribution() -> None:
    rng = np.random.default_rng(0)
    points, shares = targets.distribution_of_expectiles(jnp.array(rng.normal(size=(200, 6))), (jnp.arange(6) + 0.5) / 6)
    assert np.isfinite(points).all()
    assert (np.asarray(shares) >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-5)


def test_mean_values() -> None:
    heads = jnp.array([[1.0, 2.0, 6.0, 7.0]])
    levels = jnp.array([0.125, 0.375, 0.625, 0.875])
    assert float(targets.mean_value("quantile", heads, levels)[0]) == 4.0
    assert float(targets.mean_value("asymmetric", heads, levels)[0]) == 4.0
    np.testing.assert_allclose(
        targets.mean_value("asymmetric", jnp.array([[1.0, 2.0]]), jnp.array([0.4, 0.9])), [1.2], rtol=1e-6
    )


def test_heads_find_expectiles_and_quantiles() -> None:
    # Stochastic gradient descent on each loss, with samples of a known distribution as targets.
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=4000)
    levels = jnp.array([0.1, 0.5, 0.8])
    for kind, wanted in {
        "asymmetric": [expectile(samples, float(tau)) for tau in levels],
        "expectile": [expectile(samples, float(tau)) for tau in levels],
        "quantile": np.quantile(samples, levels),
    }.items():
        goals = jnp.repeat(jnp.array(samples)[:, None], 3, axis=1)
        gradient = jax.jit(
            jax.grad(lambda heads, kind=kind, goals=goals: targets.losses(kind, heads + 0 * goals, goals, levels).mean())
        )
        heads = jnp.zeros(3)
        for i in range(3000):
            heads = heads - (1.0 if i < 2000 else 0.05) * gradient(heads)
        np.testing.assert_allclose(heads, wanted, atol=0.02)
