"""Features of the states of a finite Markov chain: every moment exactly, in memory that grows as T·S², not as (N·T)².

With Φ the features of the S states, p_t the distribution over them at time t and P the transition matrix,

    Σ(t, t+d) = Φᵀ diag(p_t) P^d Φ.

Episodes may end: what is missing to 1 in a row of P is the probability that the episode ends after that state. From then on
features, values and rewards are 0, and the formula stands as it is.

Even the true fourth moments are within reach, as ψ_t δ_t depends on two states only (``fourth_moments="exact"``): they are no
longer those of a Gaussian, so that theory then equals the sampled process, not only nearly so.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy import sparse

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import FeatureCovariance, WeightMoments
from mbrl_envs.checks import integer_in

MOST_IN_POWERS = 500_000_000  # T·S² numbers: 4 GB
_SUMS_TO_ONE = 1e-9
_OUTSIDE = 1e-6  # largest part of rewards outside the span of the features that is taken for rounding


class ChainCovariance(FeatureCovariance):
    """Second moments of features Φ of a finite Markov chain, from transition probabilities.

    Args:
        transitions: P, float (S, S): ``transitions[i, j]`` is the probability of j after i; dense or scipy sparse. A row that
            sums to less than 1 ends the episode with the probability that is missing.
        start: Distribution of the first state, float (S,).
        features: Φ, float (S, N); None for one feature per state.
        num_steps: T, times in an episode, at least 2.

    Attributes:
        ends: Probability that the episode ends after each state, float64 (S,).
        visits: Expected visits of each state at the first T − 1 times, float64 (S,).

    Raises:
        ValueError: Shapes do not fit, probabilities are negative, a row of ``transitions`` sums to more than 1 or ``start`` not
            to 1, numbers are not finite, or there are too many states.
    """

    fourth_moments = ("published", "gaussian", "exact")

    def __init__(self, transitions: Any, start: Any, features: Any = None, *, num_steps: int) -> None:
        dense = transitions.toarray() if sparse.issparse(transitions) else transitions
        self.transitions = arguments.finite_array("transitions", dense, (2,))
        self.start = arguments.finite_array("start", start, (1,))
        states = self.start.size
        features = np.eye(states) if features is None else features
        self.features = arguments.finite_array("features", features, (2,))
        if self.transitions.shape != (states, states) or len(self.features) != states:
            raise ValueError(
                f"transitions must have shape (S, S), start (S,) and features (S, N), got {self.transitions.shape}, "
                f"{self.start.shape} and {self.features.shape}"
            )
        sums = self.transitions.sum(axis=1)
        if (self.transitions < 0).any() or sums.max() > 1 + _SUMS_TO_ONE:
            raise ValueError(
                f"transitions must be probabilities that sum to at most 1 in every row, got entries from "
                f"{self.transitions.min():g} and sums up to {sums.max():g}"
            )
        if (self.start < 0).any() or abs(self.start.sum() - 1) > _SUMS_TO_ONE:
            raise ValueError(f"start must be probabilities that sum to 1, got sum {self.start.sum():g}")
        self.ends = np.where(np.abs(1 - sums) > _SUMS_TO_ONE, 1 - sums, 0.0)
        self.num_features, self.num_steps = self.features.shape[1], integer_in("num_steps", num_steps, 2, 2**31 - 1)
        if self.num_steps * states**2 > MOST_IN_POWERS:
            raise ValueError(f"num_steps · states² must be at most {MOST_IN_POWERS}, got {self.num_steps} · {states}²")
        self._sparse = sparse.csr_array(self.transitions)
        self.occupancy = self._occupancy()
        self.visits = self.occupancy[:-1].sum(axis=0)
        self.total = self.features.T @ (self.visits[:, None] * self.features)
        self.total_next = self.features.T @ (self.visits[:, None] * (self._sparse @ self.features))
        self._powers: np.ndarray | None = None
        self._pairs: tuple[np.ndarray, np.ndarray] | None = None

    def reward_weights(self, rewards: Any) -> np.ndarray:
        """w_R, for which ψ · w_R is nearest to given rewards of the states, in the mean square over visits.

        With these weights, :func:`~mbrl_agents.td_dynamics.theory.fixed_point` is that of TD with the rewards themselves:
        Σ̄ w_R = Σ_t ⟨ψ_t r_t⟩. The noise of updates is that of rewards ψ · w_R.

        Args:
            rewards: Expected reward of a step from each state, float (S,).

        Returns:
            float64 (N,).

        Raises:
            ValueError: Rewards are not one finite number for each state.

        Warns:
            RuntimeWarning: Rewards lie outside the span of the features, so that the theory's noise of updates is too small.
        """
        given = arguments.finite_array("rewards", rewards, (1,))
        if given.shape != self.start.shape:
            raise ValueError(f"rewards must have one number for each of {self.start.size} states, got shape {given.shape}")
        root = np.sqrt(self.visits)
        found = np.linalg.lstsq(root[:, None] * self.features, root * given, rcond=1e-8)[0]
        left, all_of_it = (np.sqrt(self.visits @ each**2) for each in (given - self.features @ found, given))
        if left > _OUTSIDE * all_of_it:
            warnings.warn(
                f"rewards lie outside the span of the features: {left / all_of_it:.2g} of their root mean square over visits "
                "is left by the best weights. Fixed points are right; curves and plateaus lack the noise that the rest adds",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def _occupancy(self) -> np.ndarray:
        """p_t, (T, S)."""
        occupancy = np.empty((self.num_steps, self.start.size))
        occupancy[0] = self.start / self.start.sum()
        for t in range(1, self.num_steps):
            occupancy[t] = occupancy[t - 1] @ self._sparse
        return occupancy

    @property
    def powers(self) -> np.ndarray:
        """P^d as (S, T, S): ``powers[i, d, j]`` is the probability of j at d steps after i."""
        if self._powers is None:
            self._powers = np.empty((self.start.size, self.num_steps, self.start.size))
            power = np.eye(self.start.size)
            for d in range(self.num_steps):
                self._powers[:, d] = power
                power = self._sparse @ power
        return self._powers

    def contract(self, matrix: np.ndarray) -> np.ndarray:
        found = np.zeros((self.num_steps, self.num_steps))
        lifted = self.features @ matrix @ self.features.T
        for times, values in ((found, lifted), (found.T, lifted.T)):
            by_lag = self.occupancy @ (self.powers @ values[:, :, None])[:, :, 0]  # [t, d]: E ψ_tᵀ X ψ_{t+d}
            for d in range(self.num_steps):
                np.fill_diagonal(times[:, d:], by_lag[: self.num_steps - d, d])
        return found

    def weigh(self, between: np.ndarray) -> np.ndarray:
        by_lag = np.zeros((self.start.size, self.num_steps))
        for d in range(len(between)):
            by_lag[:, d] = np.diagonal(between, d) @ self.occupancy[: len(between) - d]
        same, by_lag[:, 0] = by_lag[:, 0].copy(), 0
        later = (by_lag[:, None, :] @ self.powers)[:, 0]
        return self.features.T @ (np.diag(same) + later + later.T) @ self.features

    def blocks(self) -> np.ndarray:
        steps, n = self.num_steps, self.num_features
        found = np.empty((steps, steps, n, n))
        for t in range(steps):
            for d in range(steps - t):
                found[t, t + d] = self.features.T @ (self.occupancy[t][:, None] * (self.powers[:, d] @ self.features))
                found[t + d, t] = found[t, t + d].T
        return found

    def noise(self, moments: WeightMoments, gamma: float, reward_noise: float, fourth_moments: str) -> np.ndarray:
        if fourth_moments != "exact":
            return super().noise(moments, gamma, reward_noise, fourth_moments)
        aa, aw, ww = (self.features @ each @ self.features.T for each in moments)
        aw_next, ww_next = aw @ self._sparse.T, ww @ self._sparse.T  # w at the state after the second one
        at_once = np.diagonal(aa) + 2 * gamma * np.diagonal(aw_next) + gamma**2 * (self._sparse @ np.diagonal(ww))
        first, second = self._pair_weights()
        later = first * (aa + gamma * aw_next)
        after, pointers = self._sparse.indices, self._sparse.indptr
        goes_on = np.flatnonzero(
            np.diff(pointers)
        )  # reduceat takes no empty rows, those of states after which all episodes end
        if goes_on.size:
            steps = np.add.reduceat(second * (aw.T + gamma * ww_next)[after], pointers[goes_on], axis=0)
            later[goes_on] += gamma * steps
        both = np.diag(self.visits * (at_once + reward_noise**2)) + later + later.T
        return self.features.T @ both @ self.features - self.squared_mean(moments, gamma)

    def _pair_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """How often which state comes after which, over all pairs of times t < s = t + d.

        Σ_d c_d(i) P^d(i, j), (S, S), and for each transition i → k, P(i, k) Σ_d c_d(i) P^{d−1}(k, j), (transitions, S), where
        c_d(i) = Σ_{t ≤ T−1−d} p_t(i).
        """
        if self._pairs is None:
            begins = np.cumsum(self.occupancy[:-1], axis=0)[::-1]  # [d]: c_d
            before = np.repeat(np.arange(self.start.size), np.diff(self._sparse.indptr))
            first = np.zeros_like(self.transitions)
            second = np.zeros((len(before), self.start.size))
            power = np.eye(self.start.size)
            for d in range(1, self.num_steps - 1):
                second += begins[d][before][:, None] * power[self._sparse.indices]
                power = self._sparse @ power
                first += begins[d][:, None] * power
            self._pairs = first, self._sparse.data[:, None] * second
        return self._pairs
