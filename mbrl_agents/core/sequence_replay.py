"""Replay of sequences that lie within one episode, with stored recurrent states and priorities.

Kapturowski et al., *Recurrent Experience Replay in Distributed Reinforcement Learning*, ICLR 2019.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core.replay import Replay, Transitions
from mbrl_agents.core.sum_tree import Sums, SumTree
from mbrl_envs.checks import integer_in

_MAX_STEPS = 2**20


@dataclasses.dataclass(frozen=True)
class SequenceLayout:
    """Which sequences an episode is cut into.

    A sequence is a window of ``burn_in + length + n_steps`` consecutive observations of one episode, laid over it at every
    ``stride``-th step::

        step in the window   0 … burn_in−1      burn_in … burn_in+length−1     … burn_in+length+n_steps−1
                             burn-in            trained on                     only looked at, to bootstrap from

    In the burn-in the recurrent state is brought up to date with the current weights and nothing is learned. A window at the
    very start of an episode needs no burn-in, since the state there is known: all its steps are trained on. So every step of
    every episode is trained on, however short the episode.

    Attributes:
        burn_in: Steps before those that are trained on, at least 0.
        length: Steps trained on, at least ``n_steps``.
        overlap: Steps that are trained on in two neighbouring sequences, from 0 to ``length`` − 1.
        n_steps: Steps of a return before it bootstraps, at least 1.

    Raises:
        TypeError, ValueError: A number is no integer or out of range.
    """

    burn_in: int
    length: int
    overlap: int
    n_steps: int

    def __post_init__(self) -> None:
        integer_in("burn_in", self.burn_in, 0, _MAX_STEPS)
        integer_in("n_steps", self.n_steps, 1, _MAX_STEPS)
        integer_in("sequence_length", self.length, 1, _MAX_STEPS)
        if self.length < self.n_steps:
            raise ValueError(f"sequence_length must be at least n_steps={self.n_steps}, got {self.length}")
        integer_in("overlap", self.overlap, 0, self.length - 1)

    @property
    def stride(self) -> int:
        """Steps from the start of one sequence to that of the next."""
        return self.length - self.overlap

    @property
    def window(self) -> int:
        """Observations in a sequence."""
        return self.burn_in + self.length + self.n_steps

    @property
    def trainable(self) -> int:
        """Steps of a window that may be trained on: all but the last ``n_steps``."""
        return self.burn_in + self.length

    @property
    def max_left(self) -> int:
        """The most sequences that the end of an episode completes."""
        return -(-(self.length + self.n_steps - self.overlap) // self.stride)

    def offered_at_end(self, num_steps: Any) -> tuple[Any, Any]:
        """First steps of the sequences that the end of an episode completes; those of before are not among them.

        A sequence later than the first is kept only if it trains on a step that the one before did not reach.

        Args:
            num_steps: Lengths of episodes in transitions, int32 (n,).

        Returns:
            Steps, int32 (max_left, n), and which of them there are, bool (max_left, n).
        """
        first = jnp.maximum(-((self.window - 1 - num_steps) // self.stride), 0) * self.stride
        steps = first + jnp.arange(self.max_left, dtype=jnp.int32)[:, None] * self.stride
        return steps, steps < jnp.maximum(num_steps - self.burn_in - self.overlap, 1)


class SequenceState(NamedTuple):
    """Stored transitions as a ring, and what is known of the sequences in it.

    Attributes:
        stored: Transitions with encoded observations, leaves (rows, lanes, …).
        position: Row that is written next, int32.
        size: Number of rows written, int32.
        step: Step of each lane's episode that is written next, int32 (lanes,).
        at_starts: What the learner said at the first steps of sequences, leaves (lanes, places, …); rings of their own.
        num_starts: How many were written, int32 (lanes,).
        place: Of a row where a sequence begins, its place in these rings; −1 at an episode's start; int32 (rows, lanes).
        sums: Priorities of sequences by row and lane of their first step; 0 where none can be drawn.
        largest: The priority of sequences that have not been trained on, float32: the largest there has been.
    """

    stored: Transitions
    position: jax.Array
    size: jax.Array
    step: jax.Array
    at_starts: tuple[jax.Array, ...]
    num_starts: jax.Array
    place: jax.Array
    sums: Sums
    largest: jax.Array


class Sequences(NamedTuple):
    """B sequences of T observations, time first. Beyond an episode's end its final observation is repeated.

    Attributes:
        observation: Features, float32 (T, B, f).
        action: Actions after them, int32 (T, B).
        reward: Rewards after these, float32 (T, B).
        last: The last observation of each sequence that is real, int32 (B,); what comes after it means nothing.
        terminated: Whether that one is terminal, so that nothing follows, bool (B,).
        trained: 1 for steps to train on, 0 for burn-in and padding, float32 (T − n_steps, B).
        from_start: Whether the sequence begins with its episode, bool (B,).
        extras: What the learner said at the first step, leaves (B, …); of no meaning where ``from_start``.
        relative: Priority of each, over the least of the batch, float32 (B,).
        leaf: Where the priorities are, int32 (B,).
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    last: jax.Array
    terminated: jax.Array
    trained: jax.Array
    from_start: jax.Array
    extras: tuple[jax.Array, ...]
    relative: jax.Array
    leaf: jax.Array


@dataclasses.dataclass(frozen=True)
class SequenceReplay(Replay):
    """A replay memory that draws sequences in proportion to their priorities.

    A sequence is known by its first row; it can be drawn once its last observation is written, and until its first row is
    overwritten (which comes before any other of its rows is).

    Attributes:
        layout: Lengths of sequences.
        extras: Shape and dtype of what the learner says of a step in a lane: a flat tuple of arrays.

    Raises:
        ValueError: Not even one sequence fits into a lane's ring.
    """

    layout: SequenceLayout = SequenceLayout(0, 1, 0, 1)  # frozen
    extras: tuple[tuple[tuple[int, ...], str], ...] = ()

    def __post_init__(self) -> None:
        if self.rows < self.layout.window:
            raise ValueError(
                f"buffer_size must hold a sequence for each environment, at least {self.layout.window} "
                f"(burn_in + sequence_length + n_steps) times {self.lanes}, got {self.rows * self.lanes}"
            )

    @property
    def tree(self) -> SumTree:
        """The sum tree; the leaf of a row and a lane is row · lanes + lane."""
        return SumTree(self.rows * self.lanes)

    @property
    def _places(self) -> int:
        """First rows within an episode lie a stride apart, so no more than this many are in a ring at once."""
        return self.rows // self.layout.stride + 2

    def init(self) -> SequenceState:  # type: ignore[override]  # which has more
        """An empty memory."""
        base = super().init()
        extras = tuple(jnp.zeros((self.lanes, self._places, *shape), dtype) for shape, dtype in self.extras)
        none = jnp.zeros(self.lanes, jnp.int32)
        place = jnp.full((self.rows, self.lanes), -1, jnp.int32)
        return SequenceState(*base, none, extras, none, place, self.tree.init(), jnp.float32(1))

    def ready(self, state: Any) -> jax.Array:
        """Whether there is a sequence."""
        return self.tree.total(state.sums) > 0

    # ------------------------------------------------------------------ adding

    def add(self, state: Any, new: Transitions) -> Any:
        """Writes one row, with what the learner says where a sequence begins; has the sequences that it completes be drawn."""
        row, step, lanes = state.position, state.step, jnp.arange(self.lanes)
        within = (step % self.layout.stride == 0) & (step > 0)
        place = jnp.where(within, state.num_starts % self._places, self._places)  # beyond all places: not written
        extras = tuple(
            memory.at[lanes, place].set(given, mode="drop") for memory, given in zip(state.at_starts, new.extras, strict=True)
        )
        places = state.place.at[jnp.stack([row, row])].set(jnp.where(within, place, -1)[None])
        # The sequences that begin in this row are gone; the present one is offered when it is complete.
        gone = self.tree.set(
            state.sums, row * self.lanes + lanes, jnp.zeros(self.lanes, jnp.float32), jnp.ones(self.lanes, bool)
        )
        after: Any = super().add(state, new)
        after = after._replace(sums=gone, at_starts=extras, place=places, num_starts=state.num_starts + within)
        window = self.layout.window - 1
        whole = (step >= window) & ((step - window) % self.layout.stride == 0)
        ended = new.terminated | new.truncated
        steps, there = self.layout.offered_at_end(step + 1)
        back = jnp.concatenate([jnp.full((1, self.lanes), window), step - steps])
        after = self._offer(after, row - back, jnp.concatenate([whole[None], there & ended]))
        return after._replace(step=jnp.where(ended, 0, step + 1))

    def cut(self, state: Any) -> Any:
        """The memory after episodes were broken off: they end, truncated, with the newest row. It must not be empty."""
        newest, running = (state.position - 1) % self.rows, state.step > 0
        steps, there = self.layout.offered_at_end(state.step)
        after = self._offer(super().cut(state), newest - (state.step - 1 - steps), there & running)
        return after._replace(step=jnp.zeros_like(state.step))

    def _offer(self, state: Any, rows: jax.Array, where: jax.Array) -> Any:
        """Lets sequences be drawn from now on, which begin in these rows, int32 (n, lanes)."""
        leaf = (rows % self.rows) * self.lanes + jnp.arange(self.lanes)
        priorities = jnp.full(leaf.size, state.largest)
        return state._replace(sums=self.tree.set(state.sums, leaf.ravel(), priorities, where.ravel()))

    # ------------------------------------------------------------------ drawing

    def sample(  # type: ignore[override]  # sequences, not transitions
        self, state: Any, key: jax.Array, batch_size: int, gamma: jax.Array
    ) -> Sequences:
        """Draws sequences in proportion to their priorities, with replacement. There must be one."""
        del gamma  # a matter of targets
        return self.sequences(state, self.tree.sample(state.sums, key, batch_size))

    def sequences(self, state: Any, leaf: jax.Array) -> Sequences:
        """The sequences that begin at these leaves, int32 (B,)."""
        first, lane, stored = leaf // self.lanes, leaf % self.lanes, state.stored
        steps = jnp.arange(self.layout.window, dtype=jnp.int32)[:, None]
        row = (first + steps) % self.rows
        # Whether the episode ended within the window, and the step that ended it.
        ended = (stored.terminated | stored.truncated)[row[:-1], lane]
        ends, end = ended.any(axis=0), jnp.argmax(ended, axis=0).astype(jnp.int32)
        last = jnp.where(ends, end + 1, self.layout.window - 1)
        end_row = (first + end) % self.rows
        final = self.codec.decode(stored.next_observation[end_row, lane])
        seen = self.codec.decode(stored.observation[row, lane])
        trained, from_start = steps[: self.layout.trainable], state.place[first, lane] < 0
        priority = self.tree.get(state.sums, leaf)
        return Sequences(
            observation=jnp.where((ends & (steps >= last))[..., None], final, seen),
            action=stored.action[row, lane],
            reward=stored.reward[row, lane],
            last=last,
            terminated=ends & stored.terminated[end_row, lane],
            trained=((trained < last) & ((trained >= self.layout.burn_in) | from_start)).astype(jnp.float32),
            from_start=from_start,
            extras=tuple(each[lane, jnp.maximum(state.place[first, lane], 0)] for each in state.at_starts),
            relative=priority / jnp.maximum(priority.min(), jnp.finfo(jnp.float32).tiny),
            leaf=leaf,
        )

    def update_priorities(self, state: Any, batch: Sequences, priorities: jax.Array) -> Any:
        """The memory with new priorities of sequences that were drawn, unless they have been overwritten since.

        Args:
            state: The memory.
            batch: The sequences.
            priorities: Above 0 (0 would mean that there is no such sequence), float32 (B,).
        """
        there = self.tree.get(state.sums, batch.leaf) > 0
        largest = jnp.maximum(state.largest, jnp.where(there, priorities, 0).max())
        return state._replace(sums=self.tree.set(state.sums, batch.leaf, priorities, there), largest=largest)
