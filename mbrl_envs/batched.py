"""Many lanes at once, with time limits and automatic resets, as pure functions.

A reset that is computed in every lane on every step is what makes a vectorised environment slow when resets are expensive: a
maze costs many steps, and among a thousand lanes some episode ends on almost every step. Here each lane of such an environment
has a row of *prepared* starts. Whenever some lane has used its last one, all lanes get the next ones, in bulk, as far as they
have room. As every start is still the one that belongs to its lane and episode (see :mod:`mbrl_envs.lane`), preparing them
changes no number: each is used once, none is repeated, and there always is one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium.vector import AutoresetMode
from jax import lax

from mbrl_envs import draws
from mbrl_envs import lane as lanes
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.lane import Lane

PREPARED_STARTS = 16  # room per lane, a power of two; a lane without room lets fresh starts go to waste (2 % to 20 % of them)
BULK = 1024  # starts drawn at once, about: as many as fit into a processor's cache while they are being drawn
PREPARE_FROM = 64  # lanes; below, resetting when an episode ends is as fast


class Prepared(NamedTuple):
    """Prepared starts; the one of episode ``e`` is in slot ``e % PREPARED_STARTS``.

    Attributes:
        states: States, leaves of shape (slots, lanes, …).
        until: Per lane, the first episode that is not prepared, uint32 (lanes,).
    """

    states: Any
    until: jax.Array


class BatchState(NamedTuple):
    """State of all lanes.

    Attributes:
        lanes: A :class:`~mbrl_envs.lane.Lane` with a leading axis of lanes.
        ended: Lanes whose episode has ended and that restart on the next step (NEXT_STEP only), bool (lanes,).
        prepared: Prepared starts, or None where resets are cheap.
    """

    lanes: Lane
    ended: jax.Array
    prepared: Prepared | None


class BatchStep(NamedTuple):
    """What one step of all lanes returns; every array has a leading axis of lanes.

    Attributes:
        observation: Observations after automatic resets.
        reward: float32.
        terminated: bool.
        truncated: bool; the time limit was reached (perhaps on the step that also terminated).
        final_state: States before automatic resets (SAME_STEP) - those of ended lanes are their episodes' last.
    """

    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_state: Any


@dataclasses.dataclass(frozen=True)
class BatchedEnv:
    """``num_envs`` lanes of one environment.

    Args:
        env: The dynamics.
        num_envs: Number of lanes, at least 1.
        max_episode_steps: Steps after which an episode is truncated, or None.
        autoreset_mode: ``NEXT_STEP`` (the step after an episode's end ignores its action and returns the new start, with
            reward 0) or ``SAME_STEP`` (the step that ends an episode already returns the new start).
        prepare: Whether starts are prepared in bulk; None decides by cost and number of lanes. The numbers are the same.
    """

    env: FunctionalEnv
    num_envs: int
    max_episode_steps: int | None = None
    autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP
    prepare: bool | None = None

    @property
    def prepares(self) -> bool:
        """Whether starts are prepared in bulk."""
        if self.prepare is not None:
            return self.prepare
        return self.env.expensive_reset and self.num_envs >= PREPARE_FROM

    def init(self, keys: jax.Array) -> BatchState:
        """Starts all lanes from raw keys, uint32 (num_envs, 2)."""
        batch = jax.vmap(lambda key: lanes.start(self.env, key))(keys)
        ended = jnp.zeros(self.num_envs, bool)
        if not self.prepares:
            return BatchState(batch, ended, None)
        shape = (PREPARED_STARTS, self.num_envs)
        states = jax.tree.map(lambda leaf: jnp.zeros((*shape, *leaf.shape[1:]), leaf.dtype), batch.state)
        return BatchState(batch, ended, Prepared(states, batch.episode + 1))

    def observe(self, state: BatchState) -> jax.Array:
        """Observations of all lanes."""
        return self.observe_states(state.lanes.state)

    def observe_states(self, states: Any) -> jax.Array:
        """Observations of all lanes in the given states of the dynamics, such as a step's ``final_state``."""
        return jax.vmap(self.env.observe)(states)

    def reseed(self, batch: BatchState, keys: jax.Array, mask: jax.Array) -> BatchState:
        """Starts the lanes where ``mask`` (bool (num_envs,)) holds anew from ``keys`` (raw, uint32 (num_envs, 2))."""
        after = _select(mask, jax.vmap(lambda key: lanes.start(self.env, key))(keys), batch.lanes)
        prepared = batch.prepared
        if prepared is not None:  # What was prepared in these lanes belongs to their former keys.
            prepared = prepared._replace(until=jnp.where(mask, after.episode + 1, prepared.until))
        return BatchState(after, batch.ended & ~mask, prepared)

    def restart(self, batch: BatchState, mask: jax.Array) -> BatchState:
        """Begins the next episode in the lanes where ``mask`` (bool (num_envs,)) holds."""
        after, prepared = self._restart(batch.lanes, mask, batch.prepared)
        return BatchState(after, batch.ended & ~mask, prepared)

    def step(self, batch: BatchState, actions: jax.Array) -> tuple[BatchState, BatchStep]:
        """Takes one step in all lanes; ``actions`` has a leading axis of lanes."""
        moved, transition = jax.vmap(lambda lane, action: lanes.advance(self.env, lane, action))(batch.lanes, actions)
        reward, terminated = transition.reward, transition.terminated
        truncated = jnp.zeros_like(terminated) if self.max_episode_steps is None else moved.elapsed >= self.max_episode_steps
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            restarting = batch.ended
            # The action of a restarting lane is ignored: it has not moved.
            moved = _select(restarting, batch.lanes, moved)
            reward = jnp.where(restarting, 0, reward)
            terminated, truncated = terminated & ~restarting, truncated & ~restarting
            ended = terminated | truncated
        else:
            restarting = terminated | truncated
            ended = jnp.zeros_like(restarting)
        after, prepared = self._restart(moved, restarting, batch.prepared)
        observation = jax.vmap(self.env.observe)(after.state)
        return BatchState(after, ended, prepared), BatchStep(observation, reward, terminated, truncated, moved.state)

    def _restart(self, batch: Lane, restarting: jax.Array, prepared: Prepared | None) -> tuple[Lane, Prepared | None]:
        if prepared is None:
            starts = lax.cond(
                restarting.any(),
                lambda: jax.vmap(lambda lane: lanes.next_start(self.env, lane))(batch),
                lambda: batch.state,
            )
            return _select(restarting, jax.vmap(lanes.restart)(batch, starts), batch), None
        # A loop, not a condition, and before any use: so XLA updates the prepared starts in place instead of copying them.
        prepared = lax.while_loop(
            lambda prepared: (batch.episode + 1 == prepared.until).any(),
            lambda prepared: self._prepare(batch, prepared),
            prepared,
        )
        slot, index = (batch.episode + 1) % PREPARED_STARTS, jnp.arange(self.num_envs)
        starts = jax.tree.map(lambda leaf: leaf[slot, index], prepared.states)
        return _select(restarting, jax.vmap(lanes.restart)(batch, starts), batch), prepared

    def _prepare(self, batch: Lane, prepared: Prepared) -> Prepared:
        """Draws the next few starts of every lane, as far as it has room."""
        num = min(max(BULK // self.num_envs, 1), PREPARED_STARTS // 2)
        ahead = jnp.arange(num, dtype=jnp.uint32)[:, None]
        draw = jax.vmap(lambda key, episode: self.env.reset(draws.fold_in(key, episode)))
        fresh = jax.vmap(draw, in_axes=(None, 0))(batch.reset_key, prepared.until + ahead)
        room = PREPARED_STARTS - (prepared.until - (batch.episode + 1))
        slot = jnp.arange(PREPARED_STARTS, dtype=jnp.uint32)[:, None]
        states = prepared.states
        for i in range(num):
            here = (slot == (prepared.until + i) % PREPARED_STARTS) & (i < room)
            states = _select(here, jax.tree.map(lambda leaf, i=i: leaf[i], fresh), states)
        return Prepared(states, prepared.until + jnp.minimum(room, jnp.uint32(num)))


def _select(mask: jax.Array, chosen: Any, other: Any) -> Any:
    """``chosen`` where ``mask`` holds, else ``other``, whose leaves' leading axes are those of ``mask``."""

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(mask.reshape(mask.shape + (1,) * (b.ndim - mask.ndim)), a, b)

    return jax.tree.map(pick, chosen, other)
