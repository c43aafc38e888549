"""What a sweep has brought."""

from __future__ import annotations

import functools
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments import results, statistics
from mbrl_agents.experiments.plots import plot_curves
from mbrl_agents.experiments.sweeps import folder as folders
from mbrl_agents.experiments.sweeps import plots
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.metrics import SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, RunFolder
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs.checks import integer_in, one_of

OBJECTIVES = ("final", "mean", "max", "last")
MODES = ("max", "min")


class BestSetting(NamedTuple):
    """The best setting of a sweep.

    Attributes:
        hyperparameters: The swept hyperparameters.
        value: Mean of the objective over its runs.
        low: Lower end of the 95 % interval of that mean; NaN with one run.
        high: Upper end.
        runs: The numbers of its runs.
        diverged: How many of them diverged, and are not in the mean.
    """

    hyperparameters: dict[str, Any]
    value: float
    low: float
    high: float
    runs: list[int]
    diverged: int


class SweepResult:
    """The runs of a sweep: their curves, what they say together, and any of them as an agent.

    Args:
        runs: The runs' folders.
        description: What ``sweep.yaml`` says.
        keep: Held as long as this object lives (a temporary folder).
    """

    def __init__(self, runs: Sequence[RunFolder], description: dict[str, Any], keep: Any = None) -> None:
        self._folders, self._description, self._keep = list(runs), description, keep

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SweepResult:
        """Reads a sweep's folder; runs that have not come to their end have the curves that they have.

        Raises:
            FileNotFoundError: There is no sweep.
            ValueError: A file is damaged.
        """
        return cls(*folders.read(path))

    def __len__(self) -> int:
        """Number of runs."""
        return len(self._folders)

    def __repr__(self) -> str:
        diverged = int(self.runs()["state"].eq(DIVERGED).sum())
        return (
            f"SweepResult({self._description['agent']} in {self._description['environment']['id']}, {len(self)} runs"
            f"{f', {diverged} diverged' if diverged else ''})"
        )

    @property
    def hyperparameters(self) -> list[str]:
        """Names of the swept hyperparameters."""
        return list(self._description["hyperparameters"])

    @property
    def folder(self) -> pathlib.Path:
        """Where the runs are."""
        return self.first.path.parent

    @property
    def first(self) -> RunFolder:
        """Run 0; environment, steps and evaluation are the same for all."""
        return self._folders[0]

    # ------------------------------------------------------------------ tables

    def runs(self) -> pd.DataFrame:
        """A row for each run: ``run, setting, seed``, the swept hyperparameters, ``state, timesteps, seconds``."""
        rows = []
        for i, each in enumerate(self._folders):
            status = each.status()
            numbers = {"run": i, "setting": i // self._num_seeds, "seed": each.config.seed}
            rows.append(
                numbers | self.setting(i) | {"state": status.state, "timesteps": status.timesteps, "seconds": status.seconds}
            )
        return pd.DataFrame(rows)

    def setting(self, run: int) -> dict[str, Any]:
        """The swept hyperparameters of a run."""
        arguments = self.run_folder(run).config.arguments
        return {name: arguments[name] for name in self.hyperparameters}

    def table(self) -> pd.DataFrame:
        """All that was measured, a row each: ``run, seed``, the swept hyperparameters, ``timestep, metric, value``.

        The metric ``score`` is the mean of an evaluation's episodes (see :mod:`mbrl_agents.core.evaluation`);
        ``rollout/…`` and ``train/…`` are means over all that has happened since the evaluation before, but for what is counted
        or follows a schedule (``train/n_updates``, ``train/learning_rate``, …); ``diverged`` (1) says that a run's loss was no
        longer finite.
        """
        parts = []
        for i, each in enumerate(self._folders):
            part = each.metrics()
            part.insert(0, "run", i)
            for column, (name, value) in enumerate(self.setting(i).items()):
                part.insert(2 + column, name, [value] * len(part))
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Writes :meth:`table` to a CSV file, whole or not at all."""
        results.write_csv(self.table(), path)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Writes :meth:`table` to a Parquet file, whole or not at all; numbers beside schedules, say, are written as text.

        Raises:
            ImportError: ``pyarrow`` is not installed (``pip install "mbrl-lab[tuning]"``).
        """
        table = self.table()
        for name in self.hyperparameters:
            kinds = {type(self.setting(run)[name]) for run in range(0, len(self), self._num_seeds)}
            if len(kinds) > 1 and kinds & {dict, list}:  # a column has one type there
                table[name] = table[name].map(json.dumps)
        write_atomically(path, table.to_parquet(index=False))

    # ------------------------------------------------------------------ statistics

    def objective(self, by: str = "final", metric: str = SCORE) -> pd.Series:
        """One number for each run; NaN for runs that diverged or have none.

        Args:
            by: ``"final"``: mean of the evaluations in the last tenth of the steps. ``"mean"``: of all evaluations (the area
                under the curve). ``"max"``: the largest. ``"last"``: the last.
            metric: What is measured.

        Raises:
            ValueError: ``by`` or ``metric`` is unknown.
        """
        one_of("by", by, OBJECTIVES)
        known = sorted(set(self._metrics["metric"]))
        one_of("metric", metric, known)
        table = self._metrics[self._metrics["metric"] == metric]
        curves = {run: part.set_index("timestep")["value"] for run, part in table.groupby("run")}
        values = [self._summary_of(curves.get(run), each, by) for run, each in enumerate(self._folders)]
        return pd.Series(values, name=by, dtype=float).rename_axis("run")

    def summary(self, by: str = "final", metric: str = SCORE) -> pd.DataFrame:
        """A row for each setting, in the order given: what its runs (over seeds) say together.

        Columns: ``setting``, the swept hyperparameters, ``runs`` (that are in the numbers), ``diverged``, ``mean`` with its
        95 % t interval ``low, high``, ``std``, and the interquartile mean ``iqm`` with its bootstrap interval ``iqm_low,
        iqm_high`` (from five runs on). Arguments as for :meth:`objective`.
        """
        values = self.objective(by, metric).to_numpy()
        diverged = self.runs()["state"].eq(DIVERGED).to_numpy()
        rows = []
        for setting in range(len(self) // self._num_seeds):
            own = slice(setting * self._num_seeds, (setting + 1) * self._num_seeds)
            good = values[own][~np.isnan(values[own])]
            row = {"setting": setting, **self.setting(own.start), "runs": len(good), "diverged": int(diverged[own].sum())}
            rows.append(row | statistics.describe(good))
        return pd.DataFrame(rows)

    def interquartile_mean(self, by: str = "final", metric: str = SCORE) -> tuple[float, float, float]:
        """Interquartile mean over all runs with its 95 % interval, the bootstrap stratified by setting (arXiv 2108.13264).

        Runs that diverged are left out. Arguments as for :meth:`objective`.

        Returns:
            The mean, and the interval's lower and upper end (NaN where a setting has fewer than two runs).
        """
        values = self.objective(by, metric).to_numpy().reshape(-1, self._num_seeds)
        strata = [row[~np.isnan(row)] for row in values]
        interval = statistics.stratified_bootstrap([stratum.tolist() for stratum in strata])
        low, high = interval or (float("nan"), float("nan"))
        return float(statistics.interquartile_mean(np.concatenate(strata))), low, high

    def best(self, by: str = "final", metric: str = SCORE, mode: str = "max") -> BestSetting:
        """The setting whose runs are best on average. Settings of which a run diverged come last.

        Args:
            by: As for :meth:`objective`.
            metric: As for :meth:`objective`.
            mode: ``"max"`` or ``"min"``.

        Raises:
            ValueError: An argument is unknown, or no run has come to anything.
        """
        sign = {"max": 1.0, "min": -1.0}[one_of("mode", mode, MODES)]
        table = self.summary(by, metric)
        good = table[table["runs"] > 0]
        if good.empty:
            raise ValueError("there is no best setting: every run has diverged")
        good = good[good["diverged"] == good["diverged"].min()]
        row = good.loc[(sign * good["mean"]).idxmax()]
        first = int(row["setting"]) * self._num_seeds
        runs = list(range(first, first + self._num_seeds))
        mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
        return BestSetting(self.setting(first), mean, low, high, runs, int(row["diverged"]))

    # ------------------------------------------------------------------ agents and pictures

    def agent(self, run: int) -> JaxAgent:
        """A run's agent with its environment: it can predict, learn on (with its replay memory, if kept) and be saved.

        Raises:
            TypeError, ValueError: There is no such run, or it has not come to its end.
        """
        folder = self.run_folder(run)
        status = folder.status()
        if status.state not in (FINISHED, DIVERGED):
            raise ValueError(f"run {run} has not come to its end: it is {status.state}")
        config = folder.config
        agent, _ = checkpoints.restore(folder, config.environment.training_env(config.num_envs))
        assert isinstance(agent, JaxAgent)
        return agent

    def plot(self, path: str | os.PathLike[str] | None = None, max_settings: int = 8) -> Any:
        """Draws learning curves: mean over seeds with 95 % bootstrap bands, for the best settings.

        Args:
            path: File to write (PNG, PDF or SVG); None for none.
            max_settings: How many settings to draw.

        Returns:
            The figure, of Matplotlib; a notebook shows it.
        """
        integer_in("max_settings", max_settings, 1, 1000)
        table = self.summary().sort_values("mean", ascending=False, kind="stable")
        runs, chosen = self.runs(), set(table["setting"][:max_settings])
        return plot_curves([self.run_folder(int(run)) for run in runs["run"][runs["setting"].isin(chosen)]], path)

    def plot_hyperparameters(self, path: str | os.PathLike[str] | None = None, by: str = "final", metric: str = SCORE) -> Any:
        """Draws the objective against one or two swept numbers: a line with intervals, or a heat map.

        Args:
            path: File to write (PNG, PDF or SVG); None for none.
            by: The objective.
            metric: What it is of.

        Returns:
            The figure, of Matplotlib; a notebook shows it.

        Raises:
            ValueError: Not one or two hyperparameters were swept.
        """
        table, title = self.summary(by, metric), self.first.config.environment.title
        return plots.plot_hyperparameters(table, self.hyperparameters, f"{metric} ({by}), mean over seeds", title, path)

    # ------------------------------------------------------------------

    @property
    def _num_seeds(self) -> int:
        return len(self._description["seeds"])

    @functools.cached_property
    def _metrics(self) -> pd.DataFrame:
        return self.table()

    def run_folder(self, run: int) -> RunFolder:
        """A run's folder."""
        return self._folders[integer_in("run", run, 0, len(self) - 1)]

    @staticmethod
    def _summary_of(curve: pd.Series | None, folder: RunFolder, by: str) -> float | None:
        if curve is None or folder.status().state == DIVERGED:
            return None
        return statistics.worth(curve, by, folder.config.steps)
