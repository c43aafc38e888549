"""The device loop: act, step, store, learn, many steps in one compiled program.

The loop is compiled once and run in chunks of any length up to a maximum; between chunks the host reports, evaluates, saves.
What changes from step to step by a schedule comes in as arrays, one entry per step of the chunk.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.replay import Replay, ReplayState, Transitions
from mbrl_agents.core.schedules import Now
from mbrl_envs import BatchedEnv, draws
from mbrl_envs.batched import BatchState


class Learner(Protocol):
    """What the loops ask of an algorithm; hashable, as compiled programs are kept by it."""

    def __hash__(self) -> int:
        """Equal learners make the same program."""

    def init(self, key: jax.Array, hyper: Any) -> Any:
        """The state before any learning; ``hyper`` are numbers in which runs of one program may differ."""

    def act(self, state: Any, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Exploring actions, as the :class:`~mbrl_agents.core.actions.ActionCodec` of the space has them."""

    def act_greedily(self, state: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Greedy actions."""

    def update(self, state: Any, batch: Any, key: jax.Array, now: Now) -> tuple[Any, dict]:
        """One gradient step on what the replay memory draws, mostly a :class:`~mbrl_agents.core.replay.Batch`."""

    def update_target(self, state: Any) -> Any:
        """One update of the target network."""


class Streams(NamedTuple):
    """Keys of a run's random streams, raw uint32; the n-th number of a stream is drawn with ``fold_in(stream, n)``.

    (That of :mod:`mbrl_envs.draws`, which equals JAX's and is quicker on a CPU.)
    """

    act: jax.Array
    update: jax.Array


def update_keys(streams: Streams, update: Any) -> tuple[jax.Array, jax.Array]:
    """Keys of a gradient step: for drawing its batch, and for the update itself (costs nothing where it is not used)."""
    key = draws.fold_in(streams.update, update)
    return key, draws.fold_in(key, 1)


class Clock(NamedTuple):
    """Where a run is, int32 scalars.

    Attributes:
        calls: Steps of all environments together since the agent was made.
        timesteps: Transitions collected since ``learn()`` last began at 0 (SB3's ``num_timesteps``).
        updates: Gradient steps since the agent was made.
    """

    calls: Any
    timesteps: Any
    updates: Any


class Lanes(NamedTuple):
    """The environments, and where their episodes stand.

    Attributes:
        envs: State of the environments.
        observation: What they show now.
        episode_return: Return so far of each current episode, float32 (lanes,).
        episode_length: Its length so far, int32 (lanes,).
    """

    envs: BatchState
    observation: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array


def start_lanes(envs: BatchedEnv, keys: jax.Array) -> Lanes:
    """The environments at their first episodes; ``keys`` are raw, uint32 (num_envs, 2)."""
    return _fresh(envs, envs.init(keys))


def restart_lanes(envs: BatchedEnv, lanes: Lanes) -> Lanes:
    """The environments at their next episodes."""
    return _fresh(envs, envs.restart(lanes.envs, jnp.ones(envs.num_envs, bool)))


def _fresh(envs: BatchedEnv, state: BatchState) -> Lanes:
    num = envs.num_envs
    return Lanes(state, envs.observe(state), jnp.zeros(num, jnp.float32), jnp.zeros(num, jnp.int32))


class LoopState(NamedTuple):
    """Everything a run carries from step to step."""

    learner: Any
    replay: ReplayState
    lanes: Lanes
    streams: Streams
    clock: Clock
    target_update_interval: jax.Array


class StepRecord(NamedTuple):
    """What one step reports, arrays over lanes."""

    action: Any
    reward: Any
    terminated: Any
    truncated: Any
    episode_return: Any
    episode_length: Any


WARMUPS = ("uniform", "policy")


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """When and on how much to learn; shapes the program.

    Attributes:
        batch_size: Transitions per gradient step.
        learning_starts: Transitions collected before learning.
        train_freq: Steps (of all environments together) between trainings.
        gradient_steps: Gradient steps per training.
        warmup: Actions of these first transitions, one of ``WARMUPS``: uniform, or those of the untrained learner.
    """

    batch_size: int
    learning_starts: int
    train_freq: int
    gradient_steps: int
    warmup: str = "uniform"


def choose_action(
    learner: Learner,
    plan: TrainingPlan,
    actions: ActionCodec,
    state: Any,
    observation: jax.Array,
    streams: Streams,
    clock: Clock,
    explore: Exploration,
) -> jax.Array:
    """Actions of the training policy: before learning starts those of ``plan.warmup``, then the learner's.

    Both loops act by this function.
    """
    num = observation.shape[0]
    key = draws.fold_in(streams.act, clock.calls)
    if plan.warmup == "policy":
        return learner.act(state, observation, key, explore)
    return lax.cond(
        clock.timesteps < plan.learning_starts,
        lambda: actions.uniform(key, num),
        lambda: learner.act(state, observation, key, explore),
    )


def train(
    learner: Learner,
    plan: TrainingPlan,
    replay: Replay,
    state: Any,
    memory: ReplayState,
    streams: Streams,
    updates: jax.Array,
    now: Now,
) -> tuple[Any, dict]:
    """``plan.gradient_steps`` gradient steps, each on a fresh batch. Both loops learn by this function.

    Args:
        learner: The algorithm.
        plan: How much to learn.
        replay: Layout of the memory.
        state: The learner's state.
        memory: The memory's state.
        streams: The run's random streams.
        updates: Gradient steps so far.
        now: Step size, and how much to explore.

    Returns:
        The learner's state and the metrics of the last gradient step.
    """

    def one(i: Any, carry: tuple[Any, dict]) -> tuple[Any, dict]:
        sample_key, update_key = update_keys(streams, updates + i)
        batch = replay.sample(memory, sample_key, plan.batch_size, carry[0].hyper.gamma)
        return learner.update(carry[0], batch, update_key, now)

    if plan.gradient_steps == 1:
        return one(0, (state, {}))
    shapes = jax.eval_shape(lambda carry: one(0, carry), (state, {}))[1]
    none = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)
    return lax.fori_loop(0, plan.gradient_steps, one, (state, none))


@dataclasses.dataclass(frozen=True)
class DeviceLoop:
    """A run on functional environments as one program.

    A run is a sequence of *cycles*, as in SB3: ``train_freq`` steps, then one training. Whether a training is due is decided
    outside, by calling :meth:`collect` or :meth:`cycles`: a condition inside would copy all parameters on every step.

    Attributes:
        learner: The algorithm.
        plan: When and on how much to learn.
        replay: Layout of the replay memory.
        envs: The environments (SAME_STEP automatic resets).
        max_chunk: Most steps of one call.
    """

    learner: Learner
    plan: TrainingPlan
    replay: Replay
    envs: BatchedEnv
    max_chunk: int = 1000

    def step(self, state: LoopState, explore: Exploration) -> tuple[LoopState, StepRecord]:
        """One step of all environments: act, store, update the target network when due."""
        num_envs, before = self.envs.num_envs, state.lanes
        actions, clock = self.replay.actions, state.clock
        action = choose_action(
            self.learner, self.plan, actions, state.learner, before.observation, state.streams, clock, explore
        )
        envs, out = self.envs.step(before.envs, actions.to_env(action))
        ended = out.terminated | out.truncated
        # The last observation of an ended episode is not the one that acting goes on from.
        next_observation = lax.cond(ended.any(), lambda: self.envs.observe_states(out.final_state), lambda: out.observation)
        env_state = before.envs.lanes.state if self.replay.env is not None else None
        new = Transitions(before.observation, action, out.reward, next_observation, out.terminated, out.truncated, env_state)
        episode_return, episode_length = before.episode_return + out.reward, before.episode_length + 1
        clock = clock._replace(calls=clock.calls + 1, timesteps=clock.timesteps + num_envs)
        due = clock.calls % jnp.maximum(state.target_update_interval // num_envs, 1) == 0
        after = state._replace(
            learner=lax.cond(due, self.learner.update_target, lambda same: same, state.learner),
            replay=self.replay.add(state.replay, new),
            lanes=Lanes(envs, out.observation, jnp.where(ended, 0, episode_return), jnp.where(ended, 0, episode_length)),
            clock=clock,
        )
        return after, StepRecord(action, out.reward, out.terminated, out.truncated, episode_return, episode_length)

    def train(self, state: LoopState, now: Now) -> tuple[LoopState, dict]:
        """One training."""
        clock, updates = state.clock, state.clock.updates
        learner, metrics = train(self.learner, self.plan, self.replay, state.learner, state.replay, state.streams, updates, now)
        clock = clock._replace(updates=updates + self.plan.gradient_steps)
        return state._replace(learner=learner, clock=clock), metrics

    def collect(self, state: LoopState, schedules: Now, num: jax.Array) -> tuple[LoopState, StepRecord]:
        """``num`` steps without training; schedules and records have a leading axis of ``max_chunk`` steps."""

        def body(i: jax.Array, carry: tuple[LoopState, StepRecord]) -> tuple[LoopState, StepRecord]:
            state, record = self.step(carry[0], _row(schedules.explore, i))
            return state, _write(carry[1], record, i)

        return lax.fori_loop(0, num, body, (state, self._empty(lambda s: self.step(s, _row(schedules.explore, 0)), state)))

    def cycles(self, state: LoopState, schedules: Now, num: jax.Array) -> tuple[LoopState, StepRecord, dict]:
        """``num`` cycles of ``train_freq`` steps and a training each.

        Schedules and records have a leading axis of ``max_chunk`` steps; the metrics' i-th row is the i-th training's.
        """
        frequency = self.plan.train_freq

        def cycle(i: jax.Array, carry: tuple[LoopState, StepRecord, dict]) -> tuple[LoopState, StepRecord, dict]:
            def step(j: Any, inner: tuple[LoopState, StepRecord]) -> tuple[LoopState, StepRecord]:
                state, record = self.step(inner[0], _row(schedules.explore, i * frequency + j))
                return state, _write(inner[1], record, i * frequency + j)

            state, records, metrics = carry
            state, records = lax.fori_loop(0, frequency, step, (state, records)) if frequency > 1 else step(0, (state, records))
            state, row = self.train(state, _row(schedules, i * frequency + frequency - 1))
            return state, records, _write(metrics, row, i)

        records = self._empty(lambda s: self.step(s, _row(schedules.explore, 0)), state)
        metrics = self._empty(lambda s: self.train(s, _row(schedules, 0)), state)
        return lax.fori_loop(0, num, cycle, (state, records, metrics))

    def _empty(self, function: Any, state: LoopState) -> Any:
        """Rows for ``max_chunk`` of the second results of ``function(state)``."""
        shapes = jax.eval_shape(function, state)[1]
        return jax.tree.map(lambda leaf: jnp.zeros((self.max_chunk, *leaf.shape), leaf.dtype), shapes)


def _row(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _write(rows: Any, row: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf, value: leaf.at[i].set(value), rows, row)
