"""What runs say: final scores, curves, and the table of settings for people."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
from rich.console import Console

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.objectives import FINAL_PART, objective_value
from mbrl_agents.experiments.tables import new_table, shown
from mbrl_agents.runs.progress import duration
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.scores import Yardsticks, score_name, yardsticks_of

MAX_SHOWN = 20  # settings in a table for people


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
    if (score := objective_value(run.scores(), "final", run.config.total_timesteps)) is None:
        raise ValueError(f"{run.path} has no evaluation in the last {FINAL_PART:.0%} of its steps")
    return score


def run_yardsticks(run: RunFolder) -> Yardsticks | None:
    """Scores of the uniform and the best policy in a run's environment, if known."""
    config = run.config
    try:
        dynamics = config.environment.dynamics()
    except gymnasium.error.Error:  # they were given as an object, which no file brings back
        return None
    return yardsticks_of(config.kind.cls, dynamics, config.evaluation.steps)


def run_score_name(run: RunFolder) -> str:
    """What a run's scores are."""
    config = run.config
    return score_name(config.kind.cls, config.environment.dynamics(), config.evaluation.steps)


def curves(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """All evaluations: ``label, seed, timestep, score, normalised``; the last is NaN where no reference scores are known."""
    columns = ["label", "seed", "timestep", "score", "normalised"]
    parts = [pd.DataFrame(columns=columns)]
    reference = run_yardsticks(runs[0]) if runs else None  # runs that are compared share an environment
    for name, several in grouped(runs).items():
        for run in several:
            scores = run.scores()
            values = scores.to_numpy()
            on_scale = np.full(len(values), np.nan) if reference is None else reference.normalised(values)
            own = (name, run.config.seed, scores.index, values, on_scale)
            parts.append(pd.DataFrame(dict(zip(columns, own, strict=True))))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Writes a table, whole or not at all."""
    write_atomically(path, table.to_csv(index=False, lineterminator="\n").encode())


def show(table: pd.DataFrame, columns: Sequence[str], first: RunFolder, console: Console) -> None:
    """Prints a table of settings for people, best first; those of which nothing is known are left out.

    Args:
        table: As of :meth:`~mbrl_agents.SweepResult.summary`.
        columns: What tells settings apart there. An agent is called by its label.
        first: One of the runs; environment and evaluation are the same for all.
        console: Where to.
    """
    config, reference = first.config, run_yardsticks(first)
    known = table[(table["runs"] > 0) | (table["diverged"] > 0)].sort_values("mean", ascending=False, kind="stable")
    swept = [name for name in columns if name not in ("label", "agent")]
    words = ["agent"] if "label" in columns or not swept else []
    diverged = ["diverged"] if known["diverged"].any() else []
    numbers = [*swept, "runs", f"score ({run_score_name(first)})", "normalised", *diverged, "time per run"]
    out = new_table(f"{config.environment.title} after {config.total_timesteps:,} steps", words, numbers)
    for row in known.head(MAX_SHOWN).to_dict("records"):
        out.add_row(
            *(row.get("label", config.label) for _ in words),
            *(shown(row[name]) for name in swept),
            str(row["runs"]),
            _with_interval(row, ("mean", "low", "high"), "#.4g"),
            _with_interval(row, ("normalised", "normalised_low", "normalised_high"), ".2f"),
            *(str(row[name] or "") for name in diverged),
            duration(row["seconds"]),
        )
    if reference is not None:
        out.add_section()
        for name, score, on_scale in (
            ("best policy", reference.optimal, "1.00"),
            ("uniform policy", reference.uniform, "0.00"),
        ):
            blank = [""] * (len(words) + len(swept))  # and one for the runs
            out.add_row(name, *blank, f"{score:#.4g}", on_scale, style="dim")
    console.print(out)
    if len(known) > MAX_SHOWN:
        console.print(f"({len(known) - MAX_SHOWN} more settings in results.csv)", highlight=False)
    console.print(
        f"Score: mean over the evaluations in the last {FINAL_PART:.0%} of the steps, {config.evaluation.episodes} episodes "
        "each, acting deterministically; in brackets the 95 % t interval of the mean over runs (from two runs on).",
        style="dim",
        highlight=False,
    )


def _with_interval(row: dict[Hashable, Any], names: Sequence[str], form: str) -> str:
    value, low, high = (row[name] for name in names)
    if pd.isna(value):
        return "–"
    text, *ends = (f"{number:{form}}".rstrip(".") for number in (value, low, high))
    return text if pd.isna(low) else f"{text} [{', '.join(ends)}]"
