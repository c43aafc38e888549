"""A run's folder is whole or not there, and what is there already is left alone."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

from mbrl_agents.core.processes import process_identity
from mbrl_agents.runs import metrics, run_folder
from mbrl_agents.runs.run_folder import FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from tests.experiments.runs import config, contents, folder


def test_a_new_folder_tells_everything(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "a" / "run", seed=7)
    assert sorted(contents(run.path)) == ["config.yaml", "metrics.csv", "status.json", "times.csv", "versions.json"]
    assert yaml.safe_load((run.path / "config.yaml").read_text())["seed"] == 7
    versions = json.loads((run.path / "versions.json").read_text())
    assert versions["packages"]["jax"]
    assert versions["command"]
    assert (run.path / "metrics.csv").read_text() == "seed,timestep,metric,value\n"
    assert (run.path / "times.csv").read_text() == "timestep,seconds\n"
    again = RunFolder.open(run.path)
    assert again.config == run.config
    assert again.status().state == RUNNING


def test_what_is_there_is_left_alone(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run")
    run.write_status(Status(FINISHED))
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"already holds a run \(finished\): --force to replace it, or another --out"):
        RunFolder.create(run.path, config())
    run.write_status(Status(INTERRUPTED))
    with pytest.raises(FileExistsError, match=r"--force to replace it, --resume to go on with it, or another --out"):
        RunFolder.create(run.path, config())
    run.write_status(Status(FINISHED))
    assert contents(tmp_path).keys() == before.keys()
    # What is no run is not replaced by any force.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="is not a run's folder"):
        RunFolder.create(tmp_path / "other", config(), force=True)
    assert (tmp_path / "other" / "thesis.txt").read_text() == "dear"
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is not a run's folder"):
        RunFolder.create(tmp_path / "file", config())


def test_force_replaces_a_run_and_an_empty_folder_is_free(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", seed=1)
    run.append_metrics(0, {"score": 1.0})
    assert RunFolder.create(run.path, config(seed=2), force=True).metrics().empty
    assert RunFolder.open(run.path).config.seed == 2
    (tmp_path / "empty").mkdir()
    folder(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "run"]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("calls_before", [0, 1, 2, 3, 4])
def test_a_full_disk_leaves_nothing_half_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, calls_before: int, existing: bool
) -> None:
    if existing:
        folder(tmp_path / "run", seed=1)
    before = contents(tmp_path)
    fill_disk(monkeypatch, "replace", calls_before)
    with pytest.raises(OSError, match="No space left"):
        RunFolder.create(tmp_path / "run", config(seed=2), force=existing)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == (["run"] if existing else [])


def fill_disk(monkeypatch: pytest.MonkeyPatch, function: str, calls_before: int = 0) -> None:
    """Lets a function of ``os`` fail once, after some calls, as on a full disk."""
    real, left = getattr(os, function), [calls_before]

    def fails(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] == -1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, fails)


def test_metrics_are_appended_whole_or_not_at_all(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder(tmp_path / "run", seed=3)
    run.append_metrics(0, {"score": 0.125, "train/loss": 1e-9})
    before = (run.path / "metrics.csv").read_bytes()
    fill_disk(monkeypatch, "fsync")
    with pytest.raises(OSError, match="No space left"):
        run.append_metrics(50, {"score": 0.25})
    assert (run.path / "metrics.csv").read_bytes() == before
    run.append_metrics(50, {"score": 1 / 3, "odd": 0.1 + 0.2})
    assert run.metrics().to_dict("list") == {
        "seed": [3, 3, 3, 3],
        "timestep": [0, 0, 50, 50],
        "metric": ["score", "train/loss", "score", "odd"],
        "value": [0.125, 1e-9, 1 / 3, 0.1 + 0.2],
    }
    assert run.scores().to_dict() == {0: 0.125, 50: 1 / 3}
    run.drop_after(49)
    assert (run.path / "metrics.csv").read_bytes() == before


def test_a_line_cut_short_is_passed_over_and_damage_is_told(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run")
    run.append_metrics(0, {"score": 0.5})
    with (run.path / "metrics.csv").open("a") as file:
        file.write("0,50,sco")
    assert run.scores().to_dict() == {0: 0.5}
    run.drop_after(0)
    run.append_metrics(50, {"score": 0.75})
    assert run.scores().to_dict() == {0: 0.5, 50: 0.75}
    (run.path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="damaged"):
        run.metrics()
    (run.path / "metrics.csv").write_text("seed,timestep,metric,value\n0,zero,score,x\n")
    with pytest.raises(ValueError, match="damaged"):
        metrics.read(run.path / "metrics.csv")


def test_a_run_whose_process_is_gone_was_interrupted(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run")
    assert run.status().state == RUNNING
    run_folder.check_idle(run)  # it is ourselves
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    _say_pid(run, other.pid)
    assert run.status().state == RUNNING
    with pytest.raises(FileExistsError, match=f"is being written by process {other.pid}"):
        run_folder.check_idle(run)
    other.communicate(b"\n")
    assert run.status().state == INTERRUPTED
    _say_pid(run, os.getpid(), process="another")  # the number is another process's by now
    assert run.status().state == INTERRUPTED
    # Of another machine we know what it has written, and when.
    _say_pid(run, os.getpid(), host="elsewhere")  # as small numbers are in containers, everywhere
    assert run.status().state == RUNNING
    with pytest.raises(FileExistsError, match=f"is being written by process {os.getpid()} on elsewhere"):
        run_folder.check_idle(run)
    for file in run.path.iterdir():
        os.utime(file, (0, 0))
    assert run.status().state == INTERRUPTED


def _say_pid(run: RunFolder, pid: int, host: str | None = None, process: str | None = None) -> None:
    file = run.path / "status.json"
    data = json.loads(file.read_text())
    process = process or process_identity(pid)
    file.write_text(json.dumps({**data, "pid": pid, "host": host or data["host"], "process": process}))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"state": 3, "odd": 1}', '{"odd": 1}'])
def test_a_damaged_status_is_that_of_an_interrupted_run(tmp_path: pathlib.Path, text: str) -> None:
    run = folder(tmp_path / "run")
    (run.path / "status.json").write_text(text)
    assert run.status().state == INTERRUPTED


def test_runs_are_found_below_and_once(tmp_path: pathlib.Path) -> None:
    runs = [folder(tmp_path / "x" / name) for name in ("b", "a")]
    (tmp_path / "x" / ".c.1.part").mkdir()
    (tmp_path / "x" / ".c.1.part" / "config.yaml").write_text("format: half made")
    found = run_folder.find_runs([tmp_path / "x" / "b", tmp_path, tmp_path / "x"])
    assert [run.path.name for run in found] == ["b", "a"]
    assert {run.path for run in found} == {run.path for run in runs}
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run_folder.find_runs([tmp_path / "y"])
    (tmp_path / "y").mkdir()
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        run_folder.find_runs([tmp_path / "y"])
    (tmp_path / "y" / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="cannot be read"):
        run_folder.find_runs([tmp_path / "y"])
