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
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments import results, statistics
from mbrl_agents.experiments.objectives import DIRECTIONS, checked_objective, objective_value
from mbrl_agents.experiments.plots import plot_curves
from mbrl_agents.experiments.sweeps import folder as folders
from mbrl_agents.experiments.sweeps import plots
from mbrl_agents.experiments.sweeps.specification import AGENT, LABEL
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.metrics import SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, RunFolder
from mbrl_envs.checks import integer_in, one_of


class BestSetting(NamedTuple):
    """The best setting of a sweep.

    Attributes:
        hyperparameters: The swept hyperparameters; its label and agent, if settings name their agents.
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
        columns, num_seeds = description["hyperparameters"], len(description["seeds"])
        labels = columns.get(LABEL)
        self._settings = [
            i // num_seeds if labels is None else labels.index(run.config.label) for i, run in enumerate(self._folders)
        ]

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
            f"SweepResult({', '.join(self.agents)} in {self._description['environment']['id']}, {len(self)} runs"
            f"{f', {diverged} diverged' if diverged else ''})"
        )

    @property
    def columns(self) -> list[str]:
        """What tells settings apart, in tables: ``label`` and ``agent`` if settings name their agents; hyperparameters."""
        return list(self._description["hyperparameters"])

    @property
    def hyperparameters(self) -> list[str]:
        """Names of the swept hyperparameters."""
        return [name for name in self.columns if name not in (AGENT, LABEL)]

    @property
    def agents(self) -> list[str]:
        """Names of the agents' classes."""
        return list(dict.fromkeys(run.config.agent for run in self._folders))

    @property
    def labels(self) -> list[str]:
        """What pictures call the settings."""
        return list(dict.fromkeys(run.config.label for run in self._folders))

    @property
    def folder(self) -> pathlib.Path:
        """Where the runs are."""
        path = self.first.path.parent
        return path.parent if LABEL in self.columns else path

    @property
    def first(self) -> RunFolder:
        """Run 0; environment, steps and evaluation are the same for all."""
        return self._folders[0]

    # ------------------------------------------------------------------ tables

    def runs(self) -> pd.DataFrame:
        """A row for each run: ``run, setting, seed``, the :attr:`columns`, ``state, timesteps, seconds``."""
        rows = []
        for i, each in enumerate(self._folders):
            status = each.status()
            numbers = {"run": i, "setting": self._settings[i], "seed": each.config.seed}
            rows.append(
                numbers | self.setting(i) | {"state": status.state, "timesteps": status.timesteps, "seconds": status.seconds}
            )
        return pd.DataFrame(rows)

    def setting(self, run: int) -> dict[str, Any]:
        """What tells a run's setting from the others: its values of :attr:`columns`."""
        config = self.run_folder(run).config
        known = {LABEL: config.label, AGENT: config.agent} | config.arguments
        return {name: known[name] for name in self.columns}

    def _runs_of(self, setting: int) -> list[int]:
        return [i for i, each in enumerate(self._settings) if each == setting]

    def table(self) -> pd.DataFrame:
        """All that was measured, a row each: ``run, seed``, the :attr:`columns`, ``timestep, metric, value``.

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

    def curves(self) -> pd.DataFrame:
        """All evaluations, a row each: ``label, seed, timestep, score, normalised``; see :func:`results.curves`."""
        return results.curves(self._folders)

    def show(self, console: Console) -> None:
        """Prints :meth:`summary` for people, the best settings first."""
        results.show(self.summary(), self.columns, self.first, console)

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
            kinds = {type(self.setting(run)[name]) for run in range(len(self))}
            if len(kinds) > 1 and kinds & {dict, list}:  # a column has one type there
                table[name] = table[name].map(json.dumps)
        write_atomically(path, table.to_parquet(index=False))

    # ------------------------------------------------------------------ statistics

    def values(self, objective: str = "final", metric: str = SCORE) -> pd.Series:
        """One number for each run; NaN for runs that diverged or have none.

        Args:
            objective: ``"final"``, ``"mean"``, ``"max"``, ``"min"``, ``"last-K"`` or ``"auc"``; see
                :mod:`mbrl_agents.experiments.objectives`.
            metric: What is measured.

        Raises:
            ValueError: ``objective`` or ``metric`` is unknown.
        """
        checked_objective(objective)
        known = sorted(set(self._metrics["metric"]))
        one_of("metric", metric, known)
        table = self._metrics[self._metrics["metric"] == metric]
        curves = {run: part.set_index("timestep")["value"] for run, part in table.groupby("run")}
        values = [self._summary_of(curves.get(run), each, objective) for run, each in enumerate(self._folders)]
        return pd.Series(values, name=objective, dtype=float).rename_axis("run")

    def summary(self, objective: str = "final", metric: str = SCORE) -> pd.DataFrame:
        """A row for each setting, in the order given: what its runs (over seeds) say together.

        Columns: ``setting``, the :attr:`columns`, ``runs`` (that are in the numbers), ``diverged``, ``mean`` with its 95 % t
        interval ``low, high``, ``std``, the interquartile mean ``iqm`` with its bootstrap interval ``iqm_low, iqm_high`` (from
        five runs on), ``normalised, normalised_low, normalised_high`` (the mean of scores on the scale from the uniform policy
        to the best one, where these are known), and ``seconds`` of computing per run. Arguments as for :meth:`values`.
        """
        values, runs = self.values(objective, metric).to_numpy(), self.runs()
        reference = results.run_yardsticks(self.first) if metric == SCORE else None
        rows = []
        for setting in dict.fromkeys(self._settings):
            own = self._runs_of(setting)
            good = values[own][~np.isnan(values[own])]
            diverged = int(runs["state"][own].eq(DIVERGED).sum())
            row = {"setting": setting, **self.setting(own[0]), "runs": len(good), "diverged": diverged} | statistics.describe(
                good
            )
            for end, name in (("", "mean"), ("_low", "low"), ("_high", "high")):
                row[f"normalised{end}"] = float("nan") if reference is None else float(reference.normalised(row[name]))
            rows.append(row | {"seconds": runs["seconds"][own].mean()})
        return pd.DataFrame(rows)

    def interquartile_mean(self, objective: str = "final", metric: str = SCORE) -> tuple[float, float, float]:
        """Interquartile mean over all runs with its 95 % interval, the bootstrap stratified by setting (arXiv 2108.13264).

        Runs that diverged are left out. Arguments as for :meth:`values`.

        Returns:
            The mean, and the interval's lower and upper end (NaN where a setting has fewer than two runs).
        """
        values = self.values(objective, metric).to_numpy()
        strata = [values[own][~np.isnan(values[own])] for own in map(self._runs_of, dict.fromkeys(self._settings))]
        interval = statistics.stratified_bootstrap([stratum.tolist() for stratum in strata])
        low, high = interval or (float("nan"), float("nan"))
        return float(statistics.interquartile_mean(np.concatenate(strata))), low, high

    def best(self, objective: str = "final", metric: str = SCORE, direction: str = "maximize") -> BestSetting:
        """The setting whose runs are best on average. Settings of which a run diverged come last.

        Args:
            objective: As for :meth:`values`.
            metric: As for :meth:`values`.
            direction: ``"maximize"`` or ``"minimize"``.

        Raises:
            ValueError: An argument is unknown, or no run has come to anything.
        """
        sign = {"maximize": 1.0, "minimize": -1.0}[one_of("direction", direction, DIRECTIONS)]
        table = self.summary(objective, metric)
        good = table[table["runs"] > 0]
        if good.empty:
            raise ValueError("there is no best setting: every run has diverged")
        good = good[good["diverged"] == good["diverged"].min()]
        row = good.loc[(sign * good["mean"]).idxmax()]
        runs = self._runs_of(int(row["setting"]))
        mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
        return BestSetting(self.setting(runs[0]), mean, low, high, runs, int(row["diverged"]))

    # ------------------------------------------------------------------ agents and pictures

    def agent(self, run: int) -> BaseAlgorithm:
        """A run's agent with its environment: it can predict, learn on (with its replay memory, if kept) and be saved.

        Raises:
            TypeError, ValueError: There is no such run, or it has not come to its end.
        """
        folder = self.run_folder(run)
        status = folder.status()
        if status.state not in (FINISHED, DIVERGED):
            raise ValueError(f"run {run} has not come to its end: it is {status.state}")
        config = folder.config
        agent, _ = checkpoints.restore(folder, config.environment.training_env(config.n_envs))
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

    def plot_hyperparameters(
        self, path: str | os.PathLike[str] | None = None, objective: str = "final", metric: str = SCORE
    ) -> Any:
        """Draws the objective against one or two swept numbers: a line with intervals, or a heat map.

        Args:
            path: File to write (PNG, PDF or SVG); None for none.
            objective: The objective.
            metric: What it is of.

        Returns:
            The figure, of Matplotlib; a notebook shows it.

        Raises:
            ValueError: Not one or two hyperparameters were swept.
        """
        table, title = self.summary(objective, metric), self.first.config.environment.title
        return plots.plot_hyperparameters(table, self.hyperparameters, f"{metric} ({objective}), mean over seeds", title, path)

    def write(self) -> list[str]:
        """Writes tables and pictures into :attr:`folder`; returns the files' names.

        ``results.csv`` is :meth:`summary`, ``curves.csv`` :meth:`curves`, ``table.csv`` :meth:`table`; ``curves.png`` is
        :meth:`plot`, and ``hyperparameters.png`` :meth:`plot_hyperparameters`, where one or two numbers were swept.
        """
        summary = self.summary()
        for name, table in {"results": summary, "curves": self.curves(), "table": self.table()}.items():
            results.write_csv(table, self.folder / f"{name}.csv")
        self.plot(self.folder / "curves.png")
        written = ["results.csv", "curves.csv", "table.csv", "curves.png"]
        names = self.hyperparameters
        if (
            names == self.columns
            and len(names) in (1, 2)
            and all(pd.api.types.is_numeric_dtype(summary[name]) for name in names)
        ):
            self.plot_hyperparameters(self.folder / "hyperparameters.png")
            written.append("hyperparameters.png")
        return written

    # ------------------------------------------------------------------

    @functools.cached_property
    def _metrics(self) -> pd.DataFrame:
        return self.table()

    def run_folder(self, run: int) -> RunFolder:
        """A run's folder."""
        return self._folders[integer_in("run", run, 0, len(self) - 1)]

    @staticmethod
    def _summary_of(curve: pd.Series | None, folder: RunFolder, objective: str) -> float | None:
        if curve is None or folder.status().state == DIVERGED:
            return None
        return objective_value(curve, objective, folder.config.total_timesteps)
