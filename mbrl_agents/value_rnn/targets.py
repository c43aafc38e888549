"""What networks that predict values learn from TD errors δ (see :mod:`mbrl_agents.core.returns`): it depends on the loss.

* ``"td"``          ½ δ².
* ``"asymmetric"``  |τ − 1{δ<0}| δ²: the step size is τ/(1−τ) times as large for positive errors as for negative ones. Each head
                    has its own τ and its own bootstrap (distributional TD of Dabney et al., Nature 2020).
* ``"quantile"``    mean over targets j of |τ_i − 1{δ_ij<0}| · |δ_ij|, δ_ij = r + γ V_j(t+1) − V_i(t)  (Dabney et al. 2018).
* ``"expectile"``   the same with squared errors, and targets from a distribution that has the heads as its expectiles (Rowland
                    et al. 2019: expectiles of expectiles would shrink towards the mean).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

LOSSES = ("td", "asymmetric", "quantile", "expectile")
_TINY, _LEAST = 1e-12, 1e-3


def losses(
    kind: str, values: jax.Array, targets: jax.Array, levels: jax.Array, probabilities: jax.Array | None = None
) -> jax.Array:
    """The loss of each step, (…).

    Args:
        kind: One of ``LOSSES``.
        values: (…, K), K heads.
        targets: (…, K), for each head (``"td"``, ``"asymmetric"``) or samples of the return.
        levels: τ of each head, (K,).
        probabilities: Of the targets, (…, K); None if they are equally likely.
    """
    if kind == "td":
        return 0.5 * jnp.square(targets - values).sum(axis=-1)
    if kind == "asymmetric":
        errors = targets - values
        return (_weights(errors, levels) * jnp.square(errors)).sum(axis=-1)
    errors = targets[..., None, :] - values[..., :, None]
    size = jnp.abs(errors) if kind == "quantile" else jnp.square(errors)
    weighted = _weights(errors, levels[:, None]) * size
    if probabilities is None:
        return weighted.mean(axis=-1).sum(axis=-1)
    return (weighted * probabilities[..., None, :]).sum(axis=(-1, -2))


def distribution_of_expectiles(expectiles: jax.Array, levels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A distribution on K points that has the given expectiles.

    From the definition of an expectile e at level τ, and the mean μ (the expectile at ½), follows what lies above it: a(e) =
    E[(Z − e)⁺] = (μ − e) (1 − τ) / (1 − 2τ). As a is convex and its slope is −P(Z > e), straight lines between the known points
    of a are such a distribution: it has atoms at the expectiles, of which the first and the last are moved outwards to where
    what is left of a(e) asks for them.

    Args:
        expectiles: (…, K), K at least 2. Those of no distribution (as values may be that are still learned) give the nearest
            probabilities that there can be.
        levels: τ, (K,), rising.

    Returns:
        Points and their probabilities, each (…, K).
    """
    points = jnp.sort(expectiles, axis=-1)
    mean = mean_value("expectile", points, levels)[..., None]
    at_half = jnp.abs(1 - 2 * levels) < 1e-4  # there a is not known: the straight line between its neighbours
    above = (mean - points) * (1 - levels) / jnp.where(at_half, 1, 1 - 2 * levels)
    before, after = (jnp.roll(points, shift, axis=-1) for shift in (1, -1))
    share = (points - before) / jnp.maximum(after - before, _TINY)
    line = jnp.roll(above, 1, axis=-1) * (1 - share) + jnp.roll(above, -1, axis=-1) * share
    above = jnp.where(at_half, line, above)
    tail = -jnp.diff(above, axis=-1) / jnp.maximum(jnp.diff(points, axis=-1), _TINY)  # P(Z > e) between neighbours
    tail = lax.cummin(jnp.clip(tail, _LEAST, 1 - _LEAST), axis=tail.ndim - 1)
    first, last = 1 - tail[..., :1], tail[..., -1:]
    probabilities = jnp.concatenate([first, -jnp.diff(tail, axis=-1), last], axis=-1)
    below = jnp.maximum(above[..., :1] - mean + points[..., :1], 0)  # E[(e − Z)⁺] of the first
    ends = points[..., :1] - below / first, points[..., -1:] + jnp.maximum(above[..., -1:], 0) / last
    return jnp.concatenate([ends[0], points[..., 1:-1], ends[1]], axis=-1), probabilities


def mean_value(kind: str, values: jax.Array, levels: jax.Array) -> jax.Array:
    """The expected return that heads, (…, K), stand for, (…): the mean of quantiles, else the expectile at τ = ½."""
    if kind == "quantile":
        return values.mean(axis=-1)
    # Linear between the two heads whose levels are next to ½; as weights, to work on any backend and under any map.
    weights = jnp.maximum(0, jax.vmap(lambda unit: jnp.interp(0.5, levels, unit))(jnp.eye(len(levels), dtype=values.dtype)))
    return values @ weights


def _weights(errors: jax.Array, levels: jax.Array) -> jax.Array:
    return lax.stop_gradient(jnp.where(errors < 0, 1 - levels, levels)).astype(errors.dtype)
