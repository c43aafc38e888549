"""A pytree of arrays as one vector of words.

A compiled call costs about a microsecond for every array that goes in or comes out; one packed vector each way is what makes
stepping a single environment from Python cheap. Words, not bytes: to take a word apart or put it together again costs a dozen
instructions, and XLA runs a program on the caller's thread only as long as it is short (below 1000 operations), else on
another thread, which costs more than the whole step.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Packing:
    """Converts between a pytree of fixed structure and a uint32 vector.

    Args:
        example: A pytree of arrays (or of ``jax.ShapeDtypeStruct``) with the structure, shapes and dtypes to be packed.

    Raises:
        TypeError: A leaf is neither bool nor of 32 bits.
    """

    def __init__(self, example: Any) -> None:
        leaves, self._structure = jax.tree.flatten(example)
        self._leaves = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves]
        for _, dtype in self._leaves:
            if dtype != np.bool_ and dtype.itemsize != 4:
                raise TypeError(f"states must consist of arrays of bool or of 32-bit numbers, got {dtype}")
        sizes = [int(np.prod(shape)) for shape, _ in self._leaves]
        ends = np.cumsum(sizes).tolist()
        self._spans = list(zip([0, *ends[:-1]], ends, strict=True))

    @staticmethod
    def pack(tree: Any) -> jax.Array:
        """Packs a pytree into a uint32 vector (traceable)."""
        return jnp.concatenate([_to_words(leaf) for leaf in jax.tree.leaves(tree)])

    def unpack(self, packed: jax.Array) -> Any:
        """The pytree in a packed vector (traceable)."""
        leaves = []
        for (shape, dtype), (begin, end) in zip(self._leaves, self._spans, strict=True):
            words = packed[begin:end].reshape(shape)
            leaves.append(words != 0 if dtype == np.bool_ else jax.lax.bitcast_convert_type(words, dtype))
        return jax.tree.unflatten(self._structure, leaves)

    def view(self, packed: np.ndarray) -> Any:
        """The pytree as NumPy arrays, views into a packed vector where possible."""
        leaves = [
            (packed[begin:end] != 0 if dtype == np.bool_ else packed[begin:end].view(dtype)).reshape(shape)
            for (shape, dtype), (begin, end) in zip(self._leaves, self._spans, strict=True)
        ]
        return jax.tree.unflatten(self._structure, leaves)


def _to_words(leaf: jax.Array) -> jax.Array:
    leaf = jnp.asarray(leaf).reshape(-1)
    return leaf.astype(jnp.uint32) if leaf.dtype == jnp.bool_ else jax.lax.bitcast_convert_type(leaf, jnp.uint32)
