"""How programs are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """``jax.jit``, with what makes learning faster on the backend in use.

    On a CPU, elementwise work runs on the widest vectors there are (XLA's default is half as wide); processors without AVX-512
    are not affected.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_cpu_prefer_vector_width": 512}
    return jax.jit(function, **options)
