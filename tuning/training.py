"""How trials are trained: each batch is a sweep, paired lists, every setting with every seed."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from mbrl_agents import SweepResult
from mbrl_agents.experiments.sweeps.folder import MARKER, open_or_create
from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.experiments.sweeps.sweep import advance
from mbrl_agents.runs.checkpoints import CHECKPOINT_SECONDS
from mbrl_agents.runs.executor import make_execution
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import DIVERGED, INTERRUPTED, RUNNING, runs_below
from mbrl_envs.checks import number_in
from tuning.objectives import Curve
from tuning.specification import StudySpec


class Portion(NamedTuple):
    """The part of a batch that is trained.

    Attributes:
        folder: The batch's folder, where what is needed to go on after a kill is kept.
        points: Hyperparameters of all settings of the batch.
        chosen: The numbers of those to train.
    """

    folder: pathlib.Path
    points: Sequence[dict[str, Any]]
    chosen: Sequence[int]


class Trainer(Protocol):
    """Trains settings."""

    def __call__(
        self, spec: StudySpec, portions: Sequence[Portion], seeds: Sequence[int], until: int
    ) -> Sequence[Sequence[Curve]]:
        """For each chosen setting of each portion, the curve of each seed.

        Args:
            spec: The study.
            portions: What to train, all together. The same call goes on in their folders after a kill.
            seeds: Seeds of each setting.
            until: The timestep to stop at, so that a later call can go on: that of an evaluation.
        """


class SweepTrainer:
    """Trains each batch as a sweep (:func:`mbrl_agents.train_sweep`), and what goes forward together in one program.

    Args:
        progress_bar: Whether to show progress.
        checkpoint_seconds: Seconds between checkpoints; at most so much work is lost by a kill.
        execution: ``"loop"``, ``"vmap"`` or None, as for ``train_sweep``.
        max_parallel_runs: Most runs in memory at once; by default as many as fit.
    """

    def __init__(
        self,
        progress_bar: bool = False,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        execution: str | None = None,
        max_parallel_runs: int | None = None,
    ) -> None:
        self.execution = make_execution(execution)
        self.given: dict[str, Any] = {
            "progress_bar": progress_bar,
            "checkpoint_seconds": number_in("checkpoint_seconds", checkpoint_seconds, 0, finite=False),
            "max_parallel_runs": max_parallel_runs,
        }

    def __call__(
        self, spec: StudySpec, portions: Sequence[Portion], seeds: Sequence[int], until: int
    ) -> Sequence[Sequence[Curve]]:
        """See :class:`Trainer`."""
        results = [(portion, self._sweep(spec, portion, seeds)) for portion in portions]
        numbers = [[_runs(setting, seeds) for setting in portion.chosen] for portion in portions]
        runs = [result.run_folder(i) for (_, result), own in zip(results, numbers, strict=True) for each in own for i in each]
        advance(runs, self.execution, until, **self.given)
        curves = []
        for (_, result), own in zip(results, numbers, strict=True):
            of_run = curves_of(result)
            curves += [[of_run[i] for i in each] for each in own]
        return curves

    @staticmethod
    def _sweep(spec: StudySpec, portion: Portion, seeds: Sequence[int]) -> SweepResult:
        """The sweep of a batch, in its folder."""
        folder = portion.folder
        if folder.exists() and not (folder / MARKER).is_file():  # of a worker that was killed, or thawed, too early or too late
            shutil.rmtree(folder)
        settings = spec.settings(portion.points)
        sweep = specify(
            spec.agent, spec.environment, hyperparameters=settings, seeds=list(seeds), save_replay=False, **spec.sizes
        )
        return SweepResult(open_or_create(folder, sweep), sweep.to_dict())


def _runs(setting: int, seeds: Sequence[int]) -> range:
    """The numbers of a setting's runs in its sweep."""
    return range(setting * len(seeds), (setting + 1) * len(seeds))


def curves_of(result: SweepResult) -> list[Curve]:
    """The curve of every run of a sweep."""
    runs, table = result.runs(), result.table()
    found = []
    for run, seed, state in zip(runs["run"], runs["seed"], runs["state"], strict=True):
        own = table[table["run"] == run]
        scores = own[own["metric"] == SCORE]
        diverged = state == DIVERGED or bool((own["metric"] == DIVERGENCE).any())
        found.append(Curve(int(seed), tuple(map(int, scores["timestep"])), tuple(map(float, scores["value"])), diverged))
    return found


def take_over(before: pathlib.Path, folder: pathlib.Path) -> bool:
    """Takes over the folder of a worker that is gone, if it is within reach; whether it was.

    The folder gets another name, so that a worker that was frozen and thaws does not find it any more.
    """
    try:
        os.replace(before, folder)
    except OSError:  # on another machine, or nothing was written yet
        return False
    try:
        for run in runs_below(folder):
            if (status := run.status()).state == RUNNING:
                run.write_status(status._replace(state=INTERRUPTED))
    except (OSError, ValueError):  # damaged: what is in it is trained again
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True
