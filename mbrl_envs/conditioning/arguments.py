"""Checks of the tasks' arguments: numbers, probabilities, delays."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

from mbrl_envs.checks import integer_in, number_in

MAX_DELAY, MAX_ITI, MAX_CUES = 1000, 1000, 32
_TOLERANCE = 1e-6  # by which probabilities may miss a sum of 1


def several(name: str, value: Any, most: int = MAX_CUES) -> tuple[Any, ...]:
    """Returns ``value`` as a tuple of 1 to ``most`` entries (specifications that were read from JSON have lists).

    Raises:
        TypeError: It is not a sequence.
        ValueError: It is empty or too long.
    """
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence of 1 to {most} entries, got {value!r} of type {type(value).__name__}")
    entries = tuple(value)
    if not 1 <= len(entries) <= most:
        raise ValueError(f"{name} must have 1 to {most} entries, got {len(entries)}")
    return entries


def probabilities(name: str, value: Any, count: int) -> tuple[float, ...]:
    """Returns ``value`` as a tuple of ``count`` probabilities that sum to 1; None stands for equal ones.

    Raises:
        TypeError, ValueError: It is something else.
    """
    if value is None:
        return (1 / count,) * count
    numbers_ = tuple(number_in(f"every entry of {name}", p, 0, 1) for p in several(name, value, max(count, MAX_CUES)))
    if len(numbers_) != count:
        raise ValueError(f"{name} must have {count} entries, got {len(numbers_)}")
    if abs(sum(numbers_) - 1) > _TOLERANCE:
        raise ValueError(f"{name} must sum to 1, got a sum of {sum(numbers_):.9g}")
    return numbers_


def sizes(value: Any, most: int) -> tuple[float, ...]:
    """Returns the argument ``sizes`` as a tuple of 1 to ``most`` different sizes of reward.

    Raises:
        TypeError, ValueError: It is something else, or a size is not above 0 or beyond 1e6.
    """
    found = tuple(number_in("every entry of sizes", size, 0, 1e6, open_low=True) for size in several("sizes", value, most))
    if len(set(found)) < len(found):
        raise ValueError(f"sizes must all be different, got {found}")
    return found


def interval(iti_min: Any, iti_probability: Any) -> dict[str, Any]:
    """The arguments that shape the interval between trials, checked, by name.

    Raises:
        TypeError, ValueError: One is out of range.
    """
    return {
        "iti_min": integer_in("iti_min", iti_min, 0, MAX_ITI),
        "iti_probability": number_in("iti_probability", iti_probability, 0, 1, open_low=True),
    }


def jittered(delay: int, jitter: int) -> tuple[tuple[int, float], ...]:
    """A delay that varies uniformly by up to ``jitter`` steps, as pairs of steps and probability."""
    count = 2 * jitter + 1
    return tuple((delay - jitter + i, 1 / count) for i in range(count))


def delay(name: str, value: Any) -> int | tuple[tuple[int, float], ...]:
    """Returns a delay as a number of steps, or its distribution as pairs of steps and probability, in rising order.

    Raises:
        TypeError, ValueError: It is neither, a delay is below 1, or probabilities do not sum to 1.
    """
    if isinstance(value, numbers.Number):
        return integer_in(name, value, 1, MAX_DELAY)
    pairs = [several(f"every pair of {name}", pair, 2) for pair in several(name, value, MAX_DELAY)]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{name} must be a number of steps or pairs (steps, probability), got {value!r}")
    steps = [integer_in(f"every delay of {name}", step, 1, MAX_DELAY) for step, _ in pairs]
    if len(set(steps)) < len(steps):
        raise ValueError(f"{name} must name every delay once, got {steps}")
    weights = probabilities(f"the probabilities of {name}", [p for _, p in pairs], len(pairs))
    return tuple(sorted((step, p) for step, p in zip(steps, weights, strict=True) if p > 0))


def as_distribution(delay: int | tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """A delay of :func:`delay` as pairs of steps and probability."""
    return ((delay, 1.0),) if isinstance(delay, int) else delay
