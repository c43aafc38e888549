"""This machine's processes: whether one is still the same (their numbers are used again), and the cores that ours may use."""

from __future__ import annotations

import math
import os
import pathlib
import socket

import psutil


def this_host() -> str:
    """This machine and its space of process numbers: containers may share a name, but not that."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no such thing on this system
        return socket.gethostname()


def process_identity(pid: int) -> str | None:
    """What tells a process of this machine from all others, also if the clock is set; None if there is none of that number."""
    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        start = process.create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        start = math.nan  # there is one
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        ticks = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # no such thing on this system
        return f"{start:.2f}"
    return f"{boot} {ticks}"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
