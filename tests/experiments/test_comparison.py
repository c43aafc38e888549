"""Comparisons, sweeps whose settings name their agents: what is trained, and whether the table says what was measured."""

from __future__ import annotations

import csv
import os
import pathlib
import shutil
import signal
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import scipy.stats
import yaml
from rich.console import Console

from mbrl_agents import SweepResult, grid, train_sweep
from mbrl_agents.experiments import plots, results
from mbrl_agents.experiments.command_compare import parse_entries
from mbrl_agents.experiments.sweeps.folder import open_or_create
from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.runs import scheduler, workers
from mbrl_agents.runs.run_folder import FINISHED, INTERRUPTED, RunFolder, Status, runs_below
from mbrl_agents.runs.training import train
from mbrl_envs import yardsticks
from tests.experiments.runs import FLUTE, TINY, contents, folder, stop_at

Settings = list[dict[str, Any]]
SIZES: dict[str, Any] = {"total_timesteps": 100, "eval_interval": 5, "eval_episodes": 4, "eval_steps": 20, "save_replay": False}
SMALL: Settings = [{"agent": "ReplayDQN"} | TINY["ReplayDQN"], {"label": "ppo", "agent": "PPO"} | TINY["PPO"]]


def compared(path: pathlib.Path | None, settings: Any = SMALL, seeds: Any = 2, **changes: Any) -> SweepResult:
    return train_sweep(None, FLUTE, settings, seeds, folder=path, n_jobs=1, **(SIZES | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    result = compared(tmp_path_factory.mktemp("compared") / "out")
    assert result.runs()["state"].eq(FINISHED).all()
    return result


def trained(path: pathlib.Path) -> dict[str, int]:
    """When each agent was written."""
    return {str(run.path): os.stat(run.agent_path).st_mtime_ns for run in runs_below(path)}


def test_the_folder(finished: SweepResult) -> None:
    path = finished.folder
    assert {str(run.path.relative_to(path)) for run in runs_below(path)} == {
        "ReplayDQN/seed-0",
        "ReplayDQN/seed-1",
        "ppo/seed-0",
        "ppo/seed-1",
    }
    assert [file.name for file in path.iterdir() if file.is_file()] == ["sweep.yaml"]
    assert (finished.labels, finished.agents) == (["ReplayDQN", "ppo"], ["ReplayDQN", "PPO"])
    assert (finished.columns, finished.hyperparameters) == (["label", "agent"], [])
    again = SweepResult.open(path)
    assert again.table().equals(finished.table())
    assert again.runs()[["setting", "seed", "label", "agent"]].to_numpy().tolist() == [
        [0, 0, "ReplayDQN", "ReplayDQN"],
        [0, 1, "ReplayDQN", "ReplayDQN"],
        [1, 0, "ppo", "PPO"],
        [1, 1, "ppo", "PPO"],
    ]
    assert [type(again.agent(run)).__name__ for run in range(4)] == ["ReplayDQN", "ReplayDQN", "PPO", "PPO"]
    assert repr(again) == "SweepResult(ReplayDQN, PPO in mbrl/PanFlute-v0, 4 runs)"
    assert again.best().hyperparameters in ({"label": "ppo", "agent": "PPO"}, {"label": "ReplayDQN", "agent": "ReplayDQN"})


def test_the_table_is_what_the_runs_have_measured(finished: SweepResult) -> None:
    """Everything anew from metrics.csv, with the csv module and closed forms."""
    low, high = yardsticks.uniform_score("mbrl/PanFlute-v0", steps=20), yardsticks.optimal_score("mbrl/PanFlute-v0", steps=20)
    for row in finished.summary().to_dict("records"):
        scores = []
        for seed in range(2):
            with (finished.folder / row["label"] / f"seed-{seed}" / "metrics.csv").open() as file:
                rows = [each for each in csv.DictReader(file) if each["metric"] == "score" and int(each["timestep"]) > 90]
            assert [int(each["timestep"]) for each in rows] == [95, 100]
            scores.append(np.mean([float(each["value"]) for each in rows]))
        half = scipy.stats.t.ppf(0.975, 1) * abs(scores[0] - scores[1]) / 2
        mean = np.mean(scores)
        expected = [2, mean, mean - half, mean + half, *((s - low) / (high - low) for s in (mean, mean - half, mean + half))]
        names = ["runs", "mean", "low", "high", "normalised", "normalised_low", "normalised_high"]
        np.testing.assert_allclose([row[name] for name in names], expected, rtol=1e-9, atol=1e-12)
        assert row["seconds"] > 0
    curves = finished.curves()
    assert list(curves.columns) == ["label", "seed", "timestep", "score", "normalised"]
    np.testing.assert_allclose(curves["normalised"], (curves["score"] - low) / (high - low), rtol=1e-9, atol=1e-12)
    assert len(curves) == 4 * 21


def test_the_table_for_people(finished: SweepResult) -> None:
    console = Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: SIM115
    finished.show(console)
    text = console.export_text()
    for part in ("mbrl/PanFlute-v0 after 100 steps", "ReplayDQN", "ppo", "best policy", "uniform policy", "95 % t interval"):
        assert part in text


def test_the_picture(finished: SweepResult, tmp_path: pathlib.Path) -> None:
    finished.plot(tmp_path / "curves.png")
    picture = matplotlib.image.imread(tmp_path / "curves.png")
    assert picture.shape[0] > 400
    assert picture.shape[1] > 800
    for colour in plots.COLOURS[:2]:  # a line for each agent
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        assert (np.abs(picture[:, :, :3] - rgb).max(axis=2) < 0.02).sum() > 100
    for suffix in ("pdf", "svg"):
        finished.plot(tmp_path / f"curves.{suffix}")
    assert sorted(contents(tmp_path)) == ["curves.pdf", "curves.png", "curves.svg"]
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf or \.svg"):
        finished.plot(tmp_path / "curves.jpg")
    with pytest.raises(ValueError, match="nothing to plot"):
        plots.plot_curves([], tmp_path / "none.png")
    with pytest.raises(ValueError, match="one or two numbers must have been swept"):
        finished.plot_hyperparameters(tmp_path / "none.png")


def test_the_same_again_trains_nothing_and_more_trains_the_rest(finished: SweepResult, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "out"
    shutil.copytree(finished.folder, path)
    before = trained(path)
    assert len(compared(path)) == 4
    assert trained(path) == before
    more = compared(path, SMALL[1:], 3)
    assert more.runs()[["label", "seed"]].to_numpy().tolist() == [["ppo", 0], ["ppo", 1], ["ppo", 2]]
    after = trained(path)
    assert {run: when for run, when in after.items() if run in before} == before
    other = compared(path, [{"agent": "PPO"} | TINY["PPO"]], [7])
    assert other.runs()["state"].tolist() == [FINISHED]
    # What is there is all that was ever trained; the seeds of an agent are its own.
    whole = SweepResult.open(path).runs()
    assert whole[["label", "seed"]].to_numpy().tolist() == [
        ["ReplayDQN", 0],
        ["ReplayDQN", 1],
        ["ppo", 0],
        ["ppo", 1],
        ["ppo", 2],
        ["PPO", 7],
    ]
    assert whole["setting"].tolist() == [0, 0, 1, 1, 1, 2]
    table = SweepResult.open(path).summary()
    assert table[["label", "runs"]].to_numpy().tolist() == [["ReplayDQN", 2], ["ppo", 3], ["PPO", 1]]


def test_another_configuration_is_refused_and_nothing_touched(finished: SweepResult) -> None:
    path = finished.folder
    before = contents(path)
    with pytest.raises(ValueError, match=r"holds another sweep \(total_timesteps: 100 -> 200\): .*--force"):
        compared(path, total_timesteps=200)
    other = [SMALL[1] | {"gamma": 0.5}]
    with pytest.raises(ValueError, match=r"holds another run \(gamma: 0.99 -> 0.5\): give the agent another label"):
        compared(path, other)
    with pytest.raises(ValueError, match=r"holds another run \(gamma: 0.99 -> 0.5\): give the agent another label"):
        compared(path, other, [7])  # with seeds that are not there yet
    with pytest.raises(TypeError, match="has no argument 'gama'"):
        compared(path, [{"label": "new", "agent": "PPO", "gama": 1}])
    with pytest.raises(ValueError, match=r"holds another sweep \("):
        train_sweep("ReplayDQN", FLUTE, TINY["ReplayDQN"], 2, folder=path, **SIZES)
    assert contents(path) == before


def test_a_comparison_of_an_earlier_version_is_gone_on_with(finished: SweepResult, tmp_path: pathlib.Path) -> None:
    """It said in compare.yaml what its runs have in common, under other names."""
    path = tmp_path / "out"
    shutil.copytree(finished.folder, path)
    new = yaml.safe_load((path / "sweep.yaml").read_text())
    old = {"format": "mbrl-compare-1", "environment": new["environment"], "num_envs": 1, "steps": 100}
    (path / "compare.yaml").write_text(yaml.safe_dump(old | {"evaluation": new["evaluation"]}))
    (path / "sweep.yaml").unlink()
    before = trained(path)
    assert SweepResult.open(path).table().equals(finished.table())
    assert len(compared(path)) == 4
    assert trained(path) == before
    assert yaml.safe_load((path / "sweep.yaml").read_text()) == new
    assert not (path / "compare.yaml").exists()


def test_an_interrupted_comparison_gives_the_same_results(finished: SweepResult, tmp_path: pathlib.Path) -> None:
    """Ours go on where they were; SB3's, whose files do not hold everything, begin anew. A failed run is tried again."""
    spec = specify(None, FLUTE, hyperparameters=SMALL, seeds=1, **SIZES)
    ours, ppo = open_or_create(tmp_path / "out", spec)
    assert not ppo.path.exists()  # its process makes it
    train(ours, stop_at(40))
    train(RunFolder.create(ppo.path, ppo.config), stop_at(40))
    reference = {run.path.parent.name: run.scores() for run in runs_below(finished.folder) if run.config.seed == 0}
    for begin in (lambda: None, lambda: ppo.write_status(Status("failed", error="bad luck"))):
        begin()
        result = compared(tmp_path / "out", seeds=1)
        assert result.runs()["state"].eq(FINISHED).all()
        for run in range(2):
            assert result.run_folder(run).scores().equals(reference[result.run_folder(run).path.parent.name])


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
    settings = [{"label": label, "agent": "ReplayDQN"} | TINY["ReplayDQN"] | more for label, more in kinds.items()]
    assert compared(tmp_path / "out", [*settings, SMALL[1]], 1).runs()["state"].eq(FINISHED).all()
    assert roads.driven == ["ours seed 0"]
    assert sorted(roads.worked) == ["hosted seed 0", "ppo seed 0", "rare seed 0"]


def test_a_run_is_the_one_that_is_trained_alone(finished: SweepResult, tmp_path: pathlib.Path) -> None:
    for run in runs_below(finished.folder):
        single = RunFolder.create(tmp_path / run.config.label / str(run.config.seed), run.config)
        train(single)
        assert single.scores().equals(run.scores())


def test_ctrl_c_among_the_programs_leaves_the_rest_for_later(
    finished: SweepResult, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.append_metrics

    def press(self: RunFolder, timestep: int, values: Any) -> None:
        real(self, timestep, values)
        if timestep == 50 and self.config.seed == 0 and self.config.label == "ReplayDQN":
            os.kill(os.getpid(), signal.SIGINT)

    roads = Roads(monkeypatch)
    monkeypatch.setattr(RunFolder, "append_metrics", press)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "out")
    monkeypatch.undo()
    assert roads.worked == []
    assert {run.status().state for run in runs_below(tmp_path / "out")} == {INTERRUPTED}
    again = compared(tmp_path / "out")
    assert again.table().equals(finished.table())


def test_ctrl_c_among_the_others_leaves_the_rest_for_later(
    finished: SweepResult, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.append_metrics

    def press(self: RunFolder, timestep: int, values: Any) -> None:
        real(self, timestep, values)
        if timestep == 50 and self.config.label == "ppo":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunFolder, "append_metrics", press)
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "out")
    monkeypatch.undo()
    states = {f"{run.config.label} {run.config.seed}": run.status().state for run in runs_below(tmp_path / "out")}
    assert states == {"ReplayDQN 0": FINISHED, "ReplayDQN 1": FINISHED, "ppo 0": INTERRUPTED}
    assert compared(tmp_path / "out").table().equals(finished.table())


def test_force_deletes_what_is_there(tmp_path: pathlib.Path) -> None:
    compared(tmp_path / "out", SMALL[1:], 1)
    before = contents(tmp_path)
    with pytest.raises(TypeError, match="has no argument 'gama'"):
        compared(tmp_path / "out", [SMALL[1] | {"gama": 1}], [5], total_timesteps=60, force=True)
    assert contents(tmp_path) == before
    other = compared(tmp_path / "out", SMALL[1:], [5], total_timesteps=60, force=True)
    assert other.runs()["seed"].tolist() == [5]
    assert [run.config.seed for run in runs_below(tmp_path / "out")] == [5]


def test_one_runs_failure_is_not_that_of_others(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = RunFolder.append_metrics

    def unlucky(self: RunFolder, timestep: int, values: Any) -> None:
        if timestep == 50 and self.config.label in ("ReplayDQN", "unlucky"):
            raise RuntimeError("bad luck")
        real(self, timestep, values)

    monkeypatch.setattr(RunFolder, "append_metrics", unlucky)
    settings = [*SMALL, {"label": "unlucky", "agent": "PPO"} | TINY["PPO"]]
    result = compared(tmp_path / "out", settings, 1, keep_going=True)
    assert result.runs()["state"].tolist() == ["failed", FINISHED, "failed"]
    assert "bad luck" in str(result.run_folder(0).status().error)
    with pytest.raises(RuntimeError, match="bad luck"):
        compared(tmp_path / "ours", SMALL, 1)
    with pytest.raises(RuntimeError, match="unlucky seed 0: RuntimeError: bad luck"):
        compared(tmp_path / "theirs", settings[1:], 1)
    monkeypatch.undo()
    assert compared(tmp_path / "out", settings, 1).runs()["state"].eq(FINISHED).all()  # tried again


def test_a_run_that_diverges_has_ended(tmp_path: pathlib.Path) -> None:
    """It is told apart, is not in the numbers, and is not trained again."""
    wild = {"label": "wild", "agent": "ReplayDQN"} | TINY["ReplayDQN"] | {"learning_rate": 1e30}
    result = compared(tmp_path / "out", [wild, SMALL[0]], 1)
    assert result.summary()[["label", "runs", "diverged"]].to_numpy().tolist() == [["wild", 0, 1], ["ReplayDQN", 1, 0]]
    before = trained(tmp_path / "out")
    compared(tmp_path / "out", [wild, SMALL[0]], 1)
    assert trained(tmp_path / "out") == before


def test_settings_in_columns() -> None:
    """All combinations of agents and a hyperparameter, which is a column of the tables then."""
    columns = grid(agent=["DQN", "ReplayDQN"], gamma=[0.5, 0.9])
    spec = specify(None, FLUTE, hyperparameters=columns | {"learning_rate": 1e-3}, seeds=[3], total_timesteps=100)
    assert [(config.label, config.agent, config.arguments) for config in spec.configs] == [
        (f"{agent}_gamma={gamma}", agent, {"learning_rate": 1e-3, "gamma": gamma})
        for agent in ("DQN", "ReplayDQN")
        for gamma in (0.5, 0.9)
    ]
    assert spec.settings[1] == {"label": "DQN_gamma=0.9", "agent": "DQN", "gamma": 0.9}
    labelled = {"agent": ["DQN", "DQN"], "label": ["a", "b"], "gamma": [0.5, 0.9]}
    assert [each.label for each in specify(None, FLUTE, hyperparameters=labelled, seeds=1, total_timesteps=100).configs] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (None, TypeError, "a list of settings that name agents, got None"),
        ([], TypeError, "a list of settings that name agents"),
        (["PPO"], TypeError, "a list of settings that name agents"),
        ({"gamma": [0.5, 0.9]}, ValueError, "each setting must name its agent, got {'gamma': 0.5}"),
        ([{"agent": "PPOO"}], ValueError, "there is no agent 'PPOO'"),
        ([{"agent": "PPO"}, {"agent": "ppo"}], ValueError, "PPO is there twice: give one of them another label"),
        *(
            ([{"agent": "PPO", "label": label}], ValueError, "a label must consist of")
            for label in ("a/b", "..", ".hidden", "a b", 3)
        ),
        ([{"agent": "PPO", "seed": 1}], ValueError, "'seed' cannot be set this way"),
        ([{"agent": "SAC"}], ValueError, "SAC cannot be trained here"),
        ({"agent": ["PPO", "DQN"], "gamma": [0.5]}, ValueError, "must be lists of one length"),
        # Told only when the memory is made.
        ([{"agent": "ReplayDQN", "buffer_size": 16, "n_steps": 40}], ValueError, "buffer_size must be at least"),
    ],
    ids=str,
)
def test_settings_that_are_refused(settings: Any, error: type[Exception], message: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(error, match=message):
        compared(tmp_path / "out", settings)
    assert list(tmp_path.iterdir()) == []


def test_what_a_setting_cannot_be_told_beside_an_agent_class() -> None:
    with pytest.raises(TypeError, match="hyperparameters must be a dictionary; without agent_class"):
        specify("ReplayDQN", FLUTE, hyperparameters=[{"gamma": 0.9}], seeds=1, total_timesteps=100)
    with pytest.raises(TypeError, match="ReplayDQN has no argument 'agent'"):
        specify("ReplayDQN", FLUTE, hyperparameters={"agent": ["PPO"]}, seeds=1, total_timesteps=100)
    with pytest.raises(ValueError, match="metrics needs agents whose training is a program"):
        compared(None, SMALL, metrics=lambda learner, state, env, key: {"a": 1.0})


def test_entries_from_the_command_line() -> None:
    given = {"gamma": 0.5, "fast.learning_rate": 1e-3, "replay-dqn.gamma": 0.7}
    assert parse_entries(["replay-dqn", "fast=dqn"], given) == [
        {"label": "ReplayDQN", "agent": "ReplayDQN", "gamma": 0.7},
        {"label": "fast", "agent": "DQN", "gamma": 0.5, "learning_rate": 1e-3},
    ]
    with pytest.raises(ValueError, match="there is no agent 'X' in this comparison; there are PPO"):
        parse_entries(["PPO"], {"X.gamma": 1})
    with pytest.raises(ValueError, match="there is no agent 'PPOO'"):
        parse_entries(["a=PPOO"], {})
    for name in ("agent", "PPO.label"):
        with pytest.raises(ValueError, match=f"--set {name}: no agent has an argument"):
            parse_entries(["PPO"], {name: "x"})


def test_runs_called_the_same_are_told_apart_by_what_differs(tmp_path: pathlib.Path) -> None:
    runs = [folder(tmp_path / str(i), "PPO", arguments={"gamma": gamma}, seed=i) for i, gamma in enumerate((0.99, 0.5, 0.99))]
    names = {name: [run.config.seed for run in several] for name, several in results.grouped(runs).items()}
    assert names == {"PPO": [0, 2], "PPO (gamma=0.5)": [1]}
