"""How much memory a run takes, and how many runs are in it at once."""

from __future__ import annotations

import pathlib
import shutil
import threading
from typing import Any

import jax
import pytest

import mbrl_envs
from mbrl_agents import ReplayDQN, sweep_memory
from mbrl_agents.core.run import RunState
from mbrl_agents.runs import executor as executions
from mbrl_agents.runs import memory
from mbrl_agents.runs.training_groups import RunInTraining
from mbrl_agents.sb3 import device_training
from tests.experiments.runs import contents
from tests.experiments.sweep_runs import EXECUTIONS, FLUTE, SMALL, same_runs, same_sweeps, sweep


def num_bytes(tree: Any) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def state_of(hyperparameters: dict[str, Any]) -> RunState:
    """All that a real agent carries from step to step."""
    agent = ReplayDQN("MlpPolicy", FLUTE, seed=0, **(SMALL | hyperparameters))
    device_training.start_environments(agent, mbrl_envs.functional_task(agent.env), reset=False)
    return agent.run


@pytest.mark.parametrize(
    "hyperparameters", [{}, {"buffer_size": 5000, "policy_kwargs": {"net_arch": [32]}}, {"n_steps": 3}], ids=str
)
def test_bytes_are_those_of_a_real_agent(hyperparameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if hyperparameters:  # compiling is for the others
        monkeypatch.setattr(memory, "_temporary", lambda loop, shapes: 1)
    need, state = sweep_memory("ReplayDQN", FLUTE, SMALL | hyperparameters).need, state_of(hyperparameters)
    assert need.learner == num_bytes(state.learner)
    assert need.replay == num_bytes(state.memory)
    assert need.state == num_bytes(state)
    assert need.temporary > 0


def test_the_largest_program_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_temporary", lambda loop, shapes: 1)
    need = sweep_memory("ReplayDQN", FLUTE, SMALL | {"buffer_size": [1200, 5000, 2000]}).need
    assert need.replay == num_bytes(state_of({"buffer_size": 5000}).memory)


def test_the_plan_for_people() -> None:
    plan = memory.MemoryPlan(memory.MemoryNeed(2_000_000, 30_000_000, 100_000, 5_000_000), 4_000_000_000, 60, 50, 100)
    assert str(plan) == (
        "100 runs; a run takes 32.1 MB (replay 30.0 MB, parameters and optimiser 2.0 MB, environments 0.1 MB) and up to 5.0 MB "
        "while it learns; 4.0 GB are free, 60 runs fit at once; 50 will be in memory at once"
    )


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says how many runs there is memory for."""
    need = sweep_memory("ReplayDQN", FLUTE, SMALL).need

    def for_runs(number: float, execution: str) -> None:
        one_by_one = number * need.state + 2 * need.temporary
        free = one_by_one if execution == "loop" else number * (2 * need.state + need.temporary)
        monkeypatch.setattr(executions, "usable_cores", lambda: 2)
        monkeypatch.setattr(memory, "available_bytes", lambda: int(free / memory.MARGIN) + 10)

    return for_runs


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_dry_run_says_how_many_fit(execution: str, room: Any) -> None:
    room(3, execution)
    plan = sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=10, execution=execution)
    assert (plan.most, plan.parallel, plan.num_runs) == (3, 3, 10)
    assert "3 runs fit at once; 3 will be in memory at once" in str(plan)
    assert sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=10, execution=execution, max_parallel_runs=2).parallel == 2
    assert sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=2, execution=execution).parallel == 2


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_what_does_not_fit_is_refused(execution: str, room: Any, tmp_path: pathlib.Path) -> None:
    room(3, execution)
    message = r"max_parallel_runs=4 does not fit: .* 3 runs fit at once; .*Give max_parallel_runs=3, or None"
    for refused in (
        lambda: sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=10, execution=execution, max_parallel_runs=4),
        lambda: sweep(seeds=10, execution=execution, max_parallel_runs=4, folder=tmp_path),
    ):
        with pytest.raises(MemoryError, match=message):
            refused()
    assert not list(tmp_path.iterdir())
    # More than there are runs is as many as there are.
    assert sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=3, execution=execution, max_parallel_runs=4).parallel == 3
    room(0.9, execution)
    with pytest.raises(MemoryError, match=r"not even one run fits: .*Give a smaller buffer_size, batch_size or network"):
        sweep(seeds=2, execution=execution)


def test_a_sweep_that_no_longer_fits_stays_as_it_was(room: Any, tmp_path: pathlib.Path) -> None:
    """Begun on a larger machine, say. Nobody is at work on it then."""
    whole = sweep(seeds=2, execution="loop", folder=tmp_path / "sweep")
    (tmp_path / "sweep" / "run-0001" / "status.json").unlink()
    before = contents(tmp_path / "sweep")
    room(0.9, "loop")
    with pytest.raises(MemoryError, match="not even one run fits"):
        sweep(seeds=2, execution="loop", folder=tmp_path / "sweep")
    assert contents(tmp_path / "sweep") == before
    assert whole.runs()["state"].tolist() == ["finished", "interrupted"]
    shutil.rmtree(tmp_path / "sweep" / "run-0001")
    with pytest.raises(MemoryError, match="not even one run fits"):
        sweep(seeds=2, execution="loop", folder=tmp_path / "sweep")
    assert whole.runs()["state"].tolist() == ["finished", "interrupted"]
    room(1, "loop")
    assert sweep(seeds=2, execution="loop", folder=tmp_path / "sweep").runs()["state"].tolist() == ["finished", "finished"]


class Counter:
    """Counts the runs whose arrays are somewhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.most = self.begun = 0
        self._lock = threading.Lock()
        begin, save = RunInTraining.begin, RunInTraining.save

        def count(run: Any, change: int) -> None:
            with self._lock:
                self.now += change
                self.begun += change > 0
                self.most = max(self.most, self.now)

        def counted_begin(run: Any) -> None:
            count(run, 1)
            begin(run)

        def counted_save(run: Any, state: Any) -> None:
            save(run, state)
            if run.record is None:
                count(run, -1)

        monkeypatch.setattr(RunInTraining, "begin", counted_begin)
        monkeypatch.setattr(RunInTraining, "save", counted_save)


@pytest.mark.parametrize("limited_by", ["memory", "argument"])
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_runs_that_do_not_fit_come_one_after_the_other(
    execution: str, limited_by: str, room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and come out the same."""
    settings = {"gamma": [0.9, 0.8, 0.7, 0.6]}
    whole = sweep(settings, 1, execution=execution)
    counter = Counter(monkeypatch)
    if limited_by == "memory":
        room(2, execution)
    split = sweep(settings, 1, execution=execution, max_parallel_runs=2 if limited_by == "argument" else None)
    assert (counter.most, counter.begun, counter.now) == (2, 4, 0)
    if execution == "loop":
        same_sweeps(split, whole)
    else:  # units of another size may round differently
        for run in range(4):
            same_runs(split.agent(run), whole.agent(run), 2e-5)


def test_without_a_limit_all_runs_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """They go forward side by side, so that all have come about as far at any moment."""
    counter = Counter(monkeypatch)
    sweep({"gamma": [0.9, 0.8, 0.7, 0.6]}, 1, execution="loop")
    assert counter.most == 4


def test_two_programs_are_not_in_memory_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(monkeypatch)
    sweep({"exploration": ["softmax", "epsilon_greedy"]}, 4, execution="vmap", max_parallel_runs=7)
    assert (counter.most, counter.begun) == (4, 8)


# ---------------------------------------------------------------------- what there is


def test_memory_of_a_container(tmp_path: pathlib.Path) -> None:
    assert memory._container_bytes(tmp_path) == 2**62  # no control groups at all
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.stat").write_text("anon 200\ninactive_file 50\n")
    assert memory._container_bytes(tmp_path) == 2**62  # no limit
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory._container_bytes(tmp_path) == 1000 - 300 + 50
    old = tmp_path / "old" / "memory"
    old.mkdir(parents=True)
    for name, text in (("limit_in_bytes", "500"), ("usage_in_bytes", "100")):
        (old / f"memory.{name}").write_text(text)
    (old / "memory.stat").write_text("cache 1\n")
    assert memory._container_bytes(tmp_path / "old") == 400


def test_what_is_free_is_a_number() -> None:
    assert 0 < memory.available_bytes() < 2**62


@pytest.mark.parametrize(("size", "text"), [(0, "0.0 MB"), (1.24e6, "1.2 MB"), (999e6, "999.0 MB"), (3.21e9, "3.2 GB")])
def test_sizes_for_people(size: float, text: str) -> None:
    assert memory.megabytes(size) == text


def test_nothing_is_written_by_a_dry_run(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_memory("ReplayDQN", FLUTE, SMALL, seeds=3)
    assert contents(tmp_path) == {}
