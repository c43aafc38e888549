"""What all cue–reward tasks share: they walk along the chain of their design, and show it as a raster plot."""

from __future__ import annotations

import abc
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws
from mbrl_envs.conditioning.chain import Chain, Design, build
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.rendering import Picture

WINDOW = 32  # steps that a picture shows


class ConditioningState(NamedTuple):
    """State.

    Attributes:
        current: Index of the state of the task's chain, int32 scalar.
        recent: The last states up to the current one, −1 where there was none yet, int32 (WINDOW,); only pictures need them.
    """

    current: jax.Array
    recent: jax.Array


class ConditioningEvents(NamedTuple):
    """What may happen at random in one step: ``word``, a random word that picks the next state, uint32 scalar."""

    word: jax.Array


@functools.lru_cache(maxsize=64)
def _chain(env: ConditioningTask) -> Chain:
    return build(env.design())


class ConditioningTask(FunctionalEnv[ConditioningState, ConditioningEvents]):
    """A task without decisions: there is one action, which does nothing, and the reward is to be predicted.

    An observation is the vector of all cues (1 for the one that is shown in this step, else 0) and, last, the reward that came
    with this step, float32: what a network that learns values gets as its input.
    """

    @abc.abstractmethod
    def design(self) -> Design:
        """The task's trials and their order."""

    @property
    @abc.abstractmethod
    def cue_names(self) -> tuple[str, ...]:
        """A short name for each cue, in the order of observations."""

    @property
    def chain(self) -> Chain:
        """The task as a hidden Markov chain; see :mod:`mbrl_envs.conditioning.chain`.

        Raises:
            ValueError: It has too many states.
        """
        return _chain(self)

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the one action is called."""
        return ("no-op",)

    @property
    def observation_space(self) -> spaces.Box:
        high = np.append(np.ones(len(self.cue_names), np.float32), max(1.0, self.chain.reward.max()))
        return spaces.Box(np.zeros_like(high, np.float32), high.astype(np.float32), dtype=np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(1)

    def reset(self, key: jax.Array) -> ConditioningState:
        before = ConditioningState(jnp.int32(self.chain.num_states), jnp.full(WINDOW, -1, jnp.int32))
        return self._next(before, draws.word(draws.source(key), 0))

    def events(self, key: jax.Array) -> ConditioningEvents:
        return ConditioningEvents(draws.word(draws.source(key), 0))

    def transition(self, state: ConditioningState, action: jax.Array, events: ConditioningEvents) -> Transition:
        del action  # There is but one.
        following = self._next(state, events.word)
        # After the end a terminal state stays where it is, and gives nothing any more.
        ended = jnp.asarray(self.chain.terminal)[state.current]
        reward = jnp.where(ended, 0.0, jnp.asarray(self.chain.reward)[following.current])
        return Transition(following, reward, jnp.asarray(self.chain.terminal)[following.current])

    def observe(self, state: ConditioningState) -> jax.Array:
        cues = jnp.arange(len(self.cue_names), dtype=jnp.int32) == jnp.asarray(self.chain.cue)[state.current]
        return jnp.append(cues.astype(jnp.float32), jnp.asarray(self.chain.reward)[state.current])

    def info(self, state: ConditioningState) -> dict[str, np.ndarray]:
        """The hidden state that the task is in: ``{"state": …}``, an index into ``chain.states``."""
        return {"state": np.asarray(state.current)}

    def picture(self, state: ConditioningState) -> Picture:
        # What is seen, not the hidden state: a row for each cue and one for the reward, time running to the right.
        recent = np.asarray(state.recent)
        shown, reward = self.chain.cue[recent], self.chain.reward[recent]
        cells = np.full((len(self.cue_names) + 1, WINDOW), "quiet", dtype=object)
        for cue in range(len(self.cue_names)):
            cells[cue, shown == cue] = "cue"
        cells[-1, reward > 0] = "small reward"
        cells[-1, reward >= max(self.chain.reward.max() / 2, np.finfo(np.float32).tiny)] = "reward"
        cells[:, recent < 0] = "background"  # before the start
        labels = (*self.cue_names, "R")
        return Picture(cells, ("cue", "reward", "small reward", "quiet"), row_labels=labels)

    def _next(self, state: ConditioningState, word: jax.Array) -> ConditioningState:
        column = (word >= jnp.asarray(self.chain.thresholds)[state.current]).sum()
        current = jnp.asarray(self.chain.successors)[state.current, column]
        return ConditioningState(current, jnp.append(state.recent[1:], current))
