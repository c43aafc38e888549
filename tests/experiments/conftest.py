from __future__ import annotations

import os
from collections.abc import Iterator

import jax
import pytest
import torch

from mbrl_agents.experiments import training

CACHE = {"jax_compilation_cache_dir": None, "jax_persistent_cache_min_compile_time_secs": 0}


@pytest.fixture(autouse=True, scope="package")
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One thread, as in the workers, and programs compiled once: by this process, its neighbours or its children."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "programs"
    before = {name: getattr(jax.config, name) for name in CACHE}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CACHE, "jax_compilation_cache_dir": str(folder)}.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _report_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs this short would be over before the first report."""
    monkeypatch.setattr(training, "REPORT_SECONDS", 0.0)
