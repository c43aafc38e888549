"""Search spaces: which hyperparameters are searched, and over which values.

A dimension is a list of :class:`Values` or a :class:`Range`; a :class:`Space` is several of them by name. On the command line:

=========================================  =============================================================================
``learning_rate=grid2:3.125e-6:1.6e-3``    from the first to the last number in factors of two, as in the published search
``temperature=0.1,0.2,0.4``                these values
``learning_rate=log:1e-5:1e-2``            any number between these, uniform in the logarithm
``gamma=uniform:0.8:0.99``                 any number between these
``target_update_interval=int:1:1000``      any integer between these
=========================================  =============================================================================
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from mbrl_agents.experiments.command_arguments import parse_values
from mbrl_envs.checks import number_in, set_frozen

_DIGITS = 12  # of the numbers in a factor-two grid: 0.1, not 0.1000000000000001


def plain(value: Any) -> Any:
    """A value that can be stored: NumPy's numbers, words and truth values as Python's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


@dataclasses.dataclass(frozen=True)
class Values:
    """A list of values: numbers, words or truth values.

    Raises:
        TypeError, ValueError: There is none, one comes twice, or one cannot be stored.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        set_frozen(self, values=tuple(map(plain, self.values)))
        if not self.values:
            raise ValueError("a list of values must have at least one")
        for value in self.values:
            if not isinstance(value, (bool, int, float, str)):
                raise TypeError(f"values must be numbers, words or truth values, got {value!r} of type {type(value).__name__}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"values must be finite, got {value!r}")
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"values must differ, got {list(self.values)}")

    @property
    def probes(self) -> tuple[Any, ...]:
        """What to check before anything is trained."""
        return self.values

    @property
    def numeric(self) -> bool:
        """Whether all are numbers (truth values are none)."""
        return all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in self.values)

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        return CategoricalDistribution(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"values": list(self.values)}


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers between two.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether uniform in the logarithm.
        integer: Whether integers only.

    Raises:
        TypeError, ValueError: They are no numbers, or no range.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        set_frozen(self, low=plain(self.low), high=plain(self.high), log=bool(self.log), integer=bool(self.integer))
        number_in("low", self.low, 0 if self.log else -math.inf, open_low=self.log)
        number_in("high", self.high, self.low)
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ValueError(f"a range of integers must have integers as its ends, got {self.low!r} and {self.high!r}")
        if self.low == self.high:
            raise ValueError(f"a range must have more than one value, got {self.low!r} twice")

    @property
    def probes(self) -> tuple[Any, ...]:
        """What to check before anything is trained: the ends."""
        return (int(self.low), int(self.high)) if self.integer else (float(self.low), float(self.high))

    def distribution(self) -> BaseDistribution:
        """As Optuna knows it."""
        if self.integer:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def factor_two_grid(low: float, high: float) -> Values:
    """``low, 2 low, 4 low, … , high``.

    The published search had step sizes from 3.125e-6 to 1.6e-3 and temperatures from 0.0125 to 12.8.

    Raises:
        TypeError, ValueError: They are no positive numbers, or ``high`` is not ``low`` times a power of two.
    """
    low = number_in("low", low, 0, open_low=True)
    high = number_in("high", high, low)
    steps = round(math.log2(high / low))
    if not math.isclose(low * 2**steps, high, rel_tol=1e-6):
        raise ValueError(f"high must be low times a power of two, got {high:g} and {low:g}: the nearest is {low * 2**steps:g}")
    return Values(tuple(float(f"{low * 2**i:.{_DIGITS}g}") for i in range(steps + 1)))


@dataclasses.dataclass(frozen=True)
class Space:
    """Several dimensions by the names of the agent's arguments.

    Raises:
        ValueError: There is none.
    """

    dimensions: dict[str, Values | Range]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise ValueError("the search space is empty: name at least one hyperparameter, such as learning_rate=log:1e-5:1e-2")

    @classmethod
    def of(cls, space: Space | Mapping[str, Any]) -> Space:
        """A space from dimensions, lists of values, or texts as on the command line.

        Raises:
            TypeError, ValueError: A dimension is empty, or none at all.
        """
        if isinstance(space, Space):
            return space
        if not isinstance(space, Mapping):
            raise TypeError(
                f"space must be a dictionary such as {{'learning_rate': 'log:1e-5:1e-2'}}, or a Space, got {space!r}"
            )
        return cls({name: _naming(name, _dimension, name, given) for name, given in space.items()})

    @classmethod
    def parse(cls, texts: Sequence[str], option: str = "--space") -> Space:
        """A space from ``["learning_rate=log:1e-5:1e-2", …]``; see the head of this file.

        Raises:
            ValueError: A text cannot be read, or a name comes twice.
        """
        dimensions: dict[str, Any] = {}
        for text in texts:
            name, equals, rest = text.partition("=")
            if not equals or not name.isidentifier() or not rest:
                raise ValueError(f"{option} must look like NAME=VALUE,VALUE,… or NAME=log:LOW:HIGH, got {text!r}")
            if name in dimensions:
                raise ValueError(f"{option} {name} is given twice")
            dimensions[name] = rest
        return cls.of(dimensions)

    @classmethod
    def from_dict(cls, data: Mapping[str, Mapping[str, Any]]) -> Space:
        """Reads what :meth:`to_dict` gave."""
        return cls({name: Values(tuple(one["values"])) if "values" in one else Range(**one) for name, one in data.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: dimension.to_dict() for name, dimension in self.dimensions.items()}

    @property
    def is_finite(self) -> bool:
        """Whether it can be searched as a grid."""
        return all(isinstance(dimension, Values) for dimension in self.dimensions.values())

    @property
    def values(self) -> dict[str, list[Any]]:
        """The values of each dimension of a finite space."""
        return {name: list(each.values) for name, each in self.dimensions.items() if isinstance(each, Values)}

    @property
    def size(self) -> int | None:
        """Number of points, if finite."""
        return math.prod(len(values) for values in self.values.values()) if self.is_finite else None

    def distributions(self) -> dict[str, BaseDistribution]:
        """As Optuna knows them."""
        return {name: dimension.distribution() for name, dimension in self.dimensions.items()}

    def probes(self) -> list[tuple[str | None, dict[str, Any]]]:
        """Settings to check before anything is trained: all first values, then each other value with the name it is of."""
        first = {name: dimension.probes[0] for name, dimension in self.dimensions.items()}
        others = ([(name, first | {name: value}) for value in each.probes[1:]] for name, each in self.dimensions.items())
        return [(None, first), *itertools.chain.from_iterable(others)]


def _naming(name: str, make: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function; its errors say which hyperparameter they are about."""
    try:
        return make(*arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _dimension(name: str, given: Any) -> Values | Range:
    if isinstance(given, (Values, Range)):
        return given
    if isinstance(given, str):
        kind, colon, rest = given.partition(":")
        if colon and kind in _KINDS:
            low, high = _ends(rest)
            return _KINDS[kind](low, high)
        given = parse_values(given, f"--space {name}")
    if hasattr(given, "tolist"):
        given = given.tolist()
    if not isinstance(given, Sequence):
        raise TypeError(f"a dimension must be a list of values, a Range or a text such as 'log:1e-5:1e-2', got {given!r}")
    return Values(tuple(given))


def _ends(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise ValueError(f"must look like log:LOW:HIGH with two numbers, got {text!r} after the first colon") from None
    return low, high


_KINDS: dict[str, Callable[[float, float], Values | Range]] = {
    "grid2": factor_two_grid,
    "log": lambda low, high: Range(low, high, log=True),
    "uniform": Range,
    "int": lambda low, high: Range(low, high, integer=True),
}
