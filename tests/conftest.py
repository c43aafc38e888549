from __future__ import annotations

import gc
import hashlib
import os
import pathlib
import time
import zlib
from collections.abc import Iterator

# Test processes run side by side, one a core; threads of NumPy's and PyTorch's products would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import jax
import pytest

# Every run draws the same examples: a test that would fail once in a hundred runs fails in all or in none. None has a deadline.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("tests")

# Compiled programs that a process may have before it forgets them, in memory maps: Linux allows 65 530, and XLA then says that
# there is no memory. These are 3 gigabytes or so; what is needed again is read from the session's folder of programs.
_MOST_MAPS = 25_000


_SLOW_SECONDS = 3000  # what a slow test may take before it counts as hanging; the others' limit is in pyproject.toml


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives slow tests their limit."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_SECONDS))


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Compiled programs of earlier modules are forgotten when there are many."""
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


_KEPT_DAYS = 30


def _programs() -> pathlib.Path:
    """Where compiled programs are kept from one run of the tests to the next, in the user's folder for caches."""
    cpu = pathlib.Path("/proc/cpuinfo")
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "") if cpu.exists() else ""
    # Programs are made for a processor, and one that lacks an instruction would stop at it.
    processor = hashlib.sha256(flags.encode()).hexdigest()[:12]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return cache / "mbrl-lab-tests" / f"jax-{jax.__version__}-{processor}"


def pytest_configure(config: pytest.Config) -> None:
    """Throws out compiled programs that are old, or that a process has left half-written that was killed."""
    if hasattr(config, "workerinput"):
        return
    folder, checked = _programs(), 0.0
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "checked"
    if stamp.exists():
        checked = stamp.stat().st_mtime
    now = time.time()
    for file in folder.glob("*-cache"):
        written = file.stat().st_mtime
        if written < now - _KEPT_DAYS * 86_400 or (written >= checked and not _is_whole(file)):
            file.unlink(missing_ok=True)
    stamp.touch()
    os.utime(stamp, (now, now))


def _is_whole(file: pathlib.Path) -> bool:
    try:
        zlib.decompress(file.read_bytes())
    except (OSError, zlib.error):
        return False
    return True


@pytest.fixture(autouse=True, scope="session")
def _quick(pytestconfig: pytest.Config) -> Iterator[None]:
    """Programs are compiled once: by this process, its neighbours or its children, or in an earlier run; and quickly.

    Most of these tests' time goes into compiling programs that then run for a moment. LLVM's optimisations are a quarter of
    that; slow tests, which train for long, have them. ``JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest`` runs everything as users do.
    """
    quickly = os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") != "0" and pytestconfig.option.markexpr != "slow"
    with pytest.MonkeyPatch.context() as patch:
        settings: dict[str, str | int] = {
            "jax_compilation_cache_dir": str(_programs()),
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_disable_most_optimizations": int(quickly),
        }
        for name, value in settings.items():
            jax.config.update(name, value)
            patch.setenv(name.upper(), str(value))
        yield
