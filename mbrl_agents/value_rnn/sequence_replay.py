"""Replay of sequences: windows of steps that follow each other, out of the ring that all JAX agents store transitions in."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from mbrl_agents.core.replay import Replay, ReplayState
from mbrl_agents.value_rnn.network import Sequences


@dataclasses.dataclass(frozen=True)
class SequenceReplay(Replay):
    """A replay memory that draws windows of ``burn_in + sequence_length`` steps.

    A window may span several episodes: the state is set to 0 where one begins. What the state was at the window's first step is
    not known; it begins at 0, and the first ``burn_in`` steps are not trained on, unless an episode has begun among them.

    Attributes:
        sequence_length: Steps trained on.
        burn_in: Steps before them.
    """

    sequence_length: int = 100
    burn_in: int = 0

    @property
    def window(self) -> int:
        """Steps of a window."""
        return self.burn_in + self.sequence_length

    def sample(  # type: ignore[override]  # of sequences, not of transitions
        self, state: ReplayState, key: jax.Array, batch_size: int, gamma: jax.Array
    ) -> Sequences:
        """Draws windows uniformly with replacement; one that is longer than what is stored is padded."""
        del gamma  # a matter of targets
        number = (jnp.maximum(state.size - self.window, 0) + 1) * self.lanes
        flat = (jax.random.bits(key, (batch_size,), jnp.uint32) % number.astype(jnp.uint32)).astype(jnp.int32)
        return self.windows(state, flat // self.lanes, flat % self.lanes)

    def windows(self, state: ReplayState, first: jax.Array, lane: jax.Array) -> Sequences:
        """The windows that begin at the ``first``-th oldest rows of lanes, int32 (B,) each."""
        stored, steps = state.stored, jnp.arange(self.window)[:, None]
        age = first + steps  # (T, B): 0 for the oldest row
        is_real = age < state.size
        full = state.size == self.rows
        oldest = jnp.where(full, state.position, 0)
        row = (oldest + age) % self.rows
        ended = stored.terminated | stored.truncated
        # The first row that was ever written begins an episode; after that, rows after an end do.
        starts = ended[(row - 1) % self.rows, lane] & (age > 0) | ((age == 0) & ~full)
        known = jnp.cumsum(starts, axis=0) > 0
        return Sequences(
            inputs=self.codec.decode(stored.observation[row, lane]),
            starts=starts,
            rewards=stored.reward[row, lane],
            non_terminal=(~stored.terminated[row, lane]).astype(jnp.float32),
            last=ended[row, lane] | (steps == self.window - 1) | (age == state.size - 1),
            trained=(is_real & (known | (steps >= self.burn_in))).astype(jnp.float32),
            final_inputs=self.codec.decode(stored.next_observation[row, lane]),
        )
