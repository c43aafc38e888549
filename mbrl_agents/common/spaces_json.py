"""Gymnasium spaces as JSON, so that a saved agent knows its spaces without pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


def to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete or MultiBinary space as plain data.

    Raises:
        ValueError: It is of another kind.
    """
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "shape": list(space.shape)}
    if isinstance(space, spaces.Box):
        return {
            "kind": "Box",
            "low": _bound(space.low),
            "high": _bound(space.high),
            "shape": list(space.shape),
            "dtype": space.dtype.name,
        }
    raise ValueError(f"a space must be a Box, Discrete or MultiBinary, got {space}")


def from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """The space that was saved.

    Raises:
        ValueError: The data are none of :func:`to_json`'s.
    """
    try:
        if data["kind"] == "Discrete":
            return spaces.Discrete(data["n"], start=data["start"])
        if data["kind"] == "MultiBinary":
            return spaces.MultiBinary(data["shape"])
        if data["kind"] == "Box":
            dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
            low, high = (np.broadcast_to(np.array(data[end], float), shape).astype(dtype) for end in ("low", "high"))
            return spaces.Box(low, high, shape, dtype=dtype)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a saved space could not be read: {error}") from error
    raise ValueError(f"a saved space must be a Box, Discrete or MultiBinary, got {data['kind']!r}")


def _bound(bound: np.ndarray) -> Any:
    """One number where all are equal (JSON's reader knows Infinity), else the nested list."""
    values = bound.astype(float)
    return float(values.flat[0]) if values.size and (values == values.flat[0]).all() else values.tolist()
