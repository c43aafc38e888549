"""Episodes of a policy on cells, many at once, and straight to disk."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jax import lax

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.td_dynamics.episode_store import MAX_CELLS, MAX_STEPS, Episodes, EpisodeStore
from mbrl_agents.td_dynamics.linear_features import TabularBins
from mbrl_envs import FunctionalEnv, draws
from mbrl_envs.checks import integer_in

LANES = 1024  # episodes side by side: few enough for a processor's cache
BLOCK = 64 * LANES  # episodes written at once
MAX_EPISODES = 2**32 - BLOCK  # each has a key of its own, by its number


def check_policy(policy: Any, num_cells: int, num_actions: int) -> np.ndarray:
    """A policy's actions, int32 (S,).

    Raises:
        TypeError: They are no integers.
        ValueError: There is not one for each cell, or one that is no action.
    """
    actions = np.asarray(policy)
    if actions.dtype.kind not in "iu":
        raise TypeError(f"policy must be integers, an action for each cell, got dtype {actions.dtype}")
    if actions.shape != (num_cells,):
        raise ValueError(f"policy must have one action for each of {num_cells} cells, got shape {actions.shape}")
    if actions.min() < 0 or actions.max() >= num_actions:
        raise ValueError(f"policy must have actions from 0 to {num_actions - 1}, got {actions.min()} to {actions.max()}")
    return actions.astype(np.int32)


def sample(
    env: FunctionalEnv, cells: TabularBins, policy: Any, *, num_episodes: int, steps: int = 351, seed: int = 0, first: int = 0
) -> Episodes:
    """Draws episodes into memory.

    Episode i starts and goes on from keys that follow from ``seed`` and i alone, so that no two episodes of a seed share any
    random number, and the episodes from ``first`` are the same whether drawn at once or in parts.

    Args:
        env: The dynamics, with a Box of observations and Discrete actions.
        cells: The cells that the policy tells apart, at most 32 768.
        policy: The action in every cell, integers (S,).
        num_episodes: Number of episodes.
        steps: Positions of each, T, 2 to 32 767; after its end an episode's last cell is repeated. (The MountainCar study has
            351, for 350 transitions.)
        seed: A non-negative integer.
        first: Number of the first episode.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range.
    """
    policy = _check(env, cells, policy)
    steps, seed = integer_in("steps", steps, 2, MAX_STEPS), integer_in("seed", seed, 0, 2**63)
    first = integer_in("first", first, 0, MAX_EPISODES)
    num_episodes = integer_in("num_episodes", num_episodes, 1, MAX_EPISODES - first)
    key = draws.raw_key(seed)
    parts: list[Episodes] = []
    with ThreadPoolExecutor(usable_cores()) as pool:
        starts = range(first, first + num_episodes, LANES)
        parts = list(pool.map(lambda start: _lanes(env, cells, steps, key, start, policy), starts))
    return Episodes(*(np.concatenate(arrays)[:num_episodes] for arrays in zip(*parts, strict=True)))


def sample_episodes(
    folder: str | os.PathLike[str],
    env: FunctionalEnv,
    cells: TabularBins,
    policy: Any,
    *,
    num_episodes: int,
    steps: int = 351,
    seed: int = 0,
    progress_bar: bool = False,
) -> EpisodeStore:
    """Draws episodes to disk, as :func:`sample` does; goes on where an earlier, same call was killed.

    Memory does not grow with ``num_episodes``; an episode takes 2 ``steps`` + 2 bytes on the disk.

    Args:
        folder: Where to write; a new folder, or one that the same call began.
        env: The dynamics, as for :func:`sample`.
        cells: The cells that the policy tells apart.
        policy: The action in every cell.
        num_episodes: Number of episodes.
        steps: Positions of each, as there.
        seed: A non-negative integer.
        progress_bar: Whether to show progress on standard error.

    Returns:
        The folder's episodes.

    Raises:
        TypeError, ValueError: As for :func:`sample`; or the folder holds other episodes.
        OSError: The disk is full, for example; what is complete stays.
        KeyboardInterrupt: Ctrl-C; the same call goes on.
    """
    policy = _check(env, cells, policy)
    num_episodes = integer_in("num_episodes", num_episodes, 1, MAX_EPISODES)
    seed = integer_in("seed", seed, 0, 2**63)
    about = {"env": repr(env), "cells": repr(cells), "policy": hashlib.sha256(policy.tobytes()).hexdigest(), "seed": seed}
    store = EpisodeStore.create(folder, num_episodes, steps, about)
    draw = functools.partial(_lanes, env, cells, steps, draws.raw_key(seed))
    with _bar(num_episodes, store.complete, progress_bar) as bar:
        for block in _ahead(draw, policy, store.complete, num_episodes):
            store.append(block)
            bar.update(len(block.lengths))
    return store


def _ahead(draw: Any, policy: np.ndarray, start: int, stop: int) -> Iterator[Episodes]:
    """Blocks from ``start`` to ``stop``; the next one is being drawn while one is written."""

    def submit(first: int) -> list[Future[Episodes]]:
        return [pool.submit(draw, lane, policy) for lane in range(first, min(first + BLOCK, stop), LANES)]

    with ThreadPoolExecutor(usable_cores()) as pool:
        firsts = range(start, stop, BLOCK)
        pending = submit(firsts[0]) if firsts else []
        for first in firsts:
            coming = submit(first + BLOCK) if first + BLOCK < stop else []
            try:
                parts = [future.result() for future in pending]
            except BaseException:
                for future in [*pending, *coming]:
                    future.cancel()
                raise
            yield Episodes(*(np.concatenate(arrays)[: stop - first] for arrays in zip(*parts, strict=True)))
            pending = coming


def _check(env: FunctionalEnv, cells: TabularBins, policy: Any) -> np.ndarray:
    cells.check(env.observation_space)
    integer_in("the number of cells", cells.num_cells, 1, MAX_CELLS)
    if not isinstance(env.action_space, spaces.Discrete) or env.action_space.start != 0:
        raise ValueError(f"env must have Discrete actions from 0, got {env.action_space}")
    return check_policy(policy, cells.num_cells, int(env.action_space.n))


def _lanes(env: FunctionalEnv, cells: TabularBins, steps: int, key: np.ndarray, first: int, policy: np.ndarray) -> Episodes:
    return Episodes(*(np.asarray(each) for each in _program(env, cells, steps)(key, np.uint32(first), policy)))


@functools.lru_cache(maxsize=8)
def _program(env: FunctionalEnv, cells: TabularBins, steps: int) -> Any:
    """The compiled program of (key, number of the first episode, policy) to the cells and lengths of ``LANES`` episodes."""

    def episodes(key: jax.Array, first: jax.Array, policy: jax.Array) -> tuple[jax.Array, jax.Array]:
        keys = jax.vmap(lambda number: draws.fold_in(key, number))(first + jnp.arange(LANES, dtype=jnp.uint32))
        state = jax.vmap(lambda own: env.reset(draws.fold_in(own, 0)))(keys)

        def step(carry: tuple[Any, jax.Array, jax.Array], t: jax.Array) -> tuple[Any, jax.Array]:
            state, running, length = carry
            cell = cells.cell(jax.vmap(env.observe)(state))
            action = policy.at[cell].get(mode="promise_in_bounds")
            out = jax.vmap(lambda own, *where: env.step(draws.fold_in(own, t + 1), *where))(keys, state, action)
            moved = jax.tree.map(lambda new, old: _where(running, new, old), out.state, state)
            return (moved, running & ~out.terminated, length + running), cell.astype(jnp.int16)

        begin = (state, jnp.ones(LANES, bool), jnp.zeros(LANES, jnp.int16))
        (_, _, length), visited = lax.scan(step, begin, jnp.arange(steps, dtype=jnp.uint32))
        return visited.T, length

    return plain_jit(episodes)


def _where(mask: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)


def _bar(total: int, done: int, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="episode", unit_scale=True, disable=not shown)
