"""The program of a run: everything static, and pure functions that take and return its :class:`~mbrl_agents.core.run.RunState`.

The device loop (act, step, store, learn, many steps in one call) is compiled once and run in chunks of any length up to a
maximum; between chunks the host reports, evaluates, saves. What changes from step to step by a schedule comes in as arrays, one
entry per step of the chunk. The host loop uses the same functions one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Learner, Updated, begin_anew
from mbrl_agents.core.observations import num_observations
from mbrl_agents.core.replay import Replay, Transitions
from mbrl_agents.core.run import Clock, Keys, RunState, StepRecord
from mbrl_agents.core.schedules import Now
from mbrl_agents.core.slots import EnvSlots
from mbrl_envs import BatchedEnv, draws

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


@dataclasses.dataclass(frozen=True)
class Program:
    """All that is static in a run.

    In the device loop a run is a sequence of *cycles*, as in SB3: ``train_freq`` steps, then one training. Whether a training
    is due is decided outside, by calling :meth:`collect` or :meth:`cycles`: a condition inside would copy all parameters on
    every step.

    Attributes:
        learner: The algorithm.
        plan: When and on how much to learn.
        replay: The replay memory.
        envs: The environments (SAME_STEP automatic resets); None in the host loop, where Stable-Baselines3 steps them.
        max_chunk: Most steps of one call.
    """

    learner: Learner
    plan: TrainingPlan
    replay: Replay
    envs: BatchedEnv | None = None
    max_chunk: int = 1000

    @property
    def _envs(self) -> BatchedEnv:
        assert self.envs is not None, "the host loop's program has no environments"
        return self.envs

    def differs_in_step(self) -> RunState:
        """Which leaves differ between runs that have made equally many steps (True); a prefix of the run's state."""
        clock = Clock(vector_steps=False, num_timesteps=False, updates=False, predictions=True)
        return RunState(True, self.replay.differs_in_step(), True, Keys(True, True, True, True), clock, True, True)  # type: ignore[arg-type]

    # ------------------------------------------------------------------ parts of a step

    def choose(self, state: RunState, observation: Any, explore: Exploration) -> Acted:
        """Actions of the training policy: before learning starts those of ``plan.warmup``, then the learner's."""
        num = num_observations(observation)
        key = draws.fold_in(state.keys.act, state.clock.vector_steps)

        def act(explore: Exploration) -> Acted:
            return self.learner.act(state.learner, state.carry, observation, key, explore)

        if self.plan.warmup == "policy":
            return act(explore)
        warming_up = state.clock.num_timesteps < self.plan.learning_starts
        if jax.tree.leaves(state.carry):  # a memory must see all steps, and what was done in them
            return act(explore._replace(epsilon=jnp.where(warming_up, 1.0, explore.epsilon)))
        return lax.cond(warming_up, lambda: Acted(self.replay.actions.uniform(key, num)), lambda: act(explore))

    def train(self, state: RunState, now: Now) -> tuple[RunState, dict]:
        """One training: ``plan.gradient_steps`` gradient steps, each on a fresh batch.

        Args:
            state: The run.
            now: Learning rate, and how much to explore.

        Returns:
            The run, and the metrics of the last gradient step.
        """
        updates = state.clock.updates
        learner, memory, metrics = self.gradient_steps(state.learner, state.memory, state.keys, updates, now)
        clock = state.clock._replace(updates=updates + self.plan.gradient_steps)
        return state._replace(learner=learner, memory=memory, clock=clock), metrics

    def gradient_steps(self, learner: Any, memory: Any, keys: Keys, updates: Any, now: Now) -> tuple[Any, Any, dict]:
        """Gradient steps of :meth:`train` on learner and memory; a memory that does not change is returned as the same object.

        Args:
            learner: The learner's state.
            memory: The memory's state.
            keys: The run's keys.
            updates: Gradient steps so far.
            now: Learning rate, and how much to explore.
        """
        number = self.plan.gradient_steps

        def one(i: Any, learner: Any, memory: Any) -> tuple[Any, Any, dict]:
            sample_key, update_key = keys.of_update(updates + i)
            ready = self.replay.ready(memory)
            batch, after = self.replay.draw(memory, sample_key, self.plan.batch_size, learner.hyper.gamma)

            def learn() -> Updated:
                return self.learner.update(learner, batch, update_key, now)

            # The memory stays outside of the condition, which would copy it; without anything to draw it has no priorities.
            updated = learn() if ready is True else lax.cond(ready, learn, lambda: _not_learned(learner, learn))
            if updated.priorities is not None:
                after = self.replay.update_priorities(after, batch, updated.priorities)
            return updated.state, after, updated.metrics

        if number == 1:
            return one(0, learner, memory)
        shapes = jax.eval_shape(lambda: one(0, learner, memory))[2]
        none = _not_a_number(shapes)
        if self.replay.changes_when_drawn():
            return lax.fori_loop(0, number, lambda i, carry: one(i, *carry[:2]), (learner, memory, none))
        learner, metrics = lax.fori_loop(0, number, lambda i, carry: one(i, carry[0], memory)[::2], (learner, none))
        return learner, memory, metrics

    # ------------------------------------------------------------------ the device loop

    def step(self, state: RunState, explore: Exploration) -> tuple[RunState, StepRecord]:
        """One step of all environments: act, store, update the target network when due."""
        assert state.slots is not None
        num_envs, before = self._envs.num_envs, state.slots
        acted = self.choose(state, before.observation, explore)
        action = acted.action
        envs, out = self._envs.step(before.envs, self.replay.actions.to_env(action))
        ended = out.terminated | out.truncated
        # The last observation of an ended episode is not the one that acting goes on from.
        next_observation = lax.cond(ended.any(), lambda: self._envs.observe_states(out.final_state), lambda: out.observation)
        env_state = before.envs.lanes.state if self.replay.env is not None else None
        ends = out.terminated, out.truncated
        new = Transitions(before.observation, action, out.reward, next_observation, *ends, env_state, acted.extras)
        episode_return, episode_length = before.episode_return + out.reward, before.episode_length + 1
        clock = state.clock
        clock = clock._replace(vector_steps=clock.vector_steps + 1, num_timesteps=clock.num_timesteps + num_envs)
        due = clock.vector_steps % jnp.maximum(state.target_update_interval // num_envs, 1) == 0
        after = state._replace(
            learner=lax.cond(due, self.learner.update_target, lambda same: same, state.learner),
            memory=self.replay.add(state.memory, new),
            slots=EnvSlots(envs, out.observation, jnp.where(ended, 0, episode_return), jnp.where(ended, 0, episode_length)),
            clock=clock,
            carry=begin_anew(self.learner, acted.carry, ended),
        )
        return after, StepRecord(action, out.reward, out.terminated, out.truncated, episode_return, episode_length)

    def collect(self, state: RunState, schedules: Now, num: jax.Array) -> tuple[RunState, StepRecord]:
        """``num`` steps without training; schedules and records have a leading axis of ``max_chunk`` steps."""

        def body(i: jax.Array, carry: tuple[RunState, StepRecord]) -> tuple[RunState, StepRecord]:
            state, record = self.step(carry[0], _row(schedules.explore, i))
            return state, _write(carry[1], record, i)

        return lax.fori_loop(0, num, body, (state, self._empty(lambda s: self.step(s, _row(schedules.explore, 0)), state)))

    def train_at(self, state: RunState, schedules: Now, index: jax.Array) -> tuple[RunState, dict]:
        """One training at a step of a chunk; metrics have a leading axis of one."""
        state, metrics = self.train(state, _row(schedules, index))
        return state, {name: value[None] for name, value in metrics.items()}

    def cycles(self, state: RunState, schedules: Now, num: jax.Array) -> tuple[RunState, StepRecord, dict]:
        """``num`` cycles of ``train_freq`` steps and a training each.

        Schedules and records have a leading axis of ``max_chunk`` steps; the metrics' i-th row is the i-th training's.
        """
        frequency = self.plan.train_freq

        def cycle(i: jax.Array, carry: tuple[RunState, StepRecord, dict]) -> tuple[RunState, StepRecord, dict]:
            def step(j: Any, inner: tuple[RunState, StepRecord]) -> tuple[RunState, StepRecord]:
                state, record = self.step(inner[0], _row(schedules.explore, i * frequency + j))
                return state, _write(inner[1], record, i * frequency + j)

            state, records, metrics = carry
            state, records = lax.fori_loop(0, frequency, step, (state, records)) if frequency > 1 else step(0, (state, records))
            state, row = self.train(state, _row(schedules, i * frequency + frequency - 1))
            return state, records, _write(metrics, row, i)

        records = self._empty(lambda s: self.step(s, _row(schedules.explore, 0)), state)
        metrics = self._empty(lambda s: self.train(s, _row(schedules, 0)), state)
        return lax.fori_loop(0, num, cycle, (state, records, metrics))

    def _empty(self, function: Any, state: RunState) -> Any:
        """Rows for ``max_chunk`` of the second results of ``function(state)``."""
        shapes = jax.eval_shape(function, state)[1]
        return jax.tree.map(lambda leaf: jnp.zeros((self.max_chunk, *leaf.shape), leaf.dtype), shapes)


def _not_learned(learner: Any, learn: Callable[[], Updated]) -> Updated:
    shapes = jax.eval_shape(learn)
    return Updated(learner, _not_a_number(shapes.metrics), _not_a_number(shapes.priorities))


def _not_a_number(shapes: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), shapes)


def _row(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


def _write(rows: Any, row: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf, value: leaf.at[i].set(value), rows, row)
