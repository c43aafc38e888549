"""A lane: one environment with its random streams, as pure functions that every adapter and training loop shares.

Seeding contract: everything random in a lane is a function of its key alone. Episode ``e`` starts from
``fold_in(reset_key, e)``, the ``t``-th step since the lane was started (counted over all its episodes) draws its events from
``fold_in(step_key, t)``, where ``fold_in`` is that of ``jax.random``. So a lane does the same whoever drives it, alone or among
a thousand others.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_envs import draws
from mbrl_envs.functional import FunctionalEnv, Transition

_RESET_STREAM, _STEP_STREAM = 0, 1


class Lane(NamedTuple):
    """State of one lane.

    Attributes:
        state: State of the dynamics.
        reset_key: Key of the stream of episode starts, raw uint32.
        step_key: Key of the stream of events, raw uint32.
        episode: Index of the current episode, uint32.
        steps: Steps taken since the lane was started, uint32.
        elapsed: Steps taken in the current episode, int32.
    """

    state: Any
    reset_key: jax.Array
    step_key: jax.Array
    episode: jax.Array
    steps: jax.Array
    elapsed: jax.Array


def start(env: FunctionalEnv, key: jax.Array) -> Lane:
    """Starts a lane at its first episode from a JAX random key, raw or typed (see :func:`mbrl_envs.draws.threefry_key`)."""
    key = draws.threefry_key(key)
    reset_key, step_key = draws.fold_in(key, _RESET_STREAM), draws.fold_in(key, _STEP_STREAM)
    zero = jnp.uint32(0)
    return Lane(env.reset(draws.fold_in(reset_key, zero)), reset_key, step_key, zero, zero, jnp.int32(0))


def next_start(env: FunctionalEnv, lane: Lane) -> Any:
    """The state in which the lane's next episode starts."""
    return env.reset(draws.fold_in(lane.reset_key, lane.episode + 1))


def restart(lane: Lane, state: Any) -> Lane:
    """Begins the next episode in ``state``, as given by :func:`next_start`."""
    return lane._replace(state=state, episode=lane.episode + 1, elapsed=jnp.int32(0))


def advance(env: FunctionalEnv, lane: Lane, action: jax.Array) -> tuple[Lane, Transition]:
    """Takes one step."""
    transition = env.step(draws.fold_in(lane.step_key, lane.steps), lane.state, action)
    return lane._replace(state=transition.state, steps=lane.steps + 1, elapsed=lane.elapsed + 1), transition
