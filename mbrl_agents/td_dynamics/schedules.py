"""Step sizes that change as learning goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self, TypeAlias

import numpy as np

from mbrl_agents.td_dynamics import arguments
from mbrl_envs.checks import number_in, set_frozen


@dataclasses.dataclass(frozen=True)
class PowerSchedule:
    """η_n = η · (1 + (n − 1) / delay)^(−χ) for the updates n = 1, 2, …; with a delay of 1 this is η n^(−χ).

    Args:
        step_size: η, the step size of the first update, above 0.
        exponent: χ, at least 0; 0 for a constant one.
        delay: Updates before it has fallen to η · 2^(−χ), above 0.

    Raises:
        TypeError, ValueError: An argument is out of range.
    """

    step_size: float
    exponent: float = 0.0
    delay: float = 1.0

    def __post_init__(self) -> None:
        set_frozen(
            self,
            step_size=number_in("step_size", self.step_size, 0, open_low=True),
            exponent=number_in("exponent", self.exponent, 0),
            delay=number_in("delay", self.delay, 0, open_low=True),
        )

    def step_sizes(self, num_steps: int) -> np.ndarray:
        """Step sizes of the first ``num_steps`` updates, float64 (num_steps,)."""
        return self.step_size * (1 + np.arange(num_steps) / self.delay) ** -self.exponent

    def to_json(self) -> dict[str, Any]:
        """The schedule as plain data."""
        return {"kind": type(self).__name__} | dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The schedule from what :meth:`to_json` returned.

        Raises:
            TypeError, ValueError: It is no such data, or an argument is unknown, missing or out of range.
        """
        values = dict(data)
        if (kind := values.pop("kind", None)) != cls.__name__:
            raise ValueError(f"a schedule as plain data must have kind {cls.__name__!r}, got {kind!r}")
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise TypeError(f"a {cls.__name__} has {', '.join(sorted(names))}, not {', '.join(map(str, unknown))}")
        if "step_size" not in values:
            raise TypeError(f"a {cls.__name__} must have a step_size, got {sorted(values)}")
        return cls(**values)


StepSize: TypeAlias = float | np.ndarray | PowerSchedule


def step_sizes(step_size: StepSize, num_steps: int) -> np.ndarray:
    """Step sizes of ``num_steps`` updates, float64 (num_steps,).

    Args:
        step_size: A number, an array with one for each update, or a schedule.
        num_steps: Number of updates.

    Raises:
        TypeError: It is none of these.
        ValueError: A step size is not above 0, or the array has another length.
    """
    if isinstance(step_size, PowerSchedule):
        return step_size.step_sizes(num_steps)
    if np.ndim(step_size) == 0:
        return np.full(num_steps, number_in("step_size", step_size, 0, open_low=True))
    array = arguments.finite_array("step_size", step_size, (1,))
    if array.shape != (num_steps,) or (array <= 0).any():
        raise ValueError(
            f"step_size must be above 0 for each of {num_steps} updates, got shape {array.shape} and values from "
            f"{array.min():g} to {array.max():g}"
        )
    return array
