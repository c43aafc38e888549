"""Checks of arguments at the door: one message form for all packages.

Every message names the argument, says what is allowed, and shows what was given.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import gymnasium
import numpy as np

_LONGEST_VALUE = 80  # characters of a value that a message shows


def integer_in(name: str, value: Any, low: int, high: int) -> int:
    """Returns ``value`` as an ``int`` if it is an integer with ``low <= value <= high``.

    Raises:
        TypeError: ``value`` is not an integer (booleans are not).
        ValueError: It lies outside the range.
    """
    allowed = f"an integer from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be {allowed}, got {_shown(value)} of type {_type_name(value)}")
    value = int(value)
    if not low <= value <= high:
        raise ValueError(f"{name} must be {allowed}, got {_shown(value)}")
    return value


def number_in(
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    finite: bool = True,
) -> float:
    """Returns ``value`` as a ``float`` if it is a real number in the range.

    Args:
        name: Name of the argument, for the message.
        value: What was given.
        low: Smallest value allowed.
        high: Largest value allowed.
        open_low: Whether ``low`` itself is excluded.
        open_high: Whether ``high`` itself is excluded.
        finite: Whether infinity is excluded.

    Raises:
        TypeError: It is no real number (booleans are not).
        ValueError: It is NaN or lies outside.
    """
    bound = "" if high == math.inf else f" and {'below' if open_high else 'at most'} {high:g}"
    allowed = f"a {'finite ' if finite else ''}number {'above' if open_low else 'of at least'} {low:g}{bound}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {allowed}, got {_shown(value)} of type {_type_name(value)}")
    number = float(value)
    inside = low <= number <= high and not (open_low and number == low) and not (open_high and number == high)
    if not inside or (finite and not math.isfinite(number)):
        raise ValueError(f"{name} must be {allowed}, got {_shown(value)}")
    return number


def one_of(name: str, value: Any, allowed: Collection[Any]) -> Any:
    """Returns ``value`` if it is among ``allowed``. A boolean is not taken for a number, nor a number for a boolean.

    Raises:
        ValueError: It is not.
    """
    if isinstance(value, Hashable):  # An array is not, and cannot be compared to a plain answer either.
        for option in allowed:
            if isinstance(value, bool) == isinstance(option, bool) and value == option:
                return option
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}; got {_shown(value)} of type {_type_name(value)}")


def boolean(name: str, value: Any) -> bool:
    """Returns ``value`` if it is a ``bool``.

    Raises:
        TypeError: It is not (numbers and NumPy's booleans are not).
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {_shown(value)} of type {_type_name(value)}")
    return value


def checked_seed(seed: Any) -> int:
    """A seed that a user gave, as a plain ``int``; NumPy's integers are integers, too.

    Raises:
        gymnasium.error.Error: It is not a non-negative integer. (What Gymnasium and PettingZoo raise.)
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise gymnasium.error.Error(f"seed must be None or a non-negative integer, got {_shown(seed)}")
    return int(seed)


def boolean_array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns ``value`` as a new bool array if it is one, or nested sequences of booleans, of the given shape.

    Raises:
        TypeError: It is something else.
        ValueError: It has another shape.
    """
    try:
        array = np.array(value)
    except ValueError:  # nested sequences of unequal lengths
        array = np.array(None)
    if array.dtype != np.bool_:
        raise TypeError(f"{name} must be booleans of shape {shape}, got {_shown(value)} of type {_type_name(value)}")
    if array.shape != shape:
        raise ValueError(f"{name} must be booleans of shape {shape}, got shape {array.shape}")
    return array


def rescaled(drawn: Any, default: tuple[float, float], options: Mapping[str, Any], widest: tuple[float, float]) -> Any:
    """Numbers that were drawn between default bounds, moved to the bounds ``low`` and ``high`` of a reset's options, float32.

    Args:
        drawn: The numbers.
        default: Their bounds, each of which holds where there is no option.
        options: Options of a reset.
        widest: Least lower and greatest upper bound allowed.

    Raises:
        TypeError, ValueError: A bound is no number or beyond the widest ones, or the lower one is above the upper one.
    """
    names = zip(("low", "high"), default, strict=True)
    low, high = (number_in(f"options[{name!r}]", options.get(name, bound), *widest) for name, bound in names)
    if low > high:
        raise ValueError(f"options['low'] must be at most options['high'], got {low} and {high}")
    share = (np.asarray(drawn, np.float64) - default[0]) / (default[1] - default[0])
    return np.clip(low + share * (high - low), low, high).astype(np.float32)


def time_limit(name: str, value: Any) -> int | None:
    """Returns ``value`` if it is a number of steps; None stands for no limit, as does Gymnasium's -1.

    Raises:
        TypeError, ValueError: It is neither None, nor -1, nor a positive integer.
    """
    if value is None or value == -1:
        return None
    return integer_in(f"{name} (if not None or -1)", value, 1, 2**31 - 1)


def set_frozen(instance: Any, **values: Any) -> None:
    """Sets attributes of a frozen dataclass in its ``__post_init__``, to what the checks above made of its arguments.

    So that they are plain numbers from then on: with NumPy's int8, 20 * 20 overflows.
    """
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def _shown(value: Any) -> str:
    """``repr(value)``, cut when it would drown the message."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than some thousand digits.
        text = hex(value) if isinstance(value, int) else f"<{_type_name(value)}>"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _type_name(value: Any) -> str:
    """The type with its module, unless built in: NumPy, too, has a type called ``bool``."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
