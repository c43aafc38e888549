"""Names that files and commands of earlier versions have, and today's: one table for all that is read."""

from __future__ import annotations

from typing import Any

SIZES = {"steps": "total_timesteps", "num_envs": "n_envs", "first_seed": "seed"}
TRAINING_OPTIONS = {"--steps": "--total-timesteps", "--first-seed": "--seed", "--minimize": "--direction minimize"}
EVALUATION_OPTIONS = {"--steps": "--eval-steps", "--episodes": "--eval-episodes"}
_OBJECTIVES = {"last": "last-1", "auc": "mean"}  # "auc" was the mean of all evaluations


def with_todays_names(data: dict[str, Any]) -> dict[str, Any]:
    """What a file says, its sizes under today's names."""
    return {SIZES.get(name, name): value for name, value in data.items()}


def todays_objective(objective: Any, direction: Any) -> Any:
    """An objective of a study or preset of an earlier version; what it was called ``"best"`` depends on the direction."""
    if objective == "best":
        return "min" if direction == "minimize" else "max"
    return _OBJECTIVES.get(objective, objective) if isinstance(objective, str) else objective
