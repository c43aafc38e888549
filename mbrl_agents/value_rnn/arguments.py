"""Checks of a value RNN's own arguments."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from mbrl_agents.sb3.arguments import Kind, Rule
from mbrl_agents.value_rnn.network import PARTS
from mbrl_envs.checks import number_in, one_of

MOST_UNITS, MOST_VALUES = 4096, 256
_MARGIN = 1e-3


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments, completed; each by itself has been checked.

    Raises:
        TypeError, ValueError: One does not go with another.
    """
    given = dict(arguments)
    if given["td_lambda"] > 0 and given["loss"] in ("quantile", "expectile"):
        raise ValueError(f"td_lambda must be 0 with loss={given['loss']!r}, got {given['td_lambda']:g}")
    _check_num_values(given["num_values"], given["loss"], given["readout"])
    given["levels"] = _levels(given["levels"], given["num_values"], given["loss"])
    return given


def parts(name: str, given: Any) -> Collection[str]:
    """Names of parts of the network.

    Raises:
        TypeError, ValueError: It is no collection of such.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"{name} must be a list of {', '.join(map(repr, PARTS))}, got {given!r}")
    return [one_of(f"each of {name}", part, PARTS) for part in given]


def thawed(frozen: Collection[str], readout: str) -> dict[str, float]:
    """For each part of the parameters 1 if it learns, else 0."""
    return {part: float(part not in frozen) for part in PARTS if part != "readout" or readout == "linear"}


FROZEN = Rule(lambda name, value: [part for part in PARTS if part in parts(name, value)], kind=Kind.NUMBER)


def _check_num_values(num_values: int, loss: str, readout: str) -> None:
    if num_values > 1 and (loss == "td" or readout == "relu_sum"):
        which = "loss='td'" if loss == "td" else "readout='relu_sum'"
        raise ValueError(f"num_values must be 1 with {which}, got {num_values}")
    if num_values == 1 and loss in ("quantile", "expectile"):
        raise ValueError(f"num_values must be at least 2 with loss={loss!r}, got 1")


def _levels(levels: Any, num_values: int, loss: str) -> list[float]:
    if levels is None:
        return [(i + 0.5) / num_values for i in range(num_values)]
    if isinstance(levels, str) or not isinstance(levels, Sequence | np.ndarray):
        raise TypeError(f"levels must be a list of {num_values} numbers, got {levels!r}")
    found = [number_in(f"levels[{i}]", each, 0, 1, open_low=True, open_high=True) for i, each in enumerate(levels)]
    if len(found) != num_values or any(a >= b for a, b in itertools.pairwise(found)):
        raise ValueError(f"levels must be {num_values} rising numbers (num_values of them), got {found}")
    if loss == "td" and found != [0.5]:
        raise ValueError(f"levels must be None with loss='td', got {found}")
    if loss in ("asymmetric", "expectile") and num_values > 1 and not found[0] < 0.5 - _MARGIN < 0.5 + _MARGIN < found[-1]:
        raise ValueError(f"levels must lie on both sides of 0.5, at which the value is, with loss={loss!r}, got {found}")
    return found
