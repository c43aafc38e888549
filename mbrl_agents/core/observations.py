"""How observations are stored, and how a network reads them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

_INT32 = np.iinfo(np.int32)


@dataclasses.dataclass(frozen=True)
class ObservationCodec:
    """Encodes observations for storage and decodes them into features.

    Booleans are stored as bits. uint8 within 0 and 255 are images' bytes: networks read them divided by 255, as SB3's do.
    All other numbers are read as they are, in float32. They are stored as float32, integers in a dtype that holds them:
    their own up to 32 bits; 64-bit integers in int32 where the space's bounds fit into it, else in float32.

    Attributes:
        kind: ``"bits"``, ``"bytes"`` (0 to 255, read as 0 to 1), ``"float"`` (any other numbers) or ``"index"``.
        shape: Shape of one observation.
        num_features: Number of features that a network reads: the number of entries, or of values of an ``"index"``.
        start: Smallest value of an ``"index"``.
        stored_as: Name of the dtype in which a ``"float"`` is stored.
    """

    kind: str
    shape: tuple[int, ...]
    num_features: int
    start: int = 0
    stored_as: str = "float32"

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ObservationCodec:
        """The codec of an observation space.

        Raises:
            ValueError: The space is none of Box, MultiBinary and Discrete, or a Discrete one of values beyond 32 bits.
        """
        if isinstance(space, spaces.Discrete):
            if not _INT32.min <= space.start <= space.start + space.n - 1 <= _INT32.max:
                raise ValueError(f"discrete observations must lie between -2**31 and 2**31 - 1, got {space}")
            return cls("index", (), int(space.n), int(space.start))
        if not isinstance(space, (spaces.Box, spaces.MultiBinary)):
            raise ValueError(
                f"the observation space must be a Box, MultiBinary or Discrete, got {space}: make a vector of it with "
                "gymnasium.wrappers.FlattenObservation (R2D2's MultiInputLstmPolicy reads dictionaries as they are)"
            )
        shape, size = tuple(space.shape), int(np.prod(space.shape))
        if isinstance(space, spaces.MultiBinary) or space.dtype.kind == "b":
            return cls("bits", shape, size)
        if space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all():
            return cls("bytes", shape, size)
        return cls("float", shape, size, stored_as=_stored_as(space))

    def check_normalizer(self, normalizer: VecNormalize | None) -> None:
        """Refuses what would be scaled twice.

        Raises:
            ValueError: The normaliser makes of bytes what are no bytes any more.
        """
        if self.kind == "bytes" and normalizer is not None and normalizer.norm_obs:
            raise ValueError("observations of bytes are divided by 255 here: VecNormalize around them needs norm_obs=False")

    @property
    def row(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one stored observation."""
        if self.kind == "bits":
            return jax.ShapeDtypeStruct((-(-self.num_features // 8),), jnp.uint8)
        if self.kind == "bytes":
            return jax.ShapeDtypeStruct((self.num_features,), jnp.uint8)
        if self.kind == "index":
            return jax.ShapeDtypeStruct((), jnp.int32)
        return jax.ShapeDtypeStruct((self.num_features,), jnp.dtype(self.stored_as))

    def from_host(self, observation: Any) -> np.ndarray:
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
            return _cast(given, np.dtype(np.int32 if integers else np.float32))
        return given

    def to_storage(self, observation: Any) -> np.ndarray:
        """As :meth:`from_host`, for what is stored next.

        Raises:
            ValueError: The dtype in which they are stored does not hold them: they are none of the observation space.
        """
        given = np.asarray(observation)
        wanted = np.dtype({"index": "int32", "bytes": "uint8"}.get(self.kind, self.stored_as))
        return given if self.kind == "bits" else _cast(given, wanted)

    def encode(self, observation: jax.Array) -> jax.Array:
        """Stored form of observations of shape (…, *shape)."""
        if self.kind == "index":
            return jnp.asarray(observation, jnp.int32) - self.start
        flat = self._flat(observation)
        if self.kind == "bits":
            return jnp.packbits(flat != 0, axis=-1, bitorder="little")
        return flat.astype(self.row.dtype)

    def decode(self, stored: jax.Array) -> jax.Array:
        """Features, float32 (…, num_features), of stored observations; bytes are scaled to [0, 1]."""
        if self.kind == "index":
            return jax.nn.one_hot(stored, self.num_features, dtype=jnp.float32)
        if self.kind == "bits":
            bits = (stored[..., None] >> jnp.arange(8, dtype=jnp.uint8)) & 1
            bits = bits.reshape(*stored.shape[:-1], stored.shape[-1] * 8)
            return bits[..., : self.num_features].astype(jnp.float32)
        return stored.astype(jnp.float32) / 255 if self.kind == "bytes" else stored.astype(jnp.float32)

    def features(self, observation: jax.Array) -> jax.Array:
        """Features of observations of shape (…, *shape) as they come from an environment (or normalised)."""
        if self.kind in ("bits", "float"):
            return self._flat(observation).astype(jnp.float32)
        return self.decode(self.encode(observation))

    def _flat(self, observation: jax.Array) -> jax.Array:
        lead = observation.shape[: observation.ndim - len(self.shape)]
        return observation.reshape(*lead, self.num_features)


def _stored_as(space: spaces.Box | spaces.MultiBinary) -> str:
    """Name of the dtype in which a space's numbers are stored."""
    if space.dtype.kind not in "iu":
        return "float32"
    if space.dtype.itemsize < 8:
        return space.dtype.name
    assert isinstance(space, spaces.Box)
    fits = bool((space.low >= _INT32.min).all() and (space.high <= _INT32.max).all())
    return "int32" if fits else "float32"


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
