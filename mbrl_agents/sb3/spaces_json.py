"""Gymnasium spaces as JSON, so that a saved agent knows its spaces without pickle."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium import spaces


def to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """Any of Gymnasium's spaces as plain data, from which :func:`from_json` makes an equal one; generators are not kept.

    Raises:
        ValueError: It is of another kind.
    """
    match space:
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": np.dtype(space.dtype).name}
        case spaces.MultiBinary():
            size = space.n
            return {"kind": "MultiBinary", "shape": [int(each) for each in size] if isinstance(size, tuple) else int(size)}
        case spaces.MultiDiscrete():
            return {
                "kind": "MultiDiscrete",
                "nvec": space.nvec.tolist(),
                "start": space.start.tolist(),
                "shape": list(space.shape),
                "dtype": space.dtype.name,
            }
        case spaces.Box():
            return {
                "kind": "Box",
                "low": _bound(space.low),
                "high": _bound(space.high),
                "shape": list(space.shape),
                "dtype": space.dtype.name,
            }
        case spaces.Text():
            lengths = {"min_length": int(space.min_length), "max_length": int(space.max_length)}
            return {"kind": "Text", **lengths, "characters": list(space.character_list)}
        case spaces.Dict():  # pairs: JSON's names are text, and in any order
            return {"kind": "Dict", "spaces": [[_key(name), to_json(part)] for name, part in space.items()]}
        case spaces.Tuple() | spaces.OneOf():
            return {"kind": type(space).__name__, "spaces": [to_json(part) for part in space.spaces]}
        case spaces.Sequence():
            return {"kind": "Sequence", "space": to_json(space.feature_space), "stack": bool(space.stack)}
        case spaces.Graph():
            edges = None if space.edge_space is None else to_json(space.edge_space)
            return {"kind": "Graph", "node_space": to_json(space.node_space), "edge_space": edges}
    raise ValueError(f"a space must be one of Gymnasium's, got {space}")


def from_json(data: dict[str, Any]) -> spaces.Space[Any]:
    """The space that was saved.

    Raises:
        ValueError: The data are none of :func:`to_json`'s.
    """
    try:
        return _READERS[data["kind"]](data)
    except (AttributeError, KeyError, TypeError, ValueError, AssertionError, OverflowError) as error:
        raise ValueError(f"a saved space could not be read: {error!r} in {data!r}") from error


def _box(data: dict[str, Any]) -> spaces.Box:
    dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
    low, high = (np.broadcast_to(np.array(data[end], dtype), shape) for end in ("low", "high"))
    return spaces.Box(low, high, shape, dtype=dtype.type)


def _multi_discrete(data: dict[str, Any]) -> spaces.MultiDiscrete:
    dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
    nvec, start = (np.array(data[name], dtype).reshape(shape) for name in ("nvec", "start"))
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)


_READERS: dict[str, Any] = {
    "Discrete": lambda data: spaces.Discrete(data["n"], start=data["start"], **_dtype(data)),
    "MultiBinary": lambda data: spaces.MultiBinary(data["shape"]),
    "MultiDiscrete": _multi_discrete,
    "Box": _box,
    "Text": lambda data: spaces.Text(data["max_length"], min_length=data["min_length"], charset=data["characters"]),
    # As pairs: the names of a dictionary would be sorted.
    "Dict": lambda data: spaces.Dict(cast(Any, [(_key(name), from_json(part)) for name, part in data["spaces"]])),
    "Tuple": lambda data: spaces.Tuple([from_json(part) for part in data["spaces"]]),
    "OneOf": lambda data: spaces.OneOf([from_json(part) for part in data["spaces"]]),
    "Sequence": lambda data: spaces.Sequence(from_json(data["space"]), stack=data["stack"]),
    "Graph": lambda data: spaces.Graph(
        from_json(data["node_space"]), None if data["edge_space"] is None else from_json(data["edge_space"])
    ),
}


def _dtype(data: dict[str, Any]) -> dict[str, Any]:
    """A discrete space's dtype: files of older versions lack it, as do older versions of Gymnasium."""
    return {} if data.get("dtype", "int64") == "int64" else {"dtype": np.dtype(data["dtype"]).type}


def _key(name: Any) -> str | int:
    if not isinstance(name, (str, int)):
        raise ValueError(f"names in a Dict space must be text or integers to be saved, got {name!r}")
    return name


def _bound(bound: np.ndarray) -> Any:
    """One number where all are equal (JSON's reader knows Infinity), else the nested list; integers stay integers."""
    same = bound.size > 0 and (bound == bound.flat[0]).all()
    return bound.flat[0].item() if same else bound.tolist()
