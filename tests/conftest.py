from __future__ import annotations

import os
from collections.abc import Iterator

import jax
import pytest


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
