"""How much memory runs take, how much there is, and therefore how many are in memory at once."""

from __future__ import annotations

import concurrent.futures
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from mbrl_agents.core import chunks, slots
from mbrl_agents.core.compilation import KEPT_PROGRAMS, by_usual_rules, give_back_memory
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState
from mbrl_agents.core.schedules import Now
from mbrl_agents.sb3.jax_agent import JaxAgent

MARGIN = 0.8  # the part of the free memory that is used: allocators do not fit perfectly, and others want some


class MemoryNeed(NamedTuple):
    """What one run needs, in bytes.

    Attributes:
        learner: Parameters, target, optimiser.
        replay: Replay memory.
        rest: Environments and all else that is carried from step to step.
        temporary: What the programs need in between.
    """

    learner: int
    replay: int
    rest: int
    temporary: int

    @property
    def state(self) -> int:
        """What stays from step to step."""
        return self.learner + self.replay + self.rest


class MemoryPlan(NamedTuple):
    """Whether and how runs fit.

    Attributes:
        need: What the largest run needs.
        available: Bytes there are (on all devices together, or in the computer's memory).
        most: Runs that fit at once.
        parallel: Runs that will be in memory at once.
        num_runs: Runs in total.
    """

    need: MemoryNeed
    available: int
    most: int
    parallel: int
    num_runs: int

    def __str__(self) -> str:
        need = self.need
        return (
            f"{self.num_runs} runs; a run takes {megabytes(need.state)} (replay {megabytes(need.replay)}, parameters and "
            f"optimiser {megabytes(need.learner)}, environments {megabytes(need.rest)}) and up to {megabytes(need.temporary)} "
            f"while it learns; {megabytes(self.available)} are free, {self.most} runs fit at once; {self.parallel} will be in "
            "memory at once"
        )


NO_RUNS = MemoryPlan(MemoryNeed(0, 0, 0, 0), 0, 0, 0, 0)


def plan_memory(
    programs: dict[Program, Any], num_runs: int, max_parallel_runs: int | None, active: int | None, copies: int
) -> MemoryPlan:
    """Finds how many runs to have in memory at once.

    Args:
        programs: The programs, each with an agent of it.
        num_runs: Runs in total.
        max_parallel_runs: What the user allows; None for as many as fit.
        active: Runs that compute at the same time (the others only keep their state); None for all.
        copies: How many copies of a state there may be at times.

    Raises:
        MemoryError: Not even one run fits, or not as many as the user wants.
    """
    shapes = {program: state_shapes(program, agent._make_hyperparameters()) for program, agent in programs.items()}
    largest = max(shapes, key=lambda program: _bytes(shapes[program]))
    # Compiling takes seconds for each program; several are compiled at once, if they will still be there when they are called.
    ahead = list(shapes) if len(shapes) <= KEPT_PROGRAMS else [largest]
    with concurrent.futures.ThreadPoolExecutor(usable_cores()) as pool:
        need = dict(zip(ahead, pool.map(lambda program: measure(program, shapes[program]), ahead), strict=True))[largest]
    available = available_bytes()
    budget = MARGIN * available
    if active is None:
        most = int(budget / (copies * need.state + need.temporary))
    else:
        most = int((budget - active * need.temporary) / (copies * need.state))
    wanted = min(num_runs, max_parallel_runs or num_runs)
    plan = MemoryPlan(need, available, max(most, 0), min(wanted, most), num_runs)
    if most < 1:
        raise MemoryError(f"not even one run fits: {plan}. Give a smaller buffer_size, batch_size or network")
    if max_parallel_runs is not None and wanted > most:
        raise MemoryError(f"max_parallel_runs={max_parallel_runs} does not fit: {plan}. Give max_parallel_runs={most}, or None")
    return plan


def state_shapes(program: Program, hyper: Any) -> RunState:
    """Shapes and dtypes of a run's state."""

    def make(key: jax.Array) -> RunState:
        run = chunks.new_run(program, key, hyper, 0)
        assert program.envs is not None
        return run._replace(slots=slots.start(program.envs, run.keys.environments, run.clock.vector_steps))

    return jax.eval_shape(by_usual_rules(make), jax.ShapeDtypeStruct((2,), np.uint32))


def measure(program: Program, shapes: RunState) -> MemoryNeed:
    """What a run of a program needs, whose state has these shapes; compiles it, but runs nothing."""
    learner, replay = _bytes(shapes.learner), _bytes(shapes.memory)
    return MemoryNeed(learner, replay, _bytes(shapes) - learner - replay, _temporary(program, _Same(shapes)))


class _Same:
    """Shapes as an argument that makes no difference to a cache."""

    def __init__(self, shapes: RunState) -> None:
        self.shapes = shapes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=32)
def _temporary(program: Program, same: _Same) -> int:
    """Bytes beside the state while the programs run.

    These are the very programs that will be called, with arguments of the same kind, so they are compiled once; and as this is
    done before there are any runs, what compiling takes (and gives back) does not come on top of theirs.
    """
    compiled = chunks.compiled(program)
    row, index = jax.ShapeDtypeStruct((program.max_chunk,), np.float32), jax.ShapeDtypeStruct((), np.int32, weak_type=True)
    schedules = Now(Exploration(row, row), row, row if program.learner.prioritized else None)
    lowered = (
        compiled.collect.lower(same.shapes, schedules, index),
        compiled.train.lower(same.shapes, schedules, index),
        compiled.cycles.lower(same.shapes, schedules, index),
    )
    analyses = [each.compile().memory_analysis() for each in lowered]
    give_back_memory()
    return max(0 if each is None else _beside_arguments(each) for each in analyses)


def _beside_arguments(analysis: Any) -> int:
    """Bytes of what a program works with, and of results that are not written over its arguments."""
    return int(analysis.temp_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes)


def available_bytes() -> int:
    """Memory that is free: of the accelerators together, else of the computer (or of the container this runs in)."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return min(psutil.virtual_memory().available, _container_bytes())
    free = 0
    for device in devices:
        if (stats := device.memory_stats()) is None:
            return psutil.virtual_memory().available
        free += stats["bytes_limit"] - stats["bytes_in_use"]
    return free


def _container_bytes(root: pathlib.Path = pathlib.Path("/sys/fs/cgroup")) -> int:
    """What a container may still use; a great deal where there is no limit. Version 2 of control groups, then version 1."""
    for limit, usage, stat in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        try:
            free = int((root / limit).read_text()) - int((root / usage).read_text())
            entries = dict(line.split() for line in (root / stat).read_text().splitlines())
            return free + int(entries.get("inactive_file", 0))  # file pages, which make room when needed
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
    return 2**62


def _bytes(shapes: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def megabytes(size: float) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def agent_program(agent: JaxAgent, task: Any) -> Program:
    """The program of an agent that has not been set up (``_init_setup_model=False``)."""
    agent._setup_program()
    return agent.program_in(task)
