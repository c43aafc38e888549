"""n-step targets and priorities of sequences; all functions work on whole batches, time first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl_agents.core.returns import rescaled_td_target, td_target
from mbrl_agents.r2d2.samples import SequenceSamples


class NStepReturns(NamedTuple):
    """Sums of rewards up to where a target bootstraps; τ is the number of steps trained on, B that of sequences.

    Attributes:
        returns: float32 (τ, B): R = Σ γ^i r_{t+i+1} over the next n rewards, or fewer if the episode ends before.
        discounts: float32 (τ, B): γ^m with m the number of those rewards; 0 where the episode has terminated.
        bootstrap: int64 (τ, B): the observation m steps on, from whose value the target bootstraps.
    """

    returns: np.ndarray
    discounts: np.ndarray
    bootstrap: np.ndarray


def n_step_returns(
    rewards: np.ndarray, last: np.ndarray, terminated: np.ndarray, *, gamma: float, n_steps: int
) -> NStepReturns:
    """n-step returns that end with the episode.

    The target of step t is R + γ^m·V(s_{t+m}), where m = n unless the episode ends before: then m is what is left of it, and
    V is dropped after a termination (nothing follows) but not after a truncation (all goes on, only unseen), where s_{t+m} is
    the episode's true final observation.

    Args:
        rewards: (T − 1, B): the reward after each observation but the last.
        last: int (B,): index of the last real observation. Rewards after it are padding.
        terminated: bool (B,): whether the episode terminated in it.
        gamma: Discount factor γ.
        n_steps: n.

    Returns:
        For the steps 0 … T − n − 1. Entries of padding (t ≥ last) are finite and mean nothing.
    """
    steps = np.arange(len(rewards))[:, None]
    real = np.where(steps < last, rewards, 0)
    ahead = np.lib.stride_tricks.sliding_window_view(real, n_steps, axis=0)
    steps = steps[: len(ahead)]
    bootstrap = np.minimum(steps + n_steps, last)
    powers = gamma ** np.arange(n_steps + 1)
    discounts = powers[np.maximum(bootstrap - steps, 0)] * ~(terminated & (bootstrap == last))
    returns = ahead @ powers[:n_steps]
    return NStepReturns(returns.astype(np.float32), discounts.astype(np.float32), bootstrap)


def td_targets(
    values: np.ndarray,
    target_values: np.ndarray,
    batch: SequenceSamples,
    *,
    n_steps: int,
    gamma: float,
    double_q: bool,
    rescaling: float | None,
) -> np.ndarray:
    """What the values of the actions taken should be: h(R + γ^m·h⁻¹(Q⁻(s_{t+m}, a*))), float32 (τ, B).

    Args:
        values: Values of the network that is trained, (T, B, num_actions).
        target_values: Values of the target network, (T, B, num_actions).
        batch: The sequences.
        n_steps: Steps of a return.
        gamma: Discount factor.
        double_q: Whether ``values`` or ``target_values`` choose the action a*.
        rescaling: ε of h, or None for no rescaling.
    """
    rewards = batch.previous_rewards[1:].cpu().numpy()
    returns, discounts, bootstrap = n_step_returns(rewards, batch.last, batch.terminated, gamma=gamma, n_steps=n_steps)
    greedy = (values if double_q else target_values).argmax(axis=-1)
    columns = np.arange(target_values.shape[1])
    next_values = target_values[bootstrap, columns, greedy[bootstrap, columns]]
    if rescaling is None:
        return td_target(returns, discounts, next_values)
    return rescaled_td_target(returns, discounts, next_values, rescaling)


def sequence_priorities(errors: np.ndarray, trained: np.ndarray, eta: float) -> np.ndarray:
    """Priorities p = η·max|δ| + (1 − η)·mean|δ| over the steps trained on (Kapturowski et al. 2019, section 2.3).

    Args:
        errors: TD errors δ, (τ, B).
        trained: 1 for steps trained on, 0 for burn-in and padding, (τ, B); at least one in each sequence.
        eta: η, in [0, 1].

    Returns:
        Priorities, (B,).
    """
    sizes = np.abs(errors) * trained
    return eta * sizes.max(axis=0) + (1 - eta) * sizes.sum(axis=0) / trained.sum(axis=0)
