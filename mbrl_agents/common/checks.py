"""Checks at the door: of agents' arguments, and of what environments give them."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

_FEW = 64  # numbers that Python looks at more quickly than NumPy does
_LARGEST = float(np.finfo(np.float32).max)


def number_in(
    name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False, finite: bool = True
) -> float:
    """Returns ``value`` as a float if it is a real number in the range.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Whether ``low`` itself is excluded.
        finite: Whether infinity is excluded.

    Raises:
        TypeError: It is no real number (booleans are not).
        ValueError: It is NaN or lies outside.
    """
    bound = "" if high == math.inf else f" and at most {high:g}"
    wanted = f"{name} must be a {'finite ' if finite else ''}number {'above' if open_low else 'of at least'} {low:g}{bound}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{wanted}, got {value!r} of type {type(value).__name__}")
    number = float(value)
    inside = low <= number <= high and not (open_low and number == low)
    if not inside or (finite and not math.isfinite(number)):
        raise ValueError(f"{wanted}, got {value!r}")
    return number


def finite(what: str, given: np.ndarray | dict[str, np.ndarray]) -> None:
    """Refuses what an environment gave if it cannot be learned from: one NaN would make every weight NaN, silently.

    Args:
        what: What it is, for the message.
        given: A row for each environment.

    Raises:
        ValueError: There are numbers that are not finite, or beyond single precision.
    """
    if isinstance(given, dict):
        for name, part in given.items():
            finite(f"{what} {name!r}", part)
    elif given.dtype.kind == "f":
        if given.size <= _FEW and all(abs(number) <= _LARGEST for number in given.ravel().tolist()):
            return
        good = (np.abs(given.reshape(len(given), -1), dtype=np.float64) <= _LARGEST).all(axis=1)
        if not good.all():
            where = int(np.flatnonzero(~good)[0])
            raise ValueError(f"{what} must be finite in single precision, got {given[where]} from environment {where}")
