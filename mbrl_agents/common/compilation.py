"""How programs are compiled."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable
from typing import Any

import jax

# Compiled device loops that a process keeps. A sweep may not go round more programs than that: all would be compiled anew in
# every round. (Nor may they be any number: on Linux a sweep's program takes some 1500 of the 65 530 memory maps of a process.)
KEPT_PROGRAMS = 16


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """``jax.jit``, with what makes learning faster on the backend in use.

    On a CPU, elementwise work runs on the widest vectors there are (XLA's default is half as wide); processors without AVX-512
    are not affected. Code is generated in one piece: in parallel it takes as long for programs like these, and more memory.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_parallel_codegen_split_count": 1}
    return jax.jit(function, **options)


class FirstCallAlone:
    """A compiled function whose first call (the one that compiles) keeps other threads waiting, so that it is compiled once.

    Args:
        function: What ``jax.jit`` returned.
    """

    def __init__(self, function: Any) -> None:
        self.function = function
        self._lock = threading.Lock()
        self._called = False

    def lower(self, *args: Any) -> Any:
        """As of ``jax.jit``."""
        return self.function.lower(*args)

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        if self._called:
            return self.function(*args)
        with self._lock:
            result = self.function(*args)
            if not self._called:
                give_back_memory()
            self._called = True
            return result


def give_back_memory() -> None:
    """Has the C library return free memory to the system: after compiling, that is a hundred megabytes and more.

    glibc keeps it otherwise; other libraries have no such function, and nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
