"""Optimal Model Design in finite MDPs: which model of bounded size is best for return, and which for likelihood?

A model is θ = (logits, rewards), its transitions are softmax(logits / c). Q*(θ) is the fixed point of its soft Bellman
operator (:mod:`mbrl_agents.omd.finite_mdp`), and its policy is softmax(Q* / α). OMD follows the gradient of an outer objective
through that fixed point (Nikishin et al. 2022, arXiv 2106.03273): J, the policy's return in the true MDP, which is to be
maximised, or the residual of the true soft Bellman equation, the mean over states and actions of (Q* − B Q*)², to be minimised.
MLE maximises the likelihood of the true transitions and fits the rewards. Both step with Adam. After every step they are
projected on ‖(logits / c, rewards)‖ ≤ b, so that b says how much a model can hold, or not projected at all.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.omd.finite_mdp import FiniteMDP, bellman_residual, policy_return, soft_bellman, soft_q_values
from mbrl_agents.omd.implicit import ImplicitGradient, implicit_gradient
from mbrl_agents.omd.solvers import Direct, LinearSolver
from mbrl_envs.checks import integer_in, number_in, one_of
from mbrl_envs.draws import raw_key

LOSSES, PROJECTIONS, OUTER_OBJECTIVES = ("omd", "mle"), ("joint", "per_array"), ("return", "bellman")


class Model(NamedTuple):
    """A model's parameters: logits (A, S, S), to be divided by their scale, and rewards (S, A)."""

    logits: jax.Array
    rewards: jax.Array


class TabularResult(NamedTuple):
    """Models for each setting (a norm bound and a σ of the noise) and seed; one setting if both are single values.

    Attributes:
        returns: J of their policies in the true MDP, float (settings, seeds).
        models: Parameters, leaves (settings, seeds, …).
        q_values: Their soft optimal action values, (settings, seeds, S, A).
        fallbacks: Steps whose linear system had no finite solution, int (settings, seeds).
    """

    returns: np.ndarray
    models: Model
    q_values: np.ndarray
    fallbacks: np.ndarray


def solve(
    mdp: FiniteMDP,
    *,
    model_loss: str,
    norm_bound: Any,
    outer_objective: str = "return",
    projection: str = "joint",
    seeds: int = 1,
    num_steps: int = 10_000,
    learning_rate: float = 0.01,
    temperature: float = 0.01,
    logit_scale: float = 0.01,
    solver: LinearSolver | None = None,
    inner_noise: Any = 0.0,
) -> TabularResult:
    """Trains models, for many bounds, levels of noise and seeds in one program.

    Args:
        mdp: The true MDP.
        model_loss: ``"omd"`` or ``"mle"``.
        norm_bound: b, a number above 0, or a list of such; None for no projection.
        outer_objective: What OMD models are trained for: ``"return"``, J in the true MDP, or ``"bellman"``, the squared
            residual of the true soft Bellman equation at Q*(θ), which the published studies of noise and of value errors have.
        projection: ``"joint"``: all parameters together are projected on the ball, as the paper has it. ``"per_array"``: as the
            published code does: each array on a ball of its own, in whose norm the first slice is divided by the scale and all
            others are not.
        seeds: Number of seeds: parameters begin uniform in [0, 1].
        num_steps: Steps of Adam.
        learning_rate: Its step size, at least 0.
        temperature: α, above 0.
        logit_scale: c, above 0.
        solver: Of the linear system in the implicit gradient; None for a direct one.
        inner_noise: σ, standard deviation of Normal noise that is added to Q* where the outer objective is taken, at least 0:
            how much an inexact inner solution hurts. It is drawn anew for each step. The derivative dQ*/dθ is taken at Q*
            itself, and the result's values and returns are without noise. A number or a list of such; if ``norm_bound`` is
            a list too, of as many.

    Returns:
        Returns and models.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """
    one_of("model_loss", model_loss, LOSSES)
    one_of("projection", projection, PROJECTIONS)
    one_of("outer_objective", outer_objective, OUTER_OBJECTIVES)
    bounds, noises = _settings(norm_bound, inner_noise)
    program = _Program(
        mdp,
        model_loss,
        outer_objective,
        projection,
        integer_in("num_steps", num_steps, 1, 2**31 - 1),
        number_in("learning_rate", learning_rate, 0),
        number_in("temperature", temperature, 0, open_low=True),
        number_in("logit_scale", logit_scale, 0, open_low=True),
        solver or Direct(damping=0.0),
    )
    keys = np.stack([raw_key(seed) for seed in range(integer_in("seeds", seeds, 1, 10**6))])
    over_seeds = jax.vmap(program.run, in_axes=(None, None, 0))
    returns, model, q_values, fallbacks = plain_jit(jax.vmap(over_seeds, in_axes=(0, 0, None)))(bounds, noises, keys)
    return TabularResult(np.asarray(returns), jax.tree.map(np.asarray, model), np.asarray(q_values), np.asarray(fallbacks))


def _settings(norm_bound: Any, inner_noise: Any) -> tuple[np.ndarray, np.ndarray]:
    """Bounds and levels of noise, float32, of one length."""
    bounds = [np.inf]  # all are inside
    if norm_bound is not None:
        bounds = [number_in("norm_bound", each, 0, open_low=True) for each in np.atleast_1d(norm_bound).tolist()]
    noises = [number_in("inner_noise", each, 0) for each in np.atleast_1d(inner_noise).tolist()]
    lengths = {len(bounds), len(noises)}
    if 0 in lengths or len(lengths - {1}) > 1:
        raise ValueError(
            "norm_bound and inner_noise must be single values or lists of one length, "
            f"got {len(bounds)} and {len(noises)} values"
        )
    both = np.broadcast_arrays(np.array(bounds, np.float32), np.array(noises, np.float32))
    return both[0], both[1]


# --- the parts ----------------------------------------------------------------------------------------------------------------


def outer_loss(mdp: FiniteMDP, q_values: jax.Array, temperature: float, objective: str) -> jax.Array:
    """Outer loss of OMD at action values (S, A): −J for ``"return"``, the mean of (Q − B Q)² for ``"bellman"``."""
    if objective == "return":
        return -policy_return(mdp, q_values, temperature)
    return jnp.square(bellman_residual(mdp, q_values, temperature)).mean()


def model_gradient(
    mdp: FiniteMDP,
    model: Model,
    q_values: jax.Array,
    *,
    outer_objective: str,
    temperature: float,
    logit_scale: float,
    solver: LinearSolver,
    noise: jax.Array | float = 0.0,
) -> ImplicitGradient:
    """The gradient of the outer loss in the model, through its fixed point: L(Q*(θ) + noise), the noise being held fixed.

    Args:
        mdp: The true MDP.
        model: θ.
        q_values: Q*(θ), (S, A).
        outer_objective: ``"return"`` or ``"bellman"``.
        temperature: α.
        logit_scale: c.
        solver: Of the linear system.
        noise: Added to Q* in the outer loss, (S, A) or a number.
    """

    def optimality(q_values: jax.Array, model: Model) -> jax.Array:
        transitions = jax.nn.softmax(model.logits / logit_scale, axis=-1)
        return q_values - soft_bellman(q_values, transitions, model.rewards, mdp.gamma, temperature)

    def loss(q_values: jax.Array, _: Model) -> jax.Array:
        return outer_loss(mdp, q_values + noise, temperature, outer_objective)

    return implicit_gradient(loss, optimality, q_values, model, solver)


def project(model: Model, bound: jax.Array, scale: float, projection: str) -> Model:
    """The model, moved to the ball of radius ``bound`` if it is outside; see :func:`solve`."""
    if projection == "joint":
        norm = jnp.sqrt(jnp.square(model.logits / scale).sum() + jnp.square(model.rewards).sum())
        return jax.tree.map(lambda each: each * jnp.minimum(1, bound / norm), model)

    def own(each: jax.Array) -> jax.Array:
        norm = jnp.sqrt(jnp.square(each[0] / scale).sum() + jnp.square(each[1:]).sum())
        return each * jnp.minimum(1, bound / norm)

    return jax.tree.map(own, model)


@dataclasses.dataclass(frozen=True, eq=False)
class _Program:
    mdp: FiniteMDP
    model_loss: str
    outer_objective: str
    projection: str
    num_steps: int
    learning_rate: float
    temperature: float
    logit_scale: float
    solver: LinearSolver

    def run(self, bound: jax.Array, sigma: jax.Array, key: jax.Array) -> tuple[jax.Array, Model, jax.Array, jax.Array]:
        """One setting, one seed."""
        actions, states = self.mdp.transitions.shape[:2]
        logits_key, rewards_key, noise_key = jax.random.split(key, 3)
        logits = jax.random.uniform(logits_key, (actions, states, states), jnp.float32)
        model = Model(logits, jax.random.uniform(rewards_key, (states, actions), jnp.float32))
        adam = optax.adam(self.learning_rate)

        def step(i: jax.Array, carry: tuple[Model, Any, jax.Array, jax.Array]) -> tuple[Model, Any, jax.Array, jax.Array]:
            model, state, q_values, fallbacks = carry
            if self.model_loss == "mle":
                gradient, fell_back = jax.grad(self._likelihood_loss)(model), jnp.bool_(False)
            else:
                q_values = self._q_values(model, q_values)
                noise = sigma * jax.random.normal(jax.random.fold_in(noise_key, i), q_values.shape, q_values.dtype)
                gradient, fell_back = self._omd_gradient(model, q_values, noise)
            moves, state = adam.update(gradient, state, model)
            moved = optax.apply_updates(model, moves)
            return project(moved, bound, self.logit_scale, self.projection), state, q_values, fallbacks + fell_back

        first = (model, adam.init(model), jnp.zeros((states, actions), jnp.float32), jnp.int32(0))
        model, _, q_values, fallbacks = lax.fori_loop(0, self.num_steps, step, first)
        q_values = self._q_values(model, q_values)
        return policy_return(self.mdp, q_values, self.temperature), model, q_values, fallbacks

    def _q_values(self, model: Model, guess: jax.Array) -> jax.Array:
        transitions = jax.nn.softmax(model.logits / self.logit_scale, axis=-1)
        return soft_q_values(transitions, model.rewards, self.mdp.gamma, self.temperature, guess)

    def _omd_gradient(self, model: Model, q_values: jax.Array, noise: jax.Array) -> tuple[Model, jax.Array]:
        found = model_gradient(
            self.mdp,
            model,
            q_values,
            outer_objective=self.outer_objective,
            temperature=self.temperature,
            logit_scale=self.logit_scale,
            solver=self.solver,
            noise=noise,
        )
        return found.gradient, found.fell_back

    def _likelihood_loss(self, model: Model) -> jax.Array:
        """Mean over states and actions of the cross-entropy of transitions and the squared error of rewards."""
        likely = jax.nn.log_softmax(model.logits / self.logit_scale, axis=-1)
        entropy = -(jnp.asarray(self.mdp.transitions) * likely).sum(axis=-1).mean()
        return entropy + jnp.square(model.rewards - jnp.asarray(self.mdp.rewards)).mean()
