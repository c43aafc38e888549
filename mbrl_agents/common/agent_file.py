"""The agent's file: Stable-Baselines3's ``.zip`` layout with arrays as NPZ and everything else as JSON.

Members: ``data`` (JSON), one NPZ per entry of ``get_parameters()`` (``policy.npz``, ``policy.optimizer.npz``, …),
``state.npz`` (keys, counters, environments of the device loop), ``_stable_baselines3_version``, ``system_info.txt``.
Reading one never executes code from it.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import zipfile
from typing import Any, NamedTuple

import numpy as np
import stable_baselines3
from stable_baselines3.common.utils import get_system_info

from mbrl_agents.common.files import arrays_from_bytes, arrays_to_bytes, write_atomically

FORMAT = "mbrl-agent-1"


class AgentFile(NamedTuple):
    """What is in an agent's file.

    Attributes:
        data: Plain data: class, configuration, counters, spaces.
        params: Arrays of ``get_parameters()``.
        state: Other arrays.
    """

    data: dict[str, Any]
    params: dict[str, dict[str, np.ndarray]]
    state: dict[str, np.ndarray]


def with_suffix(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """``path``, with the suffix if it has none, as SB3 does it."""
    path = pathlib.Path(path)
    return path if path.suffix else path.with_name(f"{path.name}.{suffix}")


def save(path: str | os.PathLike[str] | io.BufferedIOBase, content: AgentFile) -> None:
    """Writes an agent's file, whole or not at all.

    Raises:
        OSError: Writing failed; the old file, if any, is intact.
        TypeError: Something in ``data`` is no plain data.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data", json.dumps({"format": FORMAT, **content.data}, indent=2))
        for name, arrays in content.params.items():
            archive.writestr(f"{name}.npz", arrays_to_bytes(arrays))
        archive.writestr("state.npz", arrays_to_bytes(content.state))
        archive.writestr("_stable_baselines3_version", stable_baselines3.__version__)
        archive.writestr("system_info.txt", get_system_info(print_info=False)[1])
    if isinstance(path, (str, os.PathLike)):
        write_atomically(with_suffix(path, "zip"), buffer.getvalue())
    else:
        path.write(buffer.getvalue())


def load(path: str | os.PathLike[str] | io.BufferedIOBase) -> AgentFile:
    """Reads an agent's file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or not one of this package's agents.
    """
    if isinstance(path, (str, os.PathLike)):
        file = pathlib.Path(path)
        file = file if file.exists() else with_suffix(file, "zip")
        if not file.is_file():
            raise FileNotFoundError(f"there is no agent file at {path}")
        content, what = file.read_bytes(), str(file)
    else:
        content, what = path.read(), "the given stream"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        data = json.loads(members["data"])
        known = isinstance(data, dict) and data.get("format") == FORMAT
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{what} is damaged or not an agent's .zip file: {error}") from error
    if not known:
        found = data.get("format") if isinstance(data, dict) else None
        raise ValueError(f"{what} is not an agent of this package: its format must be {FORMAT!r}, got {found!r}")
    arrays = {
        name[: -len(".npz")]: arrays_from_bytes(member, f"{name} in {what}")
        for name, member in members.items()
        if name.endswith(".npz")
    }
    state = arrays.pop("state", {})
    return AgentFile(data, arrays, state)
