"""How fast which part of the values is learned: the eigenvalues of A, and how the values lie along its eigenvectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import AnyCovariance, DecoupledCovariance, as_covariance
from mbrl_agents.td_dynamics.reduced import ReducedCoupled, reduced
from mbrl_agents.td_dynamics.theory import fixed_point


class Spectrum(NamedTuple):
    """Modes of A = Σ̄ − γΣ̄₊ within the span of the features that are seen, from the fastest to the slowest.

    Attributes:
        eigenvalues: Complex (R,), by falling real part; per update, the mean error along a mode shrinks by 1 − η · eigenvalue.
        modes: Right eigenvectors as columns, complex (N, R).
    """

    eigenvalues: np.ndarray
    modes: np.ndarray


def spectrum(covariance: AnyCovariance, *, gamma: float) -> Spectrum:
    """Eigenvalues and modes of A.

    Args:
        covariance: Σ, as for :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.
        gamma: γ, at least 0 and below 1.

    Returns:
        Them. Features that are never seen (no variance at all) have no mode.

    Raises:
        TypeError, ValueError: Bad arguments.
    """
    form = as_covariance(covariance)
    operators = reduced(form, arguments.discount(gamma))
    if isinstance(operators, ReducedCoupled):
        values, vectors = np.linalg.eig(operators.mean)
        modes = operators.basis @ vectors
    else:
        values, modes = operators.mean, np.eye(form.num_features)[:, operators.full(operators.identity()) > 0]
    order = np.lexsort((-values.imag, -values.real))  # pairs of complex ones stay together
    return Spectrum(values[order].astype(complex), modes[:, order].astype(complex))


def alignment(covariance: AnyCovariance, reward_weights: Any, *, gamma: float, shaping: Any = None) -> np.ndarray:
    """C(k): the share of the values that the k fastest modes hold.

    With w = Σ_l c_l u_l over the modes u_l of A and w = w_V + w_S what is to be learned, C(k) = 1 − ‖Σ_{l>k} c_l u_l‖² / ‖w‖²,
    in the norm of the loss, ‖x‖² = x†Σ̄x. It is the loss that is left when the k fastest modes are learned and no other is.
    If A is symmetric it rises from C(0) = 0 to C(R) = 1 (then it is the cumulative power of kernel regression); otherwise modes
    are not orthogonal, and it may leave that range on its way.

    Args:
        covariance: As for :func:`spectrum`.
        reward_weights: w_R, float (N,).
        gamma: As there.
        shaping: w_S, float (N,), or None.

    Returns:
        float64 (R + 1,), from C(0) = 0 to C(R) = 1.

    Raises:
        TypeError, ValueError: Bad arguments, or nothing is to be learned: w_V + w_S is 0.
    """
    form = as_covariance(covariance)
    goal = fixed_point(form, reward_weights, gamma=gamma)
    if shaping is not None:
        goal = goal + arguments.weights("shaping", shaping, form.num_features)
    modes = spectrum(form, gamma=gamma).modes
    shares, *_ = np.linalg.lstsq(modes, goal.astype(complex), rcond=None)
    total = np.diag(form.total) if isinstance(form, DecoupledCovariance) else form.total
    parts = modes * shares
    left = np.zeros((parts.shape[1] + 1, len(goal)), complex)
    left[:-1] = np.cumsum(parts[:, ::-1], axis=1)[:, ::-1].T
    losses = np.einsum("ki,ij,kj->k", left.conj(), total, left, optimize=True).real
    if losses[0] <= 0:
        raise ValueError("reward_weights: nothing is to be learned, as w_V + w_S is 0")
    return 1 - losses / losses[0]
