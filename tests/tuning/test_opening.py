"""Making and opening studies: what is refused, what is written, and what a kill leaves behind."""

from __future__ import annotations

import concurrent.futures
import pathlib
import re
import threading
from typing import Any

import numpy as np
import optuna
import pytest
from stable_baselines3.common.utils import LinearSchedule

import mbrl_envs
from mbrl_envs import cli
from tests.tuning.fakes import SMALL, FakeTrainer, study_in, work
from tuning import Study, Worker, create_study, open_study
from tuning.register import Register
from tuning.specification import StudySpec
from tuning.storages import open_storage


def test_opened_again(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path)
    again = study_in(tmp_path)
    assert again.spec == study.spec
    assert open_study(tmp_path / "study.db").spec == study.spec
    assert open_study(f"sqlite:///{tmp_path}/study.db", "small").folder == tmp_path
    assert len(Register(study.storage, "small").read().workers) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"space": {"learning_rate": "grid2:1e-4:8e-4", "temperature": "0.1,0.2"}},
            "space.temperature.values: [0.1, 0.2, 0.4] -> [0.1, 0.2]",
        ),
        ({"space": {"learning_rate": "log:1e-4:8e-4"}, "sampler": "tpe"}, "space.learning_rate.log: (not given) -> True"),
        ({"total_timesteps": 200}, "total_timesteps: 100 -> 200"),
        ({"objective": "auc"}, "objective: 'final' -> 'auc'"),
        ({"arguments": SMALL | {"gamma": 0.5}}, "arguments.gamma: (not given) -> 0.5"),
    ],
)
def test_another_description(change: dict[str, Any], message: str, tmp_path: pathlib.Path) -> None:
    study_in(tmp_path, tmp_path / "study.journal")
    before = (tmp_path / "study.journal").read_bytes()
    with pytest.raises(ValueError, match=re.escape(message)):
        study_in(tmp_path, tmp_path / "study.journal", **change)
    assert len((tmp_path / "study.journal").read_bytes()) - len(before) < 600  # that somebody looked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": None}, "objective must be one of final, mean, max, min, auc, or last-K such as last-1, got None"),
        ({"pruning": 3}, "pruning must be none, halving or halving-N with N from 2 to 16, got 3"),
        ({"name": 3}, "a study's name must be a string, got 3 of type int"),
        ({"space": None}, "space must be a dictionary such as {'learning_rate': 'log:1e-5:1e-2'}, or a Space, got None"),
        ({"space": []}, "space must be a dictionary such as {'learning_rate': 'log:1e-5:1e-2'}, or a Space, got []"),
        ({"space": {}}, "the search space is empty: name at least one hyperparameter"),
        ({"storage": "journal:"}, "storage must be an SQLite file (study.db), a journal file (study.journal), PostgreSQL"),
        ({"storage": "journal://"}, "got 'journal://'"),
        ({"storage": ""}, "got ''"),
        ({"storage": 3}, "got 3 of type int"),
    ],
)
def test_no_such_thing(given: dict[str, Any], message: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        study_in(tmp_path / "study", **given)
    assert not list(tmp_path.iterdir())


def test_a_study_of_an_earlier_version(tmp_path: pathlib.Path) -> None:
    """Sizes had other names then, the area under the curve was the mean, and the best evaluation depended on the direction."""
    spec = study_in(tmp_path, objective="mean", seed=3).spec
    old = {
        "steps" if name == "total_timesteps" else "first_seed" if name == "seed" else name: value
        for name, value in spec.to_dict().items()
    }
    old |= {"format": "mbrl-study-1", "objective": "auc"}
    assert StudySpec.from_dict(old, "it") == spec
    for direction, today in (("maximize", "max"), ("minimize", "min")):
        assert StudySpec.from_dict(old | {"objective": "best", "direction": direction}, "it").objective == today
    with pytest.raises(ValueError, match="is not one of our studies: its description must say format: mbrl-study-2"):
        StudySpec.from_dict(old | {"format": "mbrl-run-1"}, "it")


def test_no_pruning(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path, pruning=None)
    assert study_in(tmp_path, pruning="none").spec == study.spec == study_in(tmp_path, pruning=None).spec


def test_numpy_s_integers_are_stored_as_plain_ones(tmp_path: pathlib.Path) -> None:
    numbers = {"total_timesteps": 100, "seeds_per_trial": 2, "seed": 1, "sampler_seed": 3, "n_envs": 1, "eval_interval": 50}
    study = study_in(tmp_path, **{name: np.int64(number) for name, number in numbers.items()}, eval_episodes=np.int32(3))
    assert study_in(tmp_path, **numbers, eval_episodes=3).spec == study.spec
    with pytest.raises(ValueError, match="eval_episodes must be an integer from 1 to 1048576, got 0"):
        study_in(tmp_path, eval_episodes=0)


def test_what_cannot_be_stored(tmp_path: pathlib.Path) -> None:
    schedule = LinearSchedule(1e-3, 1e-4, 0.5)
    with pytest.raises(TypeError, match=r"arguments must be plain data .* LinearSchedule is not JSON serializable"):
        study_in(tmp_path / "study", arguments=SMALL | {"learning_rate": schedule}, space={"temperature": "0.1,0.2"})
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("begun", ["study.db", "study.journal"])
def test_killed_while_it_was_made(begun: str, tmp_path: pathlib.Path) -> None:
    """It is made by the next one, unless Optuna has been told another direction."""
    storage = open_storage(tmp_path / begun)
    optuna.create_study(storage=storage, study_name="small", direction="maximize")
    with pytest.raises(ValueError, match="study 'small' exists with direction maximize, got direction minimize"):
        study_in(tmp_path, tmp_path / begun, direction="minimize")
    assert optuna.get_all_study_names(storage) == ["small"]
    assert study_in(tmp_path, tmp_path / begun).optuna.direction.name == "MAXIMIZE"


def test_no_study(tmp_path: pathlib.Path) -> None:
    study_in(tmp_path, tmp_path / "study.journal")
    study_in(tmp_path / "other", tmp_path / "study.journal", name="other")
    with pytest.raises(ValueError, match="there are several studies: say which one of small, other"):
        open_study(tmp_path / "study.journal")
    with pytest.raises(FileNotFoundError, match=r"there is no study 'third' in .*; there are: small, other"):
        open_study(tmp_path / "study.journal", "third")
    for name in ("", "a/b", "a\\b"):
        with pytest.raises(ValueError, match="a study's name must not be empty or contain a slash"):
            study_in(tmp_path, tmp_path / "study.journal", name=name)
    with pytest.raises(ValueError, match=r"a study's name must not end in \.register"):
        study_in(tmp_path, name="a.register")
    foreign = optuna.create_study(storage=f"sqlite:///{tmp_path}/foreign.db", study_name="small")
    foreign.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(ValueError, match="there is a study 'small' in the storage that is not one of ours"):
        study_in(tmp_path / "foreign", tmp_path / "foreign.db")
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/foreign.db") == ["small"]
    with pytest.raises(ValueError, match="a study's environment must have an id"):
        create_study("ReplayDQN", mbrl_envs.PanFlute(num_pipes=2), {"gamma": [0.5, 0.9]}, total_timesteps=10)


def test_opening_writes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, and somebody else's study."""
    monkeypatch.chdir(tmp_path)
    for place in (
        "sqlite:///sub/typo.db",
        "sqlite+pysqlite:///sub/typo.db?timeout=3",
        "typo.db",
        "typo.journal",
        "journal:typo",
    ):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*typo"):
            open_study(place)
    assert not list(tmp_path.iterdir())
    storage = f"sqlite:///{tmp_path}/foreign.db"
    optuna.create_study(storage=storage, study_name="theirs")
    for name in (None, "theirs"):
        with pytest.raises(ValueError, match=r"study 'theirs' is not one of ours: it has no register, 'theirs\.register'"):
            open_study(storage, name)
    assert optuna.get_all_study_names(storage) == ["theirs"]


# ---------------------------------------------------------------------- deleted, and made by several at once


def test_a_study_that_was_deleted(tmp_path: pathlib.Path, no_pictures: None, capsys: pytest.CaptureFixture) -> None:
    """In the dashboard, which leaves its register: the same command says what to do, before anything is written."""
    study = study_in(tmp_path)
    work(study)
    optuna.delete_study(study_name="small", storage=study.storage)
    with pytest.raises(ValueError, match="study 'small' or some of its trials were deleted, but its register"):
        study_in(tmp_path)
    for name in ("small", None):
        with pytest.raises(ValueError, match="To begin anew, delete that, too"):
            open_study(tmp_path / "study.db", name)
    assert optuna.get_all_study_names(study.storage) == ["small.register"]
    assert cli.main(["tune", "resume", str(tmp_path)]) != 0
    assert "study 'small' or some of its trials were deleted" in capsys.readouterr().err
    # By an earlier version, or by other means, the study may be there again, without its trials.
    optuna.create_study(study_name="small", storage=study.storage, direction="maximize")
    with pytest.raises(ValueError, match="or some of its trials were deleted"):
        study_in(tmp_path)
    with pytest.raises(ValueError, match="or some of its trials were deleted"):
        open_study(tmp_path / "study.db")
    for name in ("small", "small.register"):
        optuna.delete_study(study_name=name, storage=study.storage)
    assert study_in(tmp_path / "anew", tmp_path / "study.db").progress() == (0, 12)


def test_a_study_that_is_deleted_while_it_is_worked_on(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")

    def delete() -> None:
        optuna.delete_study(study_name="small", storage=open_storage(tmp_path / "study.journal"))

    with pytest.raises(ValueError, match=r"study 'small' .*deleted"):
        Worker(study, 4, FakeTrainer(before=delete), poll_seconds=0.01).run()


def test_three_first_starts_on_one_database(tmp_path: pathlib.Path) -> None:
    """All make it, none fails: the same study for all."""
    for attempt in range(5):
        together = threading.Barrier(3)

        def start(folder: pathlib.Path, together: threading.Barrier = together) -> Study:
            together.wait()
            return study_in(folder)

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            made = list(pool.map(start, [tmp_path / str(attempt)] * 3))
        assert len({study.register.read().study for study in made}) == 1
        assert optuna.get_all_study_names(made[0].storage) == ["small", "small.register"]
