"""Checks at the door of what environments give to agents; of arguments, see :mod:`mbrl_envs.checks`."""

from __future__ import annotations

from typing import Any

import numpy as np

_FEW = 64  # numbers that Python looks at more quickly than NumPy does
_LARGEST = float(np.finfo(np.float32).max)


def finite(what: str, given: Any) -> None:
    """Refuses what an environment gave if it cannot be learned from: one NaN would make every weight NaN, silently.

    Args:
        what: What it is, for the message.
        given: Array with a row for each environment, or a dictionary or tuple of such.

    Raises:
        ValueError: There are numbers that are not finite, or beyond single precision.
    """
    if isinstance(given, dict):
        for name, part in given.items():
            finite(f"{what} {name!r}", part)
    elif isinstance(given, tuple):
        for i, part in enumerate(given):
            finite(f"{what} {i}", part)
    elif (given := np.asarray(given)).dtype.kind == "f":
        if given.size <= _FEW and all(abs(number) <= _LARGEST for number in given.ravel().tolist()):
            return
        good = (np.abs(given.reshape(len(given), -1), dtype=np.float64) <= _LARGEST).all(axis=1)
        if not good.all():
            where = int(np.flatnonzero(~good)[0])
            raise ValueError(f"{what} must be finite in single precision, got {given[where]} from environment {where}")
