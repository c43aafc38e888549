"""Which step sizes converge, told before anything is run.

Second moments of the error follow K_η(M) = (I − ηA) M (I − ηA)ᵀ + (η²/B) H(M), H being the noise that errors bring about
themselves; learning converges in mean square if the spectral radius of K_η is below 1. As H and M ↦ A M Aᵀ keep positive
semi-definite matrices so, this is the case exactly if

    η < η*,    1/η* = ρ( D⁻¹ (A · Aᵀ + H/B) ),    D(M) = A M + M Aᵀ,

provided that all eigenvalues of A have positive real parts: K_η(M) < M means D(M) > η (A M Aᵀ + H(M)/B), and D⁻¹ is positive
(Schneider 1965, Positive operators and an inertia theorem; Damm 2004, Rational Matrix Equations in Stochastic Control). As the
map is positive, power iteration from the identity finds its ρ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import AnyCovariance, as_covariance
from mbrl_agents.td_dynamics.reduced import Reduced, reduced
from mbrl_envs.checks import integer_in, number_in

_ITERATIONS, _TOLERANCE = 1000, 1e-10
_DENSE = 400  # moments up to which the map is written out as a matrix
MAX_BATCH = 2**31 - 1


def largest_stable_step_size(
    covariance: AnyCovariance, *, gamma: float, batch_size: int, fourth_moments: str = "published"
) -> float:
    """η*: constant step sizes below it converge in mean square, those above diverge.

    Args:
        covariance: Σ, as for :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.
        gamma: γ, at least 0 and below 1.
        batch_size: B, episodes per update.
        fourth_moments: As there.

    Returns:
        η*, above 0.

    Raises:
        TypeError, ValueError: Bad arguments, or no step size converges, as A has an eigenvalue without positive real part.
    """
    form = as_covariance(covariance, fourth_moments)
    batch = integer_in("batch_size", batch_size, 1, MAX_BATCH)
    return limit(reduced(form, arguments.discount(gamma), fourth_moments), batch)


def limit(operators: Reduced, batch_size: int) -> float:
    """η* of operators; see :func:`largest_stable_step_size`.

    Raises:
        ValueError: No step size converges, as A has an eigenvalue without positive real part.
    """
    slowest = operators.rates.real.min()
    if slowest <= 0:
        raise ValueError(f"covariance: no step size is stable, as A has an eigenvalue with real part {slowest:g}")

    def noise_beside_drift(moments: np.ndarray) -> np.ndarray:
        return operators.inverse_drift(operators.spread(moments) + operators.own_noise(moments) / batch_size)

    moments = operators.identity()
    radius = 0.0
    for _ in range(_ITERATIONS):
        moments = noise_beside_drift(moments / operators.loss(moments))
        before, radius = radius, operators.loss(moments)
        if abs(radius - before) <= _TOLERANCE * radius:
            return 1 / radius
    # Where features are nearly alike it takes for ever.
    return 1 / _radius(noise_beside_drift, moments)


def spectral_radius(
    covariance: AnyCovariance, *, gamma: float, step_size: float, batch_size: int, fourth_moments: str = "published"
) -> float:
    """The spectral radius of K_η: by what factor the slowest part of the loss changes with an update, in the long run.

    Arguments and errors are those of :func:`largest_stable_step_size`, and:

    Args:
        covariance: As there.
        gamma: As there.
        step_size: η, above 0.
        batch_size: As there.
        fourth_moments: As there.

    Returns:
        The radius; below 1 if η converges.
    """
    form = as_covariance(covariance, fourth_moments)
    batch = integer_in("batch_size", batch_size, 1, MAX_BATCH)
    eta = number_in("step_size", step_size, 0, open_low=True)
    operators = reduced(form, arguments.discount(gamma), fourth_moments)

    def update(moments: np.ndarray) -> np.ndarray:
        return operators.shrink(moments, eta) + eta**2 / batch * operators.own_noise(moments)

    return _radius(update, operators.identity())


def _radius(function: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> float:
    """The spectral radius of a linear map of second moments, of the shape of ``start``."""

    def flat(vector: np.ndarray) -> np.ndarray:
        moments = vector.reshape(start.shape)
        return function((moments + moments.T) / 2).ravel()  # what is not symmetric is no moment of anything

    if start.size <= _DENSE:
        matrix = np.stack([flat(row) for row in np.eye(start.size)], axis=1)
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    operator = LinearOperator((start.size, start.size), flat, dtype=np.float64)
    try:
        found = eigs(operator, k=1, v0=start.ravel(), return_eigenvectors=False, tol=1e-10)
    except ArpackNoConvergence as error:
        raise ValueError(f"covariance: a spectral radius was not found: {error}") from error
    return float(np.abs(found).max())


def check_step_sizes(operators: Reduced, step_sizes: np.ndarray, batch_size: int) -> float:
    """Returns η*, if the largest step size is below it.

    Raises:
        ValueError: It is not; the message names η*.
    """
    stable, largest = limit(operators, batch_size), float(step_sizes.max())
    if largest >= stable:
        raise ValueError(
            f"step_size must be below {stable:.6g}, the largest stable one for batch_size={batch_size} and "
            f"gamma={operators.gamma:g}, got {largest:.6g}; check_stability=False computes the divergent curve"
        )
    return stable
