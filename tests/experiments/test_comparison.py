"""Comparisons: what is trained, what is not trained again, and whether the table says what the runs have measured."""

from __future__ import annotations

import csv
import os
import pathlib
import signal
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from rich.console import Console

from mbrl_agents.experiments import plots, results
from mbrl_agents.experiments.comparison import Comparison, Contestant, parse_contestants
from mbrl_agents.runs import scheduler, workers
from mbrl_agents.runs.run_folder import FINISHED, INTERRUPTED, RunFolder, Status, runs_below
from mbrl_agents.runs.training import train
from mbrl_envs import yardsticks
from tests.experiments.runs import FLUTE, TINY, contents, folder, stop_at

SIZES: dict[str, Any] = {"steps": 100, "eval_interval": 5, "eval_episodes": 4, "eval_steps": 20}
SMALL = [Contestant("ReplayDQN", "ReplayDQN", TINY["ReplayDQN"]), Contestant("ppo", "PPO", TINY["PPO"])]


def compared(path: pathlib.Path, contestants: list[Contestant] = SMALL, seeds: Any = range(2), **changes: Any) -> Comparison:
    return Comparison(path, contestants, FLUTE, seeds, **(SIZES | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    comparison = compared(tmp_path_factory.mktemp("compared") / "out")
    outcome = comparison.train(num_workers=1)
    assert outcome.finished
    assert not outcome.stopped
    assert outcome.failed == {}
    return comparison


def trained(comparison: Comparison) -> dict[str, int]:
    """When each agent was written."""
    return {str(run.path): os.stat(run.agent_path).st_mtime_ns for run in comparison.runs()}


def test_the_folder(finished: Comparison) -> None:
    runs = {str(run.path.relative_to(finished.path)) for run in finished.runs()}
    assert runs == {"ReplayDQN/seed-0", "ReplayDQN/seed-1", "ppo/seed-0", "ppo/seed-1"}


def test_the_table_is_what_the_runs_have_measured(finished: Comparison) -> None:
    """Everything anew from metrics.csv, with the csv module and closed forms."""
    table = results.write_results(finished.runs(), finished.path)
    assert sorted(table["agent"]) == ["ReplayDQN", "ppo"]
    assert table["score"].is_monotonic_decreasing
    low, high = yardsticks.uniform_score("mbrl/PanFlute-v0", steps=20), yardsticks.optimal_score("mbrl/PanFlute-v0", steps=20)
    for row in pd.read_csv(finished.path / "results.csv").to_dict("records"):
        scores = []
        for seed in range(2):
            with (finished.path / row["agent"] / f"seed-{seed}" / "metrics.csv").open() as file:
                rows = [each for each in csv.DictReader(file) if each["metric"] == "score" and int(each["timestep"]) > 90]
            assert [int(each["timestep"]) for each in rows] == [95, 100]
            scores.append(np.mean([float(each["value"]) for each in rows]))
        half = scipy.stats.t.ppf(0.975, 1) * abs(scores[0] - scores[1]) / 2
        mean = np.mean(scores)
        expected = [2, mean, mean - half, mean + half, *((s - low) / (high - low) for s in (mean, mean - half, mean + half))]
        names = ["runs", "score", "score_low", "score_high", "normalised", "normalised_low", "normalised_high"]
        np.testing.assert_allclose([row[name] for name in names], expected, rtol=1e-9, atol=1e-12)
        assert row["seconds"] > 0
    curves = pd.read_csv(finished.path / "curves.csv")
    assert list(curves.columns) == ["agent", "seed", "timestep", "score", "normalised"]
    np.testing.assert_allclose(curves["normalised"], (curves["score"] - low) / (high - low), rtol=1e-9, atol=1e-12)
    assert len(curves) == 4 * 21


def test_the_table_for_people(finished: Comparison) -> None:
    console = Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: SIM115
    results.show(results.summarise(finished.runs()), finished.runs(), console)
    text = console.export_text()
    for part in ("mbrl/PanFlute-v0 after 100 steps", "ReplayDQN", "ppo", "best policy", "uniform policy", "95 % t interval"):
        assert part in text


def test_the_picture(finished: Comparison, tmp_path: pathlib.Path) -> None:
    plots.plot_curves(finished.runs(), tmp_path / "curves.png")
    picture = matplotlib.image.imread(tmp_path / "curves.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    for colour in plots.COLOURS[:2]:  # a line for each agent
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(picture[:, :, :3] - rgb).max(axis=2) < 0.02).sum() > 100
    for suffix in ("pdf", "svg"):
        plots.plot_curves(finished.runs(), tmp_path / f"curves.{suffix}")
    assert sorted(contents(tmp_path)) == ["curves.pdf", "curves.png", "curves.svg"]
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf or \.svg"):
        plots.plot_curves(finished.runs(), tmp_path / "curves.jpg")
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.plot_curves([], tmp_path / "none.png")


def test_the_same_again_trains_nothing_and_more_trains_the_rest(finished: Comparison) -> None:
    before = trained(finished)
    again = compared(finished.path)
    assert len(again.done) == 4
    assert again.train(num_workers=1).finished
    assert trained(again) == before
    more = compared(finished.path, SMALL[1:], range(3))
    assert len(more.done) == 2
    assert more.train(num_workers=1).finished
    after = trained(more)
    assert {path: when for path, when in after.items() if path in before} == before
    assert len(after) == 5


def test_another_configuration_is_refused_and_nothing_touched(finished: Comparison) -> None:
    before = contents(finished.path)
    with pytest.raises(ValueError, match=r"steps was 100, now it is 200\. Choose another --out, or --force"):
        compared(finished.path, steps=200)
    other = [Contestant("ppo", "PPO", TINY["PPO"] | {"gamma": 0.5})]
    with pytest.raises(ValueError, match=r"another configuration \(gamma: 0.99 -> 0.5\)\. Give the agent another label"):
        compared(finished.path, other)
    with pytest.raises(TypeError, match="has no argument 'gama'"):
        compared(finished.path, [Contestant("new", "PPO", {"gama": 1})])
    assert contents(finished.path) == before


def test_a_folder_left_behind_by_a_kill_while_it_was_begun_is_free(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".compare.yaml.abc.part").write_text("format: mb")
    assert len(compared(tmp_path).configs) == 4


def test_other_folders_are_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    for force in (False, True):
        with pytest.raises(FileExistsError, match="exists and holds no comparison: choose another --out"):
            compared(tmp_path, force=force)
    with pytest.raises(FileExistsError, match="is a file"):
        compared(tmp_path / "thesis.txt")
    (tmp_path / "empty").mkdir()
    assert compared(tmp_path / "empty").done == []
    assert contents(tmp_path) == {"thesis.txt": b"dear"}


def test_an_interrupted_comparison_gives_the_same_results(finished: Comparison, tmp_path: pathlib.Path) -> None:
    """Ours go on where they were; SB3's, whose files do not hold everything, begin anew. A failed run is tried again."""
    part = compared(tmp_path / "out", seeds=range(1))
    part._prepare()
    for config in part.configs:
        train(RunFolder.create(part.folder(config), config), stop_at(40))
    again = compared(tmp_path / "out", seeds=range(1))
    assert again.done == []
    assert [again._starts_anew(config) for config in again.configs] == [False, True]
    assert again.train(num_workers=1).finished
    reference = {run.path.parent.name: run.scores() for run in finished.runs() if run.config.seed == 0}
    for run in again.runs():
        assert run.scores().equals(reference[run.path.parent.name])
    run = again.runs()[0]
    run.write_status(Status("failed", error="bad luck"))
    assert compared(tmp_path / "out", seeds=range(1))._starts_anew(run.config)


class Roads:
    """Notes which runs go which way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.driven: list[str] = []
        self.worked: list[str] = []
        drive, work = scheduler.Scheduler.__init__, workers.run_jobs

        def init(self_: Any, folders: Any, *args: Any, **kwargs: Any) -> None:
            self.driven += [run.config.title for run in folders]
            drive(self_, folders, *args, **kwargs)

        def run_jobs(jobs: Any, *args: Any) -> bool:
            self.worked += [job.config.title for job in jobs]
            return work(jobs, *args)

        monkeypatch.setattr(scheduler.Scheduler, "__init__", init)
        monkeypatch.setattr(workers, "run_jobs", run_jobs)


def test_programs_are_trained_together_and_others_in_workers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roads = Roads(monkeypatch)
    kinds = {"ours": {}, "hosted": {"device_loop": False}, "rare": {"train_freq": (1, "episode"), "learning_starts": 400}}
    contestants = [Contestant(label, "ReplayDQN", TINY["ReplayDQN"] | more) for label, more in kinds.items()]
    comparison = compared(tmp_path / "out", [*contestants, SMALL[1]], range(1))
    assert comparison.train(num_workers=1).finished
    assert roads.driven == ["ours seed 0"]
    assert sorted(roads.worked) == ["hosted seed 0", "ppo seed 0", "rare seed 0"]


def test_a_run_is_the_one_that_is_trained_alone(finished: Comparison, tmp_path: pathlib.Path) -> None:
    for run in finished.runs():
        single = RunFolder.create(tmp_path / run.config.label / str(run.config.seed), run.config)
        train(single)
        assert single.scores().equals(run.scores())


def test_ctrl_c_among_the_programs_leaves_the_rest_for_later(
    finished: Comparison, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.append_metrics

    def press(self: RunFolder, timestep: int, values: Any) -> None:
        real(self, timestep, values)
        if timestep == 50 and self.config.seed == 0 and self.config.label == "ReplayDQN":
            os.kill(os.getpid(), signal.SIGINT)

    roads = Roads(monkeypatch)
    monkeypatch.setattr(RunFolder, "append_metrics", press)
    outcome = compared(tmp_path / "out").train(num_workers=1)
    monkeypatch.undo()
    assert (outcome.finished, outcome.stopped, outcome.failed) == (False, True, {})
    assert roads.worked == []
    assert {run.status().state for run in runs_below(tmp_path / "out")} == {INTERRUPTED}
    again = compared(tmp_path / "out")
    assert again.train(num_workers=1).finished
    reference = {run.config.title: run.scores() for run in finished.runs()}
    assert len(again.runs()) == 4
    for run in again.runs():
        assert run.scores().equals(reference[run.config.title])


def test_force_deletes_what_is_there(tmp_path: pathlib.Path) -> None:
    one = compared(tmp_path / "out", SMALL[1:], range(1))
    one.train(num_workers=1)
    other = compared(tmp_path / "out", SMALL[1:], [5], steps=60, force=True)
    assert one.runs()[0].status().state == FINISHED  # not before it begins
    assert other.train(num_workers=1).finished
    assert [run.config.seed for run in other.runs()] == [5]


def test_one_runs_failure_is_not_that_of_others(tmp_path: pathlib.Path) -> None:
    # Too small a memory for the environments side by side: told only when the memory is made.
    broken = Contestant("broken", "ReplayDQN", TINY["ReplayDQN"] | {"buffer_size": 16, "n_steps": 40})
    comparison = compared(tmp_path / "out", [broken, SMALL[1]], range(1))
    outcome = comparison.train(num_workers=1)
    assert not outcome.finished
    assert not outcome.stopped
    assert list(outcome.failed) == ["broken seed 0"]
    assert "buffer_size must be at least" in outcome.failed["broken seed 0"]
    assert [run.config.label for run in comparison.runs()] == ["ppo"]


def test_a_run_that_diverges_has_ended(tmp_path: pathlib.Path) -> None:
    """It is told apart, is not in the results, and is not trained again."""
    wild = Contestant("wild", "ReplayDQN", TINY["ReplayDQN"] | {"learning_rate": 1e30})
    comparison = compared(tmp_path / "out", [wild, SMALL[0]], range(1))
    assert comparison.train(num_workers=1).finished
    assert [run.config.label for run in comparison.diverged()] == ["wild"]
    assert [run.config.label for run in comparison.runs()] == ["ReplayDQN"]
    assert len(compared(tmp_path / "out", [wild, SMALL[0]], range(1)).done) == 2


def test_contestants_from_the_command_line() -> None:
    settings = {"gamma": 0.5, "fast.learning_rate": 1e-3, "replay-dqn.gamma": 0.7}
    assert parse_contestants(["replay-dqn", "fast=dqn"], settings) == [
        Contestant("ReplayDQN", "ReplayDQN", {"gamma": 0.7}),
        Contestant("fast", "DQN", {"gamma": 0.5, "learning_rate": 1e-3}),
    ]
    with pytest.raises(ValueError, match="PPO is there twice: give one of them another label, as in other=PPO"):
        parse_contestants(["PPO", "ppo"], {})
    with pytest.raises(ValueError, match="there is no agent 'X' in this comparison; there are PPO"):
        parse_contestants(["PPO"], {"X.gamma": 1})
    with pytest.raises(ValueError, match="there is no agent 'PPOO'"):
        parse_contestants(["a=PPOO"], {})
    for label in ("a/b", "..", ".hidden", "a b"):
        with pytest.raises(ValueError, match="a label must consist of"):
            parse_contestants([f"{label}=PPO"], {})


def test_runs_called_the_same_are_told_apart_by_what_differs(tmp_path: pathlib.Path) -> None:
    runs = [folder(tmp_path / str(i), "PPO", arguments={"gamma": gamma}, seed=i) for i, gamma in enumerate((0.99, 0.5, 0.99))]
    names = {name: [run.config.seed for run in several] for name, several in results.grouped(runs).items()}
    assert names == {"PPO": [0, 2], "PPO (gamma=0.5)": [1]}
