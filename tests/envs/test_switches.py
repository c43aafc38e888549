"""JAX's global switches change nothing: every environment, through every adapter, shows the same under each of them.

The switches are those that JAX's page of configuration options documents and that have to do with numbers, keys, checks or
transfers; not those for caches, logs, devices and compiler details. Each needs an interpreter of its own.
"""

from __future__ import annotations

import functools

import jax
import pytest

from mbrl_envs import draws
from tests.envs.helpers import fresh_interpreter

NAMED: dict[str, object] = {  # with which environments once failed
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_default_prng_impl": "rbg",
    "jax_numpy_rank_promotion": "raise",
}
ALONE = [
    *NAMED.items(),
    ("jax_default_prng_impl", "unsafe_rbg"),
    ("jax_enable_custom_prng", True),
    ("jax_legacy_prng_key", "error"),
    ("jax_random_seed_offset", 1),
    ("jax_high_dynamic_range_gumbel", True),
    ("jax_default_matmul_precision", "highest"),
    ("jax_explicit_x64_dtypes", "error"),
    ("jax_debug_nans", True),
    ("jax_debug_infs", True),
    ("jax_debug_key_reuse", True),
    ("jax_check_tracer_leaks", True),
    ("jax_enable_checks", True),
    ("jax_check_static_indices", True),
    ("jax_error_checking_behavior_nan", "raise"),
    ("jax_error_checking_behavior_oob", "raise"),
    ("jax_array_garbage_collection_guard", "fatal"),
    ("jax_transfer_guard", "log"),
    ("jax_cpu_enable_async_dispatch", False),
    ("jax_use_shardy_partitioner", False),
    ("jax_disable_jit", True),
]


@functools.cache
def played(**switches: object) -> str:
    """The digest of what environments show, or what failed."""
    printed = fresh_interpreter(f"import tests.envs.switches as s; s.main({switches})")
    return printed if printed.endswith("failed") else printed.splitlines()[-1]


@pytest.mark.slow
def test_every_environment_under_the_switches_that_are_usual() -> None:
    """All at once: each of them takes an interpreter, in which everything is compiled anew."""
    assert len(played()) == 64  # a digest
    assert played(**NAMED) == played()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), ALONE)
def test_every_environment_under_any_switch_alone(name: str, value: object) -> None:
    assert played(**{name: value}) == played()


@pytest.mark.slow
def test_a_switch_that_changes_what_jax_draws() -> None:
    """Other distractors in CartPole, as documented."""
    found = played(jax_threefry_partitionable=False)
    assert len(found) == 64
    assert found != played()


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_keys_of_every_generator_are_taken(impl: str) -> None:
    typed = jax.random.key(7, impl=impl)
    raw = draws.threefry_key(typed)
    assert (raw.shape, raw.dtype) == ((2,), "uint32")
    data = jax.random.key_data(typed)
    assert draws.threefry_key(data).tolist() == raw.tolist()
    assert draws.threefry_key(jax.random.split(typed)[0]).tolist() != raw.tolist()
    if impl == "threefry2x32":
        assert raw.tolist() == data.tolist() == draws.raw_key(7).tolist()


def test_what_is_no_key_is_refused() -> None:
    for wrong in (jax.numpy.zeros(3, "uint32"), jax.numpy.zeros(2, "int32"), jax.numpy.zeros((2, 2), "uint32")):
        with pytest.raises(TypeError, match="key must be a JAX random key: typed, or uint32 of shape"):
            draws.threefry_key(wrong)
