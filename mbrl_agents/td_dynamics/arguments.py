"""Checks of what users hand to the theory."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbrl_envs.checks import number_in

SYMMETRIC = 1e-8  # largest asymmetry allowed, beside the largest entry
INDEFINITE = 1e-9  # most negative eigenvalue allowed, beside the largest diagonal entry


def discount(gamma: Any) -> float:
    """Returns γ if it is a number with 0 ≤ γ < 1.

    Raises:
        TypeError, ValueError: It is not.
    """
    return number_in("gamma", gamma, 0, 1, open_high=True)


def finite_array(name: str, value: Any, dimensions: tuple[int, ...]) -> np.ndarray:
    """Returns ``value`` as a float64 array.

    Args:
        name: Name of the argument, for messages.
        value: What was given.
        dimensions: Numbers of dimensions allowed.

    Raises:
        ValueError: It is no array of numbers, has another number of dimensions, is empty, or has NaN or infinity in it.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from error
    if array.ndim not in dimensions or array.size == 0:
        allowed = " or ".join(map(str, dimensions))
        raise ValueError(f"{name} must be a non-empty array of {allowed} dimensions, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(array)).sum())} entries that are not")
    return array


def weights(name: str, value: Any, num_features: int) -> np.ndarray:
    """Returns ``value`` as a float64 vector with a weight for each feature.

    Raises:
        ValueError: It is not, or of another length.
    """
    array = finite_array(name, value, (1,))
    if array.shape != (num_features,):
        raise ValueError(f"{name} must have a weight for each of {num_features} features, got shape {array.shape}")
    return array


def covariance_matrices(name: str, matrices: np.ndarray) -> np.ndarray:
    """Returns a stack of matrices (…, D, D), made exactly symmetric, if each is a covariance matrix up to rounding.

    Raises:
        ValueError: One is not symmetric or has a negative eigenvalue; the message says which and by how much.
    """
    transposed = np.swapaxes(matrices, -1, -2)
    largest = np.abs(matrices).max()
    asymmetry = np.abs(matrices - transposed).max()
    if asymmetry > SYMMETRIC * largest:
        where = np.unravel_index(np.abs(matrices - transposed).argmax(), matrices.shape)
        raise ValueError(
            f"{name} must be symmetric in its two times (and features), got {matrices[where]:g} and {transposed[where]:g} "
            f"at {tuple(map(int, where))} and its mirror image"
        )
    symmetric = (matrices + transposed) / 2
    jitter = INDEFINITE * max(np.abs(np.diagonal(symmetric, axis1=-2, axis2=-1)).max(), 1e-300)
    try:  # much cheaper than eigenvalues, which only the message needs
        np.linalg.cholesky(symmetric + jitter * np.eye(matrices.shape[-1]))
    except np.linalg.LinAlgError:
        lowest = np.linalg.eigvalsh(symmetric)[..., 0]
        which = f"matrix {int(lowest.argmin())}" if lowest.ndim else "it"
        raise ValueError(
            f"{name} must be positive semi-definite: {which} has the eigenvalue {lowest.min():g}, that is, "
            "a combination of features with a negative variance"
        ) from None
    return symmetric
