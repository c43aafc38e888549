"""Numbers that may follow the progress of training, as Stable-Baselines3 has them.

A schedule maps the progress remaining (1 at the start, 0 at the end) to a value. Constants and SB3's own ``LinearSchedule`` and
``ConstantSchedule`` are saved with an agent; any other callable is code, is not saved, and has to be given again on loading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule, LinearSchedule

from mbrl_agents.core.exploration import Exploration
from mbrl_envs.checks import number_in

Schedule = Callable[[float], float]


class Now(NamedTuple):
    """What follows a schedule, as it is at a step, float32 scalars; or at each of many steps, with a leading axis.

    Attributes:
        explore: How much to explore when acting at the step (and in imagination after it).
        learning_rate: Learning rate when learning after it.
        importance_exponent: Exponent β of importance weights then; None for learners without priorities.
    """

    explore: Exploration
    learning_rate: Any
    importance_exponent: Any = None


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


# Smallest and largest values, and whether the smallest is excluded.
_RANGES = {
    "learning_rate": (0.0, float("inf"), False),
    "temperature": (0.0, float("inf"), True),
    "epsilon": (0.0, 1.0, False),
    "importance_exponent": (0.0, float("inf"), False),
}


def at(name: str, schedule: Schedule, progress_remaining: float) -> np.float32:
    """A schedule's value at a step, checked as it enters it, wherever the schedule is from.

    Args:
        name: What the schedule is of: ``"learning_rate"``, ``"temperature"``, ``"epsilon"`` or ``"importance_exponent"``.
        schedule: The schedule.
        progress_remaining: From 1 (start) to 0 (end).

    Raises:
        TypeError, ValueError: It is not finite, or out of range.
    """
    low, high, open_low = _RANGES[name]
    what = f"{name}(progress_remaining={progress_remaining:g})"
    return np.float32(number_in(what, float(schedule(progress_remaining)), low, high, open_low=open_low))


def table(
    schedule: Schedule, progress_remaining: np.ndarray, name: str = "learning_rate", used: int | None = None
) -> np.ndarray:
    """The schedule's values, float32, at each progress.

    Args:
        schedule: The schedule.
        progress_remaining: (n,).
        name: What it is of; see :func:`at`.
        used: How many of the first ones are asked for; the others are as the last of these. None for all.

    Raises:
        TypeError, ValueError: One is not finite, or out of range.
    """
    if isinstance(inner := getattr(schedule, "value_schedule", schedule), ConstantSchedule):
        return np.full(progress_remaining.shape, inner.val, np.float32)
    values = [at(name, schedule, float(progress)) for progress in progress_remaining[:used]]
    return np.pad(np.array(values, np.float32), (0, len(progress_remaining) - len(values)), mode="edge")


class Schedules(NamedTuple):
    """All that follows the progress of a run.

    Attributes:
        temperature: Of softmax exploration.
        epsilon: Of ε-greedy exploration.
        learning_rate: Of the learner.
        importance_exponent: Of importance weights; None for learners without priorities.
    """

    temperature: Schedule
    epsilon: Schedule
    learning_rate: Schedule
    importance_exponent: Schedule | None = None

    def explore_at(self, progress_remaining: float) -> Exploration:
        """How much to explore at a progress from 1 (start) to 0 (end)."""
        return Exploration(
            at("temperature", self.temperature, progress_remaining), at("epsilon", self.epsilon, progress_remaining)
        )

    def at(self, progress_remaining: float) -> Now:
        """All values at a progress."""
        own = self.importance_exponent
        return Now(
            self.explore_at(progress_remaining),
            at("learning_rate", self.learning_rate, progress_remaining),
            None if own is None else at("importance_exponent", own, progress_remaining),
        )

    def tables(self, num_timesteps: int, total_timesteps: int, num_envs: int, rows: int, used: int | None = None) -> Now:
        """Values for the next steps: exploration as of a step's beginning, all else as of its end.

        Args:
            num_timesteps: Where the run is.
            total_timesteps: Where it ends.
            num_envs: Transitions of a step.
            rows: Number of steps.
            used: How many of these steps will be taken; None for all.

        Raises:
            TypeError, ValueError: A schedule gives a value for one of them that is out of range.
        """
        timesteps = num_timesteps + num_envs * np.arange(rows + 1)
        progress, own = np.maximum(1 - timesteps / total_timesteps, 0), self.importance_exponent
        return Now(
            Exploration(
                table(self.temperature, progress[:-1], "temperature", used),
                table(self.epsilon, progress[:-1], "epsilon", used),
            ),
            table(self.learning_rate, progress[1:], "learning_rate", used),
            None if own is None else table(own, progress[1:], "importance_exponent", used),
        )


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
