"""How observations are stored, and how a network reads them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

_INT32 = np.iinfo(np.int32)
_INTEGERS = [
    np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "int32", "uint32")
]  # that JAX has, small ones first
KINDS = ("bits", "bytes", "float", "index")
"""Observations of one kind of numbers."""
ALL_KINDS = (*KINDS, "indices", "parts")
"""These, several choices, and what has parts."""


@dataclasses.dataclass(frozen=True)
class ObservationCodec:
    """Encodes observations for storage and decodes them into features.

    Booleans are stored as bits. uint8 within 0 and 255 are images' bytes: networks read them divided by 255, as SB3's do.
    All other numbers are read as they are, in float32. They are stored as float32, integers in a dtype that holds them:
    their own up to 32 bits; 64-bit integers in int32 where the space's bounds fit into it, else in float32.
    A choice is read as a one, at its place among zeros. Several choices, and parts of dictionaries and tuples, are stored in
    the smallest dtype that holds them.

    Attributes:
        kind: ``"bits"``, ``"bytes"`` (0 to 255, read as 0 to 1), ``"float"`` (any other numbers), ``"index"`` (a choice) or
            ``"indices"`` (several); ``"parts"`` of a :class:`PartsCodec`.
        shape: Shape of one observation.
        num_features: Number of features that a network reads: the number of entries, or of values of all choices together.
        start: Smallest value of an ``"index"``.
        stored_as: Name of the dtype in which numbers or choices are stored.
        choices: Of each of the ``"indices"`` its number of values and the smallest one.
    """

    kind: str
    shape: tuple[int, ...]
    num_features: int
    start: int = 0
    stored_as: str = "float32"
    choices: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ObservationCodec:
        """The codec of an observation space.

        Raises:
            ValueError: The space, or a part of it, is none of Box, MultiBinary, Discrete, MultiDiscrete, Dict and Tuple; or has
                choices of values beyond 32 bits, or names that cannot be told apart in a file.
        """
        return _codec(space, part=False)

    def check_normalizer(self, normalizer: VecNormalize | None) -> None:
        """Refuses what would be scaled twice.

        Raises:
            ValueError: The normaliser makes of bytes what are no bytes any more.
        """
        if self.kind == "bytes" and normalizer is not None and normalizer.norm_obs:
            raise ValueError("observations of bytes are divided by 255 here: VecNormalize around them needs norm_obs=False")

    @property
    def row(self) -> Any:
        """Shape and dtype of one stored observation, ``jax.ShapeDtypeStruct``."""
        if self.kind == "bits":
            return jax.ShapeDtypeStruct((-(-self.num_features // 8),), jnp.uint8)
        if self.kind == "bytes":
            return jax.ShapeDtypeStruct((self.num_features,), jnp.uint8)
        shape = {"index": (), "indices": (len(self.choices),)}.get(self.kind, (self.num_features,))
        return jax.ShapeDtypeStruct(shape, jnp.dtype(self.stored_as))

    def from_host(self, observation: Any) -> Any:
        """Observations of an environment in a dtype that JAX has, without wrapping around: it would cut 64-bit integers short.

        Args:
            observation: Array of any dtype, (…, *shape).

        Raises:
            ValueError: Integers are beyond the 32 bits that the observation space's bounds fit into.
        """
        given = np.asarray(observation)
        if given.dtype.kind == "f":
            return _cast(given, np.dtype(np.float32))
        if given.dtype.kind in "iu" and given.dtype.itemsize == 8:
            integers = self.kind != "float" or self.stored_as != "float32"
            return _cast(given, np.dtype(_wide(self.stored_as) if integers else np.float32))
        return given

    def to_storage(self, observation: Any) -> Any:
        """As :meth:`from_host`, for what is stored next.

        Raises:
            ValueError: The dtype in which they are stored does not hold them: they are none of the observation space.
        """
        given = np.asarray(observation)
        if self.kind == "bits":
            return given
        if self.kind in ("index", "indices"):
            return self._checked_choices(_cast(given, np.dtype(np.int32)))
        return _cast(given, np.dtype("uint8" if self.kind == "bytes" else self.stored_as))

    def _checked_choices(self, given: np.ndarray) -> np.ndarray:
        """What is stored in less than 32 bits would wrap around there, so it is looked at first."""
        if self.kind == "index" and self.stored_as == "int32":
            return given
        sizes, starts = np.array(self.choices or [(self.num_features, self.start)], np.int64).T
        flat = given.reshape(-1, len(sizes)).astype(np.int64)
        if (wrong := (flat < starts) | (flat >= starts + sizes)).any():
            raise ValueError(f"observations must be of the observation space, got the choice {flat[wrong][0]} of {self}")
        return given

    def encode(self, observation: Any) -> Any:
        """Stored form of observations of shape (…, *shape)."""
        if self.kind == "index":
            return _narrow(jnp.asarray(observation, jnp.int32) - self.start, self.stored_as)
        flat = self._flat(observation)
        if self.kind == "bits":
            return jnp.packbits(flat != 0, axis=-1, bitorder="little")
        if self.kind == "indices":
            starts = np.array([start for _, start in self.choices], np.int32)
            return _narrow(flat.astype(jnp.int32) - starts, self.stored_as)
        return flat.astype(self.row.dtype)

    def decode(self, stored: Any) -> jax.Array:
        """Features, float32 (…, num_features), of stored observations; bytes are scaled to [0, 1]."""
        if self.kind == "index":
            return jax.nn.one_hot(_narrow(stored, "int32"), self.num_features, dtype=jnp.float32)
        if self.kind == "indices":
            places, sizes = _narrow(stored, "int32"), [size for size, _ in self.choices]
            if len(set(sizes)) == 1:
                return jax.nn.one_hot(places, sizes[0], dtype=jnp.float32).reshape(*stored.shape[:-1], self.num_features)
            each = (jax.nn.one_hot(places[..., i], size, dtype=jnp.float32) for i, size in enumerate(sizes))
            return jnp.concatenate([*each], axis=-1)
        if self.kind == "bits":
            bits = (stored[..., None] >> jnp.arange(8, dtype=jnp.uint8)) & 1
            bits = bits.reshape(*stored.shape[:-1], stored.shape[-1] * 8)
            return bits[..., : self.num_features].astype(jnp.float32)
        return stored.astype(jnp.float32) / 255 if self.kind == "bytes" else stored.astype(jnp.float32)

    def features(self, observation: Any) -> jax.Array:
        """Features of observations of shape (…, *shape) as they come from an environment (or normalised)."""
        if self.kind in ("bits", "float"):
            return self._flat(observation).astype(jnp.float32)
        return self.decode(self.encode(observation))

    def split(self, features: Any) -> Any:
        """Features (…, num_features) in the observation's own shape: (…, *shape), choices as they are."""
        if self.kind in ("index", "indices"):
            return features
        return features.reshape(*features.shape[:-1], *self.shape)

    def leaves(self, name: str = "") -> Iterator[tuple[str, ObservationCodec]]:
        """All parts in the order of their features, with their names: of nested ones a path such as ``"camera/left"``."""
        yield name, self

    def _flat(self, observation: jax.Array) -> jax.Array:
        lead = observation.shape[: observation.ndim - len(self.shape)]
        return observation.reshape(*lead, len(self.choices) or self.num_features)


@dataclasses.dataclass(frozen=True)
class PartsCodec(ObservationCodec):
    """The codec of a dictionary or a tuple: each part is stored by itself; features follow each other in the space's order.

    Observations, and what is stored, have the space's structure.

    Attributes:
        parts: The parts' codecs.
        names: Their names in a dictionary; None for a tuple.
    """

    parts: tuple[ObservationCodec, ...] = ()
    names: tuple[Any, ...] | None = None

    def _values(self, given: Any) -> list[Any]:
        return list(given) if self.names is None else [given[name] for name in self.names]

    def _together(self, values: list[Any]) -> Any:
        return tuple(values) if self.names is None else dict(zip(self.names, values, strict=True))

    def check_normalizer(self, normalizer: VecNormalize | None) -> None:
        """See :meth:`ObservationCodec.check_normalizer`; only the parts that are normalised matter."""
        for name, part in zip(self.names or (), self.parts, strict=False):
            keys = None if normalizer is None else normalizer.norm_obs_keys
            if keys is None or name in keys:
                part.check_normalizer(normalizer)

    @property
    def row(self) -> Any:
        """Shape and dtype of each part of one stored observation."""
        return self._together([part.row for part in self.parts])

    def from_host(self, observation: Any) -> Any:
        """See :meth:`ObservationCodec.from_host`."""
        return self._together(_each(self.parts, "from_host", self._values(observation)))

    def to_storage(self, observation: Any) -> Any:
        """See :meth:`ObservationCodec.to_storage`."""
        return self._together(_each(self.parts, "to_storage", self._values(observation)))

    def encode(self, observation: Any) -> Any:
        """Stored form of observations, whose parts have any leading axes in common."""
        return self._together(_each(self.parts, "encode", self._values(observation)))

    def decode(self, stored: Any) -> jax.Array:
        """Features of all parts, float32 (…, num_features)."""
        return jnp.concatenate(_each(self.parts, "decode", self._values(stored)), axis=-1)

    def features(self, observation: Any) -> jax.Array:
        """Features of observations as they come from an environment (or normalised)."""
        return jnp.concatenate(_each(self.parts, "features", self._values(observation)), axis=-1)

    def split(self, features: Any) -> Any:
        """Features (…, num_features) in the observation's structure, each part in its own shape."""
        ends = itertools.accumulate(part.num_features for part in self.parts)
        own = [features[..., end - part.num_features : end] for end, part in zip(ends, self.parts, strict=True)]
        return self._together(_each(self.parts, "split", own))

    def leaves(self, name: str = "") -> Iterator[tuple[str, ObservationCodec]]:
        """See :meth:`ObservationCodec.leaves`."""
        for own, part in zip(self.names or range(len(self.parts)), self.parts, strict=True):
            yield from part.leaves(f"{name}/{own}" if name else str(own))


def num_observations(observation: Any) -> int:
    """Number n of observations in a batch whose parts are (n, …)."""
    return jax.tree.leaves(observation)[0].shape[0]


def _each(parts: tuple[ObservationCodec, ...], method: str, values: list[Any]) -> list[Any]:
    return [getattr(part, method)(value) for part, value in zip(parts, values, strict=True)]


def _codec(space: spaces.Space[Any], part: bool) -> ObservationCodec:
    """The codec of a space, or of a part of one; see :meth:`ObservationCodec.of`."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return _parts(space)
    if isinstance(space, spaces.Discrete):
        _check_choices(space, [(int(space.n), int(space.start))])
        # One alone is stored in 32 bits, as in the files that there are.
        stored = _smallest(0, int(space.n) - 1) if part else "int32"
        return ObservationCodec("index", (), int(space.n), int(space.start), stored)
    if isinstance(space, spaces.MultiDiscrete):
        sizes, starts = (np.asarray(each).ravel().tolist() for each in (space.nvec, space.start))
        choices = tuple(zip(sizes, starts, strict=True))
        _check_choices(space, choices)
        stored = _smallest(0, max(sizes) - 1)
        return ObservationCodec("indices", tuple(space.shape), sum(sizes), stored_as=stored, choices=choices)
    if not isinstance(space, (spaces.Box, spaces.MultiBinary)):
        raise ValueError(
            "an observation space must be a Box, MultiBinary, Discrete or MultiDiscrete, or a Dict or Tuple of such, got "
            f"{space}: make a vector of it with a wrapper"
        )
    shape, size = tuple(space.shape), int(np.prod(space.shape))
    if isinstance(space, spaces.MultiBinary) or space.dtype.kind == "b":
        return ObservationCodec("bits", shape, size)
    if space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all():
        return ObservationCodec("bytes", shape, size)
    return ObservationCodec("float", shape, size, stored_as=_stored_as(space, part))


def _parts(space: spaces.Dict | spaces.Tuple) -> PartsCodec:
    inside: Any = space.spaces
    named = inside if isinstance(inside, dict) else None
    parts = tuple(_codec(each, part=True) for each in (inside if named is None else named.values()))
    codec = PartsCodec(
        "parts", (), sum(each.num_features for each in parts), parts=parts, names=None if named is None else tuple(named)
    )
    if not parts or not all(isinstance(name, str) for name in named or ()):
        raise ValueError(f"a Dict or Tuple observation space must have parts, named by text in a Dict, got {space}")
    paths = [path for path, _ in codec.leaves()]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise ValueError(f"parts of a Dict observation space must have different paths, got {', '.join(twice)} twice")
    return codec


def _check_choices(space: spaces.Space[Any], choices: Any) -> None:
    if not all(_INT32.min <= start <= start + size - 1 <= _INT32.max for size, start in choices):
        raise ValueError(f"discrete observations must lie between -2**31 and 2**31 - 1, got {space}")


def _smallest(low: int, high: int) -> str:
    """Name of the smallest integer dtype that holds both; float32 if none of JAX's does."""
    return next((dtype.name for dtype in _INTEGERS if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max), "float32")


def _stored_as(space: spaces.Box, smallest: bool) -> str:
    """Name of the dtype in which a space's numbers are stored: the smallest one, or their own."""
    if space.dtype.kind not in "iu":
        return "float16" if smallest and space.dtype == np.float16 else "float32"
    if smallest and space.low.size:
        return _smallest(int(space.low.min()), int(space.high.max()))
    if space.dtype.itemsize < 8:
        return space.dtype.name
    fits = bool((space.low >= _INT32.min).all() and (space.high <= _INT32.max).all())
    return "int32" if fits else "float32"


def _wide(stored_as: str) -> str:
    """The dtype of 32 bits in which JAX is given integers of 64 that are stored in this one."""
    return "uint32" if stored_as == "uint32" else "int32"


def _narrow(choices: Any, dtype: str) -> Any:
    return choices if choices.dtype == dtype else choices.astype(dtype)


def _cast(given: np.ndarray, wanted: np.dtype[Any]) -> np.ndarray:
    """An array in another dtype.

    Raises:
        ValueError: Integers are wanted, and these are others.
    """
    if given.dtype == wanted:
        return given
    with np.errstate(invalid="ignore", over="ignore"):
        cast = given.astype(wanted)
    if wanted.kind in "iu" and not np.can_cast(given.dtype, wanted) and not np.array_equal(cast, given):
        wrong = given[cast != given].flat[0]
        raise ValueError(f"observations must be of the observation space, whose numbers fit into {wanted}, got {wrong}")
    return cast
