"""A sweep's folder: ``sweep.yaml``, and ``run-<n>/`` for each run (see :mod:`mbrl_agents.runs.run_folder`)."""

from __future__ import annotations

import os
import pathlib
import shutil
from typing import Any

import yaml

from mbrl_agents.core.files import is_half_written, write_atomically
from mbrl_agents.experiments.sweeps.specification import FORMAT, SweepSpec
from mbrl_agents.runs.config import RunConfig, changes, differences, dump, read_yaml
from mbrl_agents.runs.run_folder import RunFolder, check_idle, is_run, runs_below

MARKER = "sweep.yaml"


def open_or_create(path: str | os.PathLike[str], spec: SweepSpec) -> list[RunFolder]:
    """The folders of all runs, made where they are missing.

    Raises:
        FileExistsError: The folder holds something else, or another process is at work in it.
        ValueError: It holds another sweep; the message says what differs. Nothing has been written.
        OSError: Writing failed.
    """
    root = pathlib.Path(path)
    check(root, spec)
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARKER).is_file():
        write_atomically(root / MARKER, dump(spec.to_dict()))
    return [_run(run_path(root, i), config) for i, config in enumerate(spec.configs)]


def read(path: str | os.PathLike[str]) -> tuple[list[RunFolder], dict[str, Any]]:
    """The runs of a sweep and what its ``sweep.yaml`` says.

    Raises:
        FileNotFoundError: There is no sweep, or not all of its runs.
        ValueError: A file is damaged.
    """
    root = pathlib.Path(path)
    data = _marker(root)
    num_settings = len(next(iter(data["hyperparameters"].values()), [None]))
    num_runs = num_settings * len(data["seeds"])
    return [RunFolder.open(run_path(root, i)) for i in range(num_runs)], data


def run_path(root: pathlib.Path, run: int) -> pathlib.Path:
    """A run's folder."""
    return root / f"run-{run:04d}"


def _marker(root: pathlib.Path) -> dict[str, Any]:
    file = root / MARKER
    if not file.is_file():
        raise FileNotFoundError(f"{root} is not a sweep's folder: it has no {MARKER}")
    data = read_yaml(file)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{file} does not describe a sweep: it must say format: {FORMAT}")
    return data


def check(path: str | os.PathLike[str], spec: SweepSpec) -> None:
    """Checks that a sweep may be in a folder: that there is nothing, or a part of it.

    Raises:
        FileExistsError, ValueError: As for :func:`open_or_create`.
    """
    root = pathlib.Path(path)
    if root.exists() and not root.is_dir():
        raise FileExistsError(f"{root} is a file: choose another folder")
    if not root.exists() or all(is_half_written(file, MARKER) for file in root.iterdir()):
        return
    if not (root / MARKER).is_file():
        raise FileExistsError(f"{root} exists and holds no sweep: choose another folder")
    if changed := changes(_as_one(_marker(root)), _as_one(yaml.safe_load(dump(spec.to_dict())))):
        raise ValueError(
            f"{root} holds another sweep ({'; '.join(changed)}): go on with the same arguments, or choose another folder"
        )
    for i, config in enumerate(spec.configs):
        if is_run(run_path(root, i)):
            folder = RunFolder.open(run_path(root, i))
            check_idle(folder)
            if changed := differences(folder.config, config):
                raise ValueError(f"{folder.path} holds another run ({'; '.join(changed)}): choose another folder")


def delete(path: str | os.PathLike[str]) -> None:
    """Deletes a sweep, and nothing else.

    Raises:
        FileExistsError: A process is at work in it.
    """
    root = pathlib.Path(path)
    if (root / MARKER).is_file():
        for run in runs_below(root):
            check_idle(run)
        shutil.rmtree(root)


def _as_one(data: dict[str, Any]) -> dict[str, Any]:
    """A description in which defaults and given arguments are one: to say a default aloud is no difference."""
    return {**data, "arguments": {**data["defaults"], **data["arguments"]}, "defaults": None}


def _run(path: pathlib.Path, config: RunConfig) -> RunFolder:
    if not is_run(path):
        return RunFolder.create(path, config)
    return RunFolder(path, config)
