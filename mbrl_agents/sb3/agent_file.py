"""The agent's file: Stable-Baselines3's ``.zip`` layout with arrays as NPZ and everything else as JSON.

Members: ``data`` (JSON), one NPZ per entry of ``get_parameters()`` (``policy.npz``, ``policy.optimizer.npz``, …),
``state.npz`` (keys, counters, environments of the device loop), ``_stable_baselines3_version``, ``system_info.txt``.
Reading one never executes code from it.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import stable_baselines3
from stable_baselines3.common.utils import get_system_info

from mbrl_agents.core import files

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
            archive.writestr(f"{name}.npz", files.arrays_to_bytes(arrays))
        archive.writestr("state.npz", files.arrays_to_bytes(content.state))
        archive.writestr("_stable_baselines3_version", stable_baselines3.__version__)
        archive.writestr("system_info.txt", get_system_info(print_info=False)[1])
    files.write_to(path, "zip", buffer.getvalue())


def load(path: str | os.PathLike[str] | io.BufferedIOBase) -> AgentFile:
    """Reads an agent's file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or not one of this package's agents.
    """
    data, members, what = _read(path)
    if (found := data.get("format")) != FORMAT:
        raise ValueError(f"{what} is not an agent of this package: its format must be {FORMAT!r}, got {found!r}")
    arrays = {
        name[: -len(".npz")]: files.arrays_from_bytes(member, f"{name} in {what}")
        for name, member in members.items()
        if name.endswith(".npz")
    }
    state = arrays.pop("state", {})
    return AgentFile(data, arrays, state)


def read_data(path: str | os.PathLike[str] | io.BufferedIOBase) -> dict[str, Any]:
    """Reads only the plain data of an agent's file, one of SB3's own agents too; empty if it is no dictionary.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    return _read(path, ("data",))[0]


def _read(
    path: str | os.PathLike[str] | io.BufferedIOBase, names: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """The plain data, the members of these names (or all), and what to call the file in messages."""
    source, what = files.read_from(path, "zip", "agent file")
    try:
        with zipfile.ZipFile(source) as archive:
            members = {name: archive.read(name) for name in names or archive.namelist()}
        data = json.loads(members["data"])
    # RuntimeError is zipfile's word for what is encrypted, and (NotImplementedError) for what it cannot unpack.
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, RuntimeError) as error:
        raise ValueError(f"{what} is damaged or not an agent's .zip file: {error}") from error
    return data if isinstance(data, dict) else {}, members, what
