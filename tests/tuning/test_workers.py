"""Workers as processes: killed, frozen, several at once; and the storages they share."""

from __future__ import annotations

import collections
import json
import math
import os
import pathlib
import subprocess
import sys
import threading
import time
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mbrl_agents.core.processes import process_identity, this_host
from tests.tuning.fakes import FLUTE, SMALL, FakeTrainer, study_in, work
from tests.tuning.killed_workers import BATCH
from tests.tuning.servers import free_port, start_proxy
from tuning import Study, Worker, create_study, curves, open_study
from tuning.confirm import confirm
from tuning.leases import Lease, Watch
from tuning.register import WorkerInfo
from tuning.study import quiet

ROOT = pathlib.Path(__file__).parents[2]
STORAGES = {"sqlite": "study.db", "journal": "study.journal"}
pytestmark = pytest.mark.usefixtures("no_pictures")


def complete_once(study: Study, trials: int = 12) -> None:
    """Whether every slot has one complete trial, whose parameters are its own, and nothing else is left."""
    everything = study.optuna.get_trials(deepcopy=False)
    complete = [trial for trial in everything if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["slot"] for trial in complete) == list(range(trials))
    assert len({tuple(trial.params.items()) for trial in complete}) == trials
    assert {trial.state for trial in everything} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert study.progress() == (trials, trials)
    assert not list((study.folder / "batches").iterdir())
    assert len(study.curves.read_all()) == trials * 2 * 3


@pytest.mark.parametrize("kind", STORAGES)
def test_one_worker(kind: str, tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path, tmp_path / STORAGES[kind])
    trainer = work(study, batch_size=5)
    assert [len(batch) for batch in trainer.batches] == [5, 5, 2]
    complete_once(study)
    assert study.best().setting == {"learning_rate": 4e-4, "temperature": 0.2}
    assert study.best().scores == (0.0, 0.01)
    assert work(study).batches == []
    assert study.optuna.best_trial.params == study.best().setting


def scenario(what: str, folder: pathlib.Path, storage: str, kills: int) -> tuple[dict[str, Any], list[int]]:
    """Runs :mod:`tests.tuning.killed_workers`; what happened, and how often each point was trained."""
    command = [sys.executable, "-m", "tests.tuning.killed_workers", what, str(folder), storage, str(kills), str(kills)]
    report = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=500).stdout)
    lines = [line for file in folder.glob("trained-*.txt") for line in file.read_text().splitlines()]
    return report, list(collections.Counter(lines).values())


@pytest.mark.parametrize(
    ("kind", "kills"),
    [("sqlite", 4), *(pytest.param(kind, 20, marks=pytest.mark.slow) for kind in STORAGES)],
)
def test_killed_again_and_again(kind: str, kills: int, tmp_path: pathlib.Path) -> None:
    storage = str(tmp_path / STORAGES[kind])
    report, trained = scenario("one", tmp_path, storage, kills)
    assert report.pop("killed") > kills / 2  # the last ones may have come to the end before
    assert report == {"finished": [0]}
    complete_once(open_study(storage))
    assert len(trained) == 12
    assert sum(trained) <= 12 + kills * BATCH


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_three_workers_of_which_some_are_killed_and_one_is_frozen(kills: int, tmp_path: pathlib.Path) -> None:
    storage = str(tmp_path / "study.journal")
    report, trained = scenario("several", tmp_path, storage, kills)
    assert report.pop("killed") > kills / 2  # the last ones may have come to the end before
    assert report == {"finished": [0, 0, 0], "same": True}
    complete_once(open_study(storage))
    assert len(trained) == 12
    assert 12 < sum(trained) <= 12 + (kills + 1) * BATCH


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer from 1 to 100000, got 0"),
        ({"batch_size": 2.0}, r"batch_size must be an integer from 1 to 100000, got 2\.0 of type float"),
        *(
            ({"lease_seconds": seconds}, "lease_seconds must be a finite number above 0, got")
            for seconds in (0, -1, math.nan, "x")
        ),
        *(({"poll_seconds": seconds}, "poll_seconds must be a finite number of at least 0, got") for seconds in (-1, None)),
    ],
)
def test_mistakes(given: dict[str, Any], message: str, tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        Worker(study, **given)
    if "lease_seconds" in given:
        with pytest.raises((TypeError, ValueError), match=message):
            confirm(study, **given)


def test_no_trials_yet(tmp_path: pathlib.Path) -> None:
    """To be finished at once would say that all is done."""
    space = {"learning_rate": "log:1e-4:1e-3"}
    study = create_study("ReplayDQN", FLUTE, space, total_timesteps=100, arguments=SMALL, sampler="tpe", folder=tmp_path)
    with pytest.raises(ValueError, match=r"has no trials to be trained yet: say how many .* set_trials\(N\)"):
        work(study)
    assert study.register.read().workers == {}


# ---------------------------------------------------------------------- who is gone


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def info(**changes: Any) -> WorkerInfo:
    known = {"worker": "w", "order": 0, "host": "elsewhere", "pid": os.getpid(), "process": process_identity(os.getpid())}
    return WorkerInfo(**(known | changes))


def test_silence_is_judged_by_the_watchers_clock() -> None:
    clock = Clock()
    watch = Watch(10.0, clock)
    beat = {"count": 1, "time": -1e9, "left": False}
    assert not watch.gone(info(), beat)
    clock.now = 9.0
    assert not watch.gone(info(), beat)
    assert not watch.is_present(info())
    assert not watch.gone(info(), beat | {"count": 2})
    assert watch.is_present(info())
    clock.now = 18.0
    assert not watch.gone(info(), beat | {"count": 2})
    clock.now = 19.0
    assert watch.gone(info(), beat | {"count": 2})
    assert not watch.gone(info(), beat | {"count": 3})


def test_known_at_once() -> None:
    watch = Watch(10.0, Clock())
    assert watch.gone(None, None)
    assert watch.gone(info(), {"count": 3, "left": True})
    assert not watch.gone(info(host=this_host()), {"count": 3})
    process = subprocess.Popen(["true"])
    process.wait()
    assert watch.gone(info(host=this_host(), pid=process.pid), {"count": 3})
    assert watch.gone(info(host=this_host(), process="another"), {"count": 3})
    assert not watch.gone(info(pid=process.pid), {"count": 3})  # elsewhere that number may be alive


def test_a_lost_batch_stops_training(tmp_path: pathlib.Path) -> None:
    """As by Ctrl-C; and the worker goes on with another batch."""
    study = study_in(tmp_path, tmp_path / "study.journal")
    stopped = []

    def lose() -> None:
        (batch,) = (batch for batch in study.register.read().open if batch.epoch == 1)
        if not stopped:
            stopped.append(batch)
            study.register.append("worker", worker="thief", host=this_host(), pid=0, process="")
            assert study.register.adopt(batch, "thief") is not None
            for _ in range(1000):
                time.sleep(0.01)
            raise AssertionError("was not stopped")

    trainer = FakeTrainer(before=lambda: lose() if not stopped else None)
    Worker(study, 4, trainer, lease_seconds=0.2, poll_seconds=0.01).run()
    complete_once(study)
    assert [len(batch) for batch in trainer.batches] == [4] * 4
    assert study.register.read().batches[stopped[0].number].epoch == 3


def test_ctrl_c_leaves_the_batch_to_the_next(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path)

    def press() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, FakeTrainer(before=press))
    assert study.progress() == (0, 12)
    assert len(study.trials()) == 4
    numbers = {slot: (trial.number, trial.params) for slot, trial in study.trials().items()}
    trainer = work(study, lease_seconds=1e6)  # at once
    assert [trial.params for trial in study.trials().values()][:4] == trainer.batches[0]
    complete_once(study)
    assert numbers.items() <= {slot: (trial.number, trial.params) for slot, trial in study.trials().items()}.items()


def test_told_by_the_next(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a batch was done, before Optuna was told: nothing is trained again."""
    study = study_in(tmp_path, tmp_path / "study.journal")

    def killed(*given: Any) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(study, "settle", killed)
    with pytest.raises(RuntimeError, match="killed"):
        work(study)
    monkeypatch.undo()
    monkeypatch.setattr(curves, "_picture", lambda table, title: b"")
    assert study.progress() == (0, 12)
    assert [len(batch) for batch in work(study).batches] == [4, 4]
    complete_once(study)


def test_sqlite_is_for_one_worker(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path)
    with (
        quiet(),
        Lease(study.register),
        pytest.raises(ValueError, match=r"SQLite is for one worker.*a journal file .*PostgreSQL"),
    ):
        work(open_study(tmp_path / "study.db"))
    work(study)
    complete_once(study)


def test_again_with_the_same_worker(tmp_path: pathlib.Path) -> None:
    """After Ctrl-C, and when all is done; and it does not stand in the way of others."""
    study, presses = study_in(tmp_path), [KeyboardInterrupt]

    def press() -> None:
        if presses:
            raise presses.pop()

    worker = Worker(study, 4, FakeTrainer(before=press), poll_seconds=0.01)
    with pytest.raises(KeyboardInterrupt):
        worker.run()
    worker.run()
    worker.run()
    complete_once(study)
    assert work(study).batches == []


def test_one_that_could_not_begin_is_gone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has introduced itself, and was stopped before it came to work."""
    study = study_in(tmp_path)
    append = study.register.append

    def stop(kind: str, **content: Any) -> None:
        append(kind, **content)
        raise KeyboardInterrupt

    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(study.register, "append", stop)
        with pytest.raises(KeyboardInterrupt):
            work(study)
    assert threading.active_count() == before
    assert [beat["left"] for beat in study.register.beats().values()] == [True]
    work(study)
    complete_once(study)


def test_a_journal_is_for_several(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")
    with Lease(study.register):
        work(open_study(tmp_path / "study.journal"))
    complete_once(study)


def test_optunas_proxy(tmp_path: pathlib.Path) -> None:
    """Several workers on one server, here with a journal behind it."""
    port = free_port()
    server = start_proxy(tmp_path / "study.journal", port)
    try:
        study = study_in(tmp_path, f"grpc://localhost:{port}")
        work(study)
        complete_once(study)
    finally:
        server.kill()
        server.wait()


def test_what_optuna_knows_of_a_grid(tmp_path: pathlib.Path) -> None:
    """Its own sampler takes the grid for exhausted."""
    study = study_in(tmp_path)
    work(study)
    assert isinstance(study.optuna.sampler, optuna.samplers.GridSampler)
    assert study.optuna.sampler.is_exhausted(study.optuna)


@pytest.mark.parametrize(("cls", "name"), [(Worker, "_tidy"), (Study, "settle")])
def test_killed_while_it_tells_it_leaves_no_folders(
    cls: Any, name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, deaths = getattr(cls, name), []

    def dies_once(*arguments: Any) -> None:
        if not deaths:
            deaths.append(name)
            raise KeyboardInterrupt
        real(*arguments)

    study = study_in(tmp_path)
    monkeypatch.setattr(cls, name, dies_once)
    with pytest.raises(KeyboardInterrupt):
        work(study)
    again = open_study(tmp_path / "study.db")
    work(again)
    assert all(trial.state == TrialState.COMPLETE for trial in again.trials().values())
    assert not os.listdir(tmp_path / "batches")
