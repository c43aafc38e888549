"""Linear systems of which only products with the matrix are known.

Whatever the method, a solution that is not finite is replaced by that of the identity, the right-hand side itself, and says so:
a gradient that is a little wrong is better than parameters that are lost, if one counts how often.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse import linalg

from mbrl_envs.checks import integer_in, number_in, one_of, set_frozen

SOLVERS = ("cg", "normal_cg", "gmres", "direct", "identity")
MOST_DIRECT = 4096  # unknowns of a matrix that is written out


class Solution(NamedTuple):
    """The solution of a system.

    Attributes:
        value: Of the right-hand side's structure.
        residual: ‖A x − b‖ / ‖b‖, without damping; 0 for ``"identity"``, which solves nothing; not finite where it fell back.
        fell_back: Whether the solution was not finite, and b was taken instead, bool.
    """

    value: Any
    residual: jax.Array
    fell_back: jax.Array


@dataclasses.dataclass(frozen=True)
class LinearSolver:
    """A way to solve A x = b; the fields shape the program.

    Args:
        method: ``"cg"``: conjugate gradients (Hestenes & Stiefel 1952), for symmetric matrices that are positive definite, such
            as Hessians at minima. Where they are not, it stops at the first direction of no positive curvature (Steihaug 1983),
            beyond which steps lead nowhere; if that is b itself, the identity's solution is taken. ``"normal_cg"``: conjugate
            gradients on AᵀA x = Aᵀb, and ``"gmres"`` (Saad & Schultz 1986): for all others. ``"direct"``: the matrix is written
            out and factorised; up to 4096 unknowns. ``"identity"``: x = b, the default of the published agents.
        damping: Added to the diagonal (for ``"normal_cg"`` of AᵀA), at least 0. None for ``"identity"``.
        tolerance: Relative residual at which iterations stop, above 0.
        max_steps: Most iterations.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """

    method: str = "cg"
    damping: float = 1e-5
    tolerance: float = 1e-6
    max_steps: int = 100

    def __post_init__(self) -> None:
        one_of("method", self.method, SOLVERS)
        set_frozen(
            self,
            damping=number_in("damping", self.damping, 0),
            tolerance=number_in("tolerance", self.tolerance, 0, open_low=True),
            max_steps=integer_in("max_steps", self.max_steps, 1, 2**31 - 1),
        )

    def solve(self, product: Callable[[Any], Any], right: Any) -> Solution:
        """Solves A x = b.

        Args:
            product: x ↦ A x, for x of the structure of b; linear.
            right: b, a pytree of arrays.

        Returns:
            The solution. Under ``vmap`` every system goes through as many iterations as the slowest one.

        Raises:
            ValueError: ``"direct"``, and there are too many unknowns.
        """
        flat, unravel = ravel_pytree(right)

        def times(vector: jax.Array) -> jax.Array:
            return ravel_pytree(product(unravel(vector)))[0]

        found = flat if self.method == "identity" else self._solve(times, flat)
        size = jnp.linalg.norm(flat)
        missed = jnp.zeros(()) if self.method == "identity" else jnp.linalg.norm(times(found) - flat)
        fine = jnp.isfinite(found).all() & jnp.isfinite(missed)  # some methods give up at once on NaN, and return 0
        kept = jnp.where(fine, found, flat)
        return Solution(unravel(kept), jnp.where(size > 0, missed / jnp.where(size > 0, size, 1), 0.0), ~fine)

    def check_size(self, unknowns: Any) -> None:
        """Refuses a system that is too large for the method.

        Args:
            unknowns: Arrays of the shapes of the unknowns.

        Raises:
            ValueError: It is.
        """
        size = sum(leaf.size for leaf in jax.tree.leaves(unknowns))
        if self.method == "direct" and size > MOST_DIRECT:
            raise ValueError(f"solver='direct' takes at most {MOST_DIRECT} unknowns, the weights of the networks, got {size}")

    def _solve(self, times: Callable[[jax.Array], jax.Array], right: jax.Array) -> jax.Array:
        def damped(vector: jax.Array) -> jax.Array:
            return times(vector) + self.damping * vector

        if self.method == "cg":
            return self._conjugate_gradients(damped, right)
        if self.method == "gmres":
            cycles = -(-self.max_steps // min(20, right.size))
            restart = min(self.max_steps // cycles, right.size)
            return linalg.gmres(damped, right, tol=self.tolerance, restart=restart, maxiter=cycles, solve_method="batched")[0]
        transpose = jax.linear_transpose(times, right)

        def back(vector: jax.Array) -> jax.Array:
            return transpose(vector)[0]

        if self.method == "normal_cg":
            return linalg.cg(
                lambda vector: back(times(vector)) + self.damping * vector,
                back(right),
                tol=self.tolerance,
                maxiter=self.max_steps,
            )[0]
        self.check_size(right)
        matrix = jax.vmap(damped)(jnp.eye(right.size, dtype=right.dtype)).T
        return jnp.linalg.solve(matrix, right)

    def _conjugate_gradients(self, times: Callable[[jax.Array], jax.Array], right: jax.Array) -> jax.Array:
        """Conjugate gradients from 0 that stop at non-positive curvature, which those of JAX do not."""
        enough = (self.tolerance**2) * (right @ right)

        class Carry(NamedTuple):
            found: jax.Array
            residual: jax.Array
            direction: jax.Array
            missing: jax.Array  # squared norm of the residual
            steps: jax.Array
            curved: jax.Array  # whether all directions so far had positive curvature

        def goes_on(carry: Carry) -> jax.Array:
            return (carry.missing > enough) & (carry.steps < self.max_steps) & carry.curved

        def step(carry: Carry) -> Carry:
            image = times(carry.direction)
            curvature = carry.direction @ image
            curved = ~(curvature <= 0)  # NaN goes on, and is found out in the end
            length = jnp.where(curved, carry.missing / jnp.where(curved, curvature, 1), jnp.where(carry.steps == 0, 1, 0))
            residual = carry.residual - length * image
            missing = residual @ residual
            direction = residual + (missing / carry.missing) * carry.direction
            return Carry(carry.found + length * carry.direction, residual, direction, missing, carry.steps + 1, curved)

        begin = Carry(jnp.zeros_like(right), right, right, right @ right, jnp.int32(0), jnp.bool_(True))
        return lax.while_loop(goes_on, step, begin).found
