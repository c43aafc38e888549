"""What values are learned from and judged by: TD targets and λ-returns.

The value at t is that of the rewards to come, V(t) = E[r(t+1) + γ r(t+2) + …]. The TD error is

    δ(t) = r(t+1) + γ V(t+1) − V(t)                                                             (Sutton 1988),

with λ-returns in the place of r + γ V where λ > 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def td_targets(
    next_values: jax.Array,
    rewards: jax.Array,
    goes_on: jax.Array,
    last: jax.Array,
    gamma: jax.Array,
    td_lambda: jax.Array | None,
) -> jax.Array:
    """Targets r + γ G(t+1), where G(t+1) = (1−λ) V(t+1) + λ (r + γ G(t+2)) and, where the sequence is cut, V(t+1).

    Args:
        next_values: V(t+1), (T, …).
        rewards: r(t+1), of the same shape or broadcasting to it.
        goes_on: Whether anything follows, so that targets bootstrap; likewise.
        last: Whether it is the last step of its sequence or episode, so that there is no t+2; likewise.
        gamma: γ.
        td_lambda: λ; None for 0, which needs no recursion.

    Returns:
        (T, …); no gradient goes through them.
    """
    next_values = lax.stop_gradient(next_values)
    discount = gamma * goes_on
    if td_lambda is None:
        return rewards + discount * next_values
    rewards, discount, last = (jnp.broadcast_to(each, next_values.shape) for each in (rewards, discount, last))

    def back(later: jax.Array, row: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        value, reward, factor, is_last = row
        following = jnp.where(is_last, value, (1 - td_lambda) * value + td_lambda * later)
        target = reward + factor * following
        return target, target

    rows = (next_values, rewards, discount, last)
    return lax.scan(back, jnp.zeros_like(next_values[0]), rows, reverse=True)[1]
