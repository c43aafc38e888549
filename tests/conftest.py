from __future__ import annotations

import os
from collections.abc import Iterator

import jax
import pytest

CACHE = {"jax_compilation_cache_dir": None, "jax_persistent_cache_min_compile_time_secs": 0}


@pytest.fixture(autouse=True, scope="session")
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Programs are compiled once: by this process, its neighbours or its children."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CACHE, "jax_compilation_cache_dir": str(folder)}.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
