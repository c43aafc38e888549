"""The implicit gradient of critics' least-squares losses, with the Gauss–Newton matrix in place of their Hessian.

Both losses are half the mean squared error of the same values Q_w(s, a): L_model against targets y(θ) of the model, L_true
against real ones. Let J be the derivative of the n values in a critic's weights w, and e the errors against the real targets.
In place of the Hessian stands H = JᵀJ/n + ε I. What is left out is proportional to the errors against the model's targets,
which are 0 at the solution, and to the second derivatives of the values. With the tangent kernel K = JJᵀ, n × n,

    dL/dθ = (1/n) ẽᵀ ∂y/∂θ,     ẽ = J H⁻¹ Jᵀ e / n = K (K + n ε I)⁻¹ e,

so that neither second derivatives nor systems of the size of the network are needed. (With the identity for H⁻¹ it is
ẽ = K e / n.) As K grows with the network's width and with its inputs, ε is a fraction of the trace of JᵀJ/n, which also bounds
the condition number. Of a multi-layer perceptron K is the sum over layers of the products of two n × n matrices: of its inputs
among themselves, and of the derivatives of the values in its outputs.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import linalg

from mbrl_envs.checks import number_in, set_frozen


class ProjectedErrors(NamedTuple):
    """Errors that the model is to correct.

    Attributes:
        value: ẽ of each critic, float (critics, n).
        residual: Relative residual of the systems, without damping.
        fell_back: Whether a system had no finite solution, and the identity's was taken, bool.
    """

    value: jax.Array
    residual: jax.Array
    fell_back: jax.Array


@dataclasses.dataclass(frozen=True)
class GaussNewton:
    """Solves the systems of all critics by Cholesky's decomposition; the damping shapes the program.

    Args:
        damping: ε as a fraction of the trace of JᵀJ/n, at least 0.

    Raises:
        TypeError, ValueError: It is no such number.
    """

    damping: float = 1e-4

    def __post_init__(self) -> None:
        set_frozen(self, damping=number_in("damping", self.damping, 0))

    def project(self, kernel: jax.Array, errors: jax.Array) -> ProjectedErrors:
        """ẽ of errors.

        Args:
            kernel: Tangent kernels K of the critics, (critics, n, n).
            errors: Errors e against the real targets, (critics, n).
        """
        number = errors.shape[-1]
        shift = self.damping * jnp.trace(kernel, axis1=-2, axis2=-1)  # n ε
        damped = kernel + shift[:, None, None] * jnp.eye(number, dtype=kernel.dtype)
        solved = jax.vmap(lambda matrix, right: linalg.cho_solve(linalg.cho_factor(matrix), right))(damped, errors)
        fell_back = ~jnp.isfinite(solved).all()
        found = jnp.where(fell_back, errors / number, solved)
        value = jnp.einsum("cij,cj->ci", kernel, found)

        def size(vector: jax.Array) -> jax.Array:
            """‖Jᵀ v‖ of all critics together."""
            return jnp.sqrt(jnp.maximum(jnp.einsum("ci,cij,cj->", vector, kernel, vector), 0))

        whole = size(errors)
        missed = jnp.where(fell_back, jnp.inf, size(value - errors))
        return ProjectedErrors(value, jnp.where(whole > 0, missed / jnp.where(whole > 0, whole, 1), 0.0), fell_back)
