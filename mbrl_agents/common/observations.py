"""How observations are stored, and how a network reads them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize


@dataclasses.dataclass(frozen=True)
class ObservationCodec:
    """Encodes observations for storage and decodes them into features.

    Booleans are stored as bits and bytes as bytes; everything else as it is, with 64-bit numbers as 32-bit ones.

    Attributes:
        kind: ``"bits"``, ``"bytes"``, ``"float"`` or ``"index"``.
        shape: Shape of one observation.
        num_features: Number of features that a network reads: the number of entries, or of values of an ``"index"``.
        start: Smallest value of an ``"index"``.
    """

    kind: str
    shape: tuple[int, ...]
    num_features: int
    start: int = 0

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ObservationCodec:
        """The codec of an observation space.

        Raises:
            ValueError: The space is none of Box, MultiBinary and Discrete.
        """
        if isinstance(space, spaces.Discrete):
            return cls("index", (), int(space.n), int(space.start))
        if not isinstance(space, (spaces.Box, spaces.MultiBinary)):
            raise ValueError(f"the observation space must be a Box, MultiBinary or Discrete, got {space}")
        kind = {"b": "bits", "f": "float"}.get(space.dtype.kind, "float")
        if isinstance(space, spaces.MultiBinary):
            kind = "bits"
        elif space.dtype == np.uint8:
            kind = "bytes"
        return cls(kind, tuple(space.shape), int(np.prod(space.shape)))

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
        return jax.ShapeDtypeStruct((self.num_features,), jnp.float32)

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
        if self.kind == "bytes":
            return stored.astype(jnp.float32) / 255
        return stored

    def features(self, observation: jax.Array) -> jax.Array:
        """Features of observations of shape (…, *shape) as they come from an environment."""
        return self.decode(self.encode(observation)) if self.kind != "bits" else self._flat(observation).astype(jnp.float32)

    def _flat(self, observation: jax.Array) -> jax.Array:
        lead = observation.shape[: observation.ndim - len(self.shape)]
        return observation.reshape(*lead, self.num_features)
