"""The recursion and the learner told again, in plain loops and by enumeration, to compare with."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from mbrl_agents.td_dynamics import ChainCovariance


def published_setting(features: int = 300, times: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Σ (N, T, T) and w_R of the published study: spectrum k^−1.2, correlation time 10/√k, target k^−1.1."""
    k = np.arange(1.0, features + 1)
    apart = np.abs(np.subtract.outer(np.arange(times), np.arange(times)))
    return k[:, None, None] ** -1.2 * np.exp(-apart * np.sqrt(k)[:, None, None] / 10), k**-1.1


def embedded(decoupled: np.ndarray) -> np.ndarray:
    """(N, T, T) as (N, T, N, T)."""
    n, times, _ = decoupled.shape
    full = np.zeros((n, times, n, times))
    for k in range(n):
        full[k, :, k, :] = decoupled[k]
    return full


def ring(states: int = 5, width: float = 1.0, times: int = 6) -> ChainCovariance:
    """A drifting walk on a ring from one state, with a bump for every state but one."""
    transitions = 0.5 * np.roll(np.eye(states), 1, axis=1) + 0.3 * np.roll(np.eye(states), -1, axis=1) + 0.2 * np.eye(states)
    apart = np.abs(np.subtract.outer(np.arange(states), np.arange(states)))
    bumps = np.exp(-(np.minimum(apart, states - apart) ** 2) / (2 * width**2))
    return ChainCovariance(transitions, np.eye(states)[2], bumps[:, :-1], num_steps=times)


def curve(
    covariance: np.ndarray, rewards: np.ndarray, gamma: float, etas: Any, batch: int, noise: float = 0, shaping: Any = 0,
    crossed: bool = False,
) -> list[float]:  # fmt: skip
    """REFERENCE's recursion as it is written, over moments of w itself, Σ of shape (N, T, N, T)."""
    n, times = covariance.shape[:2]
    now, sigma = range(times - 1), covariance.transpose(1, 3, 0, 2)
    total, following = sum(sigma[t, t] for t in now), sum(sigma[t, t + 1] for t in now)
    mean_map = total - gamma * following
    value = np.linalg.solve(mean_map, total @ rewards)
    mean = -np.ones(n) * shaping  # shaping is as good as another start
    second = np.outer(mean, mean)
    losses = []
    for eta in [*etas, None]:
        error = np.outer(value, value) - np.outer(value, mean) - np.outer(mean, value) + second
        losses.append(float(np.trace(error @ total)))
        if eta is None:
            return losses
        aw = np.outer(rewards, mean) - second
        aa = np.outer(rewards, rewards) - np.outer(rewards, mean) - np.outer(mean, rewards) + second
        spread = np.zeros((n, n))
        for t, s in itertools.product(now, now):
            q = (sigma[t, s] * aa).sum() + gamma**2 * (sigma[t + 1, s + 1] * second).sum() + noise**2 * (t == s)
            q += gamma * ((sigma[t, s + 1] * aw).sum() + (sigma[t + 1, s] * aw.T).sum())
            spread += sigma[t, s] * q
            if crossed:
                spread += sigma[t, s] @ aa @ sigma[t, s] + gamma**2 * sigma[t, s + 1] @ second @ sigma[t + 1, s]
                spread += gamma * (sigma[t, s] @ aw @ sigma[t + 1, s] + sigma[t, s + 1] @ aw.T @ sigma[t, s])
        # E[w'] and E[w' w'ᵀ] of w' = w + η (A (w_V − w) + noise).
        kept, push = np.eye(n) - eta * mean_map, eta * total @ rewards
        cross = np.outer(kept @ mean, push)
        second = kept @ second @ kept.T + cross + cross.T + np.outer(push, push) + eta**2 / batch * spread
        mean = kept @ mean + push
    raise AssertionError


def enumerated(
    chain: ChainCovariance, rewards: np.ndarray, gamma: float, eta: float, batch: int, updates: int, start: Any = 0
) -> list[float]:
    """Expected losses over all trajectories of all batches, each with its probability."""
    states = len(chain.start)
    paths = np.array(list(itertools.product(range(states), repeat=chain.num_steps)))
    chance = chain.start[paths[:, 0]] * np.prod(chain.transitions[paths[:, :-1], paths[:, 1:]], axis=1)
    features = chain.features[paths]
    now, later = features[:, :-1], features[:, 1:]
    total = np.einsum("e,eti,etj->ij", chance, now, now)
    following = np.einsum("e,eti,etj->ij", chance, now, later)
    value = np.linalg.solve(total - gamma * following, total @ rewards)
    weights, probability = np.zeros((1, len(rewards))) + start, np.ones(1)
    losses = []
    for n in range(updates + 1):
        error = value - weights
        losses.append(float(probability @ np.einsum("wi,ij,wj->w", error, total, error)))
        if n < updates:
            delta = (rewards - weights) @ now.swapaxes(1, 2) + gamma * weights @ later.swapaxes(1, 2)  # (path, weight, t)
            steps = np.einsum("ewt,eti->wei", delta, now)
            moved, reached = weights[:, None], probability[:, None]
            for _ in range(batch):
                moved = (moved[:, :, None] + eta / batch * steps[:, None]).reshape(len(weights), -1, len(rewards))
                reached = (reached[:, :, None] * chance).reshape(len(weights), -1)
            weights, probability = moved.reshape(-1, len(rewards)), reached.ravel()
    return losses
