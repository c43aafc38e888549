"""Random numbers written out as plain arithmetic, so that a compiler can fuse them into the code that uses them.

A call of `jax.random` is a loop of its own on a CPU: it is what a step of a small environment would spend most of its time on.
Here keys are derived by the same function as there (Threefry-2x32), but without a loop, and everything that a reset or an event
needs is then drawn from the key's two words by counter, with a hash that costs a tenth of that.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA  # Threefry's constant
_GOLDEN = 0x9E3779B9  # 2**32 divided by the golden ratio


class Source(NamedTuple):
    """The two words of a key, from which any number of random ones can be drawn; see :func:`word`."""

    first: jax.Array
    second: jax.Array


def _threefry(key: tuple[jax.Array, jax.Array], first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The Threefry-2x32 hash of two words under a key of two words."""
    schedule = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + schedule[0], second + schedule[1]
    for i in range(5):
        for rotation in _ROTATIONS[i % 2]:
            first = first + second
            second = ((second << rotation) | (second >> (32 - rotation))) ^ first
        first = first + schedule[(i + 1) % 3]
        second = second + schedule[(i + 2) % 3] + jnp.uint32(i + 1)
    return first, second


def raw_key(seed: int) -> np.ndarray:
    """The raw key of a seed, uint32 (2,).

    Up to 2**32 that of ``jax.random.PRNGKey``, which looks no further, so that greater seeds there give the same again.

    Args:
        seed: A non-negative integer of any size.
    """
    if seed < 2**64:
        return np.array([seed >> 32, seed & 0xFFFFFFFF], np.uint32)
    return np.random.SeedSequence(seed).generate_state(2)


def threefry_key(key: jax.Array) -> jax.Array:
    """The raw Threefry key, uint32 (2,), that a JAX random key is or stands for; a function of the key alone.

    Args:
        key: Raw or typed key of any of JAX's generators. Keys of other generators than Threefry are hashed to one.

    Raises:
        TypeError: It is no key.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.shape == (2,) and key.dtype == jnp.uint32:
            return key
        if key.shape != (4,) or key.dtype != jnp.uint32:
            raise TypeError(f"key must be a JAX random key: typed, or uint32 of shape (2,) or (4,), got {key.dtype}{key.shape}")
        key = jax.random.wrap_key_data(key, impl="rbg")
    data = jax.random.key_data(key)
    return data if data.shape == (2,) else jax.random.bits(key, (2,), jnp.uint32)


def fold_in(key: jax.Array, data: jax.Array | int) -> jax.Array:
    """Equals ``jax.random.fold_in`` for a raw Threefry key, uint32 (2,), and a uint32 scalar."""
    return jnp.stack(_threefry((key[0], key[1]), jnp.uint32(0), jnp.asarray(data, jnp.uint32)))


def source(key: jax.Array) -> Source:
    """The source that a JAX random key is; see :func:`threefry_key`."""
    key = threefry_key(key)
    return Source(key[0], key[1])


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Standard normal float32 numbers from a JAX random key, by ``jax.random`` with the Threefry generator."""
    return jax.random.normal(jax.random.wrap_key_data(threefry_key(key), impl="threefry2x32"), shape, jnp.float32)


def _mix(x: jax.Array) -> jax.Array:
    """A 32-bit integer hash with full avalanche (multiply–xorshift, constants of C. Wellons' hash prospector)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0x735A2D97)
    return x ^ (x >> 15)


def word(source: Source, index: jax.Array | int) -> jax.Array:
    """The ``index``-th random 32-bit word of a source (uint32; ``index`` is a uint32 or a static integer)."""
    return _mix(source.first + _mix(source.second ^ (jnp.uint32(index) * jnp.uint32(_GOLDEN))))


def below(word: jax.Array, bound: jax.Array | int) -> jax.Array:
    """Turns a random word into a uniform int32 in [0, bound), ``0 < bound`` < 2**16 (to an absolute 2**-32)."""
    bound = jnp.uint32(bound)
    low = ((word & 0xFFFF) * bound) >> 16
    return (((word >> 16) * bound + low) >> 16).astype(jnp.int32)


def uniform(word: jax.Array, low: float, high: float) -> jax.Array:
    """Turns a random word into a uniform float32 in [low, high), one of 2**24 equally spaced numbers."""
    return jnp.float32(low) + (word >> 8).astype(jnp.float32) * jnp.float32((high - low) / 2**24)


def happens(word: jax.Array, probability: float) -> jax.Array:
    """Turns a random word into a bool that is True with the given (static) probability, to an absolute 2**-32."""
    threshold = round(probability * 2**32)
    return jnp.bool_(True) if threshold >= 2**32 else word < jnp.uint32(threshold)


def event(key: jax.Array, probability: float) -> jax.Array:
    """Draws whether the one thing happens that may happen, with the given (static) probability."""
    return once(happens(word(source(key), 0), probability))


def once(x: jax.Array) -> jax.Array:
    """Returns ``x`` (a bool, or an integer from 0 to 4095), computed once.

    XLA on a CPU computes everything cheap anew in every loop that uses it, which multiplies a long chain of integer
    instructions by the number of its users, and it drops optimisation barriers before it fuses. A square root, however, it
    regards as expensive: it computes it a single time and keeps the result. So we take the root of the square, which is exact.
    """
    if x.dtype == jnp.bool_:
        return jnp.sqrt(x.astype(jnp.float32)) > 0.5
    return (jnp.sqrt((x * x).astype(jnp.float32)) + 0.5).astype(x.dtype)
