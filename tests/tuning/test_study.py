"""Studies that are really trained; what is told, kept, confirmed, drawn."""

from __future__ import annotations

import itertools
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

from mbrl_agents import grid, train_sweep
from mbrl_agents.runs import checkpoints
from tests.tuning.fakes import FLUTE, FakeTrainer, curve_at, study_in, work
from tests.tuning.tiny_study import ARGUMENTS, SIZES, SPACE, tiny_study, train
from tuning import Study, create_study, open_study
from tuning.confirm import confirm, read_confirmation
from tuning.objectives import Curve
from tuning.plots import draw_curves, draw_heat_map, draw_slices
from tuning.report import write_report
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
    expected = result.values("final").to_numpy().reshape(-1, 2)
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
        assert trial.state == (TrialState.PRUNED if trial.user_attrs.get("diverged") else TrialState.COMPLETE)
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
                assert (portions[0].folder / "run-0000" / "config.yaml").is_file()
            asked.append(sum(len(portion.chosen) for portion in portions))
            return super().__call__(spec, portions, seeds, until)

    work(study, Spy(), batch_size=4)  # type: ignore[arg-type]
    assert sum(asked) == 6 - begun
    assert not left.exists()
    pd.testing.assert_frame_equal(study.table(), trained.table(), check_exact=True)
    pd.testing.assert_frame_equal(study.curves.read_all(), trained.curves.read_all(), check_exact=True)


def test_killed_with_another_agent(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """One whose memory is used up between updates, killed as its agents are saved for the third time."""

    class Killed(BaseException):
        """As SIGKILL: nobody tidies up."""

    def linear(folder: pathlib.Path) -> Study:
        given: dict[str, Any] = SIZES | {"arguments": {"episode_steps": 15}}
        study = create_study("LinearTD", FLUTE, {"learning_rate": [1e-3, 1e-2], "gamma": [0.5, 0.9]}, folder=folder, **given)
        study.set_trials(None)
        return study

    whole, study = train(linear(tmp_path / "whole")), linear(tmp_path / "killed")
    save, saved = checkpoints.save_unfinished, itertools.count()

    def killed(*given: Any) -> None:
        if next(saved) >= 2:
            raise Killed
        save(*given)

    monkeypatch.setattr(checkpoints, "save_unfinished", killed)
    with pytest.raises(Killed):
        train(study, checkpoint_seconds=0.0)
    monkeypatch.setattr(checkpoints, "save_unfinished", save)
    assert list(study.folder.glob("batches/*/run-*/agent.zip"))
    train(open_study(tmp_path / "killed" / "study.db"))
    pd.testing.assert_frame_equal(study.table(), whole.table(), check_exact=True)
    pd.testing.assert_frame_equal(study.curves.read_all(), whole.curves.read_all(), check_exact=True)


def test_confirmed_on_fresh_seeds(trained: Study) -> None:
    assert read_confirmation(trained) is None
    found = confirm(trained, 3)
    assert read_confirmation(trained) == found
    assert found.setting == trained.best().setting
    assert found.searched.scores == trained.best().scores
    sizes = {name: value for name, value in SIZES.items() if name.startswith("eval_")}
    alone = train_sweep("ReplayDQN", FLUTE, ARGUMENTS | found.setting, [2, 3, 4], 300, **sizes)
    assert list(found.fresh.scores) == alone.values("final").tolist()
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
    whole.set_trials(20)  # Optuna's TPE draws its first ten at random
    work(whole)
    parts = study_in(tmp_path / "b", tmp_path / "b.journal", sampler=sampler, space=space)

    def press() -> None:
        raise KeyboardInterrupt

    for number in (4, 12, 16, 20):
        parts.set_trials(number)
        with pytest.raises(KeyboardInterrupt):
            work(parts, FakeTrainer(before=press))
        work(open_study(tmp_path / "b.journal", folder=tmp_path / "b"))
    pd.testing.assert_frame_equal(whole.table(), parts.table(), check_exact=True)
    assert len(whole.table()["learning_rate"].unique()) == 20
    if sampler == "tpe":
        drawn = study_in(tmp_path / "c", tmp_path / "c.journal", sampler="random", space=space)
        drawn.set_trials(20)
        work(drawn)
        differ = whole.table()["learning_rate"] != drawn.table()["learning_rate"]
        assert differ.tolist() == [False] * 12 + [True] * 8  # batches of 4, of which the fourth is asked when 12 are told


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


def test_what_is_said_of_a_trial(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, tmp_path / "study.journal")
    work(study)
    trial = study.trials()[0]
    assert trial.user_attrs == {"slot": 0, "scores": [curve_at(trial.params, seed).scores[-1] for seed in (0, 1)]}
    assert list(study.table().columns) == [
        *("slot", "number", "learning_rate", "temperature", "state", "value", "diverged", "seed_0", "seed_1")
    ]
