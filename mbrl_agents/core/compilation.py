"""How programs are compiled."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

# Compiled device loops that a process keeps. A sweep may not go round more programs than that: all would be compiled anew in
# every round. (Nor may they be any number: on Linux a sweep's program takes some 1500 of the 65 530 memory maps of a process.)
KEPT_PROGRAMS = 16


@contextlib.contextmanager
def usual_rules() -> Iterator[None]:
    """Has JAX promote dtypes and ranks and read raw keys as it does unless told otherwise, for what this thread does meanwhile.

    ``jax_numpy_dtype_promotion="strict"`` and the like are there to find mistakes in the code of whoever switches them on; this
    package's and flax's and optax's is written for the usual rules.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.numpy_dtype_promotion("standard"))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.default_prng_impl("threefry2x32"))
        stack.enter_context(jax.enable_custom_prng(False))
        stack.enter_context(jax.legacy_prng_key("allow"))
        yield


def by_usual_rules(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is run, or traced, by :func:`usual_rules`."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        with usual_rules():
            return function(*args, **kwargs)

    return inner


def plain_jit(function: Callable[..., Any], **options: Any) -> Any:
    """``jax.jit`` of a function that is traced by :func:`usual_rules`."""
    return jax.jit(by_usual_rules(function), **options)


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """:func:`plain_jit`, with what makes learning faster on the backend in use.

    On a CPU, elementwise work runs on the widest vectors there are (XLA's default is half as wide); processors without AVX-512
    are not affected. Code is generated in one piece: in parallel it takes as long for programs like these, and more memory.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_parallel_codegen_split_count": 1}
    return plain_jit(function, **options)


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
