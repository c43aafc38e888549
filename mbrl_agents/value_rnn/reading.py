"""Reading networks: states, hidden activity, values, prediction errors of trials."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.value_rnn.learner import ValueRNNLearner, ValueRNNState
from mbrl_agents.value_rnn.network import ValueNetwork
from mbrl_agents.value_rnn.trial_arrays import Trials, given_trials, is_one, pad

_AT_ONCE = 256  # trials in one call
_STEP_MULTIPLE = 32  # arrays are padded to so many steps, so that few lengths have to be compiled for


class ReadsTrials(JaxAgent[ValueRNNLearner]):
    """Base of :class:`~mbrl_agents.ValueRNN`, which reads trials: one, or a list of any lengths.

    Trials are as for :meth:`~mbrl_agents.ValueRNN.fit`: with ``rewards``, arrays of cues; arrays without are taken as what the
    network sees. All methods raise TypeError or ValueError where they are no trials, or of another width than the network's.
    """

    def check_width(self, num_features: int) -> None:
        """Checks that the network reads observations of a width, or is not made yet.

        Raises:
            ValueError: It reads another.
        """
        if hasattr(self, "learner") and (own := self.learner.codec.num_features) != num_features:
            raise ValueError(f"trials must have the {own} features that this network reads, got {num_features}")

    def prepare(self, num_features: int) -> None:
        """Makes the network for observations of a width, if there is none yet.

        Raises:
            ValueError: There is one, for another width.
        """
        self.check_width(num_features)
        if not hasattr(self, "learner"):
            self.observation_space = space_of_width(num_features)
            self.action_space = spaces.Discrete(1)
            self.n_envs = 1
            self._setup_model()

    def value(self, trials: Any, rewards: Any = None) -> Any:
        """Values V(t) after each step.

        Args:
            trials: A trial or a list of trials.
            rewards: Rewards of each, if trials are arrays of cues alone.

        Returns:
            float32 (T,), or a list of such.
        """
        return self._each(trials, rewards, None, values)

    def rpe(self, trials: Any, rewards: Any = None, *, reward_column: int | None = None) -> Any:
        """Prediction errors δ(t) = r(t) + γ V(t) − V(t−1) at t = 1 … T−1.

        Args:
            trials: A trial or a list of trials.
            rewards: Rewards of each, if trials are arrays of cues alone.
            reward_column: Which column has the reward, if trials are arrays of all that is seen.

        Returns:
            float32 (T−1,), or a list of such.
        """
        gamma = self.gamma

        def read(network: ValueNetwork, state: ValueRNNState, padded: Trials) -> list[np.ndarray]:
            return prediction_errors(network, state, padded, gamma)

        return self._each(trials, rewards, reward_column, read, rewarded=True)

    def distribution(self, trials: Any, rewards: Any = None) -> Any:
        """The values of all heads, float32 (T, num_values), or a list; as :meth:`value`."""
        return self._each(trials, rewards, None, heads)

    def hidden_activity(self, trials: Any, rewards: Any = None) -> Any:
        """The activity of the hidden units after each step, float32 (T, hidden_size), or a list; as :meth:`value`."""
        return self._each(trials, rewards, None, hidden)

    def _each(self, trials: Any, rewards: Any, reward_column: int | None, read: Any, *, rewarded: bool = False) -> Any:
        single = is_one(trials)
        if single:
            trials, rewards = [trials], None if rewards is None else [rewards]
        padded = pad(given_trials(trials, rewards, reward_column), rewarded=rewarded)
        self.prepare(padded.num_features)
        arrays = read(self.learner.network, self.learner_state, padded)
        return arrays[0] if single else arrays


def states(network: ValueNetwork, state: ValueRNNState, trials: Trials) -> list[np.ndarray]:
    """Whole states after each step of each trial, float32 (T, S): of an LSTM hidden activity and cells."""
    return _read(network, "states", state, trials)


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
        if what == "states":
            return unrolled
        if what == "hidden":
            return network.cell.hidden(unrolled)
        return network.heads(params, unrolled) if what == "heads" else network.value(params, unrolled, levels)

    return plain_jit(read)


def space_of_width(num_features: int) -> spaces.Box:
    """The observation space of trials of a width."""
    return spaces.Box(-np.inf, np.inf, (num_features,), np.float32)
