"""Studies that are really trained; what is told, kept, confirmed, drawn; and what a study may not be."""

from __future__ import annotations

import math
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from stable_baselines3.common.utils import LinearSchedule

import mbrl_envs
from mbrl_agents import grid, train_sweep
from mbrl_agents.experiments.sweeps.folder import run_path
from tests.tuning.fakes import FLUTE, SMALL, FakeTrainer, curve_at, study_in, work
from tests.tuning.tiny_study import ARGUMENTS, SIZES, SPACE, tiny_study, train
from tuning import Study, create_study, open_study
from tuning.confirm import confirm, read_confirmation
from tuning.objectives import Curve
from tuning.plots import draw_curves, draw_heat_map, draw_slices
from tuning.register import Register
from tuning.report import write_report
from tuning.storages import open_storage
from tuning.training import SweepTrainer

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return train(tiny_study(tmp_path_factory.mktemp("trained")))


# ---------------------------------------------------------------------- really trained


def test_values_are_those_of_a_sweep(trained: Study) -> None:
    points = [trial.params for _, trial in sorted(trained.trials().items())]
    sizes = {name: value for name, value in SIZES.items() if name.startswith("eval_")}
    lists = {name: [point[name] for point in points if point["learning_rate"] < 1] for name in SPACE}
    result = train_sweep("ReplayDQN", FLUTE, ARGUMENTS | lists, 2, 300, **sizes)
    expected = result.objective("final").to_numpy().reshape(-1, 2)
    table = trained.table()
    good = table[table["learning_rate"] < 1]
    np.testing.assert_array_equal(good[["seed_0", "seed_1"]].to_numpy(), expected)
    np.testing.assert_array_equal(good["value"].to_numpy(), expected.mean(axis=1))
    everything = zip(*grid(**SPACE).values(), strict=True)
    assert sorted(map(str, points)) == sorted(str(dict(zip(SPACE, pair, strict=True))) for pair in everything)


def test_diverged_runs_count_with_their_worst(trained: Study) -> None:
    table, curves = trained.table(), trained.curves.read_all()
    bad = table[table["learning_rate"] > 1]
    assert bad["diverged"].tolist() == [2, 2]
    for row in bad.to_dict("records"):
        own = curves[curves["slot"] == row["slot"]]
        assert own["diverged"].all()
        assert row["seed_0"] == own[own["seed"] == 0]["score"].min()
    assert trained.best().setting["learning_rate"] < 1
    assert trained.optuna.best_trial.number == trained.best().number


def test_what_is_kept(trained: Study) -> None:
    curves = trained.curves.read_all()
    assert set(curves["slot"]) == set(range(6))
    good = curves[~curves["diverged"]]
    assert sorted(set(good["timestep"])) == list(range(0, 301, 50))
    for trial in trained.optuna.trials:
        assert trial.state == TrialState.COMPLETE
        names = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(trial, storage=trained.storage)}
        assert sorted(names) == ["curve.csv", "curve.png"]
        assert (trained.curves.artifacts / names["curve.png"]).read_bytes().startswith(b"\x89PNG")
        own = pd.read_csv(trained.curves.artifacts / names["curve.csv"])
        assert set(own["slot"]) == {trial.user_attrs["slot"]}
    assert not list((trained.folder / "batches").iterdir())


def test_killed_while_it_trains(trained: Study, tmp_path: pathlib.Path) -> None:
    """What was trained before is gone on with, and all numbers are as if it had not been killed."""
    folder = tmp_path / "study"
    tiny_study(folder)
    process = subprocess.Popen([sys.executable, "-m", "tests.tuning.tiny_study", str(folder)], cwd=ROOT)
    while not list(folder.glob("batches/*/run-*/agent.zip")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (left,) = (folder / "batches").iterdir()
    study = open_study(folder / "study.db")
    begun = study.progress()[0]
    asked: list[int] = []

    class Spy(SweepTrainer):
        def __call__(self, spec: Any, portions: Any, seeds: Any, until: int) -> Any:
            if not asked:  # it has what the other one has left behind
                assert (run_path(portions[0].folder, 0) / "config.yaml").is_file()
            asked.append(sum(len(portion.chosen) for portion in portions))
            return super().__call__(spec, portions, seeds, until)

    work(study, Spy(), batch_size=4)  # type: ignore[arg-type]
    assert sum(asked) == 6 - begun
    assert not left.exists()
    pd.testing.assert_frame_equal(study.table(), trained.table(), check_exact=True)
    pd.testing.assert_frame_equal(study.curves.read_all(), trained.curves.read_all(), check_exact=True)


def test_confirmed_on_fresh_seeds(trained: Study) -> None:
    assert read_confirmation(trained) is None
    found = confirm(trained, 3)
    assert read_confirmation(trained) == found
    assert found.setting == trained.best().setting
    assert found.searched.scores == trained.best().scores
    sizes = {name: value for name, value in SIZES.items() if name.startswith("eval_")}
    alone = train_sweep("ReplayDQN", FLUTE, ARGUMENTS | found.setting, [2, 3, 4], 300, **sizes)
    assert list(found.fresh.scores) == alone.objective("final").tolist()
    assert re.search(r"in the search, .* \(3 seeds\) on fresh seeds; the difference of [+-]", str(found))
    assert confirm(trained, 3) == found


# ---------------------------------------------------------------------- pictures


def test_pictures(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path / "study", tmp_path / "study.journal")
    with pytest.raises(ValueError, match="has no complete trial yet"):
        write_report(study, tmp_path)
    work(study)
    assert write_report(study, tmp_path / "out") == ["heat_map.png", "slices.png", "curves.png", "study.html"]
    page = (tmp_path / "out" / "study.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"(src|href)=.?(https?:|/)", page)
    assert "learning_rate=0.0004, temperature=0.2, 0.005" in page
    confirm(study, 4, FakeTrainer())
    write_report(study, tmp_path / "out")
    assert "0.035" in (tmp_path / "out" / "study.html").read_text()


def test_the_heat_map_shows_the_grid(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")
    work(study)
    axis = draw_heat_map(study).axes[0]
    cells = axis.images[0].get_array()
    assert cells.shape == (3, 4)
    assert np.unravel_index(np.argmax(cells), cells.shape) == (1, 2)
    assert (axis.patches[0].get_x(), axis.patches[0].get_y()) == (1.5, 0.5)
    texts = [text.get_text() for text in axis.texts]
    assert sum("[" in text for text in texts) == 9  # the chosen cell and its eight neighbours
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0.1", "0.2", "0.4"]


def test_pictures_of_other_spaces(tmp_path: pathlib.Path, no_pictures: None) -> None:
    space = {"learning_rate": "log:1e-4:1e-3", "temperature": "0.1,0.2"}
    study = study_in(tmp_path / "square", tmp_path / "a.journal", sampler="tpe", space=space)
    work(study)
    assert draw_heat_map(study) is None
    assert len(draw_slices(study).axes) == 2
    line = study_in(tmp_path / "line", tmp_path / "b.journal", space={"learning_rate": "grid2:1e-4:8e-4"})
    work(line)
    assert draw_heat_map(line) is None
    assert draw_slices(line).axes[0].get_xscale() == "log"
    assert draw_curves(line) is not None


# ---------------------------------------------------------------------- samplers, numbers, directions


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random"])
def test_stopped_samplers_propose_the_same(sampler: str, tmp_path: pathlib.Path, no_pictures: None) -> None:
    """Whatever is done in one go or in pieces."""
    space = {"learning_rate": "log:1e-5:1e-2", "temperature": "log:0.01:10"}
    whole = study_in(tmp_path / "a", tmp_path / "a.journal", sampler=sampler, space=space)
    work(whole)
    parts = study_in(tmp_path / "b", tmp_path / "b.journal", sampler=sampler, space=space)

    def press() -> None:
        raise KeyboardInterrupt

    for number in (4, 8, 12):
        parts.set_trials(number)
        with pytest.raises(KeyboardInterrupt):
            work(parts, FakeTrainer(before=press))
        work(open_study(tmp_path / "b.journal", folder=tmp_path / "b"))
    pd.testing.assert_frame_equal(whole.table(), parts.table(), check_exact=True)
    assert len(whole.table()["learning_rate"].unique()) == 12


def test_a_quasi_random_sequence_is_optunas_own(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal", sampler="qmc", space={"learning_rate": "log:1e-5:1e-2"})
    work(study)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        sampler = optuna.samplers.QMCSampler(seed=0, scramble=True, warn_independent_sampling=False)
    theirs = optuna.create_study(sampler=sampler)
    theirs.add_trial(next(iter(study.optuna.trials)))
    distributions = study.spec.space.distributions()
    assert study.table()["learning_rate"].tolist() == [theirs.ask(distributions).params["learning_rate"] for _ in range(12)]


def test_a_quasi_random_sequence_that_nobody_counts(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna 4 counts under other names: every slot would get the same point."""
    study = study_in(tmp_path, sampler="qmc", space={"learning_rate": "log:1e-5:1e-2"})
    monkeypatch.setattr(optuna.samplers.QMCSampler, "_find_sample_id", lambda *given: 0)
    with pytest.raises(RuntimeError, match=r"sampler qmc needs an Optuna that counts .* install optuna>=5"):
        study.ask((0, 1))
    assert study.trials() == {}


def test_less_may_be_better(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal", direction="minimize")
    work(study)
    assert study.best().value == study.optuna.best_value == min(trial.value for trial in study.optuna.trials)


def test_a_trial_without_numbers_fails(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")

    class Broken(FakeTrainer):
        def __call__(self, *given: Any) -> list[list[Curve]]:
            curves = super().__call__(*given)
            return [
                [Curve(curve.seed, (0,), (math.nan,)) for curve in own] if point["temperature"] == 0.2 else own
                for point, own in zip(self.batches[-1], curves, strict=True)
            ]

    work(study, Broken())
    states = study.table().set_index("temperature")["state"]
    assert set(states[0.2]) == {"fail"}
    assert set(states[0.1]) | set(states[0.4]) == {"complete"}
    assert work(study).batches == []
    assert "failed" in {text.get_text() for text in draw_heat_map(study).axes[0].texts}


def test_more_trials_later(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")
    assert study.set_trials(5) == 5
    assert [len(batch) for batch in work(study).batches] == [4, 1]
    assert study.set_trials(100) == 12
    assert sum(len(batch) for batch in work(study).batches) == 7
    other = study_in(tmp_path / "other", tmp_path / "other.journal", sampler="random")
    with pytest.raises(ValueError, match="trials must be an integer from 1"):
        other.set_trials(0)


# ---------------------------------------------------------------------- the same study, another study, no study


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
        ({"steps": 200}, "steps: 100 -> 200"),
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
        ({"objective": None}, "objective must be one of final, auc, best, last or last-K such as last-3, got None"),
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


def test_no_pruning(tmp_path: pathlib.Path) -> None:
    study = study_in(tmp_path, pruning=None)
    assert study_in(tmp_path, pruning="none").spec == study.spec == study_in(tmp_path, pruning=None).spec


def test_numpy_s_integers_are_stored_as_plain_ones(tmp_path: pathlib.Path) -> None:
    numbers = {"steps": 100, "seeds_per_trial": 2, "first_seed": 1, "sampler_seed": 3, "n_envs": 1, "eval_interval": 50}
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
        create_study("ReplayDQN", mbrl_envs.PanFlute(num_pipes=2), {"gamma": [0.5, 0.9]}, steps=10)


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


def test_what_is_said_of_a_trial(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")
    work(study)
    trial = study.trials()[0]
    assert trial.user_attrs == {"slot": 0, "scores": [curve_at(trial.params, seed).scores[-1] for seed in (0, 1)]}
    assert list(study.table().columns) == [
        *("slot", "number", "learning_rate", "temperature", "state", "value", "diverged", "seed_0", "seed_1")
    ]
