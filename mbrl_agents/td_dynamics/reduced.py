"""The linear algebra behind fixed points, stability and plateaus, in coordinates where A can be inverted.

Updates never leave the span of the features that are seen, the range of Σ̄. Within it A is invertible; beyond it nothing is ever
learned, and nothing of it shows in the loss.
"""

from __future__ import annotations

import abc
import functools

import numpy as np
from scipy import linalg

from mbrl_agents.td_dynamics.covariances import DecoupledCovariance, FeatureCovariance, WeightMoments

UNSEEN = 1e-10  # share of the largest eigenvalue of Σ̄ below which a direction counts as never seen


class Reduced(abc.ABC):
    """Operators on errors e and their moments M = ⟨e eᵀ⟩, within the range of Σ̄.

    Args:
        covariance: Of the features.
        gamma: γ.
        fourth_moments: See :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.
    """

    mean: np.ndarray  # A in these coordinates
    total: np.ndarray  # Σ̄

    def __init__(self, covariance: FeatureCovariance, gamma: float, fourth_moments: str) -> None:
        self.covariance, self.gamma, self.fourth_moments = covariance, gamma, fourth_moments

    @property
    @abc.abstractmethod
    def rates(self) -> np.ndarray:
        """Eigenvalues of A, complex."""

    @abc.abstractmethod
    def solve(self, vector: np.ndarray) -> np.ndarray:
        """A⁻¹ b, both in the features' own coordinates."""

    @abc.abstractmethod
    def identity(self) -> np.ndarray:
        """The moments of an error that is equally large in every direction."""

    @abc.abstractmethod
    def inverse_drift(self, moments: np.ndarray) -> np.ndarray:
        """The M for which A M + M Aᵀ is what is given."""

    @abc.abstractmethod
    def spread(self, moments: np.ndarray) -> np.ndarray:
        """A M Aᵀ."""

    @abc.abstractmethod
    def shrink(self, moments: np.ndarray, step_size: float) -> np.ndarray:
        """(I − ηA) M (I − ηA)ᵀ."""

    @abc.abstractmethod
    def noise(self, moments: WeightMoments, reward_noise: float) -> np.ndarray:
        """The noise of updates, of weights whose moments are given in the features' own coordinates."""

    @abc.abstractmethod
    def full(self, moments: np.ndarray) -> np.ndarray:
        """Moments in the features' own coordinates."""

    def own_noise(self, moments: np.ndarray) -> np.ndarray:
        """The noise that errors themselves bring about."""
        return self.noise(WeightMoments.homogeneous(self.full(moments)), 0.0)

    def loss(self, moments: np.ndarray) -> float:
        """Tr(M Σ̄)."""
        return float((moments * self.total).sum())


class ReducedDecoupled(Reduced):
    """Of decoupled features: moments are vectors, and every operator but the noise is diagonal."""

    def __init__(self, covariance: DecoupledCovariance, gamma: float, fourth_moments: str) -> None:
        super().__init__(covariance, gamma, fourth_moments)
        self.seen = covariance.total > UNSEEN * covariance.total.max()
        self.mean, self.total = covariance.mean_map(gamma)[self.seen], covariance.total[self.seen]

    @property
    def rates(self) -> np.ndarray:
        return self.mean.astype(complex)

    def solve(self, vector: np.ndarray) -> np.ndarray:
        return self.full(vector[self.seen] / self.mean)

    def identity(self) -> np.ndarray:
        return np.ones(len(self.mean))

    def inverse_drift(self, moments: np.ndarray) -> np.ndarray:
        return moments / (2 * self.mean)

    def spread(self, moments: np.ndarray) -> np.ndarray:
        return self.mean**2 * moments

    def shrink(self, moments: np.ndarray, step_size: float) -> np.ndarray:
        return (1 - step_size * self.mean) ** 2 * moments

    def noise(self, moments: WeightMoments, reward_noise: float) -> np.ndarray:
        return self.covariance.noise(moments, self.gamma, reward_noise, self.fourth_moments)[self.seen]

    def full(self, moments: np.ndarray) -> np.ndarray:
        found = np.zeros(len(self.seen))
        found[self.seen] = moments
        return found


class ReducedCoupled(Reduced):
    """Of features in general: moments are (R, R) matrices in the basis of the R eigenvectors of Σ̄ that count."""

    def __init__(self, covariance: FeatureCovariance, gamma: float, fourth_moments: str) -> None:
        super().__init__(covariance, gamma, fourth_moments)
        values, vectors = np.linalg.eigh(covariance.total)
        seen = values > UNSEEN * values[-1]
        self.basis = vectors[:, seen]
        self.mean = self.basis.T @ covariance.mean_map(gamma) @ self.basis
        self.total = np.diag(values[seen])

    @functools.cached_property
    def rates(self) -> np.ndarray:
        return np.linalg.eigvals(self.mean)

    @functools.cached_property
    def _schur(self) -> tuple[np.ndarray, np.ndarray]:
        triangular, unitary = linalg.schur(self.mean)
        return triangular, unitary

    def solve(self, vector: np.ndarray) -> np.ndarray:
        return self.basis @ np.linalg.solve(self.mean, self.basis.T @ vector)

    def identity(self) -> np.ndarray:
        return np.eye(len(self.mean))

    def inverse_drift(self, moments: np.ndarray) -> np.ndarray:
        """Bartels & Stewart (1972), with the Schur form of A computed once."""
        triangular, unitary = self._schur
        found, scale, _ = linalg.lapack.dtrsyl(triangular, triangular, unitary.T @ moments @ unitary, trana="N", tranb="T")
        solved = unitary @ (found / scale) @ unitary.T
        return (solved + solved.T) / 2

    def spread(self, moments: np.ndarray) -> np.ndarray:
        return self.mean @ moments @ self.mean.T

    def shrink(self, moments: np.ndarray, step_size: float) -> np.ndarray:
        kept = np.eye(len(self.mean)) - step_size * self.mean
        return kept @ moments @ kept.T

    def noise(self, moments: WeightMoments, reward_noise: float) -> np.ndarray:
        noise = self.covariance.noise(moments, self.gamma, reward_noise, self.fourth_moments)
        return self.basis.T @ noise @ self.basis

    def full(self, moments: np.ndarray) -> np.ndarray:
        return self.basis @ moments @ self.basis.T


def reduced(covariance: FeatureCovariance, gamma: float, fourth_moments: str = "published") -> Reduced:
    """The operators of a covariance."""
    if isinstance(covariance, DecoupledCovariance):
        return ReducedDecoupled(covariance, gamma, fourth_moments)
    return ReducedCoupled(covariance, gamma, fourth_moments)
