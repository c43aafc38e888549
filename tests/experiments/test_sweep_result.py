"""What a sweep says: tables, statistics, agents, pictures."""

from __future__ import annotations

import gc
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.figure import Figure
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents import ReplayDQN, SweepResult, grid
from mbrl_agents.experiments.sweeps import folder as folders
from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, INTERRUPTED, Status
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.yardsticks import optimal_score, uniform_score
from tests.experiments.sweep_runs import FLUTE, SMALL, alone, same_parameters, same_runs, sweep

GRID = (0, 40, 80, 90, 95, 100)  # the last tenth of 100 steps begins after 90


def made_up(
    path: pathlib.Path,
    hyperparameters: dict[str, Any],
    curves: Sequence[Sequence[float]],
    diverged: Sequence[int] = (),
    env: Any = FLUTE,
) -> SweepResult:
    """A sweep of which somebody says that it came out like this: a curve over ``GRID`` for each run."""
    num_settings = len(next(iter(hyperparameters.values())))
    num_seeds, odd = divmod(len(curves), num_settings)
    assert odd == 0
    given = SMALL | hyperparameters
    spec = specify("ReplayDQN", env, hyperparameters=given, seeds=num_seeds, total_timesteps=100, eval_interval=5)
    runs = folders.open_or_create(path / "sweep", spec)
    for i, (run, curve) in enumerate(zip(runs, curves, strict=True)):
        for timestep, value in zip(GRID, curve, strict=False):  # one that diverged may be short
            run.append_metrics(timestep, {"score": value, "train/loss": -2 * value} if timestep else {"score": value})
        if i in diverged:
            run.append_metrics(GRID[len(curve) - 1] + 1, {"diverged": 1.0})
        run.write_status(Status(DIVERGED if i in diverged else FINISHED, 100, 1.5))
    return SweepResult.open(path / "sweep")


def ending_in(*values: float) -> list[list[float]]:
    """Curves that begin at 0, come to 9 and end in the given values."""
    return [[0, 9, 5, 5, value - 1, value + 1] for value in values]


RATES = {"learning_rate": [1e-4, 1e-3]}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    """A real one: two settings of two numbers, with two seeds; one setting diverges."""
    path = tmp_path_factory.mktemp("small") / "sweep"
    return sweep({"learning_rate": [1e-3, 1e30], "target_update_interval": [50, 100]}, [3, 8], folder=path, execution="loop")


# ---------------------------------------------------------------------- figures


def test_figures_without_a_file(small: SweepResult, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a notebook shows them; with a file they are returned, too."""
    monkeypatch.chdir(tmp_path)
    for draw in (small.plot, small.plot_hyperparameters):
        figure = draw()
        assert isinstance(figure, Figure)
        assert figure.axes[0].lines or figure.axes[0].images or figure.axes[0].containers
        assert list(tmp_path.iterdir()) == []
        assert isinstance(draw("a.png"), Figure)
        (tmp_path / "a.png").unlink()


# ---------------------------------------------------------------------- tables


def test_the_table(small: SweepResult) -> None:
    table = small.table()
    columns = ["run", "seed", "learning_rate", "target_update_interval", "timestep", "metric", "value"]
    assert table.columns.tolist() == columns
    numbers = {"run": "i", "seed": "i", "learning_rate": "f", "target_update_interval": "i", "timestep": "i", "value": "f"}
    assert {name: table[name].dtype.kind for name in numbers} == numbers
    assert pd.api.types.is_string_dtype(table["metric"])
    swept = table.drop_duplicates("run")[columns[:4]].to_numpy().tolist()
    assert swept == [[0, 3, 1e-3, 50], [1, 8, 1e-3, 50], [2, 3, 1e30, 100], [3, 8, 1e30, 100]]
    scores = table[(table["metric"] == "score") & (table["run"] == 1)]
    assert scores["timestep"].tolist() == [0, 100, 200, 300, 400]
    assert not table.duplicated(["run", "timestep", "metric"]).any()


def test_runs_that_diverge_say_so_and_stop(small: SweepResult) -> None:
    runs = small.runs()
    columns = ["run", "setting", "seed", "learning_rate", "target_update_interval", "state", "timesteps", "seconds"]
    assert runs.columns.tolist() == columns
    assert runs["state"].tolist() == [FINISHED, FINISHED, DIVERGED, DIVERGED]
    assert runs["timesteps"].tolist() == [400, 400, 200, 200]
    assert runs["setting"].tolist() == [0, 0, 1, 1]
    assert (runs["seconds"] > 0).all()
    said = small.table().query("metric == 'diverged'")
    assert said[["run", "timestep", "value"]].to_numpy().tolist() == [[2, 200, 1], [3, 200, 1]]
    # What was measured before that is still there, and nothing after.
    assert small.table().query("run == 2")["timestep"].unique().tolist() == [0, 100, 200]
    assert "not finite" not in str(small._folders[0].status().error)
    assert "no longer finite at timestep 200" in str(small._folders[2].status().error)
    assert repr(small) == "SweepResult(ReplayDQN in mbrl/PanFlute-v0, 4 runs, 2 diverged)"
    assert len(small) == 4


def test_files(small: SweepResult, tmp_path: pathlib.Path) -> None:
    small.to_csv(tmp_path / "table.csv")
    again = pd.read_csv(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(again, small.table(), rtol=1e-14)  # pandas need not read the last digit
    small.to_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), small.table(), check_exact=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table.csv", "table.parquet"]


@pytest.mark.parametrize(
    "swept",
    [
        {"learning_rate": [1e-3, LinearSchedule(1e-3, 0, 1)]},
        {"max_grad_norm": [None, 0.5]},
        {"policy_kwargs": [{"net_arch": [8]}, {"net_arch": [8, 8], "activation_fn": "relu"}]},
        {"train_freq": [1, (2, "step")]},
        {"exploration": ["softmax", "epsilon_greedy"], "double_q": [True, False]},
    ],
    ids=lambda swept: "-".join(swept),
)
def test_whatever_is_swept_can_be_written(swept: dict[str, Any], tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, swept, ending_in(1, 2))
    result.to_csv(tmp_path / "table.csv")
    result.to_parquet(tmp_path / "table.parquet")
    for again in (pd.read_csv(tmp_path / "table.csv"), pd.read_parquet(tmp_path / "table.parquet")):
        assert again.columns.tolist() == result.table().columns.tolist()
        assert again["value"].tolist() == result.table()["value"].tolist()
        for name in swept:  # told apart, and told
            assert again.groupby("run")[name].first().astype(str).nunique() == 2 or name == "max_grad_norm"
    assert result.summary()["mean"].tolist() == [1, 2]
    assert result.best().runs == [1]
    result.plot(tmp_path / "curves.png")


# ---------------------------------------------------------------------- statistics


def test_objectives(tmp_path: pathlib.Path) -> None:
    curves = [[0, 9, 5, 7, 1, 3], [0, 1, 2, 3, 4, 5], [6, 6], [0, 0, 0, 0, 0, 0]]
    result = made_up(tmp_path, RATES, curves, diverged=[2])
    nan = float("nan")
    expected = {"final": [2, 4.5, nan, 0], "mean": [25 / 6, 2.5, nan, 0], "max": [9, 5, nan, 0], "last-1": [3, 5, nan, 0]}
    for objective, values in expected.items():
        series = result.values(objective)
        assert (series.name, series.index.name, series.dtype) == (objective, "run", float)
        np.testing.assert_allclose(series, values, err_msg=objective)
    assert result.values().equals(result.values("final"))
    np.testing.assert_allclose(result.values("last-1", "train/loss"), [-6, -10, nan, 0])
    with pytest.raises(
        ValueError, match="objective must be one of final, mean, max, min, auc, or last-K such as last-1, got 'median'"
    ):
        result.values("median")
    with pytest.raises(ValueError, match="metric must be one of 'diverged', 'score', 'train/loss'; got 'loss'"):
        result.values("final", "loss")


def test_the_summary_in_numbers(tmp_path: pathlib.Path) -> None:
    values = [1.0, 2.0, 6.0, 4.0, 4.0, 8.0]
    table = made_up(tmp_path, RATES, ending_in(*values)).summary()
    names = ["setting", "learning_rate", "runs", "diverged", "mean", "low", "high", "std", "iqm", "iqm_low", "iqm_high"]
    ends = ("", "_low", "_high")
    assert table.columns.tolist() == [*names, *(f"normalised{end}" for end in ends), "seconds"]
    # Made-up runs of PanFlute with five pipes, where a score is a reward per step.
    low, high = uniform_score("mbrl/PanFlute-v0", steps=100), optimal_score("mbrl/PanFlute-v0", steps=100)
    for end, name in zip(ends, ("mean", "low", "high"), strict=True):
        np.testing.assert_allclose(table[f"normalised{end}"], (table[name] - low) / (high - low))
    assert table["seconds"].tolist() == [1.5, 1.5]
    assert table[names[:4]].to_numpy().tolist() == [[0, 1e-4, 3, 0], [1, 1e-3, 3, 0]]
    # Student's t of two degrees of freedom: 4.302653.
    np.testing.assert_allclose(table["mean"], [3, 16 / 3])
    spread = np.sqrt([(4 + 1 + 9) / 2, (16 / 9 + 16 / 9 + 64 / 9) / 2])
    np.testing.assert_allclose(table["std"], spread)
    np.testing.assert_allclose(table["high"] - table["mean"], 4.302653 * spread / np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(table["mean"] - table["low"], table["high"] - table["mean"])
    assert table[["iqm", "iqm_low", "iqm_high"]].isna().all(axis=None)  # of three runs, it is no better than the mean


def test_the_summary_leaves_out_what_diverged(tmp_path: pathlib.Path) -> None:
    rates = {"learning_rate": [1e-4, 1e-3, 1e-2]}
    table = made_up(tmp_path, rates, ending_in(1, 2, 3, 7, 99, 7, 99, 99, 99), diverged=[4, 6, 7, 8]).summary()
    assert table["runs"].tolist() == [3, 2, 0]
    assert table["diverged"].tolist() == [0, 1, 3]
    np.testing.assert_array_equal(table["mean"], [2, 7, np.nan])
    np.testing.assert_array_equal(table["std"], [1, 0, np.nan])


def middle_half(*samples: np.ndarray, axis: int = -1) -> Any:
    """Mean of the middle half of all samples together."""
    together = np.sort(np.concatenate(samples, axis=axis), axis=axis)
    cut = together.shape[-1] // 4
    return together[..., cut : together.shape[-1] - cut].mean(axis=-1)


def bootstrap(*samples: np.ndarray) -> list[float]:
    generator = np.random.default_rng(0)
    options: dict[str, Any] = {"n_resamples": 2000, "method": "percentile", "vectorized": True, "random_state": generator}
    return [float(end) for end in scipy.stats.bootstrap(samples, middle_half, **options).confidence_interval]


def test_interquartile_means(tmp_path: pathlib.Path) -> None:
    values = np.random.default_rng(3).normal(size=(2, 8)) * [[1], [4]] + [[0], [10]]
    result = made_up(tmp_path, RATES, ending_in(*values.ravel()))
    table = result.summary()
    for setting, row in table.iterrows():
        own = values[int(setting)]  # type: ignore[call-overload]
        assert row["iqm"] == pytest.approx(np.sort(own)[2:6].mean())
        assert row[["iqm_low", "iqm_high"]].tolist() == pytest.approx(bootstrap(own))
    mean, low, high = result.interquartile_mean()
    assert mean == pytest.approx(np.sort(values.ravel())[4:12].mean())
    assert [low, high] == pytest.approx(bootstrap(*values))
    assert low < mean < high


def test_interquartile_means_of_few_runs(tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, RATES, ending_in(1, 2, 3, 4, 5, 6), diverged=[0, 1])
    mean, low, high = result.interquartile_mean()
    assert mean == pytest.approx(4.5)  # of 3, 4, 5, 6 the middle half
    assert np.isnan([low, high]).all()  # a setting has one run


# ---------------------------------------------------------------------- the best


def test_the_best_setting(tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, grid(learning_rate=[1e-4, 1e-3], gamma=[0.9, 0.8]), ending_in(1, 3, 5, 6, 2, 8, -1, 0))
    best = result.best()
    assert best.hyperparameters == {"learning_rate": 1e-4, "gamma": 0.8}
    assert (best.value, best.runs, best.diverged) == (5.5, [2, 3], 0)
    half = 12.7062 * np.sqrt(0.5) / np.sqrt(2)
    assert [best.low, best.high] == pytest.approx([5.5 - half, 5.5 + half], rel=1e-5)
    assert result.best(direction="minimize").hyperparameters == {"learning_rate": 1e-3, "gamma": 0.8}
    assert result.best(direction="minimize").value == -0.5
    assert result.best("last-1", "train/loss").runs == [6, 7]  # twice the negative of the score
    assert result.best("last-1", "train/loss", "minimize").value == -13
    with pytest.raises(ValueError, match="direction must be one of 'maximize', 'minimize'; got 'best'"):
        result.best(direction="best")


def test_the_best_setting_is_one_that_holds(tmp_path: pathlib.Path) -> None:
    """However well a setting's other runs have done: if one of them diverged, it comes after those that hold."""
    rates = {"learning_rate": [1e-4, 1e-3, 1e-2]}
    result = made_up(tmp_path / "a", rates, ending_in(1, 2, 50, 60, 99, 99), diverged=[2, 4, 5])
    assert result.best().runs == [0, 1]
    assert result.best(direction="minimize").runs == [0, 1]
    result = made_up(tmp_path / "b", rates, ending_in(1, 2, 50, 60, 99, 99), diverged=[0, 3, 4, 5])
    assert (result.best().runs, result.best().value, result.best().diverged) == ([2, 3], 50, 1)
    assert np.isnan(result.best().low)
    result = made_up(tmp_path / "c", RATES, ending_in(1, 2), diverged=[0, 1])
    with pytest.raises(ValueError, match="no best setting: every run has diverged"):
        result.best()


def test_a_sweep_over_seeds_alone(tmp_path: pathlib.Path) -> None:
    result = sweep(seeds=[5, 2], folder=tmp_path / "sweep", execution="loop")
    assert result.hyperparameters == []
    assert result.table().columns.tolist() == ["run", "seed", "timestep", "metric", "value"]
    assert result.best().hyperparameters == {}
    assert result.best().value == pytest.approx(result.values().mean())
    assert result.runs()["seed"].tolist() == [5, 2]


# ---------------------------------------------------------------------- agents


def test_an_agent_is_ready_for_use(small: SweepResult, tmp_path: pathlib.Path) -> None:
    agent = small.agent(1)
    assert (agent.seed, agent.arguments["learning_rate"], agent.arguments["target_update_interval"]) == (8, 1e-3, 50)
    env = gymnasium.make(FLUTE)
    observation, _ = env.reset(seed=0)
    action, _ = agent.predict(observation, deterministic=True)
    assert env.action_space.contains(int(action))
    agent.save(tmp_path / "agent")
    again = ReplayDQN.load(tmp_path / "agent")
    same_parameters(agent, again)
    observations = np.random.default_rng(0).random((50, 15)) < 0.5
    actions, theirs = (each.predict(observations, deterministic=True)[0] for each in (agent, again))
    np.testing.assert_array_equal(actions, theirs)
    assert len(set(actions)) > 1
    # Also one that has diverged can be looked at.
    assert small.agent(2).num_timesteps == 200


def test_an_agent_learns_on_as_if_it_had_never_stopped(small: SweepResult) -> None:
    """Nothing follows a schedule here, so that it makes no difference that the run was to end after 400 steps."""
    agent = small.agent(0).learn(250, reset_num_timesteps=False)
    whole = alone({"target_update_interval": 50}, 3, 650)
    same_runs(agent, whole)


def test_without_its_memory_an_agent_begins_to_remember_anew() -> None:
    result = sweep(seeds=1, save_replay=False, execution="loop")
    agent = result.agent(0)
    assert agent.memory.size() == 0
    agent.learn(150, reset_num_timesteps=False)
    assert agent.memory.size() == 150
    assert np.isfinite(agent.get_parameters()["policy"]["Dense_0/kernel"]).all()


@pytest.mark.parametrize(("run", "error"), [(4, ValueError), (-1, ValueError), (True, TypeError), (1.0, TypeError)])
def test_runs_that_do_not_exist(run: Any, error: type[Exception], small: SweepResult) -> None:
    with pytest.raises(error, match="run must be an integer from 0 to 3"):
        small.agent(run)
    with pytest.raises(error, match="run must be an integer from 0 to 3"):
        small.setting(run)


# ---------------------------------------------------------------------- folders


def test_a_sweep_can_be_opened(small: SweepResult) -> None:
    again = SweepResult.open(str(small.folder))
    assert again.table().equals(small.table())
    assert again.runs().equals(small.runs())
    assert again.hyperparameters == ["learning_rate", "target_update_interval"]
    same_runs(again.agent(1), small.agent(1))


def test_a_sweep_of_an_earlier_version_can_be_opened(small: SweepResult, tmp_path: pathlib.Path) -> None:
    """It called sizes otherwise."""
    shutil.copytree(small.folder, tmp_path / "old")
    for file in (tmp_path / "old").rglob("*.yaml"):
        text = file.read_text()
        assert "\nn_envs: " in text
        assert "\ntotal_timesteps: " in text
        file.write_text(text.replace("\nn_envs: ", "\nnum_envs: ").replace("\ntotal_timesteps: ", "\nsteps: "))
    old = SweepResult.open(tmp_path / "old")
    assert old.table().equals(small.table())
    same_runs(old.agent(1), small.agent(1))


def test_what_is_no_sweep_cannot_be_opened(small: SweepResult, tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a sweep's folder: it has no sweep\.yaml"):
        SweepResult.open(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"run-0000 is not a sweep's folder"):
        SweepResult.open(small.folder / "run-0000")
    for text in ("format: mbrl-run-1", "[1, 2", "", "- 1"):
        (tmp_path / "sweep.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"sweep\.yaml (does not describe a sweep|cannot be read)"):
            SweepResult.open(tmp_path)


def test_a_sweep_that_is_not_finished_has_the_curves_that_it_has(tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, RATES, ending_in(1, 2))
    result._folders[1].drop_after(40)
    result._folders[1].write_status(Status(INTERRUPTED, 40))
    again = SweepResult.open(result.folder)
    np.testing.assert_array_equal(again.values(), [1, np.nan])
    np.testing.assert_array_equal(again.values("last-1"), [2, 9])
    assert again.best().runs == [0]
    with pytest.raises(ValueError, match="run 1 has not come to its end: it is interrupted"):
        again.agent(1)


def test_dynamics_without_an_id_are_not_read_back_but_what_was_measured_is(tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, RATES, ending_in(1, 2), env=PanFlute(num_pipes=3))
    assert result.first.config.environment.given is None
    assert result.summary()["mean"].tolist() == [1, 2]
    result.plot_hyperparameters(tmp_path / "rates.png")


def test_a_temporary_folder_lives_as_long_as_the_result() -> None:
    result = sweep(seeds=1, total_timesteps=1, execution="loop")
    folder = result.folder
    assert (folder / "agent.zip").exists() or (folder / "run-0000" / "agent.zip").is_file()
    del result
    gc.collect()
    assert not folder.exists()


# ---------------------------------------------------------------------- pictures


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """All figures that are written."""
    found: list[Figure] = []
    real = Figure.savefig

    def savefig(self: Figure, *args: Any, **kwargs: Any) -> None:
        found.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


def test_curves_of_the_best_settings(tmp_path: pathlib.Path, figures: list[Figure]) -> None:
    result = made_up(tmp_path, {"learning_rate": [1e-4, 1e-3, 1e-2]}, ending_in(1, 3, 7, 9, 4, 5))
    result.plot(tmp_path / "all.png")
    result.plot(tmp_path / "two.svg", max_settings=2)
    assert (tmp_path / "all.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "two.svg").read_bytes()
    shown = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in figures]
    order = [f"learning_rate={rate} (2 seeds)" for rate in ("0.001", "0.01", "0.0001")]
    assert shown == [order, order[:2]]
    line = next(line for line in figures[0].axes[0].lines if len(line.get_xdata()) == len(GRID))
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [0, 9, 5, 5, 7, 9])
    with pytest.raises(ValueError, match="max_settings must be an integer from 1"):
        result.plot(tmp_path / "none.png", max_settings=0)


def test_a_line_over_one_number(tmp_path: pathlib.Path, figures: list[Figure]) -> None:
    result = made_up(tmp_path, {"learning_rate": [1e-2, 1e-4, 1e-3]}, ending_in(1, 3, 7, 9, 4, 4), diverged=[4, 5])
    result.plot_hyperparameters(tmp_path / "rates.png")
    axis = figures[0].axes[0]
    assert (axis.get_xlabel(), axis.get_xscale()) == ("learning_rate", "log")
    np.testing.assert_allclose(np.asarray(axis.lines[0].get_xdata(), float), [1e-4, 1e-3, 1e-2])
    np.testing.assert_array_equal(np.asarray(axis.lines[0].get_ydata(), float), [8, np.nan, 2])
    result.plot_hyperparameters(tmp_path / "rates.pdf", objective="max", metric="train/loss")
    assert "train/loss (max)" in figures[1].axes[0].get_ylabel()
    assert (tmp_path / "rates.pdf").read_bytes().startswith(b"%PDF")


def test_a_map_over_two_numbers(tmp_path: pathlib.Path, figures: list[Figure]) -> None:
    values = grid(learning_rate=[1e-3, 1e-4], gamma=[0.8, 0.9, 0.99])
    result = made_up(tmp_path, values, ending_in(1, 2, 3, 4, 5, 6), diverged=[5])
    result.plot_hyperparameters(tmp_path / "map.png")
    axis = figures[0].axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("learning_rate", "gamma")
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0.0001", "0.001"]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["0.8", "0.9", "0.99"]
    cells = np.asarray(axis.images[0].get_array().filled(np.nan))  # type: ignore[union-attr]
    np.testing.assert_array_equal(cells, [[4, 1], [5, 2], [np.nan, 3]])
    assert {text.get_text() for text in axis.texts} == {"1", "2", "3", "4", "5", "–"}
    frame = axis.patches[0]
    assert (frame.get_x(), frame.get_y()) == (-0.5, 0.5)  # type: ignore[attr-defined]  # around the 5


@pytest.mark.parametrize(
    "swept",
    [
        {"learning_rate": [1e-4, 1e-3], "gamma": [0.8, 0.9], "tau": [0.5, 1.0]},
        {"exploration": ["softmax", "epsilon_greedy"]},
        {"learning_rate": [1e-4, LinearSchedule(1e-3, 0, 1)]},
    ],
    ids=lambda swept: "-".join(swept),
)
def test_what_cannot_be_drawn(swept: dict[str, Any], tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, swept, ending_in(1, 2))
    with pytest.raises(ValueError, match=r"one or two numbers must have been swept to be drawn, got \['"):
        result.plot_hyperparameters(tmp_path / "picture.png")
    with pytest.raises(ValueError, match=r"must end in \.png, \.pdf or \.svg"):
        result.plot_hyperparameters(tmp_path / "picture.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]


@pytest.mark.filterwarnings("error")
def test_pictures_of_nothing_but_divergence(tmp_path: pathlib.Path) -> None:
    result = made_up(tmp_path, grid(learning_rate=[1e-3, 1e-4], gamma=[0.8, 0.9]), [[1, 2]] * 4, diverged=[0, 1, 2, 3])
    result.plot(tmp_path / "curves.png")
    result.plot_hyperparameters(tmp_path / "map.png")
    assert result.summary()["runs"].tolist() == [0, 0, 0, 0]
