"""Studies whose trials take a moment: nothing is trained, but the curves are those that their settings would give."""

from __future__ import annotations

import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from tuning import Study, Worker, create_study
from tuning.objectives import Curve
from tuning.specification import StudySpec
from tuning.training import Portion

FLUTE = "mbrl/PanFlute-v0"
SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [8]}, "batch_size": 8, "buffer_size": 500, "learning_starts": 50}
SPACE = {"learning_rate": "grid2:1e-4:8e-4", "temperature": "0.1,0.2,0.4"}
STEPS = 100


def value_at(point: dict[str, Any]) -> float:
    """What a setting is worth: best at a step size of 4e-4 and a temperature of 0.2."""
    return -abs(math.log2(point["learning_rate"] / 4e-4)) - abs(math.log2(point.get("temperature", 0.2) / 0.2))


def curve_at(point: dict[str, Any], seed: int, until: int = STEPS) -> Curve:
    """The curve of a run, as far as it goes."""
    points = ((0, -9.0), (50, value_at(point) - 1), (100, value_at(point) + 0.01 * seed))
    return Curve(seed, *zip(*((timestep, score) for timestep, score in points if timestep <= until), strict=True))


class FakeTrainer:
    """Writes down what it is asked to train, and does so in no time.

    Args:
        log: A file that gets a line for each run.
        seconds: How long a batch takes.
        before: Called before a batch ends.
    """

    def __init__(
        self, log: pathlib.Path | None = None, seconds: float = 0.0, before: Callable[[], None] = lambda: None
    ) -> None:
        self.log, self.seconds, self.before = log, seconds, before
        self.batches: list[list[dict[str, Any]]] = []
        self.ends: list[int] = []

    def __call__(self, spec: StudySpec, portions: Sequence[Portion], seeds: Sequence[int], until: int) -> list[list[Curve]]:
        points = [portion.points[i] for portion in portions for i in portion.chosen]
        self.batches.append(points)
        self.ends.append(until)
        for portion in portions:
            portion.folder.mkdir(parents=True, exist_ok=True)
        for point in points:
            time.sleep(self.seconds / len(points))
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{until} {point}\n")
        self.before()
        return [[curve_at(point, seed, until) for seed in seeds] for point in points]


def study_in(folder: pathlib.Path, storage: Any = None, **more: Any) -> Study:
    """A small study: twelve points."""
    given = {
        "space": SPACE,
        "total_timesteps": STEPS,
        "eval_interval": 50,
        "arguments": SMALL,
        "seeds_per_trial": 2,
        "name": "small",
    } | more
    study = create_study("ReplayDQN", FLUTE, folder=folder, storage=storage, **given)
    study.set_trials(None if study.spec.sampler == "grid" else 12)
    return study


def work(study: Study, trainer: FakeTrainer | None = None, batch_size: int = 4, **more: Any) -> FakeTrainer:
    """Works until the study is over."""
    trainer = trainer or FakeTrainer()
    Worker(study, batch_size, trainer, **({"poll_seconds": 0.01} | more)).run()
    return trainer
