"""What actions are: to learners, in replay memory, and to environments."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces


@dataclasses.dataclass(frozen=True)
class ActionCodec:
    """Actions of a Discrete space as numbers from 0, those of a bounded Box as vectors in [−1, 1].

    Learners and replay memory have actions in this form, environments in their own. The fields are hashable, as they shape
    programs.

    Attributes:
        num_actions: Number of discrete actions; 0 for vectors.
        start: Smallest of the discrete actions as the environment counts them.
        shape: Shape of a vector as the environment has it.
        low: Lower bounds, flat.
        high: Upper bounds, flat.
    """

    num_actions: int = 0
    start: int = 0
    shape: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, space: spaces.Space[Any]) -> ActionCodec:
        """The codec of an action space.

        Raises:
            ValueError: It is no Discrete and no bounded Box, or actions are beyond 32 bits.
        """
        if isinstance(space, spaces.Discrete):
            if not -(2**31) <= space.start <= space.start + space.n - 1 < 2**31:
                raise ValueError(f"discrete actions must lie between -2**31 and 2**31 - 1, got {space}")
            return cls(int(space.n), int(space.start))
        if isinstance(space, spaces.Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all():
            low, high = (tuple(float(bound) for bound in end.ravel()) for end in (space.low, space.high))
            return cls(shape=space.shape, low=low, high=high)
        raise ValueError(f"the action space must be Discrete or a Box with finite bounds, got {space}")

    @property
    def size(self) -> int:
        """Length of an action as a vector; 0 for discrete ones."""
        return len(self.low)

    @property
    def row(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one action as learners have it: an int32, or float32 (size,)."""
        return jax.ShapeDtypeStruct((), jnp.int32) if self.num_actions else jax.ShapeDtypeStruct((self.size,), jnp.float32)

    def uniform(self, key: jax.Array, num: int) -> jax.Array:
        """Uniform actions, int32 (num,) or float32 (num, size)."""
        if self.num_actions:
            return jax.random.randint(key, (num,), 0, self.num_actions, jnp.int32)
        return jax.random.uniform(key, (num, self.size), jnp.float32, -1, 1)

    def to_env(self, actions: Any) -> Any:
        """A learner's actions as the environment takes them; NumPy's or JAX's, with one leading axis."""
        if self.num_actions:
            return actions + self.start
        low, high = (np.array(end, np.float32) for end in (self.low, self.high))
        return (low + np.float32(0.5) * (actions + np.float32(1)) * (high - low)).reshape(-1, *self.shape)

    def from_env(self, actions: Any) -> Any:
        """The environment's actions, NumPy's or JAX's with one leading axis, as a learner has them."""
        if self.num_actions:
            return (actions - self.start).astype(np.int32)
        low, high = (np.array(end) for end in (self.low, self.high))
        span = np.where(high > low, high - low, 1)  # an entry that can only have one value is stored as -1
        flat = actions.reshape(-1, self.size)
        return (2 * (flat - low) / span - 1).astype(np.float32)
