"""How a batch of trials is trained: one call of ``train_sweep``, paired lists, every setting with every seed."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any, Protocol

from mbrl_agents import SweepResult, train_sweep
from mbrl_agents.experiments.metrics import SCORE
from mbrl_agents.experiments.run_folder import DIVERGED, INTERRUPTED, RUNNING, runs_below
from mbrl_agents.experiments.sweeps.driver import DIVERGENCE
from mbrl_agents.experiments.sweeps.folder import MARKER
from tuning.objectives import Curve
from tuning.specification import StudySpec


class Trainer(Protocol):
    """Trains settings."""

    def __call__(
        self, spec: StudySpec, points: Sequence[dict[str, Any]], seeds: Sequence[int], folder: pathlib.Path
    ) -> list[list[Curve]]:
        """For each point, the curve of each seed.

        Args:
            spec: The study.
            points: Hyperparameters of each setting.
            seeds: Seeds of each.
            folder: Where to keep what is needed to go on after a kill; the same call goes on there.
        """


class SweepTrainer:
    """Trains with :func:`mbrl_agents.train_sweep`; arguments are passed on to it.

    Args:
        progress_bar: Whether to show progress.
        checkpoint_seconds: Seconds between checkpoints; at most so much work is lost by a kill.
        limits: ``max_parallel_runs``, ``execution``.
    """

    def __init__(self, progress_bar: bool = False, checkpoint_seconds: float = 60.0, **limits: Any) -> None:
        self.given = {"progress_bar": progress_bar, "checkpoint_seconds": checkpoint_seconds, **limits}

    def __call__(
        self, spec: StudySpec, points: Sequence[dict[str, Any]], seeds: Sequence[int], folder: pathlib.Path
    ) -> list[list[Curve]]:
        """See :class:`Trainer`."""
        if folder.exists() and not (folder / MARKER).is_file():  # of a worker that was killed, or thawed, too early or too late
            shutil.rmtree(folder)
        result = train_sweep(
            spec.agent,
            spec.environment,
            spec.settings(points),
            list(seeds),
            folder=folder,
            save_replay=False,
            **spec.sizes,
            **self.given,
        )
        curves = curves_of(result)
        return [curves[i : i + len(seeds)] for i in range(0, len(curves), len(seeds))]


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
