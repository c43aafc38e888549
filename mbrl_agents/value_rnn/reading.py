"""What a network makes of trials: hidden activity, values, prediction errors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.value_rnn.learner import ValueRNNState
from mbrl_agents.value_rnn.network import ValueNetwork
from mbrl_agents.value_rnn.trial_arrays import Trials

_AT_ONCE = 256  # trials in one call
_STEP_MULTIPLE = 32  # arrays are padded to so many steps, so that few lengths have to be compiled for


def hidden(network: ValueNetwork, state: ValueRNNState, trials: Trials) -> list[np.ndarray]:
    """Hidden activity after each step of each trial, float32 (T, H)."""
    return _read(network, "hidden", state, trials)


def heads(network: ValueNetwork, state: ValueRNNState, trials: Trials) -> list[np.ndarray]:
    """Values of all heads after each step of each trial, float32 (T, K)."""
    return _read(network, "heads", state, trials)


def values(network: ValueNetwork, state: ValueRNNState, trials: Trials) -> list[np.ndarray]:
    """Values after each step of each trial, float32 (T,)."""
    return _read(network, "values", state, trials)


def prediction_errors(network: ValueNetwork, state: ValueRNNState, trials: Trials, gamma: float) -> list[np.ndarray]:
    """δ(t) = r(t) + γ V(t) − V(t−1) for t = 1 … T−1 of each trial, float32 (T−1,)."""
    found = values(network, state, trials)
    rewards = trials.unpadded(trials.rewards)
    return [reward[1:] + np.float32(gamma) * value[1:] - value[:-1] for reward, value in zip(rewards, found, strict=True)]


def _read(network: ValueNetwork, what: str, state: ValueRNNState, trials: Trials) -> list[np.ndarray]:
    program = _program(network, what)
    found: list[np.ndarray] = []
    for part in _parts(trials):
        found += part.unpadded(np.asarray(program(state.params, state.hyper.td.levels, part.observations)))
    return found[: len(trials.lengths)]


def _parts(trials: Trials) -> Iterator[Trials]:
    """Trials in parts of one size, padded to a round number of steps."""
    steps, number = trials.rewards.shape
    width = min(_AT_ONCE, 1 << (number - 1).bit_length())
    for first in range(0, number, width):
        some = slice(first, first + width)
        missing = width - len(trials.lengths[some])
        padding = ((0, -steps % _STEP_MULTIPLE), (0, missing))
        yield Trials(
            np.pad(trials.observations[:, some], (*padding, (0, 0))),
            np.pad(trials.rewards[:, some], padding),
            np.pad(trials.lengths[some], (0, missing)),
            np.pad(trials.terminated[some], (0, missing)),
        )


@functools.lru_cache(maxsize=64)
def _program(network: ValueNetwork, what: str) -> Any:
    def read(params: Any, levels: jax.Array, observations: jax.Array) -> jax.Array:
        unrolled = network.cell.unroll(params, jnp.asarray(observations))
        if what == "hidden":
            return network.cell.hidden(unrolled)
        return network.heads(params, unrolled) if what == "heads" else network.value(params, unrolled, levels)

    return jax.jit(read)
