"""Random numbers written out as arithmetic: equal to JAX's where they claim to be, and random where they are our own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_envs import draws


def test_fold_in_is_jaxs() -> None:
    keys = jax.random.split(jax.random.PRNGKey(3), 50)
    numbers = jnp.array([0, 1, 2, 77, 2**31, 2**32 - 1] * 9, jnp.uint32)[:50]
    np.testing.assert_array_equal(jax.vmap(draws.fold_in)(keys, numbers), jax.vmap(jax.random.fold_in)(keys, numbers))


def words(num_keys: int, num_words: int) -> np.ndarray:
    keys = jax.random.split(jax.random.PRNGKey(1), num_keys)
    index = jnp.arange(num_words, dtype=jnp.uint32)
    return np.asarray(jax.vmap(lambda key: jax.vmap(lambda i: draws.word(draws.source(key), i))(index))(keys))


def test_every_bit_of_a_word_is_fair_and_independent_of_its_neighbours() -> None:
    bits = np.unpackbits(words(4000, 8).view(np.uint8), axis=-1).reshape(4000, 8, 32).astype(float)
    n = 4000
    np.testing.assert_allclose(bits.mean(0), 0.5, atol=4.5 * 0.5 / np.sqrt(n))
    flat = bits.reshape(n, -1)
    correlation = np.corrcoef(flat.T) - np.eye(256)
    assert np.abs(correlation).max() < 5.5 / np.sqrt(n)


@pytest.mark.parametrize("which", ["first", "second", "index"])
def test_one_input_bit_changes_half_of_a_words_bits(which: str) -> None:
    """Avalanche, over every input bit and every output bit: what a weakened hash fails."""
    rng = np.random.default_rng(0)
    first, second, index = (jnp.asarray(rng.integers(2**32, size=4000, dtype=np.uint32)) for _ in range(3))
    index = index % 64
    base = np.asarray(draws.word(draws.Source(first, second), index))
    for bit in range(32 if which != "index" else 12):
        flip = jnp.uint32(1 << bit)
        changed = {"first": first, "second": second, "index": index}
        changed[which] = changed[which] ^ flip
        other = np.asarray(draws.word(draws.Source(changed["first"], changed["second"]), changed["index"]))
        flipped = np.unpackbits((base ^ other).view(np.uint8)).reshape(4000, 32).mean(0)
        np.testing.assert_allclose(flipped, 0.5, atol=0.06, err_msg=f"input bit {bit}")


@pytest.mark.parametrize("bound", [1, 2, 3, 5, 25, 100, 1024, 65535])
def test_below_is_uniform(bound: int) -> None:
    values = np.asarray(draws.below(jnp.asarray(words(20_000, 5).reshape(-1)), bound))
    assert values.min() >= 0
    assert values.max() < bound
    if 1 < bound <= 1024:
        assert stats.chisquare(np.bincount(values, minlength=bound)).pvalue > 1e-4


@pytest.mark.parametrize("probability", [0.0, 1e-3, 0.01, 0.5, 1.0])
def test_happens_with_its_probability(probability: float) -> None:
    number = 200_000
    happened = draws.happens(jnp.asarray(words(number // 4, 4).reshape(-1)), probability)
    count = int(np.broadcast_to(happened, number).sum())
    assert stats.binomtest(count, number, probability).pvalue > 1e-4
    # The first and the last word, which random ones do not reach: the impossible happens at neither, the certain at both.
    assert bool(draws.happens(jnp.uint32(0), probability)) == (probability > 0)
    assert bool(draws.happens(jnp.uint32(2**32 - 1), probability)) == (probability == 1)


def test_once_gives_back_what_it_gets() -> None:
    numbers = jnp.arange(4096, dtype=jnp.uint32)
    np.testing.assert_array_equal(jax.jit(draws.once)(numbers), numbers)
    np.testing.assert_array_equal(jax.jit(draws.once)(jnp.array([True, False])), [True, False])


def test_other_generators_keys_are_accepted() -> None:
    for key in (jax.random.key(0), jax.random.key(0, impl="rbg"), jax.random.PRNGKey(0)):
        assert draws.source(key).first.dtype == jnp.uint32
