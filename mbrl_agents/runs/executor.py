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

from mbrl_agents.core import evaluation
from mbrl_agents.core.compilation import KEPT_PROGRAMS, jit, plain_jit
from mbrl_agents.core.device_loop import Clock, DeviceLoop, LoopState, StepRecord
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.core.replay import ReplayState
from mbrl_agents.sb3 import device_training
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import FunctionalEnv
from mbrl_envs.checks import one_of

KINDS = ("loop", "vmap")


class Member(NamedTuple):
    """A run that is being executed.

    Attributes:
        agent: Its agent; while the run is in a mapped unit, the agent's arrays are there and not here.
        loop: Its program.
        total: Timesteps of the whole run.
        episodes: Episodes of an evaluation.
        eval_steps: Steps of each.
        seed: Seed of its evaluations.
    """

    agent: JaxAgent
    loop: DeviceLoop
    total: int
    episodes: int
    eval_steps: int
    seed: int


class Chunk(NamedTuple):
    """What a chunk of steps has brought for one run; NumPy arrays with leading axes of steps, or of trainings."""

    records: StepRecord
    metrics: dict[str, np.ndarray]


class Unit(Protocol):
    """Runs that go forward together, all at the same timestep."""

    members: Sequence[Member]

    def advance(self, num: int) -> list[Chunk]:
        """At least one and at most ``num`` steps of every run; the agents' counters are kept up to date."""

    def evaluate(self) -> list[dict[str, float]]:
        """Measures of every run as it is now, means over episodes by name, ``"score"`` among them."""

    def hand_over(self, indices: Sequence[int]) -> None:
        """Gives the arrays of some runs to their agents, to be saved."""


class Execution(Protocol):
    """A way to execute runs.

    Attributes:
        workers: Units that go forward at the same time.
        together: Whether units that are equally far should become one.
    """

    workers: int
    together: bool

    def unit(self, members: Sequence[Member], width: int = 1) -> Unit:
        """Takes over runs of one program that are equally far; their agents hold their arrays.

        A run's numbers do not depend on who is beside it, but their rounding may on how many there are: units of one width
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


# --- one run a unit -----------------------------------------------------------------------------------------------------------


class LoopExecution:
    """Each run for itself, several at a time in threads, dealt out over the devices; see :class:`Execution`."""

    together = False

    def __init__(self, devices: Sequence[jax.Device], workers: int) -> None:
        self.devices, self.workers = devices, workers
        self._dealt = 0

    def unit(self, members: Sequence[Member], width: int = 1) -> Unit:
        del width
        (member,) = members
        device = self.devices[self._dealt % len(self.devices)]
        self._dealt += 1
        if len(self.devices) > 1:
            member.agent.adopt(jax.device_put(member.agent.loop_state(), device))
        return _SingleRun(member)


class _SingleRun:
    def __init__(self, member: Member) -> None:
        self.members: Sequence[Member] = (member,)

    def advance(self, num: int) -> list[Chunk]:
        agent, loop, total = self.members[0][:3]
        records, metrics = device_training.run_chunk(agent, loop, num, total)
        device_training.count_chunk(agent, records, total)
        return [Chunk(records, metrics)]

    def evaluate(self) -> list[dict[str, float]]:
        member = self.members[0]
        compiled = evaluation.compiled_evaluation(*_played(member))
        measured = compiled(member.agent.learner_state, _key(member), member.agent.exploration_at())
        return [{name: float(np.asarray(each).mean()) for name, each in measured.items()}]

    def hand_over(self, indices: Sequence[int]) -> None:
        """The agent has its arrays all along."""


# --- many runs a unit ---------------------------------------------------------------------------------------------------------


class MappedExecution:
    """All runs of a program at once, an equal part on each device; see :class:`Execution`."""

    workers = 1
    together = True

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self.mesh = Mesh(np.array(devices), ("runs",))

    def unit(self, members: Sequence[Member], width: int = 1) -> Unit:
        return _MappedRuns(members, width, self.mesh)


# What is a run's own (True) and what is common to runs in step (False): where they are, and where in the memory they write.
_OWN: Any = LoopState._make((True, ReplayState._make((True, False, False)), True, True, Clock._make((False,) * 3), True))


class _MappedRuns:
    def __init__(self, members: Sequence[Member], width: int, mesh: Mesh) -> None:
        self.members, self.mesh, self.loop = members, mesh, members[0].loop
        # Every device gets as many: the last run is repeated as often as need be, and what becomes of that is ignored.
        width = max(width, len(members))
        self.rows = [*range(len(members)), *[len(members) - 1] * (width - len(members) + -width % mesh.size)]
        self.programs = _mapped_programs(self.loop, mesh)
        states = [member.agent.loop_state() for member in members]
        for member in members:  # one copy is enough
            member.agent.forget_arrays()
        self.state: LoopState = self._stacked(states, _OWN)

    def advance(self, num: int) -> list[Chunk]:
        first = self.members[0].agent
        part = device_training.next_part(self.loop, first._calls, first.num_timesteps, num)
        tables = [device_training.schedule_tables(each.agent, self.loop, each.total) for each in self.members]
        schedules = self._stacked(tables, True)
        self.state, records, metrics = device_training.run_part(self.programs, part, self.state, schedules)
        records = jax.tree.map(lambda leaf: np.asarray(leaf)[:, : part.num], records)
        metrics = {name: np.asarray(values)[:, : part.trainings] for name, values in metrics.items()}
        calls, updates = int(self.state.clock.calls), int(self.state.clock.updates)
        chunks = []
        for i, member in enumerate(self.members):
            own = jax.tree.map(lambda leaf, i=i: leaf[i], records)
            device_training.count_chunk(member.agent, own, member.total)
            member.agent._calls, member.agent._n_updates = calls, updates
            chunks.append(Chunk(own, {name: values[i] for name, values in metrics.items()}))
        return chunks

    def evaluate(self) -> list[dict[str, float]]:
        keys = self._stacked([_key(member) for member in self.members], True)
        explores = self._stacked([member.agent.exploration_at() for member in self.members], True)
        measured = _mapped_evaluation(*_played(self.members[0]), self.mesh)(self.state.learner, keys, explores)
        host = {name: np.asarray(each) for name, each in measured.items()}
        return [{name: float(each[i].mean()) for name, each in host.items()} for i in range(len(self.members))]

    def hand_over(self, indices: Sequence[int]) -> None:
        # All at once: a slice on the device would be a program for each index.
        host = jax.device_get(self.state)
        for i in indices:
            own = jax.tree.map(lambda is_own, part, i=i: jax.tree.map(lambda x: x[i] if is_own else x, part), _OWN, host)
            self.members[i].agent.adopt(own)

    def _stacked(self, trees: Sequence[Any], own: Any) -> Any:
        """One tree for all runs, on the devices; ``own`` is a prefix of the trees."""

        def stack(is_own: bool, *parts: Any) -> Any:
            sharding = NamedSharding(self.mesh, Spec("runs") if is_own else Spec())

            def one(*leaves: Any) -> jax.Array:
                host = np.stack([np.asarray(leaves[row]) for row in self.rows]) if is_own else np.asarray(leaves[0])
                return jax.device_put(host, sharding)

            return jax.tree.map(one, *parts)

        return jax.tree.map(stack, own, *trees)


@functools.lru_cache(maxsize=KEPT_PROGRAMS)
def _mapped_programs(loop: DeviceLoop, mesh: Mesh) -> device_training.Programs:
    """The programs of a loop over the states of many runs."""
    functions = device_training.program_functions(loop)
    outputs: device_training.Programs = device_training.Programs((_OWN, True), (_OWN, True, True), (_OWN, True))
    inputs = device_training.Programs((_OWN, True, False), (_OWN, True, False), (_OWN, True, False))
    compiled = (
        jit(_mapped(function, mesh, takes, gives), donate_argnums=0)
        for function, takes, gives in zip(functions, inputs, outputs, strict=True)
    )
    return device_training.Programs(*compiled)


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


def _played(member: Member) -> tuple[Any, FunctionalEnv, int, int]:
    return member.loop.learner, member.loop.envs.env, member.episodes, member.eval_steps


def _key(member: Member) -> jax.Array:
    """The key of a run's evaluation at its present timestep."""
    return evaluation.evaluation_key(member.seed, member.agent.num_timesteps)


@functools.lru_cache(maxsize=32)
def _mapped_evaluation(learner: Any, env: FunctionalEnv, episodes: int, steps: int, mesh: Mesh) -> Any:
    def measured(state: Any, key: jax.Array, explore: Exploration) -> dict[str, jax.Array]:
        return evaluation.evaluate(learner, env, state, key, explore, episodes, steps)

    return plain_jit(_mapped(measured, mesh, (True, True, True), True))
