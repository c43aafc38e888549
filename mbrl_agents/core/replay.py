"""Uniform experience replay as pure functions on arrays that stay on the device.

Row ``i`` of lane ``e`` holds one transition with both its observations, so that what follows an episode's end is never needed;
n-step returns are put together when a batch is drawn, from rows that follow each other in the same lane.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core import files, returns
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.compilation import by_usual_rules
from mbrl_agents.core.observations import ObservationCodec
from mbrl_envs import FunctionalEnv


class Transitions(NamedTuple):
    """Transitions as they come from environments, with a leading axis of lanes.

    Attributes:
        observation: Observations before the step: arrays, or dictionaries or tuples of them.
        action: Actions as learners have them: int32, or float32 vectors.
        reward: float32.
        next_observation: Observations after the step, before any automatic reset.
        terminated: bool; nothing follows, targets do not bootstrap.
        truncated: bool; the episode was cut short, targets bootstrap from ``next_observation``.
        env_state: State of the environment before the step, or None if it is not stored.
        extras: What the learner has to say of the step, see :class:`~mbrl_agents.core.learner.Acted`; stored by memories that
            ask for it.
    """

    observation: Any
    action: Any
    reward: Any
    next_observation: Any
    terminated: Any
    truncated: Any
    env_state: Any = None
    extras: Any = ()


class ReplayState(NamedTuple):
    """Stored transitions, leaves of shape (rows, lanes, …), as a ring.

    Attributes:
        stored: Transitions with encoded observations.
        position: Row that is written next, int32.
        size: Number of rows written, int32.
    """

    stored: Transitions
    position: jax.Array
    size: jax.Array


class Batch(NamedTuple):
    """A drawn batch of B (n-step) transitions.

    Attributes:
        observation: Features, float32 (B, f).
        action: int32 (B,) or float32 (B, size).
        reward: Discounted sum of the rewards of up to n steps, float32 (B,).
        next_observation: Features after these steps, float32 (B, f).
        discount: What multiplies the value of the latter: γ to the number of steps, 0 after a termination; float32 (B,).
        terminated: Whether the last of these steps ended the episode for good, bool (B,).
        env_state: States of the environment before the (first) step, leaves (B, …); None if they are not stored.
    """

    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    next_observation: jax.Array
    discount: jax.Array
    terminated: jax.Array
    env_state: Any = None


class Arrays(Protocol):
    """Arrays by name, of a file mostly, which are read when they are asked for."""

    names: list[str]

    def __getitem__(self, name: str) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Replay:
    """A replay memory's layout and functions.

    A memory with numbers of its own (priorities, say) is a subclass whose state has more fields than :class:`ReplayState`, and
    which changes them in :meth:`add`, :meth:`draw` and :meth:`update_priorities`. They are saved, loaded and mapped over runs
    with the rest.

    Attributes:
        codec: How observations are stored.
        actions: What actions are.
        rows: Rows per lane.
        lanes: Number of lanes (environments).
        n_steps: Steps of a return.
        env: Dynamics whose states are stored as well, or None.
    """

    codec: ObservationCodec
    actions: ActionCodec
    rows: int
    lanes: int
    n_steps: int = 1
    env: FunctionalEnv | None = None

    def init(self) -> ReplayState:
        """An empty memory."""
        shape, action = (self.rows, self.lanes), self.actions.row

        def zeros(dtype: Any, row: tuple[int, ...] = ()) -> jax.Array:
            return jnp.zeros((*shape, *row), dtype)

        def observations() -> Any:
            return jax.tree.map(lambda part: zeros(part.dtype, part.shape), self.codec.row)

        stored = Transitions(
            observation=observations(),
            action=zeros(action.dtype, action.shape),
            reward=zeros(jnp.float32),
            next_observation=observations(),
            terminated=zeros(bool),
            truncated=zeros(bool),
            env_state=self._empty_states(),
        )
        return ReplayState(stored, jnp.int32(0), jnp.int32(0))

    def _empty_states(self) -> Any:
        if self.env is None:
            return None
        shapes = jax.eval_shape(by_usual_rules(self.env.reset), jax.ShapeDtypeStruct((2,), jnp.uint32))
        return jax.tree.map(lambda leaf: jnp.zeros((self.rows, self.lanes, *leaf.shape), leaf.dtype), shapes)

    @property
    def bytes(self) -> int:
        """Size of the memory in bytes."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(by_usual_rules(self.init))))

    def add(self, state: ReplayState, new: Transitions) -> ReplayState:
        """Writes one row: a transition of every lane."""
        encoded = new._replace(
            observation=self.codec.encode(new.observation),
            next_observation=self.codec.encode(new.next_observation),
            extras=(),
        )
        # The row is named twice because XLA would join a plain write with the reading of batches, and for that copy the whole
        # memory, twice, on every step.
        twice = jnp.stack([state.position, state.position])
        stored = jax.tree.map(lambda memory, row: memory.at[twice].set(jnp.stack([row, row])), state.stored, encoded)
        position, size = (state.position + 1) % self.rows, jnp.minimum(state.size + 1, self.rows)
        return state._replace(stored=stored, position=position, size=size)

    def draw(self, state: ReplayState, key: jax.Array, batch_size: int, gamma: jax.Array) -> tuple[Any, ReplayState]:
        """Draws what an update learns from, and the memory after that: drawing may change a memory's own numbers.

        Args:
            state: The memory; not empty.
            key: Random key, uint32 (2,).
            batch_size: Size of the batch.
            gamma: Discount factor γ, float32 scalar.
        """
        return self.sample(state, key, batch_size, gamma), state

    def update_priorities(self, state: ReplayState, batch: Any, priorities: jax.Array) -> ReplayState:
        """The memory after its priorities of what was drawn are set anew; a uniform one has none.

        Args:
            state: The memory.
            batch: What :meth:`draw` gave.
            priorities: What the learner's update gave, float32 (B,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no priorities")

    def ready(self, state: ReplayState) -> jax.Array | bool:
        """Whether there is something to draw; True where one stored transition is enough."""
        del state
        return True

    def cut(self, state: ReplayState) -> ReplayState:
        """The memory after episodes were broken off: they end, truncated, with the newest row. It must not be empty."""
        newest, stored = (state.position - 1) % self.rows, state.stored
        truncated = stored.truncated.at[newest].set(~stored.terminated[newest])
        return state._replace(stored=stored._replace(truncated=truncated))

    def changes_when_drawn(self) -> bool:
        """Whether :meth:`draw`, or the priorities that follow from an update, change the memory."""
        if type(self).update_priorities is not Replay.update_priorities:
            return True
        memory, found = jax.eval_shape(by_usual_rules(self.init)), []

        def look(memory: Any, key: jax.Array, gamma: jax.Array) -> Any:
            batch, after = self.draw(memory, key, 1, gamma)
            found.append(after is not memory)
            return batch

        jax.eval_shape(
            by_usual_rules(look), memory, jax.ShapeDtypeStruct((2,), jnp.uint32), jax.ShapeDtypeStruct((), jnp.float32)
        )
        return found[0]

    def differs_in_step(self) -> Any:
        """Which leaves of the state differ between runs that have made equally many steps (True); a prefix of the state.

        Where a row is written is the same in all of them, and a program for many runs then writes all their rows at one place.
        """
        shapes = jax.eval_shape(by_usual_rules(self.init))
        return type(shapes)(*(name not in ("position", "size") for name in shapes._fields))

    def sample(self, state: ReplayState, key: jax.Array, batch_size: int, gamma: jax.Array) -> Batch:
        """Draws transitions uniformly with replacement; n-step returns end early at an episode's end and at the newest row.

        Args:
            state: The memory; not empty.
            key: Random key, uint32 (2,).
            batch_size: B.
            gamma: Discount factor γ, float32 scalar.
        """
        # One call of the generator (`randint` makes three); no row is off 1/number by more than 2**-32.
        number = (state.size * self.lanes).astype(jnp.uint32)
        flat = (jax.random.bits(key, (batch_size,), jnp.uint32) % number).astype(jnp.int32)
        return self.gather(state, flat // self.lanes, flat % self.lanes, gamma)

    def rows_to_arrays(self, state: ReplayState, first: int, end: int) -> dict[str, np.ndarray]:
        """Arrays for a file: of all that has a row for each transition the places ``first`` to ``end`` − 1 of the ring."""
        arrays = files.flatten(state.stored._asdict(), copy=False)
        return {name: leaf[first:end] for name, leaf in arrays.items() if self._has_rows(leaf)}

    def to_arrays(self, state: ReplayState) -> dict[str, np.ndarray]:
        """Arrays for a file: of leaves with rows and slots the rows in use, all others whole."""
        used = int(state.size)
        return {
            name: leaf[:used] if self._has_rows(leaf) else leaf
            for name, leaf in files.flatten(_named(state), copy=False).items()
        }

    def from_arrays(self, arrays: Arrays, what: str) -> ReplayState:
        """The memory that :meth:`to_arrays` made arrays of; it may have had another number of rows, if its ring was not full.

        Args:
            arrays: The arrays.
            what: What they are from, for messages.

        Raises:
            ValueError: They are of a memory with another layout.
        """
        shapes, templates = jax.eval_shape(by_usual_rules(self.init)), files.flatten(_named(by_usual_rules(self.init)()))
        size, position = (int(arrays[name]) if name in arrays.names else -1 for name in ("size", "position"))
        if not (0 <= size <= self.rows and 0 <= position < self.rows) or {*arrays.names} != {*templates}:
            raise ValueError(f"{what} holds no replay memory of at most {self.rows} rows per environment")
        if size < self.rows and position != size:
            raise ValueError(f"{what} is a full ring of {size} rows; this memory has {self.rows}")
        for name, template in templates.items():
            given, rows = arrays[name], self._has_rows(template)
            wanted = (size, *template.shape[1:]) if rows else template.shape
            # Counts were once written in 64 bits.
            if given.shape != wanted or (given.dtype != template.dtype and name not in ("size", "position")):
                raise ValueError(
                    f"{what}: {name} must have shape {wanted} and dtype {template.dtype}, got {given.shape} and {given.dtype}"
                )
            if rows:
                template[:size] = given
            else:
                template[...] = given
        parts = files.unflatten(_named(shapes), templates, what)
        stored = type(shapes.stored)(**{name: parts.pop(name) for name in shapes.stored._fields})
        return type(shapes)(stored=stored, **parts)

    def _has_rows(self, leaf: np.ndarray) -> bool:
        return leaf.shape[:2] == (self.rows, self.lanes)

    def gather(self, state: ReplayState, row: jax.Array, lane: jax.Array, gamma: jax.Array) -> Batch:
        """The (n-step) transitions that start at given places.

        Args:
            state: The memory.
            row: Rows that have been written, int32 (B,).
            lane: Lanes, int32 (B,).
            gamma: Discount factor γ, float32 scalar.
        """
        stored = state.stored
        newest = (state.position - 1) % self.rows
        steps = [(row + i) % self.rows for i in range(self.n_steps)]
        n_step = returns.n_step_return(
            [stored.reward[step, lane] for step in steps],
            [stored.terminated[step, lane] | stored.truncated[step, lane] | (step == newest) for step in steps],
            gamma,
        )
        last = (row + n_step.steps - 1) % self.rows
        return Batch(
            observation=self.codec.decode(jax.tree.map(lambda leaf: leaf[row, lane], stored.observation)),
            action=stored.action[row, lane],
            reward=n_step.reward,
            next_observation=self.codec.decode(jax.tree.map(lambda leaf: leaf[last, lane], stored.next_observation)),
            discount=jnp.where(stored.terminated[last, lane], 0, n_step.discount),
            terminated=stored.terminated[last, lane],
            env_state=jax.tree.map(lambda leaf: leaf[row, lane], stored.env_state),
        )


def _named(state: ReplayState) -> dict[str, Any]:
    """A memory's parts by name, as they are called in files."""
    parts = state._asdict()
    return parts.pop("stored")._asdict() | parts
