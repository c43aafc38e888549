"""Hyperparameter studies over Optuna: search spaces, batched trials, workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuning.opening import create_study, open_study
    from tuning.spaces import Range, Space, Values, factor_two_grid
    from tuning.specification import StudySpec
    from tuning.study import BestTrial, Study
    from tuning.worker import Worker

# Imported when first asked for, as in mbrl_agents; and the command is there without Optuna, which is an extra.
_LAZY = {
    "BestTrial": "tuning.study",
    "Range": "tuning.spaces",
    "Space": "tuning.spaces",
    "Study": "tuning.study",
    "StudySpec": "tuning.specification",
    "Values": "tuning.spaces",
    "Worker": "tuning.worker",
    "create_study": "tuning.opening",
    "factor_two_grid": "tuning.spaces",
    "open_study": "tuning.opening",
}

__all__ = [
    "BestTrial",
    "Range",
    "Space",
    "Study",
    "StudySpec",
    "Values",
    "Worker",
    "create_study",
    "factor_two_grid",
    "open_study",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
