"""Second moments of features along an episode, and what the theory needs of them.

The theory asks for no more than Σ̄, Σ̄₊ and the covariance of an episode's update,

    N(w) = Σ_{t,s} Σ(t,s) Q(t,s),    Q(t,s) = ⟨δ_t δ_s⟩,    t, s = 1 … T−1.

Each form of covariance computes it in its own way. Two are here, for arrays: features that do not mix
(:class:`DecoupledCovariance`, N matrices of size N × N once, then three products of a matrix and a vector), and the general one
(:class:`DenseCovariance`, all (N·T)² numbers). :mod:`~mbrl_agents.td_dynamics.chains` and
:mod:`~mbrl_agents.td_dynamics.episodes` have forms that need far less memory.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mbrl_agents.td_dynamics import arguments
from mbrl_envs.checks import one_of

FOURTH_MOMENTS = ("published", "gaussian", "exact")
MOST_IN_BLOCKS = 6000  # features × times of which all pairs are held: 288 MB


class WeightMoments(NamedTuple):
    """Second moments of weights: a = w_R − w and w.

    Attributes:
        aa: ⟨a aᵀ⟩, (N, N); of decoupled features its diagonal alone, (N,).
        aw: ⟨a wᵀ⟩, likewise.
        ww: ⟨w wᵀ⟩, likewise.
    """

    aa: np.ndarray
    aw: np.ndarray
    ww: np.ndarray

    @classmethod
    def homogeneous(cls, error: np.ndarray) -> WeightMoments:
        """Those of a pure error e with ⟨e eᵀ⟩ = ``error``: a = e, w = −e."""
        return cls(error, -error, error)


class FeatureCovariance(abc.ABC):
    """Σ(t, s) = ⟨ψ_t ψ_sᵀ⟩ of N features at T times, in some form.

    Moments of errors M are (N, N) matrices; of decoupled features only diagonals matter, and M is of shape (N,).

    Attributes:
        num_features: N.
        num_steps: T, at least 2; updates have T − 1 terms.
        total: Σ̄ = Σ_t Σ(t, t) over t = 1 … T−1, (N, N) or (N,).
        total_next: Σ̄₊ = Σ_t Σ(t, t+1), likewise.
    """

    num_features: int
    num_steps: int
    total: np.ndarray
    total_next: np.ndarray
    fourth_moments: tuple[str, ...] = ("published", "gaussian")

    def mean_map(self, gamma: float) -> np.ndarray:
        """A = Σ̄ − γ Σ̄₊, by which the mean error shrinks."""
        return self.total - gamma * self.total_next

    def noise(self, moments: WeightMoments, gamma: float, reward_noise: float, fourth_moments: str) -> np.ndarray:
        """N: the covariance of an episode's Σ_t ψ_t δ_t, averaged over weights; see the module's head.

        Args:
            moments: Of the weights.
            gamma: γ.
            reward_noise: σ, standard deviation of the noise of rewards.
            fourth_moments: One of ``self.fourth_moments``; see :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.
        """
        cross = gamma * self.contract(moments.aw)[:-1, 1:]
        between = self.contract(moments.aa)[:-1, :-1] + cross + cross.T + gamma**2 * self.contract(moments.ww)[1:, 1:]
        between[np.diag_indices_from(between)] += reward_noise**2
        found = self.weigh(between)
        return found + self.crossed(moments, gamma) if fourth_moments == "gaussian" else found

    def crossed(self, moments: WeightMoments, gamma: float) -> np.ndarray:
        """The pairing that the published recursion drops, Σ_{t,s} ⟨ψ_t δ_s⟩⟨δ_t ψ_sᵀ⟩. Takes all blocks, and T²·N³ operations.

        Raises:
            ValueError: There are too many blocks.
        """
        if self.num_features * self.num_steps > MOST_IN_BLOCKS:
            raise ValueError(
                f"fourth_moments='gaussian' takes at most {MOST_IN_BLOCKS} features × times of features that mix, "
                f"got {self.num_features} × {self.num_steps}"
            )
        blocks, n = self.blocks(), self.num_features
        now, later, before = blocks[:-1, :-1], blocks[:-1, 1:], blocks[1:, :-1]  # Σ(t,s), Σ(t,s+1), Σ(t+1,s)
        with_now = now @ moments.aa + gamma * later @ moments.aw.T
        with_before = gamma * now @ moments.aw + gamma**2 * later @ moments.ww
        found = np.zeros((n, n))
        for left, right in ((with_now, now), (with_before, before)):
            flat = left.transpose(2, 0, 1, 3).reshape(n, -1)  # one product over t, s and the feature between
            found += flat @ right.reshape(-1, n)
        return found

    def squared_mean(self, moments: WeightMoments, gamma: float) -> np.ndarray:
        """⟨u uᵀ⟩ over weights, of the mean u = Σ̄ a + γ Σ̄₊ w of Σ_t ψ_t δ_t over episodes; for features that mix."""
        cross = gamma * self.total @ moments.aw @ self.total_next.T
        last = gamma**2 * self.total_next @ moments.ww @ self.total_next.T
        return self.total @ moments.aa @ self.total + cross + cross.T + last

    @abc.abstractmethod
    def contract(self, matrix: np.ndarray) -> np.ndarray:
        """⟨ψ_tᵀ X ψ_s⟩ for all times, (T, T), for a matrix X (N, N)."""

    @abc.abstractmethod
    def weigh(self, between: np.ndarray) -> np.ndarray:
        """Σ_{t,s} Σ(t, s) Q(t, s) for a symmetric Q (T−1, T−1), (N, N)."""

    @abc.abstractmethod
    def blocks(self) -> np.ndarray:
        """All Σ(t, s), (T, T, N, N)."""


class DenseCovariance(FeatureCovariance):
    """Any covariance, all of it.

    Args:
        covariance: Σ, float (N, T, N, T): ``covariance[i, t, j, s]`` = ⟨ψ_ti ψ_sj⟩.

    Raises:
        ValueError: Wrong shape, not finite, not symmetric or not positive semi-definite.
    """

    def __init__(self, covariance: Any) -> None:
        given = arguments.finite_array("covariance", covariance, (4,))
        n, steps = given.shape[:2]
        if given.shape != (n, steps, n, steps) or steps < 2:
            raise ValueError(f"covariance must have shape (N, T, N, T) with T of at least 2, got {given.shape}")
        checked = arguments.covariance_matrices("covariance", given.reshape(n * steps, n * steps))
        self._blocks = np.ascontiguousarray(checked.reshape(given.shape).transpose(1, 3, 0, 2))
        self.num_features, self.num_steps = n, steps
        times = np.arange(steps - 1)
        self.total, self.total_next = self._blocks[times, times].sum(axis=0), self._blocks[times, times + 1].sum(axis=0)

    def contract(self, matrix: np.ndarray) -> np.ndarray:
        steps = self.num_steps
        return (self._blocks.reshape(steps**2, -1) @ matrix.ravel()).reshape(steps, steps)

    def weigh(self, between: np.ndarray) -> np.ndarray:
        padded = np.pad(between, (0, 1))  # whole blocks: slices of them would be copied
        return (padded.ravel() @ self._blocks.reshape(self.num_steps**2, -1)).reshape(self.num_features, self.num_features)

    def blocks(self) -> np.ndarray:
        return self._blocks


class DecoupledCovariance(FeatureCovariance):
    """Features that are independent of each other: Σ_kl(t, s) = 0 for k ≠ l.

    What is held are N × N matrices, such as G_kl = Σ_{t,s} Σ_k(t,s) Σ_l(t,s), from which the recursion goes on without Σ.

    Args:
        covariance: Σ_k, float (N, T, T).

    Raises:
        ValueError: Wrong shape, not finite, not symmetric or not positive semi-definite.
    """

    def __init__(self, covariance: Any) -> None:
        given = arguments.finite_array("covariance", covariance, (3,))
        n, steps = given.shape[:2]
        if given.shape != (n, steps, steps) or steps < 2:
            raise ValueError(f"covariance must have shape (N, T, T) with T of at least 2, got {given.shape}")
        self.array = arguments.covariance_matrices("covariance", given)
        self.num_features, self.num_steps = n, steps
        now, later = self.array[:, :-1, :-1], self.array[:, :-1, 1:]
        before, both = self.array[:, 1:, :-1], self.array[:, 1:, 1:]
        self.total, self.total_next = (np.trace(each, axis1=1, axis2=2) for each in (now, later))
        flat = now.reshape(n, -1)
        # Σ_{t,s} Σ_k(t,s) times the part of Q(t,s) that feature l brings: by a·a, by a·w, by w·w.
        self.by_aa = flat @ flat.T
        self.by_aw = flat @ (later + before).reshape(n, -1).T
        self.by_ww = flat @ both.reshape(n, -1).T
        # The pairing that is dropped stays within a feature.
        self.crossed_aw, self.crossed_ww = (now * (later + before)).sum(axis=(1, 2)), (later * before).sum(axis=(1, 2))

    def noise(self, moments: WeightMoments, gamma: float, reward_noise: float, fourth_moments: str) -> np.ndarray:
        found = self.by_aa @ moments.aa + gamma * (self.by_aw @ moments.aw) + gamma**2 * (self.by_ww @ moments.ww)
        found = found + reward_noise**2 * self.total
        return found + self.crossed(moments, gamma) if fourth_moments == "gaussian" else found

    def crossed(self, moments: WeightMoments, gamma: float) -> np.ndarray:
        own = np.diagonal(self.by_aa) * moments.aa
        return own + gamma * self.crossed_aw * moments.aw + gamma**2 * self.crossed_ww * moments.ww

    def coefficients(self, gamma: float, fourth_moments: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The matrices (N, N) by which ⟨a²⟩, ⟨a w⟩ and ⟨w²⟩ enter :meth:`noise`."""
        extra = float(fourth_moments == "gaussian")
        return (
            self.by_aa + extra * np.diag(np.diagonal(self.by_aa)),
            gamma * (self.by_aw + extra * np.diag(self.crossed_aw)),
            gamma**2 * (self.by_ww + extra * np.diag(self.crossed_ww)),
        )

    def contract(self, matrix: np.ndarray) -> np.ndarray:
        return np.tensordot(np.diagonal(matrix), self.array, 1)

    def weigh(self, between: np.ndarray) -> np.ndarray:
        return np.diag((self.array[:, :-1, :-1] * between).sum(axis=(1, 2)))

    def blocks(self) -> np.ndarray:
        return self.array.transpose(1, 2, 0)[..., None] * np.eye(self.num_features)


AnyCovariance: TypeAlias = FeatureCovariance | np.ndarray


def as_covariance(covariance: Any, fourth_moments: str = "published") -> FeatureCovariance:
    """A covariance in some form, from that itself or from an array.

    Args:
        covariance: A :class:`FeatureCovariance`, or an array (N, T, T) for decoupled features or (N, T, N, T) in general.
        fourth_moments: What will be asked of it.

    Raises:
        ValueError: The array is no covariance, or the form does not have these fourth moments.
    """
    one_of("fourth_moments", fourth_moments, FOURTH_MOMENTS)
    form = covariance
    if not isinstance(covariance, FeatureCovariance):
        array = arguments.finite_array("covariance", covariance, (3, 4))
        form = DecoupledCovariance(array) if array.ndim == 3 else DenseCovariance(array)
    if fourth_moments not in form.fourth_moments:
        allowed = ", ".join(map(repr, form.fourth_moments))
        raise ValueError(f"fourth_moments of a {type(form).__name__} must be one of {allowed}; got {fourth_moments!r}")
    return form
