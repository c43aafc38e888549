"""Features that users bring along, and the one way from anything that names features to them; features as JSON."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.td_dynamics.linear_features import (
    MAX_FEATURES,
    Features,
    FourierBasis,
    FourierModes,
    PlaceCells,
    TabularBins,
    TileCoding,
)
from mbrl_envs.checks import integer_in, one_of, set_frozen

TABULAR, LINEAR = "tabular", "linear"


@dataclasses.dataclass(frozen=True)
class ObservationFeatures(Features):
    """The entries of an observation themselves, and a constant 1.

    Args:
        number: Entries of an observation, D; N = D + 1.

    Raises:
        TypeError, ValueError: It is no integer from 1.
    """

    number: int

    def __post_init__(self) -> None:
        set_frozen(self, number=integer_in("number", self.number, 1, MAX_FEATURES))

    @property
    def num_features(self) -> int:
        return self.number + 1

    @property
    def num_inputs(self) -> int:
        return self.number

    def __call__(self, observation: jax.Array) -> jax.Array:
        entries = jnp.asarray(observation, jnp.float32)
        return jnp.concatenate([entries, jnp.ones_like(entries[..., :1])], axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class TableFeatures(Features):
    """Features of integers, row by row.

    Args:
        table: Finite numbers (S, N): the features of each of S observations.

    Raises:
        TypeError, ValueError: It is no such array.
    """

    table: Any

    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            table = np.array(self.table, np.float32)
        except (TypeError, ValueError) as error:
            raise TypeError(f"features must be an array of numbers (S, N): {error}") from error
        if table.ndim != 2 or not table.size > 0 or table.shape[1] > MAX_FEATURES:
            raise ValueError(f"features must be an array (S, N), a row for each observation, got shape {table.shape}")
        if not np.isfinite(table).all():
            raise ValueError("features must be finite numbers")
        table.setflags(write=False)
        set_frozen(self, table=table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableFeatures) and np.array_equal(self.table, other.table)

    def __hash__(self) -> int:
        return hash((self.table.shape, hashlib.sha256(self.table.tobytes()).digest()))

    @property
    def num_features(self) -> int:
        return self.table.shape[1]

    @property
    def num_inputs(self) -> int:
        return self.table.shape[0]

    def __call__(self, observation: jax.Array) -> jax.Array:
        return jnp.asarray(self.table)[observation]


@dataclasses.dataclass(frozen=True)
class FunctionFeatures(Features):
    """A user's own function.

    Args:
        function: A JAX function of one observation, an array of the observation space's shape, to N numbers.
        space: The observation space.

    Raises:
        TypeError: The function does not take such observations.
        ValueError: It does not return a vector, or not finite numbers.
    """

    function: Callable[[jax.Array], jax.Array]
    space: spaces.Space[Any] = dataclasses.field(hash=False)

    def __post_init__(self) -> None:
        example = jnp.asarray(ObservationCodec.of(self.space).from_host(self.space.sample()))
        try:
            found = jax.jit(self.function)(example)
        except Exception as error:  # whatever a user's code may raise
            raise TypeError(f"features must be a JAX function of one observation of {self.space}: {error}") from error
        if getattr(found, "ndim", None) != 1 or not 0 < found.size <= MAX_FEATURES:
            raise ValueError(f"features must return a vector for one observation, got shape {jnp.shape(found)}")
        if not np.isfinite(np.asarray(found, float)).all():
            raise ValueError(f"features must return finite numbers, got {np.asarray(found)} for {np.asarray(example)}")
        set_frozen(self, _number=int(found.size))

    @property
    def num_features(self) -> int:
        return self._number  # type: ignore[attr-defined]

    @property
    def num_inputs(self) -> None:
        return None

    def check(self, space: spaces.Space[Any]) -> None:
        """Checks that the function was made for a space.

        Raises:
            ValueError: It was made for another.
        """
        if space != self.space:
            raise ValueError(f"features are a function of observations of {self.space}; observations are {space}")

    def __call__(self, observation: jax.Array) -> jax.Array:
        own = len(self.space.shape or ())
        lead = observation.shape[: observation.ndim - own]
        flat = observation.reshape(-1, *observation.shape[observation.ndim - own :])
        return jax.vmap(self.function)(flat).astype(jnp.float32).reshape(*lead, self.num_features)


def as_features(given: Any, space: spaces.Space[Any]) -> Features:
    """Anything that names features, as features of a space's observations.

    Args:
        given: Features, or what :func:`to_json` made of them; an array (S, N) with a row for each value of a ``Discrete``
            space; ``"tabular"``, one feature for each of these values; ``"linear"``, the entries of a vector and a constant (of
            a ``Discrete`` space, the same as ``"tabular"``); or a JAX function of one observation.
        space: The observation space.

    Raises:
        TypeError: It is none of these.
        ValueError: It does not fit the space.
    """
    if isinstance(given, str):
        features = _named(given, space)
    elif isinstance(given, dict):
        features = from_json(given)
    elif isinstance(given, Features):
        features = given
    elif isinstance(given, (np.ndarray, jax.Array, list, tuple)):
        features = TableFeatures(given)
    elif callable(given):
        features = FunctionFeatures(given, space)
    else:
        raise TypeError(f"features must be Features, an array, 'tabular' or a function, got {type(given).__name__}")
    features.check(space)
    return features


def _named(name: str, space: spaces.Space[Any]) -> Features:
    one_of("features (if given by name)", name, (TABULAR, LINEAR))
    if isinstance(space, spaces.Discrete):
        return TableFeatures(np.eye(int(space.n)))
    if name == TABULAR or not isinstance(space, spaces.Box) or len(space.shape) != 1:
        wanted = "Discrete" if name == TABULAR else "Discrete or one-dimensional Box"
        raise ValueError(f"features {name!r} are for a {wanted} space; observations are {space}")
    return ObservationFeatures(space.shape[0])


_KINDS: dict[str, type[Features]] = {
    kind.__name__: kind
    for kind in (TabularBins, FourierModes, FourierBasis, TileCoding, PlaceCells, TableFeatures, ObservationFeatures)
}


def to_json(features: Features) -> dict[str, Any]:
    """Features as plain data.

    Raises:
        ValueError: They are a function, which is code.
    """
    if type(features).__name__ not in _KINDS:
        raise ValueError(f"features that are a function are code and cannot be written as data: {features}")
    values = {field.name: getattr(features, field.name) for field in dataclasses.fields(features)}  # type: ignore[arg-type]
    return {"kind": type(features).__name__} | {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()
    }


def from_json(data: dict[str, Any]) -> Features:
    """Features from what :func:`to_json` returned.

    Raises:
        TypeError, ValueError: The kind or an argument is unknown, or out of range.
    """
    values = dict(data)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}; got {kind!r}")
    return _KINDS[kind](**values)
