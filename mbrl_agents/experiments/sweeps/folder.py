"""A sweep's folder: ``sweep.yaml``, and a folder for each run (see :mod:`mbrl_agents.runs.run_folder`).

Runs are in ``run-<n>``; in ``<label>/seed-<n>`` if settings name their agents. To such a sweep one may add: other agents, other
seeds. A comparison of an earlier version, whose ``compare.yaml`` says less, is read as one.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from typing import Any

import yaml

from mbrl_agents.core.files import is_half_written, write_atomically
from mbrl_agents.experiments.sweeps.specification import AGENT, COMMON, FORMAT, LABEL, SweepSpec
from mbrl_agents.runs.config import RunConfig, changes, differences, dump, read_yaml
from mbrl_agents.runs.old_names import with_todays_names
from mbrl_agents.runs.run_folder import RunFolder, check_idle, is_run, runs_below

MARKER, OLD_MARKER = "sweep.yaml", "compare.yaml"
_OTHERWISE = "go on with the same arguments, choose another folder, or force to delete what is there (--force)"


def open_or_create(path: str | os.PathLike[str], spec: SweepSpec) -> list[RunFolder]:
    """The folders of all runs. Those of runs that are programs are made where they are missing.

    Raises:
        FileExistsError: The folder holds something else, or another process is at work in it.
        ValueError: It holds another sweep; the message says what differs. Nothing has been written.
        OSError: Writing failed.
    """
    root = pathlib.Path(path)
    check(root, spec)
    root.mkdir(parents=True, exist_ok=True)
    before = _marker(root) if holds_sweep(root) else None
    if (whole := _together(before, spec.to_dict())) != before or not (root / MARKER).is_file():
        write_atomically(root / MARKER, dump(whole))
        (root / OLD_MARKER).unlink(missing_ok=True)
    return [_run(each, config) for each, config in zip(_paths(root, spec), spec.configs, strict=True)]


def read(path: str | os.PathLike[str]) -> tuple[list[RunFolder], dict[str, Any]]:
    """The runs of a sweep and what its ``sweep.yaml`` says; without those of agents that were not trained with every seed.

    Raises:
        FileNotFoundError: There is no sweep, or not all of its runs.
        ValueError: A file is damaged.
    """
    root = pathlib.Path(path)
    data = _marker(root)
    paths = run_paths(root, data["hyperparameters"], data["seeds"])
    return [RunFolder.open(each) for each in paths if LABEL not in data["hyperparameters"] or is_run(each)], data


def run_paths(root: pathlib.Path, hyperparameters: dict[str, list[Any]], seeds: list[int]) -> list[pathlib.Path]:
    """Where the runs of a sweep are, setting after setting."""
    if LABEL in hyperparameters:
        return [root / label / f"seed-{seed}" for label in hyperparameters[LABEL] for seed in seeds]
    num_settings = len(next(iter(hyperparameters.values()), [None]))
    return [root / f"run-{i:04d}" for i in range(num_settings * len(seeds))]


def _paths(root: pathlib.Path, spec: SweepSpec) -> list[pathlib.Path]:
    columns = {name: [each[name] for each in spec.settings] for name in spec.settings[0]}
    return run_paths(root, columns, spec.seeds)


def holds_sweep(root: pathlib.Path) -> bool:
    """Whether a folder says of itself that it holds a sweep."""
    return (root / MARKER).is_file() or (root / OLD_MARKER).is_file()


def _marker(root: pathlib.Path) -> dict[str, Any]:
    if not holds_sweep(root):
        raise FileNotFoundError(f"{root} is not a sweep's folder: it has no {MARKER}")
    file = root / (MARKER if (root / MARKER).is_file() else OLD_MARKER)
    data = read_yaml(file)
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, "mbrl-compare-1"):
        raise ValueError(f"{file} does not describe a sweep: it must say format: {FORMAT}")
    data = with_todays_names(data)
    if file.name == OLD_MARKER:
        agents = {run.config.label: run.config.agent for run in runs_below(root)}
        seeds = sorted({run.config.seed for run in runs_below(root)})
        data |= {"format": FORMAT, "hyperparameters": {LABEL: list(agents), AGENT: list(agents.values())}, "seeds": seeds}
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
    if not holds_sweep(root):
        raise FileExistsError(f"{root} exists and holds no sweep: choose another folder")
    there, wanted = _marker(root), yaml.safe_load(dump(spec.to_dict()))
    may_grow = LABEL in there["hyperparameters"] and LABEL in wanted["hyperparameters"]
    if changed := changes(*map(_common if may_grow else _as_one, (there, wanted))):
        raise ValueError(f"{root} holds another sweep ({'; '.join(changed)}): {_OTHERWISE}")
    if may_grow:  # runs of a label differ in their seeds alone, also from those of earlier calls
        known = {config.label: config for config in spec.configs}
        found = [
            (run, dataclasses.replace(known.get(run.config.label, run.config), seed=run.config.seed))
            for run in runs_below(root)
        ]
    else:
        runs = zip(_paths(root, spec), spec.configs, strict=True)
        found = [(RunFolder.open(path), config) for path, config in runs if is_run(path)]
    for run, config in found:
        check_idle(run)
        if changed := differences(run.config, config):
            other = "give the agent another label (label=Agent), " if may_grow else ""
            raise ValueError(f"{run.path} holds another run ({'; '.join(changed)}): {other}{_OTHERWISE}")


def _together(there: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    """What ``sweep.yaml`` says of what is there and what is added to it."""
    if there is None or LABEL not in wanted["hyperparameters"]:
        return there or wanted
    known, new = there["hyperparameters"], wanted["hyperparameters"]
    added = [i for i, label in enumerate(new[LABEL]) if label not in known[LABEL]]
    columns = {name: [*known[name], *(new[name][i] for i in added)] for name in new}
    return there | {"hyperparameters": columns, "seeds": sorted({*there["seeds"], *wanted["seeds"]})}


def delete(path: str | os.PathLike[str]) -> None:
    """Deletes a sweep, and nothing else.

    Raises:
        FileExistsError: A process is at work in it.
    """
    root = pathlib.Path(path)
    if holds_sweep(root):
        for run in runs_below(root):
            check_idle(run)
        shutil.rmtree(root)


def _common(data: dict[str, Any]) -> dict[str, Any]:
    """What all runs have in common where settings name their agents, and what tells settings apart."""
    return {**{name: data[name] for name in COMMON}, "columns": list(data["hyperparameters"])}


def _as_one(data: dict[str, Any]) -> dict[str, Any]:
    """A description in which defaults and given arguments are one: to say a default aloud is no difference."""
    return {**data, "arguments": {**data.get("defaults", {}), **data.get("arguments", {})}, "defaults": None}


def _run(path: pathlib.Path, config: RunConfig) -> RunFolder:
    if is_run(path) or not config.is_program:
        return RunFolder(path, config)
    return RunFolder.create(path, config)
