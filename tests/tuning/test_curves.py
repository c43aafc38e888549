"""Curves as files: the longest one counts."""

from __future__ import annotations

import pathlib

import pytest

from mbrl_agents.core.processes import this_host
from tests.tuning.fakes import FakeTrainer, curve_at, study_in, work
from tuning import Worker, open_study
from tuning.curves import Curves

POINT = {"learning_rate": 4e-4}


def test_the_longest_counts(tmp_path: pathlib.Path) -> None:
    curves = Curves(tmp_path)
    assert curves.read(3) is None
    assert curves.read_all().empty
    for until in (50, 100, 50):
        curves.write(3, [curve_at(POINT, seed, until) for seed in (0, 1)])
    curves.write(12, [curve_at(POINT, 0, 50)])
    found = curves.read(3)
    assert found is not None
    assert found["timestep"].tolist() == [0, 50, 100] * 2
    assert curves.read_all()["slot"].tolist() == [3] * 6 + [12] * 2
    assert len(list(curves.folder.iterdir())) == 2


@pytest.mark.usefixtures("no_pictures")
def test_a_worker_that_thaws_does_not_shorten_them(tmp_path: pathlib.Path) -> None:
    """It has trained up to a rung, and by now another one has been through with its trials."""
    study = study_in(tmp_path, tmp_path / "study.journal", pruning="halving")
    thieves = []

    def freeze() -> None:
        if thieves:
            return
        thieves.append("thief")
        study.register.append("worker", worker="thief", host=this_host(), pid=0, process="")
        for batch in study.register.read().open:
            study.register.adopt(batch, "thief")
        work(open_study(tmp_path / "study.journal", "small", tmp_path), lease_seconds=1e6)

    Worker(study, 4, FakeTrainer(before=freeze), lease_seconds=1e6, poll_seconds=0.01).run()
    last = study.curves.read_all().groupby("slot")["timestep"].max()
    for row in study.table().to_dict("records"):
        assert last[row["slot"]] == (100 if row["state"] == "complete" else 50)
