"""Gradients through the solution of an inner problem, by the implicit function theorem.

Let q*(θ) solve F(q, θ) = 0: for an inner loss, F = ∇_q L_inner(q, θ); for a fixed point of T, F = q − T(q, θ). Then

    d L(q*(θ), θ) / dθ = ∂L/∂θ − λᵀ ∂F/∂θ,     (∂F/∂q)ᵀ λ = ∂L/∂q                    (Nikishin et al. 2022, arXiv 2106.03273)

which needs no more than q*, however it was found: products with ∂F/∂q and ∂F/∂θ are taken by automatic differentiation, the
linear system is left to a :class:`~mbrl_agents.omd.solvers.LinearSolver`. It is a pure function: it may be compiled,
mapped over runs, and used in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core import optimizer
from mbrl_agents.omd.solvers import ConjugateGradients, LinearSolver


class ImplicitGradient(NamedTuple):
    """An implicit gradient and how well its system was solved.

    Attributes:
        loss: The outer loss at q*.
        gradient: Its total derivative in θ, of θ's structure.
        residual: Relative residual of the linear system.
        fell_back: Whether the system had no finite solution, so that the identity's was taken, bool.
    """

    loss: jax.Array
    gradient: Any
    residual: jax.Array
    fell_back: jax.Array


def implicit_gradient(
    outer_loss: Callable[[Any, Any], jax.Array],
    optimality: Callable[[Any, Any], Any],
    solution: Any,
    theta: Any,
    solver: LinearSolver | None = None,
) -> ImplicitGradient:
    """The gradient in θ of an outer loss at the solution of an inner problem.

    Args:
        outer_loss: L(q, θ), a scalar.
        optimality: F(q, θ), of the structure of q; 0 at the solution. See :func:`inner_gradient`.
        solution: q*, a pytree of arrays.
        theta: θ, a pytree of arrays.
        solver: How to solve the linear system; None for ``ConjugateGradients()``, which asks that ∂F/∂q be symmetric and
            positive definite.

    Returns:
        Loss and gradient. Where the solution is only approximate, so is the gradient.
    """
    solver = solver or ConjugateGradients()
    loss, (in_solution, in_theta) = jax.value_and_grad(outer_loss, argnums=(0, 1))(solution, theta)
    _, back_to_solution = jax.vjp(lambda q: optimality(q, theta), solution)
    adjoint = solver.solve(lambda vector: back_to_solution(vector)[0], in_solution)
    _, back_to_theta = jax.vjp(lambda parameters: optimality(solution, parameters), theta)
    through = back_to_theta(adjoint.value)[0]
    gradient = jax.tree.map(lambda direct, indirect: direct - indirect, in_theta, through)
    return ImplicitGradient(loss, gradient, adjoint.residual, adjoint.fell_back)


def learn_model(state: Any, found: ImplicitGradient) -> tuple[Any, dict[str, jax.Array]]:
    """One update of the model in a learner's state along an implicit gradient, in which failures to solve are counted.

    Args:
        state: The state; see :func:`mbrl_agents.core.optimizer.learn_model`. Also ``fallbacks``, int32.
        found: The gradient.

    Returns:
        New state, and metrics ``model_loss``, ``residual`` and ``fallbacks``, float32 scalars.
    """
    state = state._replace(fallbacks=state.fallbacks + found.fell_back)
    metrics = {"model_loss": found.loss, "residual": found.residual, "fallbacks": state.fallbacks.astype(jnp.float32)}
    return optimizer.learn_model(state, found.gradient, clip=False), metrics


def inner_gradient(inner_loss: Callable[[Any, Any], jax.Array]) -> Callable[[Any, Any], Any]:
    """The optimality condition of an inner loss: F(q, θ) = ∇_q L_inner(q, θ)."""
    return jax.grad(inner_loss)
