"""Tabular OMD: its parts against other ways to compute them, its results against the published ones."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.omd import tabular
from mbrl_agents.omd.tabular import FiniteMDP, Model, solve, two_states
from mbrl_agents.omd.value_bounds import value_bounds

# Published returns at some bounds, MLE and OMD (the variant that projects each array).
PUBLISHED = {0.6316: (-0.72, -0.33), 1.2632: (0.19, 0.59), 2.8421: (0.92, 1.02), 5.0526: (1.01, 1.03)}


def test_the_best_return() -> None:
    mdp, best = two_states(), -np.inf
    for actions in itertools.product((0, 1), repeat=2):
        values = tabular.policy_return(mdp, 100.0 * jnp.eye(2)[jnp.array(actions)], 0.01)
        best = max(best, float(values))
    assert best == pytest.approx(1.0272727, abs=1e-5)


def test_soft_values_are_the_fixed_point() -> None:
    rng = np.random.default_rng(0)
    transitions, rewards = rng.dirichlet(np.ones(4), size=(3, 4)), rng.normal(size=(4, 3))
    wanted = np.zeros((4, 3))
    for _ in range(400):
        top = wanted.max(axis=1)
        values = top + 0.1 * np.log(np.exp((wanted - top[:, None]) / 0.1).sum(axis=1))
        wanted = rewards + 0.9 * np.einsum("ast,t->sa", transitions, values)
    for guess in (None, jnp.asarray(rng.normal(size=(4, 3)))):
        found = tabular.soft_q_values(jnp.asarray(transitions), jnp.asarray(rewards), 0.9, 0.1, guess)
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_projections() -> None:
    model = Model(jnp.array([[[0.3, 0.0], [0.0, 0.4]], [[0.0, 0.0], [0.0, 0.0]]]), jnp.array([[0.0, 0.0], [3.0, 4.0]]))
    joint = tabular.project(model, 1.0, 0.1, "joint")
    np.testing.assert_allclose(joint.logits, model.logits / np.sqrt(25 + 25), rtol=1e-6)
    np.testing.assert_allclose(joint.rewards, model.rewards / np.sqrt(50), rtol=1e-6)
    each = tabular.project(model, 1.0, 0.1, "per_array")
    np.testing.assert_allclose(each.logits, model.logits / 5, rtol=1e-6)
    np.testing.assert_allclose(each.rewards, model.rewards / 5, rtol=1e-6)
    np.testing.assert_allclose(tabular.project(model, 100.0, 0.1, "joint").rewards, model.rewards)


@pytest.mark.parametrize(("model_loss", "column", "tolerance"), [("mle", 0, 0.05), ("omd", 1, 0.2)])
def test_small_models_are_as_published(model_loss: str, column: int, tolerance: float) -> None:
    bounds = [0.6316, 5.0526]
    found = solve(two_states(), model_loss=model_loss, norm_bound=bounds, projection="per_array", seeds=2, num_steps=600)
    wanted = [PUBLISHED[bound][column] for bound in bounds]
    np.testing.assert_allclose(found.returns.mean(axis=1), wanted, atol=tolerance)
    assert found.returns.shape == (2, 2)
    assert found.models.logits.shape == (2, 2, 2, 2, 2)
    assert found.fallbacks.sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("model_loss", "column"), [("mle", 0), ("omd", 1)])
def test_the_published_figure(model_loss: str, column: int) -> None:
    found = solve(two_states(), model_loss=model_loss, norm_bound=list(PUBLISHED), projection="per_array", seeds=10)
    wanted = np.array([numbers[column] for numbers in PUBLISHED.values()])
    near_one = 0.2 if model_loss == "omd" else 0.05
    assert (np.abs(found.returns.mean(axis=1) - wanted) < [0.05, near_one, 0.05, 0.05]).all(), found.returns.mean(axis=1)


def test_value_errors_are_bounded() -> None:
    """Each bound lies above what it bounds, for models of all kinds; a model that is right has no error."""
    mdp, rng = two_states(), np.random.default_rng(0)
    near = 0.0
    for width in (0.1, 1.0, 3.0):
        for _ in range(10):
            model = Model(0.01 * width * rng.normal(size=(2, 2, 2)), rng.normal(size=(2, 2)))
            told = np.exp(model.logits / 0.01) / np.exp(model.logits / 0.01).sum(axis=-1, keepdims=True)
            fixed = tabular.soft_q_values(jnp.asarray(told), jnp.asarray(model.rewards), 0.9, 0.01)
            found = value_bounds(mdp, model, fixed)
            assert found.error <= found.by_residual * (1 + 1e-4)
            assert found.by_residual <= found.by_model * (1 + 1e-4)
            near = max(near, found.error / found.by_residual)
    assert near > 0.3  # none so loose that it says nothing
    right = Model(0.01 * np.log(mdp.transitions), mdp.rewards)
    exact = tabular.soft_q_values(jnp.asarray(mdp.transitions), jnp.asarray(mdp.rewards), 0.9, 0.01)
    found = value_bounds(mdp, right, exact)
    assert found.error < 1e-4
    assert found.by_residual < 1e-3
    assert found.by_model < 1e-3


def test_value_errors_by_hand() -> None:
    """One state, one action: Q = r̂ / (1 − γ), so that all three are |r̂ − r| / (1 − γ)."""
    mdp = FiniteMDP(np.ones((1, 1, 1)), np.array([[0.5]]), 0.8)
    found = value_bounds(mdp, Model(np.zeros((1, 1, 1)), np.array([[0.7]])), np.array([[0.7 / 0.2]]))
    np.testing.assert_allclose(found, 1.0, rtol=1e-4)


def test_noise_in_the_inner_solution_hurts() -> None:
    common: dict[str, Any] = {"model_loss": "omd", "norm_bound": 5.0, "seeds": 3, "num_steps": 300}
    clean, noisy = (solve(two_states(), **common, inner_noise=noise).returns.mean() for noise in (0.0, 1.0))
    assert noisy < clean - 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_bound": 0.0}, "norm_bound must be"),
        ({"norm_bound": [1.0, -1.0]}, "norm_bound must be"),
        ({"model_loss": "vep"}, "model_loss must be one of"),
        ({"projection": "both"}, "projection must be one of"),
        ({"seeds": 0}, "seeds must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"inner_noise": -1.0}, "inner_noise must be"),
    ],
)
def test_bad_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        solve(two_states(), **({"model_loss": "mle", "norm_bound": 1.0, "num_steps": 1} | changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 2, 2)), np.zeros((2, 2))), "transitions must be probabilities"),
        ((np.ones((2, 2)), np.zeros((2, 2))), "transitions must have shape"),
        ((np.full((2, 2, 2), 0.5), np.full((2, 2), np.nan)), "rewards be finite"),
        ((np.full((2, 2, 2), 0.5), np.zeros((2, 2)), 1.0), "gamma must be a finite number of at least 0 and below 1"),
        ((np.full((2, 2, 2), 0.5), np.zeros((2, 2)), 0.9, np.array([0.5, 0.6])), "start must be probabilities"),
    ],
)
def test_bad_mdps(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FiniteMDP(*arguments)
