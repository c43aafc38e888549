"""Checks of agents' arguments at the door."""

from __future__ import annotations

import math
import numbers
from typing import Any


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
