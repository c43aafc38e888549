"""Whether two agents, or parts of them, are the same to the bit."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import torch


def assert_same(one: Any, other: Any) -> None:
    """Trees of arrays, tensors, numbers and strings, of one structure and with equal leaves."""
    named, theirs = (jax.tree_util.tree_leaves_with_path(_on_host(each)) for each in (one, other))
    assert [path for path, _ in named] == [path for path, _ in theirs]
    for (path, mine), (_, yours) in zip(named, theirs, strict=True):
        np.testing.assert_array_equal(mine, yours, err_msg=jax.tree_util.keystr(path))


def _on_host(tree: Any) -> Any:
    return jax.device_get(jax.tree.map(lambda leaf: leaf.detach().numpy() if isinstance(leaf, torch.Tensor) else leaf, tree))


def assert_same_parameters(one: Any, other: Any) -> None:
    """Agents with equal ``get_parameters()``: networks, target networks, optimisers."""
    assert_same(one.get_parameters(), other.get_parameters())
