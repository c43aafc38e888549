"""What a benchmark ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform


def header(*packages: str) -> str:
    """One line: date, processor, cores, load, Python and versions of the packages."""
    cpu = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    day = datetime.date.today().isoformat()
    return f"{day}; {cpu}, {os.cpu_count()} cores, {load}; Python {platform.python_version()}, {versions}\n"
