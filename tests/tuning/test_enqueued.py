"""Settings in Optuna's queue are tried next, or refused by name."""

from __future__ import annotations

import pathlib
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.tuning.fakes import study_in, work
from tuning import Study, open_study

pytestmark = pytest.mark.usefixtures("no_pictures")
RANGES: dict[str, Any] = {"learning_rate": "log:1e-5:1e-2", "temperature": [0.1, 0.2]}


def sampled(folder: pathlib.Path, sampler: str = "random", trials: int = 4, **more: Any) -> Study:
    study = study_in(folder, folder / "study.journal", sampler=sampler, space=RANGES, **more)
    study.set_trials(trials)
    return study


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "cmaes"])
def test_enqueued_settings_come_next(sampler: str, tmp_path: pathlib.Path) -> None:
    study = sampled(tmp_path, sampler)
    study.optuna.enqueue_trial({"learning_rate": 4e-4, "temperature": 0.2}, user_attrs={"from": "a paper"})
    study.optuna.enqueue_trial({"learning_rate": 2e-4})
    trainer = work(study)
    points = [point for batch in trainer.batches for point in batch]
    assert points[0] == {"learning_rate": 4e-4, "temperature": 0.2}
    assert points[1]["learning_rate"] == 2e-4
    assert points[1]["temperature"] in (0.1, 0.2)
    assert len({point["learning_rate"] for point in points}) == len(points) == 4
    assert study.best().setting == points[0]
    assert study.trials()[0].user_attrs["from"] == "a paper"
    queue = [trial for trial in study.optuna.trials if "slot" not in trial.user_attrs]
    assert [trial.state for trial in queue] == [TrialState.FAIL] * 2
    assert [trial.user_attrs["trained_as"] for trial in queue] == [study.trials()[slot].number for slot in (0, 1)]
    assert study.progress() == (4, 4)


def test_others_are_as_if_nothing_were_enqueued(tmp_path: pathlib.Path) -> None:
    plain, other = sampled(tmp_path / "a"), sampled(tmp_path / "b")
    other.optuna.enqueue_trial({"learning_rate": 4e-4})
    work(plain)
    work(other)
    assert other.table()["learning_rate"].tolist()[1:] == plain.table()["learning_rate"].tolist()[1:]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rat": 1e-4}, r"enqueue_trial\(\{'learning_rat': 0.0001\}\): learning_rat is not searched; the space has"),
        ({"learning_rate": 1.0}, "learning_rate=1.0 is not in the search space"),
        ({"temperature": 0.3}, "temperature=0.3 is not in the search space"),
        ({"learning_rate": "fast"}, "learning_rate='fast' is not in the search space"),
    ],
)
def test_refused_by_name(params: dict[str, Any], message: str, tmp_path: pathlib.Path) -> None:
    study = sampled(tmp_path)
    with pytest.raises(ValueError, match=message):
        study.optuna.enqueue_trial(params)
    assert study.optuna.trials == []
    grid = study_in(tmp_path / "grid")
    with pytest.raises(ValueError, match="the trials of a grid are its points"):
        grid.optuna.enqueue_trial({"learning_rate": 1e-4})


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_what_another_program_enqueues(sampler: str, tmp_path: pathlib.Path) -> None:
    """Optuna's own study takes anything: what cannot be tried is warned of, and has its reason beside it."""
    study = sampled(tmp_path) if sampler == "random" else study_in(tmp_path, tmp_path / "study.journal")
    theirs = optuna.load_study(study_name="small", storage=study.storage)
    theirs.enqueue_trial({"learning_rate": 3.0})
    with pytest.warns(UserWarning, match=r"the enqueued trial 0, \{'learning_rate': 3.0\}, is refused: "):
        work(study)
    (refused,) = (trial for trial in study.optuna.trials if "slot" not in trial.user_attrs)
    assert refused.state == TrialState.FAIL
    assert refused.user_attrs["refused"]
    assert all(trial.state.is_finished() for trial in study.optuna.trials)
    assert 3.0 not in study.table()["learning_rate"].tolist()


def test_a_study_that_has_all_its_trials(tmp_path: pathlib.Path) -> None:
    study = sampled(tmp_path)
    work(study)
    study.optuna.enqueue_trial({"learning_rate": 4e-4})
    with pytest.warns(
        UserWarning, match=r"1 enqueued trials of study 'small' are left, and it has all its trials: .* --trials N"
    ):
        work(study)
    study.set_trials(5)
    assert [point["learning_rate"] for point in work(study).batches[0]] == [4e-4]


def test_a_kill_loses_none(tmp_path: pathlib.Path) -> None:
    """Between asking and taking it out of the queue, or before: it is tried once."""
    study = sampled(tmp_path)
    study.optuna.enqueue_trial({"learning_rate": 4e-4})
    study.optuna.enqueue_trial({"learning_rate": 2e-4})
    study.ask((0,))  # and is killed
    again = open_study(tmp_path / "study.journal", folder=tmp_path)
    work(again)
    rates = again.table()["learning_rate"].tolist()
    assert (rates.count(4e-4), rates.count(2e-4)) == (1, 1)
