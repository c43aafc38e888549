"""Objectives: one number for a learning curve. Sweeps, studies and presets have the same.

=============  =================================================================================================
``"final"``    mean of the evaluations in the last tenth of the steps
``"mean"``     mean of all evaluations
``"max"``      the largest evaluation
``"min"``      the smallest evaluation
``"last-K"``   mean of the last K evaluations, such as ``"last-1"``
``"auc"``      the area under the curve (trapezoid rule) divided by the timesteps that it spans: a mean over time,
               which evaluations that are not equally far apart do not distort
=============  =================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

DIRECTIONS = ("maximize", "minimize")
FINAL_PART = 0.1  # of the steps; the evaluations in it make the final score


def _area(curve: pd.Series, total_timesteps: int) -> float:
    del total_timesteps
    if len(curve) == 1:
        return float(curve.iloc[0])
    timesteps = curve.index.to_numpy(float)
    return float(np.trapezoid(curve.to_numpy(float), timesteps) / (timesteps[-1] - timesteps[0]))


# By name; "last-K" beside them. Each is given scores by timestep, one at least, and the timesteps of a whole run.
OBJECTIVES: dict[str, Callable[[pd.Series, int], float]] = {
    "final": lambda curve, total_timesteps: curve[curve.index > (1 - FINAL_PART) * total_timesteps].mean(),
    "mean": lambda curve, _: curve.mean(),
    "max": lambda curve, _: curve.max(),
    "min": lambda curve, _: curve.min(),
    "auc": _area,
}


def checked_objective(name: Any, what: str = "objective") -> str:
    """An objective's name, if there is such an objective; ``what`` names the argument in messages.

    Raises:
        ValueError: There is none.
    """
    stem, dash, count = name.partition("-") if isinstance(name, str) else ("", "", "")
    if (isinstance(name, str) and name in OBJECTIVES) or (stem == "last" and dash and count.isdecimal() and int(count) > 0):
        return str(name)
    raise ValueError(f"{what} must be one of {', '.join(OBJECTIVES)}, or last-K such as last-1, got {name!r}")


def objective_value(curve: pd.Series, objective: str, total_timesteps: int) -> float | None:
    """The objective of a learning curve.

    Args:
        curve: Scores by timestep.
        objective: Its name; see the head of this file.
        total_timesteps: Timesteps of a whole run.

    Returns:
        The number; None where there is none, as a curve that does not reach the last tenth has no final score.
    """
    if curve.empty:
        return None
    last = objective.startswith("last-")
    value = curve.iloc[-int(objective[5:]) :].mean() if last else OBJECTIVES[objective](curve, total_timesteps)
    return None if math.isnan(value) else float(value)
