"""Whether it is still the same process: numbers of processes are used again, beginnings are not."""

from __future__ import annotations

import math
import os
import pathlib
import socket

import psutil

_SAME_START = 60.0  # seconds by which a process may seem to have begun at another time: clocks are set


def this_host() -> str:
    """This machine and its space of process numbers: containers may share a name, but not that."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no such thing on this system
        return socket.gethostname()


def process_start(pid: int) -> float | None:
    """When a process of this machine began, in seconds since 1970; None if there is none (of that number, any more)."""
    if pid <= 0:
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return math.nan  # there is one


def process_identity(pid: int) -> str | None:
    """What tells a process of this machine from all others, also if the clock is set; None if there is none of that number."""
    if (start := process_start(pid)) is None:
        return None
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        ticks = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):  # no such thing on this system
        return f"{start:.2f}"
    return f"{boot} {ticks}"


def has_ended(pid: int, started: float) -> bool:
    """Whether a process of this machine that began then has ended; another one may have its number by now."""
    now = process_start(pid)
    return now is None or abs(now - started) > _SAME_START
