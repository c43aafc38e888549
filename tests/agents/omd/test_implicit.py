"""Implicit gradients, against closed forms and finite differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.omd import (
    SOLVERS,
    ConjugateGradients,
    Direct,
    Identity,
    LinearSolver,
    implicit_gradient,
    inner_gradient,
    make_solver,
)

EXACT = [name for name in SOLVERS if name != "identity"]


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def solver(method: str, **changes: Any) -> LinearSolver:
    return make_solver(method, **({"damping": 0.0, "tolerance": 1e-12, "max_steps": 500} | changes))


def quadratic(seed: int = 0, size: int = 6) -> tuple[Any, Any, Any]:
    """min_q ½ qᵀHq − qᵀBθ, whose solution is H⁻¹Bθ; the outer loss is ½‖q − c‖² + aᵀθ."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, size))
    hessian, mixed = factor @ factor.T + 0.5 * np.eye(size), rng.normal(size=(size, 4))
    goal, slope, theta = rng.normal(size=size), rng.normal(size=4), rng.normal(size=4)

    def inner(q: Any, theta: Any) -> jax.Array:
        return 0.5 * q @ hessian @ q - q @ mixed @ theta

    def outer(q: Any, theta: Any) -> jax.Array:
        return 0.5 * jnp.square(q - goal).sum() + slope @ theta

    solution = np.linalg.solve(hessian, mixed @ theta)
    closed = slope + mixed.T @ np.linalg.solve(hessian, solution - goal)
    by_identity = slope + mixed.T @ (solution - goal)
    return (inner, outer), (jnp.asarray(solution), jnp.asarray(theta)), (closed, by_identity)


@pytest.mark.parametrize("method", EXACT)
def test_quadratic_problems_have_closed_forms(method: str) -> None:
    (inner, outer), at, (closed, _) = quadratic()
    found = jax.jit(lambda q, theta: implicit_gradient(outer, inner_gradient(inner), q, theta, solver(method)))(*at)
    np.testing.assert_allclose(found.gradient, closed, rtol=1e-8)
    assert found.residual < 1e-9
    assert not found.fell_back
    assert found.loss == outer(*at)


def test_the_identity_is_biased() -> None:
    (inner, outer), at, (closed, by_identity) = quadratic()
    found = implicit_gradient(outer, inner_gradient(inner), *at, Identity())
    np.testing.assert_allclose(found.gradient, by_identity, rtol=1e-10)
    assert np.linalg.norm(found.gradient - closed) > 0.1 * np.linalg.norm(closed)


@pytest.mark.parametrize("method", ["normal_cg", "gmres", "direct"])
def test_fixed_points_that_are_not_symmetric(method: str) -> None:
    """q = γ P q + r + Cθ, a Bellman equation: θ in rewards."""
    rng = np.random.default_rng(1)
    moves, design, weights = rng.dirichlet(np.ones(7), size=7), rng.normal(size=(7, 3)), rng.normal(size=7)
    theta = jnp.asarray(rng.normal(size=3))

    def optimality(q: Any, theta: Any) -> jax.Array:
        return q - 0.9 * moves @ q - design @ theta

    inverse = np.linalg.inv(np.eye(7) - 0.9 * moves)
    found = implicit_gradient(lambda q, _: weights @ q, optimality, inverse @ design @ theta, theta, solver(method))
    np.testing.assert_allclose(found.gradient, weights @ inverse @ design, rtol=1e-7)


@jax.jit
def nonlinear(theta: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The minimum of a strictly convex loss of a pytree, by Newton's method to machine precision."""

    def newton(_: int, q: jax.Array) -> jax.Array:
        gradient = jax.grad(flat_inner)(q, theta)
        return q - jnp.linalg.solve(jax.hessian(flat_inner)(q, theta), gradient)

    q = jax.lax.fori_loop(0, 30, newton, jnp.zeros(5))
    return {"a": q[:2], "b": q[2:]}


def flat_inner(q: jax.Array, theta: dict[str, jax.Array]) -> jax.Array:
    return inner({"a": q[:2], "b": q[2:]}, theta)


def inner(q: dict[str, jax.Array], theta: dict[str, jax.Array]) -> jax.Array:
    both = jnp.concatenate([q["a"], q["b"]])
    return (
        jnp.log(jnp.exp(both + theta["shift"]).sum()) + 0.5 * (jnp.exp(theta["width"]) * both**2).sum() - both @ theta["pull"]
    )


def outer(q: dict[str, jax.Array], theta: dict[str, jax.Array]) -> jax.Array:
    return jnp.sin(q["a"]).sum() * q["b"].prod() + 0.1 * jnp.square(theta["pull"]).sum()


def some_theta(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=5)) for name in ("shift", "width", "pull")}


@pytest.mark.parametrize("method", EXACT)
def test_finite_differences_through_a_converged_inner_solve(method: str) -> None:
    theta = some_theta(0)
    found = implicit_gradient(outer, inner_gradient(inner), nonlinear(theta), theta, solver(method))
    flat, unravel = jax.flatten_util.ravel_pytree(theta)
    solve = jax.jit(jax.vmap(lambda vector: outer(nonlinear(unravel(vector)), unravel(vector))))
    moves = 1e-5 * np.eye(len(flat))
    slopes = (solve(flat + moves) - solve(flat - moves)) / 2e-5
    ours = jax.flatten_util.ravel_pytree(found.gradient)[0]
    assert np.linalg.norm(ours - slopes) < 1e-5 * np.linalg.norm(slopes)


@pytest.mark.parametrize("method", SOLVERS)
def test_under_vmap_and_jit(method: str) -> None:
    thetas = [some_theta(seed) for seed in range(4)]
    solutions = [nonlinear(theta) for theta in thetas]

    def gradient(q: Any, theta: Any) -> Any:
        return implicit_gradient(outer, inner_gradient(inner), q, theta, solver(method))

    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (solutions, thetas)]
    together = jax.jit(jax.vmap(gradient))(*stacked)
    single = jax.jit(gradient)
    for i, (q, theta) in enumerate(zip(solutions, thetas, strict=True)):
        alone = single(q, theta)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6, atol=1e-12), together.gradient, alone.gradient
        )


@pytest.mark.parametrize("method", EXACT)
def test_systems_without_a_solution(method: str) -> None:
    """A matrix of NaN: the identity's solution, and it is said."""
    broken = solver(method).solve(lambda x: x * jnp.nan, jnp.arange(3.0))
    assert broken.fell_back
    np.testing.assert_array_equal(broken.value, np.arange(3.0))
    singular = solver("direct").solve(lambda x: jnp.zeros_like(x), jnp.ones(3))
    assert singular.fell_back
    assert not solver("direct", damping=1e-3).solve(lambda x: jnp.zeros_like(x), jnp.ones(3)).fell_back


def test_solvers_by_name() -> None:
    """A name gives a class; of the numbers it gets those that it has."""
    numbers = {"damping": 0.1, "tolerance": 0.01, "max_steps": 7}
    made = {name: make_solver(name, **numbers) for name in SOLVERS}
    assert {name: type(each) for name, each in made.items()} == SOLVERS
    assert (made["identity"], made["direct"]) == (Identity(), Direct(0.1))
    assert all(dataclasses.asdict(made[name]) == numbers for name in ("cg", "normal_cg", "gmres"))
    assert made["cg"] != made["gmres"]  # of another class, though the numbers are equal


def test_damping_is_added_to_the_diagonal() -> None:
    for method in ("cg", "gmres", "direct"):
        found = solver(method, damping=1.0).solve(lambda x: 3.0 * x, jnp.ones(2))
        np.testing.assert_allclose(found.value, 0.25, rtol=1e-9)
        assert found.residual == pytest.approx(0.25)
    np.testing.assert_allclose(solver("normal_cg", damping=1.0).solve(lambda x: 3.0 * x, jnp.ones(2)).value, 0.3, rtol=1e-9)


def test_conjugate_gradients_stop_where_there_is_no_curvature() -> None:
    """Steihaug (1983): at once, b itself; later, what was found before. Going on would lead anywhere."""
    downhill = solver("cg").solve(lambda x: -x, jnp.arange(3.0))
    np.testing.assert_array_equal(downhill.value, np.arange(3.0))
    matrix, right = np.diag([4.0, 1.0, -0.5]), np.array([1.0, 1.0, 1.0])
    first = right * (right @ right) / (right @ matrix @ right)  # the only step along positive curvature
    residual = right - matrix @ first
    second = residual + (residual @ residual) / (right @ right) * right
    assert second @ matrix @ second < 0
    found = solver("cg").solve(lambda x: jnp.asarray(matrix) @ x, jnp.asarray(right))
    np.testing.assert_allclose(found.value, first, rtol=1e-12)
    assert not found.fell_back


def test_few_iterations_leave_a_residual() -> None:
    matrix = jnp.diag(jnp.arange(1.0, 30.0))
    few, many = (solver("cg", max_steps=steps).solve(lambda x: matrix @ x, jnp.ones(29)) for steps in (3, 100))
    assert few.residual > 1e-2
    assert many.residual < 1e-9


def test_gmres_takes_no_more_iterations_than_it_is_given() -> None:
    """30 would be two cycles of 20; the start of each asks for a product more."""
    products = []

    def times(x: jax.Array) -> jax.Array:
        jax.debug.callback(lambda: products.append(1))
        return jnp.roll(x, 1)  # a rotation, which has no short solution

    solver("gmres", max_steps=30, damping=0.0).solve(times, jnp.eye(200)[0])
    jax.effects_barrier()
    assert 30 <= len(products) <= 35


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "lu"}, ValueError, "method must be one of"),
        ({"damping": -1.0}, ValueError, "damping must be"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be"),
        ({"max_steps": 0}, ValueError, "max_steps must be"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_solver(**arguments)
    if "method" not in arguments:
        with pytest.raises(error, match=message):
            ConjugateGradients(**arguments)
    with pytest.raises(ValueError, match=r"solver='direct' takes at most 4096 unknowns, .*, got 5000"):
        Direct().solve(lambda x: x, jnp.ones(5000))
