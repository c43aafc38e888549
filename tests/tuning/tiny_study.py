"""A study that is really trained, in seconds; ``python -m tests.tuning.tiny_study FOLDER [BATCH_SIZE]`` works on it."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

from tests.tuning.fakes import SMALL
from tuning import Study, Worker, create_study, open_study
from tuning.training import SweepTrainer

SPACE = {"learning_rate": [1e-3, 1e-2, 1e30], "temperature": [0.1, 0.4]}
SIZES: dict[str, Any] = {
    "total_timesteps": 300,
    "eval_interval": 50,
    "eval_episodes": 4,
    "eval_steps": 10,
    "seeds_per_trial": 2,
}
ARGUMENTS = SMALL | {"max_grad_norm": 10.0}


def tiny_study(folder: pathlib.Path, **more: Any) -> Study:
    """Six points; those with the largest step size diverge."""
    study = create_study("ReplayDQN", "mbrl/PanFlute-v0", SPACE, folder=folder, arguments=ARGUMENTS, **(SIZES | more))
    study.set_trials(None)
    return study


def train(study: Study, checkpoint_seconds: float = 60.0, batch_size: int = 4) -> Study:
    """Works until it is over."""
    Worker(study, batch_size, SweepTrainer(checkpoint_seconds=checkpoint_seconds)).run()
    return study


if __name__ == "__main__":
    train(open_study(pathlib.Path(sys.argv[1]) / "study.db"), 0.0, *map(int, sys.argv[2:]))
