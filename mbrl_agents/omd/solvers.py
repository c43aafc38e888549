"""Linear systems A x = b of which only products with the matrix are known; a class for each way to solve them.

Whatever the solver, a solution that is not finite is replaced by that of the identity, the right-hand side itself, and says so:
a gradient that is a little wrong is better than parameters that are lost, if one counts how often.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse import linalg

from mbrl_envs.checks import integer_in, number_in, one_of, set_frozen

MAX_DIRECT = 4096
"""Unknowns of a matrix that is written out, at most."""

Product = Callable[[jax.Array], jax.Array]


class Solution(NamedTuple):
    """The solution of a system.

    Attributes:
        value: Of the right-hand side's structure.
        residual: ‖A x − b‖ / ‖b‖, without damping; 0 for the identity, which solves nothing; not finite where it fell back.
        fell_back: Whether the solution was not finite, and b was taken instead, bool.
    """

    value: Any
    residual: jax.Array
    fell_back: jax.Array


class LinearSolver(abc.ABC):
    """A way to solve A x = b. Solvers are frozen dataclasses, whose fields shape the program."""

    def solve(self, product: Callable[[Any], Any], right: Any) -> Solution:
        """Solves A x = b.

        Args:
            product: x ↦ A x, for x of the structure of b; linear.
            right: b, a pytree of arrays.

        Returns:
            The solution. Under ``vmap`` every system goes through as many iterations as the slowest one.

        Raises:
            ValueError: There are too many unknowns for the solver.
        """
        flat, unravel = ravel_pytree(right)

        def times(vector: jax.Array) -> jax.Array:
            return ravel_pytree(product(unravel(vector)))[0]

        found = self.find(times, flat)
        size, missed = jnp.linalg.norm(flat), self.missed(times, flat, found)
        finite = jnp.isfinite(found).all() & jnp.isfinite(missed)  # some solvers give up at once on NaN, and return 0
        residual = jnp.where(size > 0, missed / jnp.where(size > 0, size, 1), 0.0)
        return Solution(unravel(jnp.where(finite, found, flat)), residual, ~finite)

    @abc.abstractmethod
    def find(self, times: Product, right: jax.Array) -> jax.Array:
        """x, for vectors; perhaps not finite."""

    def missed(self, times: Product, right: jax.Array, found: jax.Array) -> jax.Array:
        """‖A x − b‖."""
        return jnp.linalg.norm(times(found) - right)

    def check_size(self, unknowns: Any) -> None:
        """Refuses a system that is too large for the solver.

        Args:
            unknowns: Arrays of the shapes of the unknowns.

        Raises:
            ValueError: It is.
        """
        del unknowns  # of which there may be any number

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        set_frozen(self, **_checked(**given))


@dataclasses.dataclass(frozen=True)
class IterativeSolver(LinearSolver):
    """Base of solvers that come closer step by step.

    Args:
        damping: Added to the diagonal, at least 0.
        tolerance: Relative residual at which iterations stop, above 0.
        max_steps: Most iterations.

    Raises:
        TypeError, ValueError: An argument is out of range.
    """

    damping: float = 1e-5
    tolerance: float = 1e-6
    max_steps: int = 100


@dataclasses.dataclass(frozen=True)
class ConjugateGradients(IterativeSolver):
    """Conjugate gradients (Hestenes & Stiefel 1952), for symmetric matrices that are positive definite, as Hessians at minima.

    Where they are not, it stops at the first direction of no positive curvature (Steihaug 1983), beyond which steps lead
    nowhere; if that is b itself, the identity's solution is taken. (Those of JAX go on.)
    """

    def find(self, times: Product, right: jax.Array) -> jax.Array:
        enough = (self.tolerance**2) * (right @ right)

        class Carry(NamedTuple):
            found: jax.Array
            residual: jax.Array
            direction: jax.Array
            missing: jax.Array  # squared norm of the residual
            steps: jax.Array
            curved: jax.Array  # whether all directions so far had positive curvature

        def unsolved(carry: Carry) -> jax.Array:
            return (carry.missing > enough) & (carry.steps < self.max_steps) & carry.curved

        def step(carry: Carry) -> Carry:
            image = times(carry.direction) + self.damping * carry.direction
            curvature = carry.direction @ image
            curved = ~(curvature <= 0)  # NaN goes on, and is found out in the end
            length = jnp.where(curved, carry.missing / jnp.where(curved, curvature, 1), jnp.where(carry.steps == 0, 1, 0))
            residual = carry.residual - length * image
            missing = residual @ residual
            direction = residual + (missing / carry.missing) * carry.direction
            return Carry(carry.found + length * carry.direction, residual, direction, missing, carry.steps + 1, curved)

        begin = Carry(jnp.zeros_like(right), right, right, right @ right, jnp.int32(0), jnp.bool_(True))
        return lax.while_loop(unsolved, step, begin).found


@dataclasses.dataclass(frozen=True)
class NormalConjugateGradients(IterativeSolver):
    """Conjugate gradients on the normal equations AᵀA x = Aᵀb, for all matrices; damping is added to the diagonal of AᵀA."""

    def find(self, times: Product, right: jax.Array) -> jax.Array:
        transpose = jax.linear_transpose(times, right)

        def normal(vector: jax.Array) -> jax.Array:
            return transpose(times(vector))[0] + self.damping * vector

        return linalg.cg(normal, transpose(right)[0], tol=self.tolerance, maxiter=self.max_steps)[0]


@dataclasses.dataclass(frozen=True)
class GMRES(IterativeSolver):
    """The generalised minimal residual method (Saad & Schultz 1986), for all matrices; begins anew after 20 iterations."""

    def find(self, times: Product, right: jax.Array) -> jax.Array:
        def damped(vector: jax.Array) -> jax.Array:
            return times(vector) + self.damping * vector

        cycles = -(-self.max_steps // min(20, right.size))
        restart = min(self.max_steps // cycles, right.size)
        return linalg.gmres(damped, right, tol=self.tolerance, restart=restart, maxiter=cycles, solve_method="batched")[0]


@dataclasses.dataclass(frozen=True)
class Direct(LinearSolver):
    """Writes the matrix out and factorises it; up to 4096 unknowns.

    Args:
        damping: Added to the diagonal, at least 0.

    Raises:
        TypeError, ValueError: It is out of range.
    """

    damping: float = 1e-5

    def find(self, times: Product, right: jax.Array) -> jax.Array:
        self.check_size(right)
        columns = jax.vmap(lambda unit: times(unit) + self.damping * unit)(jnp.eye(right.size, dtype=right.dtype))
        return jnp.linalg.solve(columns.T, right)

    def check_size(self, unknowns: Any) -> None:
        size = sum(leaf.size for leaf in jax.tree.leaves(unknowns))
        if size > MAX_DIRECT:
            raise ValueError(f"solver='direct' takes at most {MAX_DIRECT} unknowns, the weights of the networks, got {size}")


@dataclasses.dataclass(frozen=True)
class Identity(LinearSolver):
    """Takes x = b, as if A were the identity: the default of the published agents."""

    def find(self, times: Product, right: jax.Array) -> jax.Array:
        del times
        return right

    def missed(self, times: Product, right: jax.Array, found: jax.Array) -> jax.Array:
        del times, right, found  # no product is taken
        return jnp.zeros(())


SOLVERS: dict[str, type[LinearSolver]] = {
    "cg": ConjugateGradients,
    "normal_cg": NormalConjugateGradients,
    "gmres": GMRES,
    "direct": Direct,
    "identity": Identity,
}


def make_solver(method: str = "cg", damping: float = 1e-5, tolerance: float = 1e-6, max_steps: int = 100) -> LinearSolver:
    """The solver of a name, with those of the numbers that it has.

    Args:
        method: One of ``SOLVERS``.
        damping: Added to the diagonal, at least 0.
        tolerance: Relative residual at which iterations stop, above 0.
        max_steps: Most iterations.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """
    solver: Any = SOLVERS[one_of("method", method, SOLVERS)]
    numbers = _checked(damping=damping, tolerance=tolerance, max_steps=max_steps)
    return solver(**{field.name: numbers[field.name] for field in dataclasses.fields(solver)})


def _checked(**numbers: Any) -> dict[str, Any]:
    """The numbers of a solver, in plain form."""
    checks: dict[str, Callable[[Any], Any]] = {
        "damping": lambda value: number_in("damping", value, 0),
        "tolerance": lambda value: number_in("tolerance", value, 0, open_low=True),
        "max_steps": lambda value: integer_in("max_steps", value, 1, 2**31 - 1),
    }
    return {name: checks[name](value) for name, value in numbers.items()}
