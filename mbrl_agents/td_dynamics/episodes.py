"""Covariances of any environment and feature map, from episodes that stream by.

Σ̄ and Σ̄₊, which say where learning goes and how fast, are summed over all episodes. The noise of updates needs Σ(t,s) at all
pairs of times, (N·T)² numbers; instead R of the episodes are kept, R·T·N numbers, and what is wanted is a mean over them. A
product such as Σ(t,s) Q(t,s) takes its factors from different episodes, which leaves the estimate without bias.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import FeatureCovariance, WeightMoments
from mbrl_agents.td_dynamics.sampling import FeatureMap, Policy, sample_features
from mbrl_envs.checks import integer_in

MAX_EPISODES = 2**31 - 1


class EpisodeCovariance(FeatureCovariance):
    """Second moments of features from a sample of episodes.

    With ``fourth_moments="exact"`` the noise is that of the sampled episodes' own updates, whatever their distribution.
    ``"gaussian"`` takes its extra pairing from these episodes' second moments as they are, which overrates it by a share of
    about 1/R of the total.

    Args:
        episodes: ψ, float (R, T, N), at least two episodes.
        total: Σ̄, (N, N), if it is known better than from these episodes; with ``total_next``.
        total_next: Σ̄₊, (N, N).

    Raises:
        ValueError: Wrong shapes, or numbers that are not finite.
    """

    fourth_moments = ("published", "gaussian", "exact")

    def __init__(self, episodes: Any, total: Any = None, total_next: Any = None) -> None:
        self.episodes = arguments.finite_array("episodes", episodes, (3,))
        kept, self.num_steps, self.num_features = self.episodes.shape
        if kept < 2 or self.num_steps < 2:
            raise ValueError(f"episodes must have shape (R, T, N) with R and T of at least 2, got {self.episodes.shape}")
        if (total is None) != (total_next is None):
            raise ValueError("total and total_next must be given together, or neither")
        if total is None:
            self.total, self.total_next = (each / kept for each in sums(self.episodes))
        else:
            self.total = arguments.covariance_matrices("total", arguments.finite_array("total", total, (2,)))
            self.total_next = arguments.finite_array("total_next", total_next, (2,))
        if not self.total.shape == self.total_next.shape == (self.num_features,) * 2:
            raise ValueError(
                f"total and total_next must have shape (N, N) for N = {self.num_features} features, "
                f"got {self.total.shape} and {self.total_next.shape}"
            )
        self._blocks: np.ndarray | None = None

    def noise(self, moments: WeightMoments, gamma: float, reward_noise: float, fourth_moments: str) -> np.ndarray:
        now, later, kept = self.episodes[:, :-1], self.episodes[:, 1:], len(self.episodes)
        left = now @ moments.aa + gamma * (later @ moments.aw.T)
        right = gamma * (now @ moments.aw) + gamma**2 * (later @ moments.ww)
        own = left @ now.swapaxes(1, 2) + right @ later.swapaxes(1, 2)  # δ_t δ_s of each episode
        if fourth_moments != "exact":
            own = (own.sum(axis=0) - own) / (kept - 1)  # of the others
        own = own + reward_noise**2 * np.eye(self.num_steps - 1)
        flat = (kept * (self.num_steps - 1), self.num_features)
        found = now.reshape(flat).T @ (own @ now).reshape(flat) / kept
        if fourth_moments == "exact":
            return found - self.squared_mean(moments, gamma)
        return found + self.crossed(moments, gamma) if fourth_moments == "gaussian" else found

    def contract(self, matrix: np.ndarray) -> np.ndarray:
        return (self.episodes @ matrix @ self.episodes.swapaxes(1, 2)).mean(axis=0)

    def weigh(self, between: np.ndarray) -> np.ndarray:
        now = self.episodes[:, :-1]
        return np.tensordot(now, between @ now, axes=([0, 1], [0, 1])) / len(now)

    def blocks(self) -> np.ndarray:
        if self._blocks is None:
            kept, steps, n = self.episodes.shape
            flat = self.episodes.reshape(kept, -1)
            pairs = (flat.T @ flat / kept).reshape(steps, n, steps, n)
            self._blocks = np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))
        return self._blocks


def sums(episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ_t ψ_t ψ_tᵀ and Σ_t ψ_t ψ_{t+1}ᵀ for t = 1 … T−1, summed over episodes (E, T, N)."""
    now, later = (each.reshape(-1, each.shape[-1]) for each in (episodes[:, :-1], episodes[:, 1:]))
    return now.T @ now, now.T @ later


def estimate_covariance(
    env: Any,
    features: FeatureMap,
    *,
    num_episodes: int,
    num_steps: int,
    kept: int = 200,
    policy: Policy | None = None,
    seed: int = 0,
    progress_bar: bool = False,
) -> EpisodeCovariance:
    """The covariance of features of an environment's observations under a policy, from episodes that are not all held.

    Memory: ``kept`` · T · N numbers of 8 bytes, 2 N² for the sums, and a few megabytes for the episodes at hand.

    Args:
        env: Functional dynamics (as compiled programs), or anything that is or names a Gymnasium environment.
        features: Features (K, N) of observations (K, …), as arrays.
        num_episodes: Episodes to play, at least 2.
        num_steps: T, observations per episode, at least 2. After the end of an episode features are 0, as values are.
        kept: R, episodes kept for the noise; it is known to a share of about 1/√R.
        policy: Action of an observation; an agent with SB3's ``predict``; or None for uniform actions.
        seed: Of everything random.
        progress_bar: Whether to show one.

    Returns:
        The covariance, for :func:`~mbrl_agents.td_dynamics.theory.theory_curve` and all others here.

    Raises:
        TypeError, ValueError: Bad arguments, features of a wrong shape, or an environment that truncates episodes too early.
    """
    total_episodes = integer_in("num_episodes", num_episodes, 2, MAX_EPISODES)
    room = min(integer_in("kept", kept, 2, MAX_EPISODES), total_episodes)
    held: list[np.ndarray] = []
    total: Any = 0.0
    total_next: Any = 0.0
    num_held = 0
    chunks = sample_features(
        env, features, num_episodes=total_episodes, num_steps=num_steps, policy=policy, seed=seed, progress_bar=progress_bar
    )
    for chunk in chunks:
        now, later = sums(chunk)
        total, total_next = total + now, total_next + later
        if num_held < room:  # Episodes are independent of each other: the first ones are as good a sample as any.
            held.append(chunk[: room - num_held])
            num_held += len(held[-1])
    return EpisodeCovariance(np.concatenate(held), total / total_episodes, total_next / total_episodes)
