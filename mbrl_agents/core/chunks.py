"""Compiled programs, and the parts in which a run goes through them."""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from mbrl_agents.core.compilation import KEPT_PROGRAMS, FirstCallAlone, jit, plain_jit
from mbrl_agents.core.learner import Learner
from mbrl_agents.core.program import Program
from mbrl_agents.core.replay import Replay
from mbrl_agents.core.run import Clock, Keys, RunState, StepRecord, key_of_init
from mbrl_agents.core.schedules import Now

SECONDS_PER_CHUNK = 0.5  # how long Ctrl-C and the progress bar may have to wait
FIRST_CHUNK = 50


class Programs(NamedTuple):
    """The device loop's three functions; ``train`` takes the schedules of a chunk, and the step that counts."""

    collect: Any
    cycles: Any
    train: Any


def program_functions(program: Program) -> Programs:
    """The functions, not compiled yet."""
    return Programs(program.collect, program.cycles, program.train_at)


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def compiled(program: Program) -> Programs:
    """The compiled functions."""
    return Programs(*(TakesMemory(function) for function in program_functions(program)))


class TakesMemory:
    """A compiled function of a run's state that is given the buffers of its replay memory, and of nothing else.

    The memory is what must not be there twice. All else is small, and still there if a call fails: see :func:`whole`.

    Args:
        function: A function of a :class:`~mbrl_agents.core.run.RunState` and more.
    """

    def __init__(self, function: Any) -> None:
        def inner(memory: Any, rest: RunState, *more: Any) -> Any:
            return function(rest._replace(memory=memory), *more)

        self.function = FirstCallAlone(jit(inner, donate_argnums=0))

    def lower(self, state: RunState, *more: Any) -> Any:
        """As of ``jax.jit``."""
        return self.function.lower(state.memory, state._replace(memory=None), *more)

    def __call__(self, state: RunState, *more: Any) -> Any:
        """Calls the function."""
        return self.function(state.memory, state._replace(memory=None), *more)


def whole(program: Program, state: RunState) -> RunState:
    """The state that a compiled call was given and that it failed with: with an empty memory, if that went with the call.

    Warns:
        RuntimeWarning: The replay memory is empty.
    """
    return state._replace(memory=whole_memory(program.replay, state.memory))


def whole_memory(replay: Replay, memory: Any) -> Any:
    """A memory that a compiled call was given and that it failed with, or an empty one, if it went with the call.

    Warns:
        RuntimeWarning: It is empty.
    """
    if not any(isinstance(leaf, jax.Array) and leaf.is_deleted() for leaf in jax.tree.leaves(memory)):
        return memory
    warnings.warn("the replay memory was lost in a compiled call that failed: it is empty now", RuntimeWarning, stacklevel=4)
    return memory_functions(replay).init()


class MemoryFunctions(NamedTuple):
    """A memory's compiled functions; ``add`` is given the memory's buffers."""

    init: Any
    add: Any
    draw: Any
    update_priorities: Any


@functools.lru_cache(maxsize=32)
def memory_functions(replay: Replay) -> MemoryFunctions:
    """The compiled functions of a layout."""
    add = plain_jit(replay.add, donate_argnums=0)
    draw = plain_jit(replay.draw, static_argnums=2)
    return MemoryFunctions(plain_jit(replay.init), add, draw, plain_jit(replay.update_priorities))


@functools.lru_cache(maxsize=32)
def _compiled_init(learner: Learner) -> Any:
    return plain_jit(learner.init)


def new_run(program: Program, key: jax.Array, hyper: Any, target_update_interval: int) -> RunState:
    """A run before its first step, without environments.

    Args:
        program: The program.
        key: Raw key of the run's seed.
        hyper: The learner's numbers, in which runs of one program may differ.
        target_update_interval: Transitions between target updates.
    """
    learner = _compiled_init(program.learner)(key_of_init(key), hyper)
    memory = memory_functions(program.replay).init()
    carry = program.learner.initial_carry(program.replay.lanes)
    return RunState(learner, memory, None, Keys.of(key), Clock(), np.int32(target_update_interval), carry)


class Pace:
    """How many steps a call of a compiled program should take, from how long the last one took.

    Attributes:
        steps: So many.
    """

    def __init__(self) -> None:
        self.steps = FIRST_CHUNK

    def note(self, steps: int, seconds: float) -> None:
        """Notes how long the last call took (it may have compiled the program, too)."""
        self.steps = int(np.clip(steps * SECONDS_PER_CHUNK / max(seconds, 1e-9), 1, 4 * steps + 1))


class Part(NamedTuple):
    """Steps and trainings of one call of a compiled program.

    Attributes:
        num: Steps of all environments together.
        trainings: Trainings.
        cycles: Whether these are whole cycles of ``train_freq`` steps and a training; else steps, then perhaps a training.
    """

    num: int
    trainings: int
    cycles: bool


def next_part(program: Program, state: RunState, most: int, pace: int) -> Part:
    """How a run goes on for at least one step; a function of its clock, so equal for runs in step.

    A training whose cycle lies whole within the ``most`` steps is done in that cycle, any other by itself: XLA compiles the
    update differently in the two, and may round differently. So results never depend on ``pace``, which may follow the clock.

    Args:
        program: The program.
        state: The run.
        most: Steps to where the run has to stop.
        pace: After how many steps it would be good to stop.
    """
    assert program.envs is not None
    plan, num_envs = program.plan, program.envs.num_envs
    pace = min(pace, most, program.max_chunk)
    if plan.gradient_steps == 0:
        return Part(pace, 0, False)
    into_cycle = int(state.clock.vector_steps) % plan.train_freq
    # Steps to the first cycle's end at which there is enough to learn from.
    ends = -(-(plan.learning_starts + 1 - int(state.clock.num_timesteps)) // num_envs)
    first_training = max(-(-(into_cycle + max(ends, 1)) // plan.train_freq), 1) * plan.train_freq - into_cycle
    first_cycle = first_training - plan.train_freq
    if first_cycle == 0 and plan.train_freq <= min(most, program.max_chunk):
        cycles = max(pace // plan.train_freq, 1)
        return Part(cycles * plan.train_freq, cycles, True)
    num = min(pace, first_cycle if first_cycle > 0 else first_training)
    return Part(num, int(num == first_training), False)


def run_part(programs: Programs, part: Part, state: RunState, schedules: Now) -> tuple[RunState, StepRecord, dict[str, Any]]:
    """Calls the programs for a part of a run; records and metrics have leading axes of ``max_chunk`` rows or fewer."""
    if part.cycles:
        return programs.cycles(state, schedules, part.trainings)
    state, records = programs.collect(state, schedules, part.num)
    if not part.trainings:
        return state, records, {}
    state, metrics = programs.train(state, schedules, part.num - 1)
    return state, records, metrics


class Chunk(NamedTuple):
    """Records and metrics of one run's chunk of steps.

    Attributes:
        records: NumPy arrays with a leading axis of steps.
        metrics: Of each training, NumPy arrays with a leading axis of trainings.
        trainings: Number of trainings.
    """

    records: StepRecord
    metrics: dict[str, np.ndarray]
    trainings: int


def on_host(part: Part, state: RunState, records: StepRecord, metrics: dict[str, Any]) -> tuple[RunState, Chunk]:
    """Moves the results of :func:`run_part` to the host: the clock, and those rows that were written."""
    chunk = Chunk(
        jax.tree.map(lambda leaf: np.asarray(leaf)[: part.num], records),
        {name: np.asarray(values)[: part.trainings] for name, values in metrics.items()},
        part.trainings,
    )
    return state._replace(clock=jax.device_get(state.clock)), chunk
