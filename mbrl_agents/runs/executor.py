"""Many runs on the devices there are: the only file that knows about ``vmap``, sharding and threads.

Measured (``tests/benchmarks/sweeps.py``): on a CPU, where one run's matrix products already fill a core, mapping the program
over runs makes it slower; there each run is called for itself, as many at a time as there are cores, all with one compiled
program. On a GPU one run uses a small part of the chip; there the program is mapped over all runs that share it, a part on each
device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from mbrl_agents.core import chunks, evaluation
from mbrl_agents.core.chunks import Chunk
from mbrl_agents.core.compilation import KEPT_PROGRAMS, jit, plain_jit
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState
from mbrl_agents.core.schedules import Now, Schedules
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_envs import FunctionalEnv
from mbrl_envs.checks import one_of

KINDS = ("loop", "vmap")


class Run(NamedTuple):
    """A run to be executed.

    Attributes:
        state: Its arrays, at the beginning.
        program: Its program.
        schedules: What follows its progress.
        total: Timesteps of the whole run.
        episodes: Episodes of an evaluation.
        eval_steps: Steps of each.
        seed: Seed of its evaluations.
        metrics: A user's function, evaluated as well.
    """

    state: RunState
    program: Program
    schedules: Schedules
    total: int
    episodes: int
    eval_steps: int
    seed: int
    metrics: UserMetrics | None = None

    def tables(self, num_timesteps: int, used: int | None) -> Now:
        """Values of its schedules for the next steps."""
        assert self.program.envs is not None
        rows = self.program.max_chunk
        return self.schedules.tables(num_timesteps, self.total, self.program.envs.num_envs, rows, used)

    def explore_at(self, num_timesteps: int) -> Exploration:
        """How much it explores at a timestep."""
        return self.schedules.explore_at(1 - num_timesteps / self.total)

    def evaluation_key(self, num_timesteps: int) -> jax.Array:
        """The key of its evaluation at a timestep."""
        return evaluation.evaluation_key(self.seed, num_timesteps)


class RunGroup(Protocol):
    """Runs that go forward together, all at the same timestep."""

    def advance(self, most: int, pace: int) -> list[Chunk]:
        """At least one and at most ``most`` steps of every run; see :func:`~mbrl_agents.core.chunks.next_part`."""

    def evaluate(self) -> list[dict[str, float]]:
        """Measures of every run as it is now, means over episodes by name, ``"score"`` among them."""

    def states(self, indices: Sequence[int]) -> list[RunState]:
        """Some of the runs as they are now; good until the next call of :meth:`advance`."""


class Execution(Protocol):
    """A way to execute runs.

    Attributes:
        workers: Groups that go forward at the same time.
        together: Whether groups that are equally far should become one.
    """

    workers: int
    together: bool

    def group(self, runs: Sequence[Run], width: int = 1) -> RunGroup:
        """Takes over runs of one program that are equally far, arrays included.

        A run's numbers do not depend on who is beside it, but their rounding may on how many there are: groups of one width
        round alike, however many runs are left in them.
        """


def make_execution(kind: str | None, workers: int | None = None, devices: Sequence[jax.Device] | None = None) -> Execution:
    """The execution of a kind, or the one that was measured to be the fastest on JAX's backend.

    Args:
        kind: ``"loop"``, ``"vmap"`` or None.
        workers: For ``"loop"``: runs at a time; by default one for each core, or each accelerator.
        devices: Devices to use; by default all that this process has.

    Raises:
        ValueError: There is no such kind.
    """
    devices = list(devices or jax.local_devices())
    on_cpu = devices[0].platform == "cpu"
    if (one_of("execution", kind, KINDS) if kind is not None else "loop" if on_cpu else "vmap") == "vmap":
        return MappedExecution(devices)
    return LoopExecution(devices, workers or (usable_cores() if on_cpu else len(devices)))


# --- one run a group ----------------------------------------------------------------------------------------------------------


class LoopExecution:
    """Each run for itself, several at a time in threads, dealt out over the devices; see :class:`Execution`."""

    together = False

    def __init__(self, devices: Sequence[jax.Device], workers: int) -> None:
        self.devices, self.workers = devices, workers
        self._dealt = 0

    def group(self, runs: Sequence[Run], width: int = 1) -> RunGroup:
        del width
        (run,) = runs
        device = self.devices[self._dealt % len(self.devices)]
        self._dealt += 1
        return _SingleRun(run._replace(state=jax.device_put(run.state, device)) if len(self.devices) > 1 else run)


class _SingleRun:
    def __init__(self, run: Run) -> None:
        self.run, self.state = run._replace(state=None), run.state  # type: ignore[arg-type]  # one owner is enough

    def advance(self, most: int, pace: int) -> list[Chunk]:
        program = self.run.program
        part = chunks.next_part(program, self.state, most, pace)
        tables = self.run.tables(int(self.state.clock.num_timesteps), part.num)
        self.state, chunk = chunks.on_host(part, *chunks.run_part(chunks.compiled(program), part, self.state, tables))
        return [chunk]

    def evaluate(self) -> list[dict[str, float]]:
        now = int(self.state.clock.num_timesteps)
        compiled = evaluation.compiled_evaluation(*_played(self.run))
        measured = compiled(self.state.learner, self.run.evaluation_key(now), self.run.explore_at(now))
        return [{name: float(np.asarray(each).mean()) for name, each in measured.items()}]

    def states(self, indices: Sequence[int]) -> list[RunState]:
        return [self.state for _ in indices]


# --- many runs a group --------------------------------------------------------------------------------------------------------


class MappedExecution:
    """All runs of a program at once, an equal part on each device; see :class:`Execution`."""

    workers = 1
    together = True

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.mesh = Mesh(np.array(devices), ("runs",))

    def group(self, runs: Sequence[Run], width: int = 1) -> RunGroup:
        return _MappedRuns(runs, width, self.mesh)


class _MappedRuns:
    def __init__(self, runs: Sequence[Run], width: int, mesh: Mesh) -> None:
        self.mesh, self.program = mesh, runs[0].program
        # Every device gets as many: the last run is repeated as often as need be, and what becomes of that is ignored.
        width = max(width, len(runs))
        self.rows = [*range(len(runs)), *[len(runs) - 1] * (width - len(runs) + -width % mesh.size)]
        self.programs, self.own = _mapped_programs(self.program, mesh), self.program.differs_in_step()
        self.state: RunState = self._stacked([run.state for run in runs], self.own)
        self.runs = [run._replace(state=None) for run in runs]  # type: ignore[arg-type]  # one copy is enough

    def advance(self, most: int, pace: int) -> list[Chunk]:
        part = chunks.next_part(self.program, self.state, most, pace)
        now = int(self.state.clock.num_timesteps)
        schedules = self._stacked([run.tables(now, part.num) for run in self.runs], True)
        self.state, records, metrics = chunks.run_part(self.programs, part, self.state, schedules)
        records = jax.tree.map(lambda leaf: np.asarray(leaf)[:, : part.num], records)
        metrics = {name: np.asarray(values)[:, : part.trainings] for name, values in metrics.items()}
        return [
            Chunk(_row(records, i), {name: values[i] for name, values in metrics.items()}, part.trainings)
            for i in range(len(self.runs))
        ]

    def evaluate(self) -> list[dict[str, float]]:
        now = int(self.state.clock.num_timesteps)
        keys = self._stacked([run.evaluation_key(now) for run in self.runs], True)
        explores = self._stacked([run.explore_at(now) for run in self.runs], True)
        measured = _mapped_evaluation(*_played(self.runs[0]), self.mesh)(self.state.learner, keys, explores)
        host = {name: np.asarray(each) for name, each in measured.items()}
        return [{name: float(each[i].mean()) for name, each in host.items()} for i in range(len(self.runs))]

    def states(self, indices: Sequence[int]) -> list[RunState]:
        # All at once: a slice on the device would be a program for each index.
        host = jax.device_get(self.state)
        return [jax.tree.map(lambda own, part, i=i: _row(part, i) if own else part, self.own, host) for i in indices]

    def _stacked(self, trees: Sequence[Any], own: Any) -> Any:
        """One tree for all runs, on the devices; ``own`` is a prefix of the trees."""

        def stack(is_own: bool, *parts: Any) -> Any:
            sharding = NamedSharding(self.mesh, Spec("runs") if is_own else Spec())

            def one(*leaves: Any) -> jax.Array:
                host = np.stack([np.asarray(leaves[row]) for row in self.rows]) if is_own else np.asarray(leaves[0])
                return jax.device_put(host, sharding)

            return jax.tree.map(one, *parts)

        return jax.tree.map(stack, own, *trees)


def _row(tree: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _mapped_programs(program: Program, mesh: Mesh) -> chunks.Programs:
    """The functions of a program over the states of many runs. They are given all buffers: runs that fail are loaded again."""
    functions, own = chunks.program_functions(program), program.differs_in_step()
    outputs = chunks.Programs((own, True), (own, True, True), (own, True))
    compiled = (
        jit(_mapped(function, mesh, (own, True, False), gives), donate_argnums=0)
        for function, gives in zip(functions, outputs, strict=True)
    )
    return chunks.Programs(*compiled)


def _mapped(function: Any, mesh: Mesh, inputs: Any, outputs: Any) -> Any:
    """A function of one run as a function of many, for inputs and outputs that are each run's own (True) or common (False)."""

    def axes(own: Any) -> Any:
        return jax.tree.map(lambda is_own: 0 if is_own else None, own)

    def specs(own: Any) -> Any:
        return jax.tree.map(lambda is_own: Spec("runs") if is_own else Spec(), own)

    mapped = jax.vmap(function, in_axes=axes(inputs), out_axes=axes(outputs))
    if mesh.size == 1:
        return mapped
    return jax.shard_map(mapped, mesh=mesh, in_specs=specs(inputs), out_specs=specs(outputs), check_vma=False)


# --- evaluation ---------------------------------------------------------------------------------------------------------------


def _played(run: Run) -> tuple[Any, FunctionalEnv, int, int, UserMetrics | None]:
    assert run.program.envs is not None
    return run.program.learner, run.program.envs.env, run.episodes, run.eval_steps, run.metrics


@functools.lru_cache(maxsize=32)
def _mapped_evaluation(
    learner: Any, env: FunctionalEnv, episodes: int, steps: int, metrics: UserMetrics | None, mesh: Mesh
) -> Any:
    def measured(state: Any, key: jax.Array, explore: Exploration) -> dict[str, jax.Array]:
        return evaluation.evaluate(learner, env, state, key, explore, episodes, steps, metrics)

    return plain_jit(_mapped(measured, mesh, (True, True, True), True))
