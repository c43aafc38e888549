"""The gradient of OMDSAC's model in one whole update: beside the published equations written out densely, in double precision.

``dL/dθ = −(∂L_true/∂w) (∂²L_model/∂w²)⁻¹ (∂²L_model/∂w∂θ)`` (arXiv 2106.03273), with L_true and L_model at the actor, target
critics and α that the inner steps have left, and through the s′ that the target critics see alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.omd import Direct, Identity, LinearSolver
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd_sac.gauss_newton import GaussNewton
from mbrl_agents.omd_sac.learner import OMDSACLearner, OMDSACState
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor
from tests.agents.omd.slopes import assert_gradient_is_that_of_solving_anew
from tests.agents.omd_sac.test_learner import ACTIONS, CODEC, FEATURES, HYPER, ROWS, batch_of, wide

DAMPING = 0.3  # so that systems of few rows and many weights have a solution
UPDATE_KEY = jax.random.PRNGKey(5)


# ------------------------------------------------------------------ the published equations, densely


def perceptron(params: Any, x: Any) -> Any:
    """Values of the layers written out, with tanh between them."""
    for i in range(len(params)):
        x = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
        x = jnp.tanh(x) if i < len(params) - 1 else x
    return x


class Equations:
    """L_true and L_model of critics w and a model θ, flattened; everything else is as a state has it."""

    def __init__(self, state: OMDSACState, batch: Batch, noise: Any, theta: Any) -> None:
        self.state, self.batch, self.noise = state, batch, np.asarray(noise.next_action)
        self.inputs = np.concatenate([batch.observation, batch.action], axis=1)
        self.w, self.critics = ravel_pytree(state.params.critics)
        self.theta, self.model = ravel_pytree(theta)
        self.seen = np.asarray(self.predicted(self.theta)[0])  # by the actor: a constant, not a function of θ

    def predicted(self, theta: Any) -> tuple[Any, Any]:
        model = self.model(theta)
        if "both" in model:
            both = perceptron(model["both"], self.inputs)
            return both[:, :FEATURES], both[:, FEATURES]
        return perceptron(model["observation"], self.inputs), perceptron(model["reward"], self.inputs)[:, 0]

    def bootstrap(self, following: Any, seen: np.ndarray) -> Any:
        mean, log_std = np.split(np.asarray(perceptron(self.state.params.actor, seen)), 2, axis=1)
        action = np.tanh(mean + np.exp(log_std) * self.noise)
        log_prob = -0.5 * self.noise**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - action**2 + 1e-6)
        pair = jnp.concatenate([following, action], axis=1)
        first, second = (
            perceptron(jax.tree.map(lambda leaf, i=i: leaf[i], self.state.target_params), pair)[:, 0] for i in range(2)
        )
        return jnp.minimum(first, second) - np.exp(float(self.state.params.log_ent_coef)) * log_prob.sum(axis=1)

    def values(self, w: Any) -> Any:
        critics = self.critics(w)
        return jnp.stack([perceptron(jax.tree.map(lambda leaf, i=i: leaf[i], critics), self.inputs)[:, 0] for i in range(2)])

    def loss_true(self, w: Any) -> Any:
        following = np.asarray(self.batch.next_observation)
        y = self.batch.reward + self.batch.discount * self.bootstrap(following, following)
        return 0.5 * jnp.square(self.values(w) - y).sum() / len(self.inputs)

    def loss_model(self, w: Any, theta: Any) -> Any:
        following, reward = self.predicted(theta)
        y = reward + self.batch.discount * self.bootstrap(following, self.seen)
        return 0.5 * jnp.square(self.values(w) - y).sum() / len(self.inputs)

    def gradient(self, solver: str) -> np.ndarray:
        outer = np.asarray(jax.grad(self.loss_true)(self.w))
        mixed = np.asarray(jax.jacfwd(jax.grad(self.loss_model), argnums=1)(self.w, self.theta))
        if solver == "identity":
            return -outer @ mixed
        if solver == "direct":
            hessian = np.asarray(jax.hessian(self.loss_model)(self.w, self.theta))
        else:
            slopes = np.asarray(jax.jacfwd(self.values)(self.w))
            hessian = np.einsum("cnw,cnv->wv", slopes, slopes) / len(self.inputs)
        damping = np.full(len(outer), DAMPING)
        if solver == "gauss_newton":  # of each critic a fraction of the trace of its block
            marked = jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[0].set(1), self.critics(self.w))
            first = np.asarray(ravel_pytree(marked)[0]) == 1
            damping *= np.where(first, np.trace(hessian[first][:, first]), np.trace(hessian[~first][:, ~first]))
        return -np.linalg.solve(hessian + np.diag(damping), outer) @ mixed


SOLVERS: dict[str, LinearSolver | GaussNewton] = {
    "identity": Identity(),
    "direct": Direct(DAMPING),
    "gauss_newton": GaussNewton(DAMPING),
}


@pytest.mark.parametrize(
    ("solver", "inner_loop", "inner_steps", "trunk"),
    [
        pytest.param("identity", "critics", 1, "separate", marks=pytest.mark.slow),
        pytest.param("identity", "all", 2, "shared", marks=pytest.mark.slow),
        pytest.param("direct", "all", 2, "separate", marks=pytest.mark.slow),
        ("gauss_newton", "critics", 2, "shared"),
    ],
)
def test_the_gradient_is_that_of_the_published_equations(solver: str, inner_loop: str, inner_steps: int, trunk: str) -> None:
    with jax.enable_x64(True):
        batch = batch_of(np.random.default_rng(0), 8)
        learner = OMDSACLearner(
            CODEC,
            DynamicsModel(CODEC, ACTIONS, (4,), "tanh", trunk=trunk),
            "omd",
            SquashedGaussianActor(ACTIONS, (4,), "tanh"),
            Critics(2, (3, 4), "tanh"),
            inner_steps=inner_steps,
            solver=SOLVERS[solver],
            inner_loop=inner_loop,
        )
        begin = wide(learner.init(jax.random.PRNGKey(0), HYPER))
        begin = begin._replace(target_params=wide(learner.init(jax.random.PRNGKey(1), HYPER)).params.critics)
        now = Now(Exploration(1.0, 0.0), jnp.float64(0.05))
        after, metrics, _ = jax.jit(learner.update)(begin, batch, UPDATE_KEY, now)
        ours = np.asarray(ravel_pytree(after.model_optimizer.mu)[0]) / 0.1  # Adam's mean of gradients, of one: 1 − b1 of it

        fresh = learner.noise(learner.keys(UPDATE_KEY)[1], 8)
        equations = Equations(after, batch, fresh, begin.model)
        expected = equations.gradient(solver)
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6 * scale)
        assert float(metrics["model_loss"]) == pytest.approx(float(equations.loss_true(equations.w)), rel=1e-10)
        assert float(metrics["fallbacks"]) == 0
        if solver != "identity":
            return
        # The same elsewhere is another: with the noise of an inner step, or at what was there before the inner steps.
        used = learner.noise(learner.keys(UPDATE_KEY)[0][-1], 8)
        before = after._replace(target_params=begin.target_params, params=begin.params._replace(critics=after.params.critics))
        for other in (Equations(after, batch, used, begin.model), Equations(before, batch, fresh, begin.model)):
            assert np.abs(other.gradient(solver) - expected).max() > 1e-4 * scale


def test_the_residual_of_gauss_newton_is_that_of_its_system() -> None:
    """‖(JᵀJ/n) λ − Jᵀe/n‖ / ‖Jᵀe/n‖ for λ = (JᵀJ/n + ε)⁻¹ Jᵀe/n, all critics together."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        slopes, errors = rng.normal(size=(2, 6, 9)), rng.normal(size=(2, 6))
        found = GaussNewton(DAMPING).project(jnp.asarray(slopes @ slopes.transpose(0, 2, 1)), jnp.asarray(errors))
        missed, whole, values = [], [], []
        for jacobian, error in zip(slopes, errors, strict=True):
            matrix, right = jacobian.T @ jacobian / 6, jacobian.T @ error / 6
            solution = np.linalg.solve(matrix + DAMPING * np.trace(matrix) * np.eye(9), right)
            values.append(jacobian @ solution)
            missed.append(matrix @ solution - right)
            whole.append(right)
        np.testing.assert_allclose(found.value, values, rtol=1e-10)
        assert float(found.residual) == pytest.approx(np.linalg.norm(missed) / np.linalg.norm(whole), rel=1e-10)
        assert not found.fell_back


def test_gauss_newton_falls_back_to_the_identity() -> None:
    errors = jnp.array([[1.0, -2.0], [0.5, 0.0]])
    kernel = jnp.array([[[2.0, 1.0], [1.0, 3.0]], [[-1.0, 0.0], [0.0, 1.0]]])  # the second is no kernel: negative
    found = GaussNewton(0.0).project(kernel, errors)
    np.testing.assert_allclose(found.value, np.einsum("cij,cj->ci", kernel, errors) / 2)
    assert bool(found.fell_back)
    assert not np.isfinite(found.residual)


# ------------------------------------------------------------------ linear critics, whose inner problem can be solved anew


class Linear:
    """The inner problem in NumPy, for linear critics: one of least squares, solved anew for every model."""

    def __init__(self, after: Any, model: Any, batch: Batch, following: np.ndarray) -> None:
        self.batch, self.noise = batch, following
        self.actor = {name: np.asarray(each) for name, each in after.params.actor["Dense_0"].items()}
        target = after.target_params["Dense_0"]
        self.target = [(np.asarray(target["kernel"])[i, :, 0], np.asarray(target["bias"])[i, 0]) for i in range(2)]
        self.alpha = np.exp(float(after.params.log_ent_coef))
        self.inputs = np.concatenate([batch.observation, batch.action], 1)
        self.design = np.concatenate([self.inputs, np.ones((len(self.inputs), 1))], 1)
        self.seen = self.predicted(model)[0]  # by the actor

    def bootstrap(self, features: np.ndarray, seen: np.ndarray) -> np.ndarray:
        mean, log_std = np.split(seen @ self.actor["kernel"] + self.actor["bias"], 2, axis=1)
        action = np.tanh(mean + np.exp(log_std) * self.noise)
        log_prob = -0.5 * self.noise**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1 - action**2 + 1e-6)
        least = np.minimum(*(np.concatenate([features, action], 1) @ kernel + bias for kernel, bias in self.target))
        return least - self.alpha * log_prob.sum(1)

    def predicted(self, model: Any) -> tuple[np.ndarray, np.ndarray]:
        parts = {name: {k: np.asarray(v) for k, v in model[name]["Dense_0"].items()} for name in model}
        following = self.inputs @ parts["observation"]["kernel"] + parts["observation"]["bias"]
        return following, (self.inputs @ parts["reward"]["kernel"] + parts["reward"]["bias"])[:, 0]

    def solution(self, model: Any) -> np.ndarray:
        following, reward = self.predicted(model)
        targets = reward + self.batch.discount * self.bootstrap(following, self.seen)
        return np.linalg.lstsq(self.design, targets, rcond=None)[0]

    def outer(self, model: Any) -> float:
        """The true loss of both critics, which have the same solution."""
        following = np.asarray(self.batch.next_observation)
        targets = self.batch.reward + self.batch.discount * self.bootstrap(following, following)
        return np.square(self.design @ self.solution(model) - targets).mean()


@pytest.mark.parametrize("solver", [Direct(0.0), GaussNewton(0.0)], ids=["direct", "gauss_newton"])
def test_the_models_gradient_is_that_of_solving_anew(solver: Any) -> None:
    """Central differences of the true loss at the exact solution for the model, in NumPy, against one whole update."""
    with jax.enable_x64(True):
        rows = ROWS if isinstance(solver, LinearSolver) else FEATURES + ACTIONS + 1  # as many as weights: K has an inverse
        batch = batch_of(np.random.default_rng(0), rows)
        huge = 1e8  # as Adam's ε, so that its first step is the gradient divided by that
        learner = OMDSACLearner(
            CODEC,
            DynamicsModel(CODEC, ACTIONS, hidden=()),
            "omd",
            SquashedGaussianActor(ACTIONS, hidden=()),
            Critics(hidden=()),
            solver=solver,
        )
        hyper = HYPER._replace(model_learning_rate=huge, adam=PLAIN_ADAM._replace(eps=huge))
        state = wide(learner.init(jax.random.PRNGKey(0), hyper))
        other = wide(learner.init(jax.random.PRNGKey(1), hyper))
        state = state._replace(target_params=other.params.critics, model=other.model)
        key = jax.random.PRNGKey(2)
        still = Now(Exploration(1.0, 0.0), jnp.float64(0.0))  # the critics stay at the solution
        noise = np.asarray(learner.noise(learner.keys(key)[1], rows).next_action)
        state = state._replace(hyper=wide(state.hyper._replace(tau=0.0)))  # and target critics where they are
        reference = Linear(state, state.model, batch, noise)
        solution = reference.solution(state.model)
        critics = {"Dense_0": {"kernel": np.stack([solution[:-1, None]] * 2), "bias": np.stack([solution[-1:]] * 2)}}
        state = state._replace(params=state.params._replace(critics=critics))
        after, metrics, _ = jax.jit(learner.update)(state, batch, key, still)
        assert_gradient_is_that_of_solving_anew(state, after, metrics, reference.outer)


def test_the_sizes_of_models_of_halfcheetah() -> None:
    """One trunk with two outputs, as published, has 6 866 parameters with 2 × 64 units; two networks have 12 562."""
    codec = ObservationCodec("float", (17,), 17)
    for trunk, size in (("shared", 6866), ("separate", 12562)):
        params = DynamicsModel(codec, 6, (64, 64), trunk=trunk).init(jax.random.PRNGKey(0))
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size
