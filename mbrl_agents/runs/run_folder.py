"""A run's folder: what is in it, and how it is written so that it is usable at any moment.

==================== ==================================================================================================
``config.yaml``      everything needed to repeat the run
``versions.json``    what it was made with: packages, Python, platform, git commit, command line
``metrics.csv``      ``seed, timestep, metric, value``; the metric ``score`` is the mean of an evaluation, others are means
                     over what has happened since the last one
``times.csv``        ``timestep, seconds``: the time spent up to each evaluation
``status.json``      ``running``, ``interrupted``, ``finished``, ``failed`` or ``diverged``; timesteps, seconds, error
``agent.zip``        the agent
``replay.npz``       its replay memory, if asked for
``replay-<n>.npz``   that of an unfinished run after n timesteps, to go on from; see :mod:`mbrl_agents.runs.replay_files`
``rows-<a>-<b>.npz`` rows of transitions that belong to it
``means-<n>.json``   what training has brought since its last evaluation
==================== ==================================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import pandas as pd

from mbrl_agents.core.files import umask, write_atomically
from mbrl_agents.core.processes import process_identity, this_host
from mbrl_agents.runs import config as configs
from mbrl_agents.runs import metrics
from mbrl_agents.runs.config import RunConfig
from mbrl_agents.runs.versions import versions

CONFIG, VERSIONS, METRICS, TIMES, STATUS, AGENT, REPLAY = (
    "config.yaml",
    "versions.json",
    "metrics.csv",
    "times.csv",
    "status.json",
    "agent.zip",
    "replay.npz",
)
RUNNING, INTERRUPTED, FINISHED, FAILED, DIVERGED = "running", "interrupted", "finished", "failed", "diverged"
ENDED = (FINISHED, DIVERGED)  # nothing is left to do
_SILENCE = 600  # seconds after which a run on another machine counts as dead


class Status(NamedTuple):
    """Where a run is.

    Attributes:
        state: ``"running"``, ``"interrupted"``, ``"finished"``, ``"failed"`` or ``"diverged"`` (losses or weights
            were no longer finite).
        timesteps: Transitions trained on, as of the saved agent.
        seconds: Wall time spent on them.
        error: What went wrong, if it failed or diverged.
        details: Its traceback.
        pid: The process that wrote this.
        process: What tells that process from others: numbers of processes are used again.
        host: The machine it ran on, with its space of process numbers.
    """

    state: str
    timesteps: int = 0
    seconds: float = 0.0
    error: str | None = None
    details: str | None = None
    pid: int = 0
    host: str = ""
    process: str = ""


class RunFolder:
    """A run's folder that exists; see :meth:`create` and :meth:`open`.

    Attributes:
        path: Where it is.
        config: What the run is.
    """

    def __init__(self, path: pathlib.Path, config: RunConfig) -> None:
        self.path, self.config = path, config

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: RunConfig, *, force: bool = False) -> RunFolder:
        """Makes a new folder, whole or not at all.

        Args:
            path: Where; may be an empty folder.
            config: What the run is.
            force: Whether a run that is there already is replaced.

        Raises:
            FileExistsError: There is something, and it is no run or ``force`` is not given.
            OSError: Writing failed; nothing is left behind, and what was there before is still there.
        """
        target = pathlib.Path(path)
        check_free(target, force=force)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        try:
            os.chmod(fresh, 0o777 & ~umask())
            folder = cls(fresh, config)
            write_atomically(fresh / CONFIG, configs.dump(config.to_dict()))
            write_atomically(fresh / VERSIONS, json.dumps(versions(), indent=2).encode())
            metrics.create(fresh / METRICS)
            metrics.create(fresh / TIMES, metrics.TIMES_COLUMNS)
            folder.write_status(Status(RUNNING))
            _move_into_place(fresh, target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        return cls(target, config)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Opens an existing run.

        Raises:
            FileNotFoundError: There is none.
            ValueError: Its configuration cannot be read.
        """
        folder = pathlib.Path(path)
        file = folder / CONFIG
        if not is_run(folder):
            raise FileNotFoundError(f"{folder} is not a run's folder: it has no {CONFIG}")
        return cls(folder, RunConfig.from_dict(configs.read_yaml(file), str(file)))

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        """Where the run is; a run whose process is gone counts as interrupted."""
        try:
            data = json.loads((self.path / STATUS).read_text(encoding="utf-8"))
            status = Status(**{name: value for name, value in data.items() if name in Status._fields})
            known = status.state in (RUNNING, INTERRUPTED, FINISHED, FAILED, DIVERGED)
        except (OSError, ValueError, TypeError, AttributeError):
            known = False
        if not known:
            return Status(INTERRUPTED)
        if status.state == RUNNING and not _is_alive(status, self.path):
            return status._replace(state=INTERRUPTED)
        return status

    def write_status(self, status: Status) -> None:
        """Writes where the run is."""
        pid, seconds = os.getpid(), round(status.seconds, 3)
        status = status._replace(pid=pid, host=this_host(), process=process_identity(pid) or "", seconds=seconds)
        data = {**status._asdict(), "of": self.config.total_timesteps, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_atomically(self.path / STATUS, json.dumps(data, indent=2).encode())

    def write_failure(self, error: Exception) -> str:
        """Writes that the run has failed, as far as that can be written; returns what went wrong, in a line."""
        text, details = in_a_line(error), "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # a full disk, say: the first error is the one to tell
            self.write_status(self.status()._replace(state=FAILED, error=text, details=details))
        return text

    # ------------------------------------------------------------------ metrics

    def append_metrics(self, timestep: int, values: Mapping[str, float]) -> None:
        """Appends numbers by name.

        Raises:
            OSError: Writing failed; nothing is appended.
        """
        rows = [(self.config.seed, timestep, name, float(value)) for name, value in values.items()]
        metrics.append(self.path / METRICS, rows)

    def append_time(self, timestep: int, seconds: float) -> None:
        """Appends the time spent up to a timestep; errors as of :meth:`append_metrics`."""
        metrics.append(self.path / TIMES, [(timestep, round(seconds, 3))], wait=False)

    def drop_after(self, timestep: int) -> None:
        """Forgets what was measured later than the agent that the run goes on from."""
        metrics.drop_after(self.path / METRICS, timestep, self.metrics())
        if not (self.path / TIMES).is_file():  # of a run begun before there was one
            metrics.create(self.path / TIMES, metrics.TIMES_COLUMNS)
        metrics.drop_after(self.path / TIMES, timestep, self.times())

    def metrics(self) -> pd.DataFrame:
        """All metrics; see :func:`mbrl_agents.runs.metrics.read`."""
        return metrics.read(self.path / METRICS)

    def times(self) -> pd.DataFrame:
        """Seconds spent up to each evaluation; see :func:`mbrl_agents.runs.metrics.read_times`."""
        return metrics.read_times(self.path / TIMES)

    def scores(self) -> pd.Series:
        """Mean score of each evaluation, by timestep."""
        return metrics.scores(self.path / METRICS)

    # ------------------------------------------------------------------ agent

    @property
    def agent_path(self) -> pathlib.Path:
        """The agent's file."""
        return self.path / AGENT

    def replay_path(self, timesteps: int | None = None) -> pathlib.Path:
        """The replay memory's file, or that of an unfinished run after so many timesteps."""
        return self.path / (REPLAY if timesteps is None else f"replay-{timesteps}.npz")

    def means_path(self, timesteps: int) -> pathlib.Path:
        """The file of what training has brought since the last evaluation of an unfinished run, after so many timesteps."""
        return self.path / f"means-{timesteps}.json"

    def unfinished_replays(self) -> Iterator[pathlib.Path]:
        """Replay memories of the unfinished run."""
        return self.path.glob("replay-*.npz")

    def replay_rows(self) -> Iterator[pathlib.Path]:
        """Files with rows of the unfinished run's replay memory."""
        return self.path.glob("rows-*.npz")

    def unfinished_means(self) -> Iterator[pathlib.Path]:
        """The files of :meth:`means_path`."""
        return self.path.glob("means-*.json")


def in_a_line(error: Exception) -> str:
    """An error as a status tells it."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def is_run(folder: pathlib.Path) -> bool:
    """Whether there is a run in a folder."""
    return (folder / CONFIG).is_file()


def check_free(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Checks that a run may be written to a folder.

    Raises:
        FileExistsError: It may not; the message says what to do.
    """
    target = pathlib.Path(path)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not is_run(target):
        raise FileExistsError(f"{target} exists and is not a run's folder: choose another one with --out")
    if not force:
        status = RunFolder.open(target).status()
        go_on = "" if status.state in ENDED else ", --resume to go on with it"
        raise FileExistsError(f"{target} already holds a run ({status.state}): --force to replace it{go_on}, or another --out")
    check_idle(RunFolder.open(target))


def check_idle(folder: RunFolder) -> None:
    """Checks that no other process is at work in a run's folder.

    Raises:
        FileExistsError: One is.
    """
    status = folder.status()
    if status.state == RUNNING and (status.host, status.pid) != (this_host(), os.getpid()):
        who = f"process {status.pid} on {status.host}"
        raise FileExistsError(f"{folder.path} is being written by {who}: wait for it, or choose another --out")


def _is_alive(status: Status, folder: pathlib.Path) -> bool:
    """Whether the process that says it is running still exists; of other machines we see only what they write."""
    if status.host != this_host():
        return time.time() - max(map(_changed, folder.iterdir()), default=0.0) < _SILENCE
    return status.pid > 0 and process_identity(status.pid) == status.process


def _changed(file: pathlib.Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # renamed a moment ago, by somebody who is at work
        return time.time()


def runs_below(root: pathlib.Path) -> list[RunFolder]:
    """All runs in a folder and below, in order of their paths; half-made ones, left behind by a crash, are passed over.

    Raises:
        ValueError: A configuration cannot be read.
    """
    files = (file for file in sorted(root.rglob(CONFIG)) if not file.parent.name.endswith((".part", ".old")))
    return [RunFolder.open(file.parent) for file in files]


def find_runs(paths: Iterable[str | os.PathLike[str]]) -> list[RunFolder]:
    """All runs in the given folders and below, each once.

    Raises:
        FileNotFoundError: A folder does not exist, or holds no run.
        ValueError: A configuration cannot be read.
    """
    found: dict[pathlib.Path, RunFolder] = {}
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"there is no folder {path}")
        runs = runs_below(path)
        if not runs:
            raise FileNotFoundError(f"there is no run in {path}: no {CONFIG} in it or below")
        found |= {run.path.resolve(): run for run in runs}
    return list(found.values())


def _move_into_place(fresh: pathlib.Path, target: pathlib.Path) -> None:
    """Puts a finished folder where it belongs; what was there is deleted only after that."""
    aside = fresh.with_suffix(".old")
    existed = target.exists()
    if existed:
        os.replace(target, aside)
    try:
        os.replace(fresh, target)
    except OSError:
        if existed:
            os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)
