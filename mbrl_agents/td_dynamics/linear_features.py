"""Features of observations, linear in whose weights values are: V(o) = ψ(o) · w.

Each kind is a frozen dataclass of plain numbers, so that it can be compared, be part of a compiled program's key, and be
written to JSON and read again. Features are JAX functions of observations with any leading axes. Arrays and functions of a
user's own are turned into features by :mod:`mbrl_agents.td_dynamics.given_features`.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs.checks import boolean, integer_in, number_in, set_frozen

MAX_FEATURES = 2**20


class Features(abc.ABC):
    """Base class of all features.

    Class attributes:
        discrete: Whether observations are integers (of a ``Discrete`` space) instead of vectors (of a ``Box``).
    """

    discrete: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """Number of features, N."""

    @property
    @abc.abstractmethod
    def num_inputs(self) -> int | None:
        """Entries of an observation, or values of a discrete one; None if any number will do."""

    @abc.abstractmethod
    def __call__(self, observation: jax.Array) -> jax.Array:
        """Features, float32 (…, N), of observations (…, D), or integers (…) if ``discrete``."""

    def check(self, space: spaces.Space[Any]) -> None:
        """Checks that these are features of a space's observations.

        Raises:
            ValueError: They are not.
        """
        if self.discrete:
            wanted, found = "Discrete", int(space.n) if isinstance(space, spaces.Discrete) else None
        else:
            wanted, found = "one-dimensional Box", space.shape[0] if _is_vector(space) else None  # type: ignore[index]
        if found is None or self.num_inputs not in (None, found):
            number = "" if self.num_inputs is None else f" of {self.num_inputs} {'values' if self.discrete else 'entries'}"
            raise ValueError(
                f"features are {type(self).__name__}, which read a {wanted} space{number}; observations are {space}"
            )


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1


@dataclasses.dataclass(frozen=True)
class _Boxed(Features):
    """Features that look at a box of D dimensions; what lies outside counts as on its edge.

    Attributes:
        low: Lower edges, D finite numbers.
        high: Upper edges, each above its lower one.
    """

    low: Sequence[float]
    high: Sequence[float]

    def __post_init__(self) -> None:
        low, high = _numbers("low", self.low), _numbers("high", self.high)
        if len(low) != len(high) or not low:
            raise ValueError(f"low and high must have one number for each dimension, got {len(low)} and {len(high)} of them")
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"low must lie below high in every dimension, got {low} and {high}")
        set_frozen(self, low=low, high=high)

    @property
    def num_inputs(self) -> int:
        return len(self.low)

    def scaled(self, observation: jax.Array) -> jax.Array:
        """Where observations lie in the box, from 0 (lower edge) to 1."""
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        return jnp.clip((observation - low) / (high - low), 0, 1)

    def _integers(self, name: str, smallest: int) -> tuple[int, ...]:
        """A field with an integer for each dimension, or one for all."""
        given = getattr(self, name)
        each = given if isinstance(given, (Sequence, np.ndarray)) else [given] * self.num_inputs
        if len(each) != self.num_inputs:
            raise ValueError(f"{name} must be {self.num_inputs} integers, one for each dimension, got {len(each)} of them")
        return tuple(integer_in(name, number, smallest, MAX_FEATURES) for number in each)


@dataclasses.dataclass(frozen=True)
class TabularBins(_Boxed):
    """One feature for each cell of a grid of equal bins: 1 in the cell, 0 elsewhere.

    Cells are numbered with the last dimension running fastest. The upper edge of the box belongs to the last bin.

    Args:
        low: Lower edges of the box, D numbers.
        high: Upper edges.
        bins: Bins along each dimension, D integers, or one for all.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or length, or out of range.
    """

    bins: Sequence[int] | int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        set_frozen(self, bins=self._integers("bins", 1))
        integer_in("the number of cells", self.num_cells, 1, MAX_FEATURES)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins along each dimension."""
        return tuple(np.atleast_1d(self.bins).tolist())

    @property
    def num_cells(self) -> int:
        """Number of cells, S."""
        return math.prod(self.shape)

    @property
    def num_features(self) -> int:
        return self.num_cells

    def cell(self, observation: jax.Array) -> jax.Array:
        """Which cell observations (…, D) are in, int32 (…)."""
        cell = jnp.zeros(observation.shape[:-1], jnp.int32)
        for i, (low, high, number) in enumerate(zip(self.low, self.high, self.shape, strict=True)):
            # One dimension at a time: sampling spends a good part of its time here.
            place = (observation[..., i] - np.float32(low)) * np.float32(number / (high - low))
            cell = cell * number + jnp.clip(place, 0, number - 1).astype(jnp.int32)
        return cell

    def __call__(self, observation: jax.Array) -> jax.Array:
        return jax.nn.one_hot(self.cell(observation), self.num_cells, dtype=jnp.float32)


@dataclasses.dataclass(frozen=True)
class FourierModes(TabularBins):
    """All discrete Fourier modes of a grid of bins: cos(k · s) and sin(k · s) for every frequency k; N = 2 S.

    Their Gram matrix, ψ(s) · ψ(s′), is S times the identity: learning with them is tabular learning with a step size S times
    as large (:mod:`mbrl_agents.td_dynamics.policy_evaluation`). Arguments as for :class:`TabularBins`.
    """

    @property
    def num_features(self) -> int:
        return 2 * self.num_cells

    def table(self) -> np.ndarray:
        """Features of every cell, float64 (S, 2 S): cosines, then sines."""
        phase = np.zeros((self.num_cells, self.num_cells))
        for index, number in zip(np.indices(self.shape).reshape(len(self.shape), -1), self.shape, strict=True):
            # Whole turns are taken off as integers, so that angles stay small and exact.
            phase += np.outer(index, index) % number / number
        return np.concatenate([np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)], axis=1)

    def __call__(self, observation: jax.Array) -> jax.Array:
        return jnp.asarray(self.table(), jnp.float32)[self.cell(observation)]


@dataclasses.dataclass(frozen=True)
class FourierBasis(_Boxed):
    """The Fourier basis of Konidaris, Osentoski & Thomas (AAAI 2011): cos(π c · x) for x scaled to [0, 1]ᴰ.

    Args:
        low: Lower edges of the box, D numbers.
        high: Upper edges.
        order: Largest frequency along each dimension; c runs over all combinations, N = (order + 1)ᴰ.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or length, or out of range.
    """

    order: Sequence[int] | int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        set_frozen(self, order=self._integers("order", 0))
        integer_in("the number of features", self.num_features, 1, MAX_FEATURES)

    @property
    def num_features(self) -> int:
        return math.prod(order + 1 for order in np.atleast_1d(self.order).tolist())

    def __call__(self, observation: jax.Array) -> jax.Array:
        orders = np.atleast_1d(self.order).tolist()
        frequencies = np.array(list(itertools.product(*(range(order + 1) for order in orders))), np.float32)
        return jnp.cos(np.float32(np.pi) * (self.scaled(observation) @ frequencies.T))


@dataclasses.dataclass(frozen=True)
class TileCoding(_Boxed):
    """Tile coding (Sutton & Barto 2018, section 9.5.4): several grids of tiles, each shifted against the others.

    Tiling i is shifted by i/``tilings`` of a tile along the first dimension, by 3 i/``tilings`` along the second, 5 i along the
    third, as Miller & Glanz (1996) recommend, modulo a tile. In each tiling one feature is 1.

    Args:
        low: Lower edges of the box, D numbers.
        high: Upper edges.
        tiles: Tiles that cover the box along each dimension, D integers, or one for all; each tiling has one more.
        tilings: Number of tilings.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or length, or out of range.
    """

    tiles: Sequence[int] | int = 8
    tilings: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        set_frozen(self, tiles=self._integers("tiles", 1), tilings=integer_in("tilings", self.tilings, 1, MAX_FEATURES))
        integer_in("the number of features", self.num_features, 1, MAX_FEATURES)

    @property
    def num_features(self) -> int:
        return self.tilings * self._per_tiling

    @property
    def _per_tiling(self) -> int:
        return math.prod(number + 1 for number in self._tiles)

    @property
    def _tiles(self) -> tuple[int, ...]:
        return tuple(np.atleast_1d(self.tiles).tolist())

    def tile_of(self, observation: jax.Array) -> jax.Array:
        """The active feature of each tiling, int32 (…, tilings)."""
        shift = np.outer(np.arange(self.tilings), 2 * np.arange(self.num_inputs) + 1) % self.tilings / self.tilings
        place = self.scaled(observation)[..., None, :] * np.asarray(self._tiles, np.float32) + shift.astype(np.float32)
        index = jnp.minimum(jnp.floor(place).astype(jnp.int32), np.asarray(self._tiles, np.int32))
        tile = index[..., 0]
        for i, number in enumerate(self._tiles[1:], start=1):
            tile = tile * (number + 1) + index[..., i]
        return tile + np.arange(self.tilings, dtype=np.int32) * self._per_tiling

    def __call__(self, observation: jax.Array) -> jax.Array:
        return jax.nn.one_hot(self.tile_of(observation), self.num_features, dtype=jnp.float32).sum(axis=-2)


@dataclasses.dataclass(frozen=True)
class PlaceCells(Features):
    """Gaussian bumps: exp(−|o − c|² / (2 width²)) for every centre c.

    Args:
        centres: Centres, (N, D) numbers.
        width: Standard deviation of the bumps, above 0.
        normalised: Whether the features of an observation are divided by their sum.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or shape, or out of range.
    """

    centres: Sequence[Sequence[float]]
    width: float
    normalised: bool = False

    def __post_init__(self) -> None:
        try:
            centres = tuple(_numbers("centres", row) for row in self.centres)
        except TypeError as error:
            raise TypeError(f"centres must be rows of numbers, one for each place cell: {error}") from error
        if not centres or not centres[0] or len({len(row) for row in centres}) != 1:
            raise ValueError("centres must be rows of numbers, one for each place cell, all of one length")
        set_frozen(self, centres=centres, width=number_in("width", self.width, 0, open_low=True))
        boolean("normalised", self.normalised)

    @property
    def num_features(self) -> int:
        return len(self.centres)

    @property
    def num_inputs(self) -> int:
        return len(self.centres[0])

    def __call__(self, observation: jax.Array) -> jax.Array:
        distance = jnp.square(observation[..., None, :] - np.asarray(self.centres, np.float32)).sum(axis=-1)
        exponent = -distance / np.float32(2 * self.width**2)
        return jax.nn.softmax(exponent, axis=-1) if self.normalised else jnp.exp(exponent)


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    """Finite numbers as plain floats."""
    if isinstance(given, (str, bytes)) or not isinstance(given, (Sequence, np.ndarray)):
        raise TypeError(f"{name} must be a sequence of numbers, got {given!r}")
    return tuple(number_in(name, number, -math.inf) for number in given)
