"""What a study costs beside the training: Optuna, its storage, curves and their pictures.

Run as ``python -m tests.benchmarks.studies``; prints a table. Studies of 200 trials in batches of 8, with a trainer that takes
no time, in each storage, beside the time that one trial of 12 000 steps takes when several runs are trained together on this
machine's cores (replay DQN, PanFlute P=5, the study's settings). All are measured in turns, and the smallest of the repeats
counts. A server of PostgreSQL is started and stopped, if there is one (else its row says so); what it does itself is in the
wall time alone.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import optuna

from mbrl_agents import train_sweep
from tests.benchmarks import machine
from tests.benchmarks.recorded import Recorded
from tests.tuning.servers import Postgres, postgres_programs
from tuning import Space, StudySpec, Worker, create_study
from tuning.objectives import Curve
from tuning.training import Portion

RECORDED = Recorded(
    ("--repeats", "1", "--samplers", "grid", "--runs", "2", "--steps", "2000"),
    quick=("--trials", "4", "--batch-size", "2", "--samplers", "grid", "--steps", "200", "--runs", "1", "--repeats", "1"),
)

POSTGRES = "PostgreSQL"
FLUTE, EVALUATIONS, LEARNING_STARTS = "mbrl/PanFlute-v0", 30, 1000
GRID = {"learning_rate": [2.0**-i for i in range(4, 24)], "temperature": [2.0**i for i in range(-5, 5)]}  # 200 points
SETTINGS = {"learning_rate": 1e-4, "temperature": 0.1, "learning_starts": LEARNING_STARTS}
RANGES = {"learning_rate": "log:1e-6:1e-1", "temperature": "log:0.01:10"}


class FreeTrainer:
    """Trains nothing; the curves look like some."""

    def __call__(self, spec: StudySpec, portions: Sequence[Portion], seeds: Sequence[int], until: int) -> list[list[Curve]]:
        points = [portion.points[i] for portion in portions for i in portion.chosen]
        return [[self._curve(spec, point, seed) for seed in seeds] for point in points]

    @staticmethod
    def _curve(spec: StudySpec, point: dict[str, Any], seed: int) -> Curve:
        timesteps = tuple(range(0, spec.total_timesteps + 1, spec.total_timesteps // EVALUATIONS))
        height = (point["learning_rate"] + 0.1 * point["temperature"]) % 1
        return Curve(seed, timesteps, tuple(height * timestep / spec.total_timesteps + 0.01 * seed for timestep in timesteps))


class Seconds(NamedTuple):
    """How long something took.

    Attributes:
        wall: By the clock.
        cpu: Of all threads of this process; other work on the machine does not add to it.
    """

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        """Since some moment."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, began: Seconds, count: float = 1.0) -> Seconds:
        """The time from a moment to this one, for one of so many."""
        return Seconds((self.wall - began.wall) / count, (self.cpu - began.cpu) / count)


def least(several: Sequence[Seconds]) -> Seconds:
    """The smallest of several measurements."""
    return Seconds(min(each.wall for each in several), min(each.cpu for each in several))


def study_seconds(storage: str, folder: pathlib.Path, sampler: str, trials: int, batch: int, seeds: int) -> Seconds:
    """What a trial of a study takes."""
    began = Seconds.now()
    space = Space.of(GRID if sampler == "grid" else RANGES)
    given: dict[str, Any] = {"seeds_per_trial": seeds, "sampler": sampler}
    study = create_study("ReplayDQN", FLUTE, space, total_timesteps=12_000, storage=storage, folder=folder, **given)
    study.set_trials(trials)
    Worker(study, batch, FreeTrainer()).run()
    assert study.progress() == (trials, trials)
    return Seconds.now().since(began, trials)


def training_seconds(steps: int, runs: int) -> Seconds:
    """What a step of a run that learns takes in a batch: from the difference of a whole sweep and a short one."""
    sizes: dict[str, Any] = {"eval_interval": 12_000 // EVALUATIONS, "save_replay": False, "seeds": runs}

    def seconds(total: int) -> Seconds:
        began = Seconds.now()
        train_sweep("ReplayDQN", FLUTE, SETTINGS, total_timesteps=total, **sizes)
        return Seconds.now().since(began)

    short = LEARNING_STARTS + 100
    seconds(short)  # compiles
    less = seconds(short)
    return seconds(steps).since(less, runs * (steps - short))


@contextlib.contextmanager
def storages(folder: pathlib.Path) -> Iterator[dict[str, Callable[[str], str]]]:
    """A new storage of each kind that there is, by a name."""
    found: dict[str, Callable[[str], str]] = {
        "SQLite": lambda name: str(folder / f"{name}.db"),
        "journal": lambda name: str(folder / f"{name}.journal"),
    }
    with contextlib.ExitStack() as stack:
        if (programs := postgres_programs()) is not None:
            server = Postgres(programs, folder / "postgres")
            server.start()
            stack.callback(server.stop)
            found[POSTGRES] = lambda name: server.database()
        yield found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, choices=range(1, 201), metavar="N")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samplers", nargs="+", default=["grid", "tpe"])
    parser.add_argument("--steps", type=int, default=3000, help="of the runs that are really trained")
    parser.add_argument("--runs", type=int, default=4, help="how many of them")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(machine.header("optuna", "jax"))
    steps: list[Seconds] = []
    trials: dict[tuple[str, str], list[Seconds]] = {}
    with tempfile.TemporaryDirectory() as name:
        pathlib.Path(name, "postgres").mkdir()
        with storages(pathlib.Path(name)) as found:
            for repeat in range(options.repeats):
                steps.append(training_seconds(options.steps, options.runs))
                for (kind, place), sampler in itertools.product(found.items(), options.samplers):
                    label = f"{kind}-{sampler}-{repeat}"
                    sizes = (options.trials, options.batch_size, options.seeds)
                    taken = study_seconds(place(label), pathlib.Path(name, label), sampler, *sizes)
                    trials.setdefault((kind, sampler), []).append(taken)
    run = Seconds(*(12_000 * each for each in least(steps)))
    print(f"A run of 12,000 steps takes {run.wall:.1f} s, {run.cpu:.1f} s of CPU, beside others.\n")
    columns = ("storage", "sampler", "ms per trial", "CPU ms", f"beside {options.seeds} runs", "CPU", "beside one run", "CPU")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    if POSTGRES not in found:
        trials |= {(POSTGRES, sampler): [] for sampler in options.samplers}
    for (kind, sampler), several in trials.items():
        if not several:
            print(f"| {kind} | {sampler} | not installed{' |' * (len(columns) - 2)}")
            continue
        trial = least(several)
        ratios = [(trial.wall / run.wall / each, trial.cpu / run.cpu / each) for each in (options.seeds, 1)]
        row = " | ".join(f"{wall:.1%} | {cpu:.1%}" for wall, cpu in ratios)
        print(f"| {kind} | {sampler} | {trial.wall * 1e3:.0f} | {trial.cpu * 1e3:.0f} | {row} |")


if __name__ == "__main__":
    main()
