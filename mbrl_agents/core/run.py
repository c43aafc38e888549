"""A run as a value: one pytree of all its arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from mbrl_agents.core import keys
from mbrl_agents.core.replay import ReplayState
from mbrl_agents.core.slots import EnvSlots
from mbrl_envs import draws

_INIT = 0  # where the key of the initial weights is folded from the seed's; the streams' are 1 to 4


class Keys(NamedTuple):
    """Keys of a run's random streams, raw uint32; the n-th number of a stream is drawn with ``fold_in(stream, n)``.

    (That of :mod:`mbrl_envs.draws`, which equals JAX's and is quicker on a CPU.)

    Attributes:
        act: Of actions in training, by vector step.
        update: Of gradient steps, by their number.
        environments: Of the device loop's environments.
        predict: Of predictions outside of training.
    """

    act: jax.Array
    update: jax.Array
    environments: jax.Array
    predict: jax.Array

    @classmethod
    def of(cls, master: Any) -> Keys:
        """The streams that follow from the raw key of a seed."""
        return cls(*(keys.fold_in(master, stream) for stream in range(1, 5)))

    def of_update(self, update: Any) -> tuple[jax.Array, jax.Array]:
        """Keys of a gradient step: to draw its batch, and for the update itself (costs nothing where it is not used)."""
        key = draws.fold_in(self.update, update)
        return key, draws.fold_in(key, 1)


def key_of_init(master: Any) -> jax.Array:
    """The key of the initial weights, from the raw key of a seed."""
    return keys.fold_in(master, _INIT)


class Clock(NamedTuple):
    """Where a run is, int32 scalars.

    Attributes:
        vector_steps: Steps of all environments together since the agent was made.
        num_timesteps: Transitions collected since ``learn()`` last began at 0 (as Stable-Baselines3 counts).
        updates: Gradient steps since the agent was made.
        predictions: Random predictions outside of training since the run was seeded.
    """

    vector_steps: Any = np.int32(0)
    num_timesteps: Any = np.int32(0)
    updates: Any = np.int32(0)
    predictions: Any = np.int32(0)


class RunState(NamedTuple):
    """All arrays of a run. What shapes them, and all that is done with them, is a :class:`~mbrl_agents.core.program.Program`.

    Attributes:
        learner: The learner's state, the hyperparameters ``hyper`` included.
        memory: The replay memory's state.
        slots: The environments of the device loop; None before they are started, and in the host loop.
        keys: Keys of the random streams.
        clock: Where the run is.
        target_update_interval: Transitions between target updates, int32.
        carry: What the learner remembers of the current episodes; ``()`` if it has no memory.
    """

    learner: Any
    memory: ReplayState | Any
    slots: EnvSlots | None
    keys: Keys
    clock: Clock
    target_update_interval: Any
    carry: Any = ()


class StepRecord(NamedTuple):
    """What one step reports, arrays over slots."""

    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    episode_return: Any
    episode_length: Any
