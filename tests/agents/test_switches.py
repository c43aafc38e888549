"""Every agent works under each of JAX's global switches that changes what programs mean, and learns what it would without."""

from __future__ import annotations

import functools
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from mbrl_agents.runs.agents import known_agents
from tests.agents.cases import CASES, JAX_CASES, make

SWITCHES: list[tuple[str, Any]] = [
    ("jax_enable_x64", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_numpy_rank_promotion", "raise"),
    ("jax_default_prng_impl", "rbg"),
    ("jax_default_prng_impl", "unsafe_rbg"),
    ("jax_enable_custom_prng", True),
    ("jax_legacy_prng_key", "error"),
    ("jax_threefry_partitionable", False),
    ("jax_debug_nans", True),
    ("jax_debug_infs", True),
    ("jax_default_matmul_precision", "highest"),
    ("jax_enable_checks", True),
    ("jax_check_tracer_leaks", True),
]
OTHER_NUMBERS = {"jax_threefry_partitionable"}  # as its documentation says


def switched(switch: tuple[str, Any]) -> Iterator[None]:
    name, value = switch
    # Compiles in half the time, and keeps nothing: XLA has aborted while it wrote down a program made under a switch.
    settings = {"jax_disable_most_optimizations": True, "jax_persistent_cache_min_compile_time_secs": 1e9, name: value}
    before = {each: jax.config.values[each] for each in settings}
    for each, own in settings.items():
        jax.config.update(each, own)
    try:
        yield
    finally:
        for each, own in before.items():
            jax.config.update(each, own)


def by_name(switch: tuple[str, Any]) -> str:
    return f"{switch[0]}={switch[1]}"


@pytest.fixture(params=SWITCHES, ids=by_name)
def switch(request: pytest.FixtureRequest) -> Iterator[tuple[str, Any]]:
    for _ in switched(request.param):
        yield request.param


def use(case: str, folder: pathlib.Path, device_loop: bool = True) -> Any:
    """Makes an agent, has it learn and predict, saves it, loads it, and has it learn on."""
    agent = make(case, **({} if case in ("r2d2", "perfect") else {"device_loop": device_loop}))
    agent.learn(45)
    observations = np.stack([np.asarray(agent.env.reset())[0]] * 3)
    agent.predict(observations, deterministic=True)
    agent.predict(observations)
    if hasattr(agent, "q_values"):
        assert agent.q_values(observations).dtype == np.float32
    agent.save(folder / "agent")
    again = type(agent).load(folder / "agent", env=agent.env)
    again.learn(10, reset_num_timesteps=False)
    return again


def check(case: str, switch: tuple[str, Any], folder: pathlib.Path) -> None:
    weights = use(case, folder).get_parameters()["policy"]
    for name, leaf in weights.items():
        assert np.isfinite(np.asarray(leaf)).all(), name
        assert np.asarray(leaf).dtype == np.float32, name
    if case in ("replay", "linear") and switch[0] not in OTHER_NUMBERS:
        without = expected(case)
        for name, leaf in weights.items():
            np.testing.assert_allclose(leaf, without[name], rtol=1e-3, atol=1e-5, err_msg=name)


@functools.cache
def expected(case: str) -> Any:
    """What is learned without any switch, as the fixture leaves it."""
    changed = {name: jax.config.values[name] for name, value in DEFAULTS.items() if jax.config.values[name] != value}
    for name in changed:
        jax.config.update(name, DEFAULTS[name])
    try:
        with tempfile.TemporaryDirectory() as folder:
            return use(case, pathlib.Path(folder)).get_parameters()["policy"]
    finally:
        for name, value in changed.items():
            jax.config.update(name, value)


DEFAULTS = {name: jax.config.values[name] for name, _ in SWITCHES}
# One of each kind, all of which programs are compiled anew for: numbers, promotion, keys, checks; the slow test has all.
BY_DEFAULT = [("jax_enable_x64", True), ("jax_numpy_dtype_promotion", "strict"), ("jax_default_prng_impl", "rbg")]
BY_DEFAULT += [("jax_numpy_rank_promotion", "raise"), ("jax_debug_nans", True)]


@pytest.mark.parametrize("switch", BY_DEFAULT, ids=by_name, indirect=True)
def test_the_simplest_agent_under_a_switch(switch: tuple[str, Any], tmp_path: pathlib.Path) -> None:
    check("replay", switch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*JAX_CASES, "r2d2"])
def test_every_agent_under_each_switch(case: str, switch: tuple[str, Any], tmp_path: pathlib.Path) -> None:
    if case == "r2d2":
        use(case, tmp_path)
    else:
        check(case, switch, tmp_path)
    if case not in ("r2d2", "perfect"):
        use(case, tmp_path, device_loop=False)


def test_all_agents_are_tried() -> None:
    ours = {kind.cls for kind in known_agents().values() if kind.package == "mbrl_agents"}
    assert {cls for cls, *_ in CASES.values()} == ours
