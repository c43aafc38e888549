"""Pruning: when trials are judged, who goes on, and that emptied lanes are filled again."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from mbrl_agents import train_sweep
from mbrl_envs import cli
from tests.tuning.fakes import FLUTE, SPACE, FakeTrainer, study_in, work
from tests.tuning.tiny_study import ARGUMENTS, SIZES, tiny_study
from tuning import open_study
from tuning.objectives import Curve
from tuning.pruning import Ladder
from tuning.report import write_report
from tuning.training import SweepTrainer

ROOT = pathlib.Path(__file__).parents[2]

# ---------------------------------------------------------------------- rungs


@pytest.mark.parametrize(
    ("pruning", "steps", "interval", "rungs"),
    [
        ("none", 1000, 10, (1000,)),
        ("halving", 1600, 10, (100, 200, 400, 800, 1600)),
        ("halving-4", 1600, 10, (100, 400, 1600)),
        ("halving-3", 1000, 10, (120, 340, 1000)),  # upwards, to the next evaluation
        ("halving", 1000, 100, (200, 300, 500, 1000)),
        ("halving", 1000, 500, (500, 1000)),
        ("halving-16", 1000, 10, (70, 1000)),
    ],
)
def test_rungs(pruning: str, steps: int, interval: int, rungs: tuple[int, ...]) -> None:
    ladder = Ladder.of(pruning, steps, interval, 1.0)
    assert ladder.rungs == rungs
    assert [ladder.after(timestep) for timestep in (0, *rungs[:-1])] == list(rungs)
    assert [ladder.is_end(rung) for rung in rungs] == [False] * (len(rungs) - 1) + [True]
    assert Ladder.from_dict(ladder.to_dict()) == ladder


@pytest.mark.parametrize("pruning", ["median", "", "none-2", "halving-", "halving-1", "halving-17", "halving-x", "halving-2.5"])
def test_unknown(pruning: str) -> None:
    with pytest.raises(ValueError, match="pruning must be none, halving or halving-N with N from 2 to 16, got"):
        Ladder.of(pruning, 1000, 10, 1.0)


def test_too_few_evaluations() -> None:
    with pytest.raises(ValueError, match=r"pruning='halving-4' needs .* give an eval_interval of at most 250, not 300"):
        Ladder.of("halving-4", 1000, 300, 1.0)


def test_who_goes_on() -> None:
    def going_on(sign: float, reduction: int, *values: float | None) -> list[float | None]:
        ladder = Ladder((1, 2), reduction, sign)
        return [value for value in values if ladder.goes_on(value, values)]

    assert going_on(1.0, 2, 1.0, 2.0, 3.0, 4.0) == [3.0, 4.0]
    assert going_on(-1.0, 2, 1.0, 2.0, 3.0, 4.0) == [1.0, 2.0]
    assert going_on(1.0, 4, 1.0, 2.0, 3.0, 4.0, 5.0) == [5.0]
    assert going_on(1.0, 4, 1.0, 2.0) == [2.0]
    assert going_on(1.0, 2, 0.0, 0.0, 0.0, 0.0) == [0.0] * 4  # nothing tells them apart
    assert going_on(1.0, 2, None, None) == []
    assert going_on(1.0, 2, None, None, None, 1.0) == [1.0]


# ---------------------------------------------------------------------- lanes


def trials_by_state(study: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for _, trial in sorted(study.trials().items()):
        found.setdefault(trial.state.name, []).append(trial)
    return found


def test_emptied_lanes_are_filled_again(tmp_path: pathlib.Path, no_pictures: None) -> None:
    """Twelve points, four lanes, one rung half-way; two of each four go on, and four that wait fill the lanes."""
    study = study_in(tmp_path, pruning="halving")
    assert study.spec.ladder.rungs == (50, 100)
    trainer = work(study, batch_size=4)
    sizes = list(zip(trainer.ends, map(len, trainer.batches), strict=True))
    assert sum(size for end, size in sizes if end == 50) == 12
    assert all(size == 4 for _, size in sizes[:-1])
    trained = [str(point) for end, points in zip(trainer.ends, trainer.batches, strict=True) for point in points if end == 50]
    assert len(set(trained)) == 12
    states = trials_by_state(study)
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert len(states["COMPLETE"]) == sum(size for end, size in sizes if end == 100)
    for trial in states["PRUNED"]:
        assert list(trial.intermediate_values) == [50]
        assert trial.value == trial.intermediate_values[50]
    for trial in states["COMPLETE"]:
        assert list(trial.intermediate_values) == [50, 100]
    assert study.best().setting == {"learning_rate": 4e-4, "temperature": 0.2}
    assert study.progress() == (12, 12)
    table = study.table()
    assert table["state"].value_counts().to_dict() == {
        "complete": len(states["COMPLETE"]),
        "pruned": len(states["PRUNED"]),
    }
    assert len(study.curves.read_all()) == 2 * (3 * len(states["COMPLETE"]) + 2 * len(states["PRUNED"]))
    assert not list((study.folder / "batches").iterdir())
    assert work(study).batches == []


def test_stopped_in_between(tmp_path: pathlib.Path, no_pictures: None) -> None:
    """Whenever it is stopped, it goes on with what it would have done."""
    undisturbed = study_in(tmp_path / "undisturbed", pruning="halving", name="a")
    plan = work(undisturbed, batch_size=4)
    for stopped in range(len(plan.batches)):
        study = study_in(tmp_path / str(stopped), pruning="halving", name="a")

        class Stopping(FakeTrainer):
            def __call__(self, *given: Any) -> list[list[Curve]]:
                if len(self.batches) == stopped:  # noqa: B023
                    raise KeyboardInterrupt
                return super().__call__(*given)

        first = Stopping()
        with pytest.raises(KeyboardInterrupt):
            work(study, first, batch_size=4)
        second = work(study, batch_size=4)
        assert first.batches + second.batches == plan.batches
        assert first.ends + second.ends == plan.ends
        assert trials_by_state(study).keys() == trials_by_state(undisturbed).keys()
        pd.testing.assert_frame_equal(study.table(), undisturbed.table())


def test_a_sampler_learns_of_pruned_trials(tmp_path: pathlib.Path, no_pictures: None) -> None:
    study = study_in(tmp_path, pruning="halving", sampler="tpe", space={"learning_rate": "log:1e-5:1e-2"})
    study.set_trials(40)
    work(study, batch_size=4)
    states = trials_by_state(study)
    assert len(states["PRUNED"]) > 10
    assert len(states["PRUNED"]) + len(states["COMPLETE"]) == 40
    late = [trial.params["learning_rate"] for slot, trial in study.trials().items() if slot >= 20]
    distance = np.abs(np.log2(np.array(late) / 4e-4))
    assert np.median(distance) < 1.5  # of about 5 in both directions
    assert study.optuna.best_trial.state == TrialState.COMPLETE


@pytest.mark.parametrize("sampler", ["grid", "tpe", "cmaes"])
def test_a_diverged_trial_is_never_the_best(
    sampler: str, tmp_path: pathlib.Path, no_pictures: None, capsys: pytest.CaptureFixture
) -> None:
    """Seeds that became NaN after scoring well: not for Optuna (so not in its dashboard), not for the command."""

    class Treacherous(FakeTrainer):
        def __call__(self, *given: Any) -> list[list[Curve]]:
            curves, points = super().__call__(*given), self.batches[-1]
            return [
                [Curve(run.seed, (0, 50, 100), (99.0, 99.0, math.nan)) for run in own] if point["temperature"] > 0.3 else own
                for point, own in zip(points, curves, strict=True)
            ]

    space = SPACE if sampler == "grid" else {"learning_rate": "log:1e-5:1e-2", "temperature": "uniform:0.1:0.4"}
    study = study_in(tmp_path, tmp_path / "study.journal", sampler=sampler, space=space)
    work(study, Treacherous(), batch_size=4)
    table = study.table()
    bad = table[table["temperature"] > 0.3]
    assert len(bad) > 0
    assert set(bad["state"]) == {"diverged"}
    assert set(bad["value"]) == {99.0}
    assert study.optuna.best_trial.number == study.best().number
    assert study.best().setting["temperature"] <= 0.3
    assert f"12 of 12 trials finished ({len(bad)} diverged)" in study.state()
    assert cli.main(["tune", "best", str(tmp_path)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if "complete" in line or "diverged" in line]
    assert ["complete" in row for row in rows] == [state == "complete" for state in study.ranking()["state"][:10]]
    assert "complete" in rows[0]


def test_where_all_diverged_none_is_the_best(tmp_path: pathlib.Path, no_pictures: None) -> None:
    class Hopeless(FakeTrainer):
        def __call__(self, *given: Any) -> list[list[Curve]]:
            return [[run._replace(diverged=True) for run in own] for own in super().__call__(*given)]

    study = study_in(tmp_path, tmp_path / "study.journal")
    work(study, Hopeless(), batch_size=12)
    with pytest.raises(ValueError, match="has no complete trial yet: 12 of its trials diverged, which are never the best"):
        study.best()
    with pytest.raises(ValueError, match="No trials are completed yet"):
        _ = study.optuna.best_trial


def test_a_trial_without_numbers_fails(tmp_path: pathlib.Path, no_pictures: None) -> None:
    class Hopeless(FakeTrainer):
        def __call__(self, *given: Any) -> list[list[Curve]]:
            curves, points = super().__call__(*given), self.batches[-1]
            nothing = [Curve(seed, (0,), (math.nan,), True) for seed in (0, 1)]
            return [nothing if point["temperature"] == 0.1 else each for point, each in zip(points, curves, strict=True)]

    study = study_in(tmp_path, pruning="halving")
    work(study, Hopeless(), batch_size=4)
    failed = trials_by_state(study)["FAIL"]
    assert [trial.params["temperature"] for trial in failed] == [0.1] * 4
    assert study.progress() == (12, 12)


def test_the_best_come_first(tmp_path: pathlib.Path, no_pictures: None, capsys: pytest.CaptureFixture) -> None:
    """Not those that looked better when they were stopped, nor those in which runs diverged."""

    class Falling(FakeTrainer):
        def __call__(self, spec: Any, portions: Any, seeds: Any, until: int) -> list[list[Curve]]:
            curves, points = super().__call__(spec, portions, seeds, until), self.batches[-1]
            early = [
                [Curve(run.seed, run.timesteps, tuple(score + 90 for score in run.scores)) for run in own] for own in curves
            ]
            broken = [Curve(seed, (0, 50), (99.0, 99.0), True) for seed in seeds]
            found = early if until == 50 else curves
            return [broken if point["temperature"] == 0.4 else own for point, own in zip(points, found, strict=True)]

    study = study_in(tmp_path, pruning="halving")
    work(study, Falling(), batch_size=12)
    ranking = study.ranking()
    kinds = [(row["state"], row["diverged"]) for row in ranking.to_dict("records")]
    assert kinds == sorted(kinds)
    assert set(kinds) == {("complete", 0), ("diverged", 2), ("pruned", 0)}
    assert study.optuna.best_trial.number == study.best().number
    assert {trial.state for trial in study.trials().values() if trial.user_attrs.get("diverged")} == {TrialState.PRUNED}
    values = ranking["value"].tolist()
    assert values[0] == study.best().value == 0.005
    assert values[0] < values[-1] < values[kinds.index(("diverged", 2))]
    assert cli.main(["tune", "best", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if any(state in line for state, _ in kinds)]
    assert ["complete" in line for line in lines] == [state == "complete" for state, _ in kinds[:10]]
    write_report(study, tmp_path)
    rows = (tmp_path / "study.html").read_text().split("<tr")
    assert f"<td>{study.best().number}</td>" in rows[2]
    assert "pruned" in rows[-1]


# ---------------------------------------------------------------------- really trained

HALVING: dict[str, Any] = {"pruning": "halving", "eval_interval": 75}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    study = tiny_study(tmp_path_factory.mktemp("pruned"), **HALVING)
    work(study, SweepTrainer(), batch_size=2)  # type: ignore[arg-type]
    return study


def test_what_goes_on_is_what_would_have_been(pruned: Any) -> None:
    """To stop at a rung and go on changes nothing; and the rungs' numbers are those of the curves so far."""
    assert pruned.spec.ladder.rungs == (75, 150, 300)
    states = trials_by_state(pruned)
    assert states["COMPLETE"]
    assert states["PRUNED"]
    curves = pruned.curves.read_all()
    sizes = {name: value for name, value in SIZES.items() if name.startswith("eval_")} | {"eval_interval": 75}
    for slot, trial in pruned.trials().items():
        alone = train_sweep("ReplayDQN", FLUTE, ARGUMENTS | trial.params, [0, 1], 300, **sizes)
        table = alone.table()
        own = curves[curves["slot"] == slot]
        for seed in (0, 1):
            run = table[(table["metric"] == "score") & (table["seed"] == seed)]
            score = own[own["seed"] == seed]["score"].tolist()
            assert score == run["value"].tolist()[: len(score)]
        end = max(trial.intermediate_values)
        assert own["timestep"].max() == end or trial.user_attrs.get("diverged")
        assert end in ((300,) if trial.state == TrialState.COMPLETE else (75, 150, 300))
        assert end < 300 or trial.state == TrialState.COMPLETE or trial.user_attrs.get("diverged")


def test_mapped(pruned: Any, tmp_path: pathlib.Path) -> None:
    """As one program over the runs: the same decisions, as the scores are rounded in the same way here."""
    study = tiny_study(tmp_path, **HALVING)
    work(study, SweepTrainer(execution="vmap"), batch_size=2)  # type: ignore[arg-type]
    columns = ["slot", "learning_rate", "temperature", "state"]
    pd.testing.assert_frame_equal(study.table()[columns], pruned.table()[columns])
    np.testing.assert_allclose(study.table()["value"], pruned.table()["value"], atol=1e-4)


def written_since(folder: pathlib.Path, moment: float) -> bool:
    """Whether a run has been begun or saved; batches that are over disappear meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        return any(file.stat().st_mtime > moment for file in folder.glob("batches/*/run-*/status.json"))
    return False


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed(kills: int, pruned: Any, tmp_path: pathlib.Path) -> None:
    """Killed at random moments: the same trials are pruned, with the same numbers."""
    study = tiny_study(tmp_path, **HALVING)
    chance, hits = np.random.default_rng(kills), 0
    for _ in range(kills):
        began = time.time()
        process = subprocess.Popen([sys.executable, "-m", "tests.tuning.tiny_study", str(tmp_path), "2"], cwd=ROOT)
        while process.poll() is None and not written_since(tmp_path, began):
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 6.0 / kills))  # so that something is left to kill until the last
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
    assert hits >= kills / 2  # the others came too late
    work(open_study(tmp_path / "study.db"), SweepTrainer(), batch_size=2)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(study.table(), pruned.table(), check_exact=True)
    pd.testing.assert_frame_equal(study.curves.read_all(), pruned.curves.read_all(), check_exact=True)
    assert not os.listdir(tmp_path / "batches")


def test_optuna_sees_the_study(pruned: Any) -> None:
    study = optuna.load_study(study_name=pruned.name, storage=pruned.storage)
    assert {trial.state for trial in study.get_trials()} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.best_value == pruned.best().value
