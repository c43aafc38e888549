"""What a run was made with."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
from typing import Any

PACKAGES = ("mbrl-lab", "jax", "jaxlib", "flax", "optax", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib", "torch")


@functools.cache
def versions() -> dict[str, Any]:
    """Versions, platform, git commit (if this package lies in a checkout) and command line, ready for JSON."""
    import jax

    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "jax_devices": [str(device) for device in jax.devices()],
        "git": _git(),
        "command": sys.argv,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    here = pathlib.Path(__file__).resolve().parent
    try:
        run = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, timeout=10, check=True)
        # A package installed inside somebody else's repository is not at that repository's commit.
        run(["git", "ls-files", "--error-unmatch", "__init__.py"])
        commit = run(["git", "rev-parse", "HEAD"]).stdout.strip()
        changed = bool(run(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "uncommitted_changes": changed}
