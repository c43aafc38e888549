"""Learning curves as pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments.figures import (
    COLOURS,
    GREY,
    INK,
    STYLES,
    draw_curve,
    draw_yardsticks,
    image_kind,
    new_figure,
    plain,
    saved,
)
from mbrl_agents.experiments.results import grouped, run_score_name, run_yardsticks
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.scores import Yardsticks


def plot_curves(
    runs: Sequence[RunFolder], path: str | os.PathLike[str] | None, *, normalised: bool = False, until: int | None = None
) -> Any:
    """Draws mean scores over training, with 95 % bootstrap intervals: a panel for each environment, a line for each agent.

    Args:
        runs: The runs; those without any score are left out.
        path: PNG, PDF or SVG file, written whole or not at all; None for none.
        normalised: Whether scores are drawn on the scale from the uniform policy (0) to the best one (1), where known.
        until: Last timestep drawn; None for all there are, also those that not all runs have reached.

    Returns:
        The figure, of Matplotlib; a notebook shows it.

    Raises:
        ValueError: There is nothing to draw, or the file's kind is unknown.
    """
    if path is not None:
        image_kind(path)
    panels: dict[tuple[str, str], list[RunFolder]] = {}
    for run in runs:
        if len(run.scores()):
            panels.setdefault((run.config.environment.title, run_score_name(run)), []).append(run)
    if not panels:
        raise ValueError("there is nothing to plot: no run has been evaluated yet")
    return saved(_draw(list(panels.values()), normalised, until), path)


def _draw(panels: Sequence[Sequence[RunFolder]], normalised: bool, until: int | None) -> Any:
    """The figure."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    labels = list(dict.fromkeys(label for runs in panels for label in grouped(runs)))
    legend_columns = 3 if max(map(len, labels)) < 20 else 1
    height = 4.2 * rows + 0.25 * -(-len(labels) // legend_columns) + 0.3
    figure = new_figure(7.2 if columns == 1 else 5.6 * columns, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    lines: dict[str, Any] = {}
    seeds: dict[str, set[int]] = {}
    for axis, runs in zip(axes.flat, panels, strict=False):
        lines |= _draw_panel(axis, runs, labels, normalised, until)
        for label, several in grouped(runs).items():
            seeds.setdefault(label, set()).add(len(several))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    # Below the panels, where it hides no curve.
    title = "Mean over seeds, with 95 % bootstrap intervals:"
    place: dict[str, Any] = {"loc": "outside lower left", "alignment": "left", "ncols": legend_columns, "frameon": False}
    names = [f"{label} ({_seeds(seeds[label])})" for label in lines]
    legend = figure.legend(lines.values(), names, title=title, title_fontsize=8.5, fontsize=9.5, **place)
    legend.get_title().set_color(GREY)
    return figure


def _draw_panel(
    axis: Any, runs: Sequence[RunFolder], labels: Sequence[str], normalised: bool, until: int | None
) -> dict[str, Any]:
    """Draws one environment; returns its lines by the agents' names, best first."""
    tables = {label: _scores(several).loc[:until] for label, several in grouped(runs).items()}
    reference, name = run_yardsticks(runs[0]), run_score_name(runs[0])
    if normalised and reference is not None:
        tables = {label: table.apply(reference.normalised) for label, table in tables.items()}
        reference, name = Yardsticks(0.0, 1.0), f"normalised {name}"
    shown = [table.to_numpy().ravel() for table in tables.values()]
    lines = {}
    # Best first, as the eye goes over the curves from top to bottom.
    for label in sorted(tables, key=lambda each: -tables[each].iloc[-1].mean()):
        table, position = tables[label], labels.index(label)
        colour, style = COLOURS[position % len(COLOURS)], STYLES[position // len(COLOURS) % len(STYLES)]
        lines[label] = draw_curve(axis, table, style, colour, 0.18, linewidth=2, zorder=3)
    if reference is not None:
        shown.append(np.array(reference))
        draw_yardsticks(axis, reference, beside=True)
    _set_range(axis, np.concatenate(shown))
    axis.set_xlim(0, max(table.index[-1] for table in tables.values()) or 1)
    axis.set_title(runs[0].config.environment.title, loc="left", color=INK, fontsize=11)
    axis.set_xlabel("timesteps")
    axis.set_ylabel(name)
    axis.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
    plain(axis)
    return lines


def _seeds(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return ("1 seed" if high == 1 else f"{high} seeds") if low == high else f"{low} to {high} seeds"


def _scores(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """Scores by timestep, a column for each run."""
    return pd.concat([run.scores() for run in runs], axis=1).sort_index()


def _set_range(axis: Any, shown: np.ndarray) -> None:
    """Shows all scores and yardsticks; an interval of few runs may be far wider, and is cut."""
    low, high = np.nanmin(shown), np.nanmax(shown)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    axis.set_ylim(low - margin, high + margin)
