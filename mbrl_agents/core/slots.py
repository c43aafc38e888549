"""The device loop's environments, one to a slot: how they begin, and where their episodes stand."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core import keys
from mbrl_agents.core.compilation import plain_jit
from mbrl_envs import BatchedEnv
from mbrl_envs.batched import BatchState


class EnvSlots(NamedTuple):
    """The device loop's environments, one to a slot, and where their episodes stand.

    Attributes:
        envs: State of the environments.
        observation: Their present observations.
        episode_return: Return so far of each current episode, float32 (slots,).
        episode_length: Its length so far, int32 (slots,).
    """

    envs: BatchState
    observation: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array


def start(envs: BatchedEnv, stream: jax.Array, vector_steps: Any) -> EnvSlots:
    """Environments at their first episodes; a run that has played already does not play the same ones again.

    Args:
        envs: The environments.
        stream: The run's key ``environments``.
        vector_steps: Where the run is.
    """
    stream = jnp.where(vector_steps == 0, stream, keys.fold_in(stream, vector_steps))
    return _first(envs, envs.init(jax.random.split(stream, envs.num_envs)))


def restart(envs: BatchedEnv, slots: EnvSlots) -> EnvSlots:
    """Environments at their next episodes."""
    return _first(envs, envs.restart(slots.envs, jnp.ones(envs.num_envs, bool)))


def _first(envs: BatchedEnv, state: BatchState) -> EnvSlots:
    num = envs.num_envs
    return EnvSlots(state, envs.observe(state), jnp.zeros(num, jnp.float32), jnp.zeros(num, jnp.int32))


class SlotFunctions(NamedTuple):
    """The compiled functions of some environments."""

    start: Any
    restart: Any


@functools.lru_cache(maxsize=32)
def slot_functions(envs: BatchedEnv) -> SlotFunctions:
    """:func:`start` and :func:`restart`, compiled."""
    return SlotFunctions(plain_jit(functools.partial(start, envs)), plain_jit(functools.partial(restart, envs)))
