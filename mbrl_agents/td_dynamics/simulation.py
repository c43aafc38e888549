"""Linear TD(0) itself, many repeats and many settings in one program."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

from mbrl_agents.core import keys
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.td_dynamics import arguments
from mbrl_agents.td_dynamics.covariances import AnyCovariance, FeatureCovariance, as_covariance
from mbrl_agents.td_dynamics.feature_draws import Drawer, drawer
from mbrl_agents.td_dynamics.schedules import StepSize, step_sizes
from mbrl_agents.td_dynamics.stability import MAX_BATCH
from mbrl_agents.td_dynamics.theory import fixed_point
from mbrl_envs.checks import integer_in, number_in

AT_ONCE = 2**21  # float32 numbers of features that are held at once, about: more would not fit into caches


class _Settings(NamedTuple):
    """Z settings as arrays.

    Attributes:
        step_sizes: (num_steps, Z).
        batch: Weight of each drawn episode, 1/B for the first B, (Z, largest B).
        gamma: (Z,).
        reward_noise: (Z,).
        value: w_V, (Z, N).
        distance: w_R − w_V, (Z, N).
        first_error: w_V + w_S, (Z, N).
    """

    step_sizes: Any
    batch: Any
    gamma: Any
    reward_noise: Any
    value: Any
    distance: Any
    first_error: Any


def simulate_td(
    covariance: AnyCovariance,
    reward_weights: Any,
    *,
    gamma: float | list[float],
    step_size: StepSize | list[StepSize],
    batch_size: int | list[int],
    num_steps: int,
    repeats: int,
    source: str = "gaussian",
    reward_noise: float | list[float] = 0.0,
    shaping: Any = None,
    seed: int = 0,
    progress_bar: bool = False,
) -> np.ndarray:
    """Learns with episodes that are drawn, again and again, beside :func:`~mbrl_agents.td_dynamics.theory.theory_curve`.

    Lists (or tuples) of step sizes, batch sizes, γ, σ and w_S are settings; they are paired, as in sweeps, and what is no list
    holds for all. Settings see the same episodes, one with a smaller batch the first of them: drawing is what costs, and
    differences between settings are less noisy, but they are not independent of each other. Repeats are.

    Args:
        covariance: As for ``theory_curve``.
        reward_weights: w_R, float (N,).
        gamma: γ, or a list.
        step_size: η: a number, an array with one for each update, or a schedule; or a list of these.
        batch_size: B, or a list.
        num_steps: Number of updates.
        repeats: Independent repeats.
        source: ``"gaussian"``: Gaussian features with these second moments. ``"process"``: episodes of the chain itself, or the
            sampled ones, for forms that have them.
        reward_noise: σ, or a list.
        shaping: w_S or None, or a list of these.
        seed: Of everything random; repeat i of a seed is the same however many there are.
        progress_bar: Whether to show one.

    Returns:
        Losses e·Σ̄e, float64 (repeats, num_steps + 1), or (settings, repeats, num_steps + 1) if something is a list.

    Raises:
        TypeError, ValueError: Bad arguments, or lists of different lengths.
    """
    form = as_covariance(covariance)
    num_steps = integer_in("num_steps", num_steps, 1, 10**9)
    num = integer_in("repeats", repeats, 1, 10**9)
    key = keys.from_seed(integer_in("seed", seed, 0, 2**31 - 1))
    lists = {
        "gamma": gamma,
        "step_size": step_size,
        "batch_size": batch_size,
        "reward_noise": reward_noise,
        "shaping": shaping,
    }
    paired, several = _paired(lists)
    settings = _settings(form, reward_weights, paired, num_steps)
    draws = drawer(form, source)
    total = jnp.asarray(form.total, jnp.float32)
    largest = settings.batch.shape[1]
    together = int(np.clip(AT_ONCE // (largest * form.num_steps * form.num_features), 1, num))
    curves = []
    with tqdm(total=num, unit=" repeats", disable=not progress_bar) as bar:
        for first in range(0, num, together):
            indices = first + np.arange(together, dtype=np.uint32)
            curves.append(np.asarray(_run(draws, settings, total, key, indices), np.float64))
            bar.update(min(together, num - first))
    losses = np.moveaxis(np.concatenate(curves)[:num], 2, 0)
    return losses if several else losses[0]


def _paired(lists: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """One dictionary for each setting, and whether there were lists."""
    lengths = {name: len(value) for name, value in lists.items() if isinstance(value, (list, tuple))}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"lists are paired and must have one length, got {lengths}")
    num = max(lengths.values(), default=1)
    rows = [{name: value[i] if name in lengths else value for name, value in lists.items()} for i in range(num)]
    return rows, bool(lengths)


def _settings(form: FeatureCovariance, reward_weights: Any, paired: list[dict[str, Any]], num_steps: int) -> _Settings:
    batches = [integer_in("batch_size", row["batch_size"], 1, MAX_BATCH) for row in paired]
    values = [fixed_point(form, reward_weights, gamma=row["gamma"]) for row in paired]
    zero = np.zeros(form.num_features)
    moved = [zero if row["shaping"] is None else arguments.weights("shaping", row["shaping"], len(zero)) for row in paired]
    weights = (np.arange(max(batches)) < np.array(batches)[:, None]) / np.array(batches)[:, None]
    settings = _Settings(
        step_sizes=np.stack([step_sizes(row["step_size"], num_steps) for row in paired], axis=1),
        batch=weights,
        gamma=np.array([row["gamma"] for row in paired]),
        reward_noise=np.array([number_in("reward_noise", row["reward_noise"], 0) for row in paired]),
        value=np.stack(values),
        distance=np.asarray(reward_weights, np.float64) - np.stack(values),
        first_error=np.stack(values) + np.stack(moved),
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), settings)


@plain_jit
def _run(draws: Drawer, settings: _Settings, total: jax.Array, key: jax.Array, indices: jax.Array) -> jax.Array:
    """Losses (repeats, num_steps + 1, Z)."""
    return jax.vmap(functools.partial(_repeat, draws, settings, total, key))(indices)


def _repeat(draws: Drawer, settings: _Settings, total: jax.Array, key: jax.Array, index: jax.Array) -> jax.Array:
    own = jax.random.fold_in(key, index)

    def loss(error: jax.Array) -> jax.Array:
        spread = error * total if total.ndim == 1 else error @ total
        return (spread * error).sum(axis=-1)

    def update(error: jax.Array, scanned: Any) -> Any:
        number, eta = scanned
        features_key, noise_key = jax.random.split(jax.random.fold_in(own, number))
        features = draws.draw(features_key, settings.batch.shape[1])
        error = error - eta[:, None] * _mean_update(features, error, settings, noise_key)
        return error, loss(error)

    numbers = jnp.arange(len(settings.step_sizes), dtype=jnp.uint32)
    _, later = lax.scan(update, settings.first_error, (numbers, settings.step_sizes))
    return jnp.concatenate([loss(settings.first_error)[None], later])


def _mean_update(features: jax.Array, error: jax.Array, settings: _Settings, key: jax.Array) -> jax.Array:
    """(1/B) Σ_{b,t} ψ_t δ_t for each setting, (Z, N)."""
    now, later = features[:, :-1], features[:, 1:]
    delta = jnp.einsum("btn,zn->zbt", now, settings.distance + error)
    delta += jnp.einsum("btn,zn->zbt", later, settings.gamma[:, None] * (settings.value - error))
    delta += settings.reward_noise[:, None, None] * jax.random.normal(key, now.shape[:2], now.dtype)
    return jnp.einsum("zbt,btn->zn", delta * settings.batch[:, :, None], now)
