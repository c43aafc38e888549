"""Returns and targets from which values are learned, each a small pure function with its equation.

After step t come the reward r(t+1), the discount γ(t+1), which is γ or 0 where the episode terminated, and the value V(t+1) of
what comes next. A value is the expected return V(t) = E[r(t+1) + γ(t+1) r(t+2) + …], and learns from its TD error
δ(t) = r(t+1) + γ(t+1) V(t+1) − V(t) (Sutton 1988).

No function stops gradients: where a target is a constant, the loss that uses it says so. Functions of plain arithmetic take
NumPy's arrays as well as JAX's.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

ArrayT = TypeVar("ArrayT", jax.Array, np.ndarray)


# --- targets ------------------------------------------------------------------------------------------------------------------


def td_target(reward: ArrayT, discount: ArrayT, next_value: ArrayT) -> ArrayT:
    """The one-step target y = r + γ V(s′), or the n-step target where r and γ are those of :func:`n_step_return`.

    Args:
        reward: r, (…).
        discount: γ, 0 after a termination; of a shape that broadcasts to r's.
        next_value: V(s′), likewise.
    """
    return reward + discount * next_value


class NStepReturn(NamedTuple):
    """The rewards of m steps, after which a target bootstraps.

    Attributes:
        reward: R = Σ_{i<m} γ^i r(t+i+1), (…).
        discount: γ^m, (…).
        steps: m, int32 (…).
    """

    reward: jax.Array
    discount: jax.Array
    steps: jax.Array


def n_step_return(rewards: Sequence[jax.Array], ends: Sequence[jax.Array], gamma: Any) -> NStepReturn:
    """The n-step return R = r(t+1) + γ r(t+2) + … + γ^(m−1) r(t+m), where m = n, or fewer if the sequence ends before.

    Its target is R + γ^m V(t+m), or R where the episode terminated at t+m (Sutton & Barto 2018, eq. 7.1).

    Args:
        rewards: r(t+1) … r(t+n), each (…).
        ends: Whether the sequence ends with each of these steps, for whatever reason, bool (…); the last is not used.
        gamma: Discount factor γ.
    """
    total, discount = rewards[0], jnp.full_like(rewards[0], gamma)
    steps, ended = jnp.ones_like(rewards[0], jnp.int32), jnp.zeros_like(rewards[0], bool)
    for reward, end in zip(rewards[1:], ends[:-1], strict=True):
        ended = ended | end
        total = total + jnp.where(ended, 0, discount * reward)
        discount = jnp.where(ended, discount, discount * gamma)
        steps = jnp.where(ended, steps, steps + 1)
    return NStepReturn(total, discount, steps)


def lambda_returns(rewards: jax.Array, discounts: jax.Array, next_values: jax.Array, lambdas: jax.Array) -> jax.Array:
    """λ-returns G(t) = r(t+1) + γ(t+1) [(1 − λ(t+1)) V(t+1) + λ(t+1) G(t+1)] (Sutton & Barto 2018, eq. 12.18).

    λ = 0 gives one-step targets, λ = 1 whole returns. Where a sequence or an episode is cut after t, λ(t+1) = 0 has the target
    bootstrap from V(t+1) alone.

    Args:
        rewards: r(t+1), (T, …), or of a shape that broadcasts to the values'.
        discounts: γ(t+1), likewise.
        next_values: V(t+1), (T, …).
        lambdas: λ(t+1), in [0, 1], of a shape that broadcasts to the values'; the last is not used.

    Returns:
        (T, …).
    """
    rewards, discounts, lambdas = (jnp.broadcast_to(each, next_values.shape) for each in (rewards, discounts, lambdas))
    lambdas = lambdas.at[-1].set(0)

    def back(next_return: jax.Array, row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        reward, discount, next_value, mix = row
        target = td_target(reward, discount, (1 - mix) * next_value + mix * next_return)
        return target, target

    rows = (rewards, discounts, next_values, lambdas)
    return lax.scan(back, jnp.zeros_like(next_values[0]), rows, reverse=True)[1]


# --- values to bootstrap from -------------------------------------------------------------------------------------------------


def greedy_value(q_values: jax.Array) -> jax.Array:
    """max_a Q(s, a), of action values (…, actions)."""
    return q_values.max(axis=-1)


def double_q_value(target_q_values: jax.Array, q_values: jax.Array) -> jax.Array:
    """Q⁻(s, argmax_a Q(s, a)): the network chooses the action, the target network values it.

    Double Q-learning (van Hasselt, Guez & Silver 2016, arXiv 1509.06461).

    Args:
        target_q_values: Q⁻(s, ·), (…, actions).
        q_values: Q(s, ·), likewise.
    """
    best = jnp.argmax(q_values, axis=-1, keepdims=True)
    return jnp.take_along_axis(target_q_values, best, axis=-1)[..., 0]


def soft_value(q_values: jax.Array, temperature: Any) -> jax.Array:
    """The soft maximum α log Σ_a exp(Q(s, a) / α), of action values (…, actions); max_a Q(s, a) as α goes to 0."""
    return temperature * jax.nn.logsumexp(q_values / temperature, axis=-1)


# --- values on another scale --------------------------------------------------------------------------------------------------


def rescale(values: ArrayT, epsilon: float = 1e-3) -> ArrayT:
    """h(x) = sign(x) (√(|x| + 1) − 1) + ε x, the scale on which values of large returns are learned.

    It shrinks large returns and leaves small ones almost as they are, in place of clipped rewards; ε > 0 keeps the inverse
    Lipschitz (Pohlen et al. 2018, arXiv 1805.11593; Kapturowski et al. 2019). The first part is computed as
    x / (√(|x| + 1) + 1): the difference of nearly equal numbers would be 0 for |x| < 6e-8 in float32.

    Args:
        values: Values on the scale of returns, any shape, floating point.
        epsilon: The slope ε that h keeps for large values, at least 0.

    Returns:
        Rescaled values, of the same shape and dtype.
    """
    return values / (_namespace(values).sqrt(abs(values) + 1) + 1) + epsilon * values


def unscale(values: ArrayT, epsilon: float = 1e-3) -> ArrayT:
    """h⁻¹(y), the exact inverse of :func:`rescale`.

    For y ≥ 0 let u = √(x + 1) − 1, so that x = u (u + 2) and y = ε u² + (1 + 2ε) u. The positive root of that, in the form that
    adds instead of subtracting, is u = 2y / (1 + 2ε + √((1 + 2ε)² + 4ε y)). (The textbook's divides a rounding error by 4ε².)

    Args:
        values: Rescaled values, any shape, floating point.
        epsilon: As for :func:`rescale`.

    Returns:
        Values on the scale of returns, of the same shape and dtype.
    """
    arrays, size, slope = _namespace(values), abs(values), 1 + 2 * epsilon
    root = 2 * size / (slope + arrays.sqrt(slope**2 + 4 * epsilon * size))
    return arrays.sign(values) * root * (root + 2)


def rescaled_td_target(reward: ArrayT, discount: ArrayT, next_value: ArrayT, epsilon: float = 1e-3) -> ArrayT:
    """The target h(r + γ h⁻¹(V(s′))) of values that are learned on the scale of h (:func:`rescale`).

    Args:
        reward: r, (…), not rescaled.
        discount: γ, likewise.
        next_value: V(s′), rescaled.
        epsilon: As for :func:`rescale`.
    """
    return rescale(td_target(reward, discount, unscale(next_value, epsilon)), epsilon)


def _namespace(array: Any) -> ModuleType:
    return np if isinstance(array, (np.ndarray, np.generic)) else jnp
