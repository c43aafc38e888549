"""Numbers that may follow the progress of training, as Stable-Baselines3 has them.

A schedule maps the progress remaining (1 at the start, 0 at the end) to a value. Constants and SB3's own ``LinearSchedule`` and
``ConstantSchedule`` are saved with an agent; any other callable is code, is not saved, and has to be given again on loading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from mbrl_agents.common.exploration import Exploration
from mbrl_envs.checks import number_in

Schedule = Callable[[float], float]


class Now(NamedTuple):
    """What follows a schedule, as it is at a step, float32 scalars; or at each of many steps, with a leading axis.

    Attributes:
        explore: How much to explore when acting at the step (and in imagination after it).
        learning_rate: Step size when learning after it.
    """

    explore: Exploration
    learning_rate: Any


def check(
    name: str, value: float | Schedule, low: float, high: float = float("inf"), *, open_low: bool = False
) -> FloatSchedule:
    """Turns a number or a callable into a schedule.

    Raises:
        TypeError, ValueError: It is neither, or out of range (a callable: at the start or the end of training).
    """
    if callable(value):
        for progress in (1.0, 0.0):
            number_in(f"{name}(progress_remaining={progress:g})", value(progress), low, high, open_low=open_low)
        return FloatSchedule(value)
    return FloatSchedule(number_in(name, value, low, high, open_low=open_low))


def table(schedule: Schedule, progress_remaining: np.ndarray) -> np.ndarray:
    """The schedule's values, float32, at each progress."""
    if isinstance(inner := getattr(schedule, "value_schedule", schedule), ConstantSchedule):
        return np.full(progress_remaining.shape, inner.val, np.float32)
    return np.array([schedule(float(progress)) for progress in progress_remaining], np.float32)


def to_json(value: Any) -> Any:
    """What is saved of a number or a schedule."""
    value = value.value_schedule if isinstance(value, FloatSchedule) else value
    if isinstance(value, LinearSchedule):
        return {"schedule": "linear", "start": value.start, "end": value.end, "end_fraction": value.end_fraction}
    if isinstance(value, ConstantSchedule):
        return float(value.val)
    if callable(value):
        return {"schedule": "callable", "description": repr(value)}
    return value


def from_json(name: str, saved: Any) -> Any:
    """The number or schedule that was saved.

    Raises:
        ValueError: It was a callable, which is not saved.
    """
    if not isinstance(saved, dict) or "schedule" not in saved:
        return saved
    if saved.get("schedule") == "linear":
        return LinearSchedule(float(saved["start"]), float(saved["end"]), float(saved["end_fraction"]))
    raise ValueError(
        f"{name} was a function ({saved.get('description')}), which is code and therefore not saved: "
        f"give it again, as load(..., {name}=...)"
    )
