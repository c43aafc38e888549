"""Several agents, several seeds, one environment: which runs there are, which are missing, and training those.

A comparison is a folder: ``compare.yaml`` (what all runs have in common), ``<label>/seed-<n>/`` (a run each, see
:mod:`mbrl_agents.runs.run_folder`), and what is made of them: ``results.csv``, ``curves.csv``, ``curves.png``.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from mbrl_agents.core.files import is_half_written, write_atomically
from mbrl_agents.core.interrupt import deferred
from mbrl_agents.core.processes import usable_cores
from mbrl_agents.runs import workers
from mbrl_agents.runs.agents import find_agent, normalised_name
from mbrl_agents.runs.config import RunConfig, differences, dump, make_config, read_yaml
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.executor import make_execution
from mbrl_agents.runs.progress import Listener, RunProgress, Tracker, tracked
from mbrl_agents.runs.run_folder import DIVERGED, ENDED, FAILED, FINISHED, RunFolder, check_idle, is_run, runs_below
from mbrl_agents.runs.scheduler import Scheduler
from mbrl_agents.runs.workers import Job

FORMAT = "mbrl-compare-1"
MARKER = "compare.yaml"
COMMON = ("environment", "num_envs", "steps", "evaluation")


@dataclasses.dataclass(frozen=True)
class Contestant:
    """An agent that takes part.

    Attributes:
        label: Its name in tables; a folder is called so.
        agent: Name of its class.
        arguments: Its constructor arguments.
    """

    label: str
    agent: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a comparison went.

    Attributes:
        finished: Whether nothing is missing.
        stopped: Whether it was stopped by Ctrl-C.
        failed: Names of the runs that failed, with the reason.
    """

    finished: bool
    stopped: bool
    failed: dict[str, str]


def parse_contestants(names: Sequence[str], settings: dict[str, Any]) -> list[Contestant]:
    """Contestants from the command line.

    Args:
        names: Agents' names, or ``label=name``.
        settings: Arguments by ``label.argument``, or by ``argument`` for all agents.

    Raises:
        ValueError: A name is unknown or comes twice, or an argument is for nobody.
    """
    found: dict[str, tuple[str, str, dict[str, Any]]] = {}
    for name in names:
        label, _, agent = name.rpartition("=")
        kind = find_agent(agent)
        label = label or kind.name
        if not label.replace("-", "").replace("_", "").replace(".", "").isalnum() or label.startswith("."):
            raise ValueError(f"a label must consist of letters, digits, '-', '_' and '.', got {label!r}")
        if normalised_name(label) in found:
            raise ValueError(f"{label} is there twice: give one of them another label, as in other={kind.name}")
        found[normalised_name(label)] = (label, kind.name, {})
    # The more special settings come last, so that they win.
    for name, value in sorted(settings.items(), key=lambda item: "." in item[0]):
        label, dot, argument = name.rpartition(".")
        if dot and normalised_name(label) not in found:
            labels = ", ".join(each[0] for each in found.values())
            raise ValueError(f"--set {name}: there is no agent {label!r} in this comparison; there are {labels}")
        for key, (_, _, arguments) in found.items():
            if not dot or key == normalised_name(label):
                arguments[argument] = value
    return [Contestant(*each) for each in found.values()]


class Comparison:
    """A comparison's folder.

    Args:
        path: Where it is or will be.
        contestants: Who takes part.
        environment: In what.
        seeds: Seeds of the runs of each contestant.
        force: Whether a comparison that is there already is deleted.
        **common: Further arguments of :func:`~mbrl_agents.runs.config.make_config`, the same for all.

    Raises:
        FileExistsError: The folder holds something else.
        gymnasium.error.Error, TypeError, ValueError: Something is unknown, out of range, or differs from what is there already;
            nothing has been written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        contestants: Sequence[Contestant],
        environment: EnvironmentSpec,
        seeds: Sequence[int],
        *,
        force: bool = False,
        **common: Any,
    ) -> None:
        self.path = pathlib.Path(path)
        self.configs = []
        for each in contestants:
            first = make_config(each.agent, environment, seed=seeds[0], label=each.label, arguments=each.arguments, **common)
            self.configs += [dataclasses.replace(first, seed=seed) for seed in seeds]
        # Seeds first, so that what is there after a while has something of every agent.
        self.configs.sort(key=lambda config: config.seed)
        self._replace = force and (self.path / MARKER).is_file()
        self._check_folder()
        self.done = [] if self._replace else [config for config in self.configs if self._is_finished(config)]

    def folder(self, config: RunConfig) -> pathlib.Path:
        """Where a run is or will be."""
        return self.path / config.label / f"seed-{config.seed}"

    def train(self, num_workers: int | None = None, console: Console | None = None) -> Outcome:
        """Trains what is missing.

        Args:
            num_workers: How many runs at once; by default one for each core.
            console: Where progress is shown; standard error by default.

        Raises:
            OSError: The folder cannot be written.
        """
        self._prepare()
        # Those that share a program first.
        missing = sorted((config for config in self.configs if config not in self.done), key=lambda each: not each.is_program)
        jobs = [Job(i, config, self.folder(config), self._starts_anew(config)) for i, config in enumerate(missing)]
        num_workers = min(num_workers or usable_cores(), max(len(jobs), 1))
        runs = [RunProgress(config.label, config.title, config.steps) for config in missing]
        programs, others = ([job for job in jobs if job.config.is_program == wanted] for wanted in (True, False))
        with tracked(runs, num_workers, console) as tracker:
            complete = not programs or train_together(programs, tracker, num_workers)
            if complete and others:
                complete = workers.run_jobs(others, tracker, num_workers)
        return _outcome(tracker, stopped=not complete)

    def runs(self) -> list[RunFolder]:
        """All finished runs in the folder, also those of earlier commands."""
        return [run for run in runs_below(self.path) if run.status().state == FINISHED]

    def diverged(self) -> list[RunFolder]:
        """All runs whose loss or weights were no longer finite; they have ended, and have no final score."""
        return [run for run in runs_below(self.path) if run.status().state == DIVERGED]

    # ------------------------------------------------------------------ the folder

    def _common(self) -> dict[str, Any]:
        data = self.configs[0].to_dict()
        return {"format": FORMAT, **{name: data[name] for name in COMMON}}

    def _check_folder(self) -> None:
        """Checks that what is there is this comparison, or nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file: choose another --out")
        if not self.path.exists() or all(is_half_written(file, MARKER) for file in self.path.iterdir()):
            return
        marker = self.path / MARKER
        if not marker.is_file():
            raise FileExistsError(f"{self.path} exists and holds no comparison: choose another --out")
        for run in runs_below(self.path):
            check_idle(run)
        if self._replace:
            return
        there = read_yaml(marker)
        for name, value in self._common().items():
            old = there.get(name) if isinstance(there, dict) else None
            if old != value:
                raise ValueError(
                    f"{self.path} holds another comparison: {name} was {old}, now it is {value}. "
                    "Choose another --out, or --force to delete what is there"
                )

    def _is_finished(self, config: RunConfig) -> bool:
        """Whether a run is done; refuses one that is there with another configuration."""
        folder = self.folder(config)
        if not is_run(folder):
            return False
        run = RunFolder.open(folder)
        if changed := differences(run.config, config):
            raise ValueError(
                f"{folder} holds a run with another configuration ({'; '.join(changed)}). "
                "Give the agent another label (label=Agent), choose another --out, or --force to delete what is there"
            )
        return run.status().state in ENDED

    def _prepare(self) -> None:
        if self._replace:
            shutil.rmtree(self.path)
        if not (self.path / MARKER).is_file():
            write_atomically(self.path / MARKER, dump(self._common()))

    def _starts_anew(self, config: RunConfig) -> bool:
        """Whether an unfinished run has to begin from the start, because going on would not give the same result."""
        folder = self.folder(config)
        if not is_run(folder):
            return False
        return RunFolder.open(folder).status().state == FAILED or not config.is_program


def train_together(jobs: Sequence[Job], listener: Listener, num_workers: int) -> bool:
    """Trains runs that are programs, in this process; see :mod:`mbrl_agents.experiments.sweeps`.

    Returns:
        Whether all were tried; False if stopped.
    """
    folders = [workers.folder_of(job) for job in jobs]
    with deferred() as pending:
        complete = Scheduler(folders, listener, make_execution(None, num_workers), pending).run(keep_going=True)
        pending.pressed = False  # our answer says it
    return complete


def _outcome(tracker: Tracker, stopped: bool) -> Outcome:
    failed = {run.title: run.error or "" for run in tracker.runs if run.state == FAILED}
    finished = all(run.state in ENDED for run in tracker.runs)
    return Outcome(finished, stopped, failed)
