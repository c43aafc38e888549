from __future__ import annotations

import gc
import os
import pathlib
from collections.abc import Iterator

import hypothesis
import jax
import pytest

# Every run draws the same examples: a test that would fail once in a hundred runs fails in all or in none. None has a deadline.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("tests")

# Compiled programs that a process may have before it forgets them, in memory maps: Linux allows 65 530, and XLA then says that
# there is no memory. These are 3 gigabytes or so; what is needed again is read from the session's folder of programs.
_MOST_MAPS = 25_000


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Compiled programs of earlier modules are forgotten when there are many."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True, scope="session")
def _quick(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[None]:
    """Programs are compiled once: by this process, its neighbours or its children; and quickly.

    Most of these tests' time goes into compiling programs that then run for a moment. LLVM's optimisations are a quarter of
    that; slow tests, which train for long, have them. ``JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest`` runs everything as users do.
    """
    quickly = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0" and pytestconfig.option.markexpr != "slow"
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    with pytest.MonkeyPatch.context() as patch:
        settings: dict[str, str | int] = {
            "jax_compilation_cache_dir": str(folder),
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_disable_most_optimizations": int(quickly),
        }
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
