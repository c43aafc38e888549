"""What finished runs say: final scores, the table of agents, and its file."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.statistics import FINAL_PART, describe, worth
from mbrl_agents.experiments.tables import new_table
from mbrl_agents.runs.progress import duration
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.scores import Yardsticks, score_name, yardsticks_of

COLUMNS = (
    "agent",
    "runs",
    "score",
    "score_low",
    "score_high",
    "normalised",
    "normalised_low",
    "normalised_high",
    "iqm",
    "iqm_low",
    "iqm_high",
    "seconds",
)


def grouped(runs: Sequence[RunFolder]) -> dict[str, list[RunFolder]]:
    """Runs that differ only in the seed, by the name of their agent; where two would be called the same, by what differs."""
    groups: dict[str, list[RunFolder]] = {}
    for run in runs:
        groups.setdefault(repr((run.config.label, _settings(run))), []).append(run)
    named: dict[str, list[RunFolder]] = {}
    for several in groups.values():
        name = label = several[0].config.label
        if label in named:
            first, own = _settings(named[label][0]), _settings(several[0])
            changed = [f"{key}={own.get(key)}" for key in own if own.get(key) != first.get(key)]
            name = f"{label} ({', '.join(changed)})"
        named[name] = several
    return named


def _settings(run: RunFolder) -> dict[str, Any]:
    return {name: value for name, value in run.config.settings.items() if name not in ("label", "seed", "save_replay")}


def final_score(run: RunFolder) -> float:
    """Mean of the evaluations in the last tenth of a run's steps.

    Raises:
        ValueError: There is none.
    """
    if (score := worth(run.scores(), "final", run.config.steps)) is None:
        raise ValueError(f"{run.path} has no evaluation in the last {FINAL_PART:.0%} of its steps")
    return score


def run_yardsticks(run: RunFolder) -> Yardsticks | None:
    """Scores of the uniform and the best policy in a run's environment, if known."""
    config = run.config
    return yardsticks_of(config.kind.cls, config.environment.dynamics(), config.evaluation.steps)


def run_score_name(run: RunFolder) -> str:
    """What a run's scores are."""
    config = run.config
    return score_name(config.kind.cls, config.environment.dynamics(), config.evaluation.steps)


def curves(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """All evaluations: ``agent, seed, timestep, score, normalised``; the last is NaN where no yardsticks are known."""
    parts = [pd.DataFrame(columns=["agent", "seed", "timestep", "score", "normalised"])]
    reference = run_yardsticks(runs[0]) if runs else None  # as in summarise: runs that are compared share an environment
    for name, several in grouped(runs).items():
        for run in several:
            scores = run.scores()
            values = scores.to_numpy()
            on_scale = np.full(len(values), np.nan) if reference is None else reference.normalised(values)
            columns = {"agent": name, "seed": run.config.seed, "timestep": scores.index, "score": values}
            parts.append(pd.DataFrame(columns | {"normalised": on_scale}))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def summarise(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """A row for each agent, best first; ``COLUMNS``, with NaN for what is not known.

    Intervals are 95 % intervals over runs: Student's t for the mean, the bootstrap for the interquartile mean.
    """
    reference = run_yardsticks(runs[0]) if runs else None
    rows = [_row(name, several, reference) for name, several in grouped(runs).items()]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Writes a table, whole or not at all."""
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())


def write_results(runs: Sequence[RunFolder], folder: pathlib.Path) -> pd.DataFrame:
    """Writes ``results.csv`` and ``curves.csv``; returns the former."""
    table = summarise(runs)
    write_csv(table, folder / "results.csv")
    write_csv(curves(runs), folder / "curves.csv")
    return table


def show(table: pd.DataFrame, runs: Sequence[RunFolder], console: Console) -> None:
    """Prints the table for people."""
    config, reference = runs[0].config, run_yardsticks(runs[0])
    evaluation = config.evaluation
    columns = ("runs", f"score ({run_score_name(runs[0])})", "normalised", "time per run")
    out = new_table(f"{config.environment.title} after {config.steps:,} steps", ["agent"], columns)
    for _, row in table.iterrows():
        out.add_row(
            row["agent"],
            str(row["runs"]),
            _with_interval(row, "score", "#.4g"),
            _with_interval(row, "normalised", ".2f"),
            duration(row["seconds"]),
        )
    if reference is not None:
        out.add_section()
        out.add_row("best policy", "", f"{reference.optimal:#.4g}", "1.00", "", style="dim")
        out.add_row("uniform policy", "", f"{reference.uniform:#.4g}", "0.00", "", style="dim")
    console.print(out)
    console.print(
        f"Score: mean over the evaluations in the last {FINAL_PART:.0%} of the steps, {evaluation.episodes} episodes each, "
        "acting deterministically; in brackets the 95 % t interval of the mean over runs (from two runs on).",
        style="dim",
        highlight=False,
    )


def _row(label: str, runs: Sequence[RunFolder], reference: Yardsticks | None) -> dict[str, Any]:
    scores = [final_score(run) for run in runs]
    found = describe(scores)
    row = {"agent": label, "runs": len(runs), "seconds": sum(run.status().seconds for run in runs) / len(runs)}
    # The mean is summed in order, as it ever was: NumPy's, of eight runs or more, differs in the last bit.
    row |= {"score": sum(scores) / len(scores), "score_low": found["low"], "score_high": found["high"]}
    row |= {name: found[name] for name in ("iqm", "iqm_low", "iqm_high")}
    if reference is not None:
        row |= {f"normalised{end}": float(reference.normalised(row[f"score{end}"])) for end in ("", "_low", "_high")}
    return row


def _with_interval(row: pd.Series, name: str, form: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "–"
    text, *ends = (f"{number:{form}}".rstrip(".") for number in (value, low, high))
    return text if pd.isna(low) else f"{text} [{', '.join(ends)}]"
