"""Tabular OMD: its parts against other ways to compute them, its results against the published ones."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.omd import Direct, Identity, finite_mdp, tabular, tabular_studies
from mbrl_agents.omd.finite_mdp import FiniteMDP, two_states
from mbrl_agents.omd.tabular import Model, TabularResult, solve
from mbrl_agents.omd.value_bounds import value_bounds

# Published returns at some bounds, MLE and OMD (the variant that projects each array).
PUBLISHED = {0.6316: (-0.72, -0.33), 1.2632: (0.19, 0.59), 2.8421: (0.92, 1.02), 5.0526: (1.01, 1.03)}
# Published J at σ = 0, .01, .1, .3 and error of values at σ = 0, of OMD on the Bellman residual without a bound.
PUBLISHED_NOISE = {"exact inverse": ((1.027, 1.027, 1.011, 0.616), 0.0), "identity": ((1.027, 1.027, 1.002, 0.509), 0.006)}
# Published errors of values in balls of 5.05, one for each array.
PUBLISHED_ERRORS = {"OMD on the residual": 1.50, "OMD on the return": 1.40, "MLE": 1.77}


def test_the_best_return() -> None:
    mdp, best = two_states(), -np.inf
    for actions in itertools.product((0, 1), repeat=2):
        values = finite_mdp.policy_return(mdp, 100.0 * jnp.eye(2)[jnp.array(actions)], 0.01)
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
        found = finite_mdp.soft_q_values(jnp.asarray(transitions), jnp.asarray(rewards), 0.9, 0.1, guess)
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
            fixed = finite_mdp.soft_q_values(jnp.asarray(told), jnp.asarray(model.rewards), 0.9, 0.01)
            found = value_bounds(mdp, model, fixed)
            assert found.error <= found.by_residual * (1 + 1e-4)
            assert found.by_residual <= found.by_model * (1 + 1e-4)
            # A bound here: optimal values of the two states differ by 1.7 < .5 / (1 − .9).
            assert found.error <= found.by_model_as_published * (1 + 1e-4)
            near = max(near, found.error / found.by_residual)
    assert near > 0.3  # none so loose that it says nothing
    right = Model(0.01 * np.log(mdp.transitions), mdp.rewards)
    exact = finite_mdp.soft_q_values(jnp.asarray(mdp.transitions), jnp.asarray(mdp.rewards), 0.9, 0.01)
    found = value_bounds(mdp, right, exact)
    assert found.error < 1e-4
    assert found.by_residual < 1e-3
    assert found.by_model < 1e-3


def test_value_errors_by_hand() -> None:
    """One state, one action: Q = r̂ / (1 − γ), so that all are |r̂ − r| / (1 − γ)."""
    mdp = FiniteMDP(np.ones((1, 1, 1)), np.array([[0.5]]), 0.8)
    found = value_bounds(mdp, Model(np.zeros((1, 1, 1)), np.array([[0.7]])), np.array([[0.7 / 0.2]]))
    np.testing.assert_allclose(found, 1.0, rtol=1e-4)


def test_the_published_bound_by_hand() -> None:
    """Rewards wrong by .1, transitions by .2 (L1), γ = .5, r_max = .5: (.1 + .5 × .2 × .5 / 2 / .5) / .5."""
    mdp = FiniteMDP(np.array([[[0.5, 0.5], [0.5, 0.5]]]), np.array([[-0.5], [0.4]]), 0.5)
    model = Model(0.01 * np.log([[[0.6, 0.4], [0.5, 0.5]]]), np.array([[-0.5], [0.5]]))
    assert value_bounds(mdp, model, np.zeros((2, 1))).by_model_as_published == pytest.approx(0.3, abs=1e-4)


# --- the gradient through the fixed point -------------------------------------------------------------------------------------


def numpy_q_values(transitions: np.ndarray, rewards: np.ndarray, gamma: float, temperature: float) -> np.ndarray:
    """Soft value iteration in float64."""
    q_values = np.zeros_like(rewards)
    for _ in range(600):
        top = q_values.max(axis=1)
        values = top + temperature * np.log(np.exp((q_values - top[:, None]) / temperature).sum(axis=1))
        q_values = rewards + gamma * np.einsum("ast,t->sa", transitions, values)
    return q_values


def numpy_outer_loss(mdp: FiniteMDP, q_values: np.ndarray, temperature: float, objective: str) -> float:
    top = q_values.max(axis=1)
    weights = np.exp((q_values - top[:, None]) / temperature)
    if objective == "bellman":
        values = top + temperature * np.log(weights.sum(axis=1))
        after = mdp.rewards + mdp.gamma * np.einsum("ast,t->sa", mdp.transitions, values)
        return float(((q_values - after) ** 2).mean())
    policy, occupied, total = weights / weights.sum(axis=1, keepdims=True), np.asarray(mdp.start), 0.0
    for step in range(600):
        total += mdp.gamma**step * float(occupied @ (policy * mdp.rewards).sum(axis=1))
        occupied = np.einsum("s,sa,ast->t", occupied, policy, mdp.transitions)
    return -total


@pytest.mark.parametrize("sigma", [0.0, 0.2])
@pytest.mark.parametrize("objective", tabular.OUTER_OBJECTIVES)
def test_gradients_against_finite_differences(objective: str, sigma: float) -> None:
    """Central differences of L(Q*(θ) + z), z held fixed, with values and losses by NumPy in float64."""
    mdp, rng, scale, temperature = two_states(), np.random.default_rng(3), 0.5, 0.2
    logits, rewards, noise = rng.normal(size=(2, 2, 2)), 0.2 * rng.normal(size=(2, 2)), sigma * rng.normal(size=(2, 2))

    def loss(theta: np.ndarray) -> float:
        told = np.exp(theta[:8].reshape(2, 2, 2) / scale)
        fixed = numpy_q_values(told / told.sum(axis=-1, keepdims=True), theta[8:].reshape(2, 2), mdp.gamma, temperature)
        return numpy_outer_loss(mdp, fixed + noise, temperature, objective)

    theta = np.concatenate([logits.ravel(), rewards.ravel()])
    wanted = [(loss(theta + step) - loss(theta - step)) / 2e-5 for step in 1e-5 * np.eye(12)]
    with jax.enable_x64(True):
        model = Model(jnp.asarray(logits), jnp.asarray(rewards))
        fixed = finite_mdp.soft_q_values(jax.nn.softmax(model.logits / scale, axis=-1), model.rewards, mdp.gamma, temperature)
        found = tabular.model_gradient(
            mdp,
            model,
            fixed,
            outer_objective=objective,
            temperature=temperature,
            logit_scale=scale,
            solver=Direct(damping=0.0),
            noise=jnp.asarray(noise),
        )
        assert found.loss.dtype == jnp.float64
        assert float(found.loss) == pytest.approx(loss(theta), rel=1e-9)
        gradient = np.concatenate([found.gradient.logits.ravel(), found.gradient.rewards.ravel()])
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=2e-9)
    assert np.abs(wanted).max() > 0.1


# --- the published studies ----------------------------------------------------------------------------------------------------


def value_errors(found: TabularResult) -> np.ndarray:
    """Largest error of Q, (settings, seeds), with the true values by NumPy."""
    mdp = two_states()
    return np.abs(found.q_values - numpy_q_values(mdp.transitions, mdp.rewards, mdp.gamma, 0.01)).max(axis=(-2, -1))


def test_the_residual_leads_to_right_values() -> None:
    """Without a bound a model that is trained for the residual of the Bellman equation finds Q*, from every seed."""
    found = solve(two_states(), model_loss="omd", outer_objective="bellman", norm_bound=None, seeds=3, num_steps=3000)
    assert found.returns.shape == (1, 3)
    np.testing.assert_allclose(found.returns, 1.027, atol=0.002)
    assert value_errors(found).max() < 0.05


def test_no_bound_is_a_large_bound() -> None:
    common: dict[str, Any] = {"model_loss": "omd", "seeds": 2, "num_steps": 20}
    free, large = (solve(two_states(), norm_bound=bound, **common) for bound in (None, 1e9))
    np.testing.assert_allclose(free.models.logits, large.models.logits, rtol=1e-6)
    assert np.abs(free.models.logits / 0.01).max() > 50


def test_several_bounds_and_levels_of_noise_at_once() -> None:
    common: dict[str, Any] = {"model_loss": "omd", "seeds": 2, "num_steps": 20}
    both = solve(two_states(), norm_bound=[1.0, 3.0], inner_noise=[0.0, 0.5], **common)
    for i, (bound, noise) in enumerate([(1.0, 0.0), (3.0, 0.5)]):
        alone = solve(two_states(), norm_bound=bound, inner_noise=noise, **common)
        np.testing.assert_allclose(both.models.rewards[i], alone.models.rewards[0], atol=1e-4)
    assert solve(two_states(), norm_bound=None, inner_noise=[0.0, 0.1, 0.2], **common).returns.shape == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize("inverse", PUBLISHED_NOISE)
def test_the_published_noise(inverse: str) -> None:
    """100 seeds; the published means of 10 lie within two standard errors of the difference, or the rounding."""
    wanted, wanted_error = PUBLISHED_NOISE[inverse]
    mdp, studies = tabular_studies.published()
    found = solve(mdp, **(studies["noise"][inverse] | {"seeds": 100}))
    assert found.fallbacks.sum() == 0
    spread = found.returns.std(axis=1) * np.sqrt(1 / 10 + 1 / 100)
    assert (np.abs(found.returns.mean(axis=1) - wanted) < 2 * spread + 0.001).all(), (found.returns.mean(axis=1), spread)
    errors = value_errors(found)[0]
    assert np.median(errors) < 0.002  # a few seeds are still far from the end, with the identity
    assert abs(errors.mean() - wanted_error) < 2 * errors.std() * np.sqrt(1 / 10 + 1 / 100) + 0.001


@pytest.mark.parametrize("run", [pytest.param("OMD on the return", marks=pytest.mark.slow), "OMD on the residual", "MLE"])
def test_the_published_value_errors(run: str) -> None:
    mdp, studies = tabular_studies.published()
    found = solve(mdp, **studies["value_errors"][run])
    errors = value_errors(found)[0]
    near = 0.02 if run != "OMD on the return" else 2 * errors.std() * np.sqrt(2 / 10)  # seeds differ by .4 there
    assert errors.mean() == pytest.approx(PUBLISHED_ERRORS[run], abs=near)


def test_the_published_settings() -> None:
    """The file says what the paper and its code say, argument by argument."""
    mdp, studies = tabular_studies.published()
    for name in ("transitions", "rewards", "gamma", "start"):
        np.testing.assert_array_equal(getattr(mdp, name), getattr(two_states(), name))
    np.testing.assert_array_equal(mdp.transitions, [[[0.7, 0.3], [0.2, 0.8]], [[0.99, 0.01], [0.99, 0.01]]])
    np.testing.assert_array_equal(mdp.rewards, [[-0.45, -0.1], [0.5, 0.5]])
    assert mdp.gamma == 0.9
    np.testing.assert_array_equal(mdp.start, [0.5, 0.5])
    common = {"seeds": 10, "num_steps": 10_000, "learning_rate": 0.01, "temperature": 0.01, "logit_scale": 0.01}
    mle, exact, identity = {"model_loss": "mle"}, Direct(damping=0.0), Identity()
    omd = {"model_loss": "omd", "solver": exact}
    noise = common | {
        "model_loss": "omd",
        "outer_objective": "bellman",
        "norm_bound": None,
        "inner_noise": [0.0, 0.01, 0.1, 0.3],
    }
    balls, ball = common | {"projection": "per_array"}, common | {"projection": "per_array", "norm_bound": 5.052632}
    bounds = [studies["returns"][run].pop("norm_bound") for run in ("MLE", "OMD")]
    np.testing.assert_allclose(bounds, [np.linspace(0, 6, 20)[1:]] * 2, atol=1e-6)
    assert studies == {
        "returns": {"MLE": balls | mle, "OMD": balls | omd | {"outer_objective": "return"}},
        "noise": {"exact inverse": noise | {"solver": exact}, "identity": noise | {"solver": identity}},
        "value_errors": {
            "MLE": ball | mle,
            "OMD on the return": ball | omd | {"outer_objective": "return"},
            "OMD on the residual": ball | omd | {"outer_objective": "bellman"},
        },
    }


# --- the door -----------------------------------------------------------------------------------------------------------------


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
        ({"inner_noise": [0.0, -1.0]}, "inner_noise must be"),
        ({"outer_objective": "value"}, "outer_objective must be one of"),
        ({"norm_bound": [1.0, 2.0], "inner_noise": [0.0, 0.1, 0.2]}, "lists of one length, got 2 and 3"),
        ({"norm_bound": []}, "lists of one length, got 0 and 1"),
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
