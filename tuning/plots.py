"""Pictures of a study, without a server: the grid as a heat map, slices through the chosen setting, curves of the best."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments.figures import (
    COLOURS,
    FRAME,
    GREY,
    INK,
    STYLES,
    draw_cells,
    draw_curve,
    draw_yardsticks,
    is_logarithmic,
    new_figure,
    plain,
)
from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_agents.experiments.tables import shown
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.evaluation import default_sizes
from mbrl_agents.runs.scores import yardsticks_of
from tuning.confirm import CURVES, estimate, folder_of, read_confirmation
from tuning.spaces import Range, Values
from tuning.study import Study

BEST_CURVES = 5


def draw_heat_map(study: Study) -> Any:
    """The mean over seeds at each point of the grid, with the chosen cell framed and intervals in it and its neighbours.

    With more than two dimensions, the two with the most values, the others being as chosen. None where the space is no grid of
    two dimensions at least.
    """
    best, table = study.best(), study.table()
    values = study.spec.space.values
    names = sorted(values, key=lambda name: -len(values[name]))[:2]
    if not study.spec.space.is_finite or len(names) < 2:
        return None
    names = [name for name in values if name in names]  # in the order given
    for name in values:
        if name not in names:
            table = table[table[name] == best.setting[name]]
    figure, axis = _figure(max(1.1 * len(values[names[0]]) + 2.5, 6), max(0.62 * len(values[names[1]]) + 1.8, 4))
    cells = np.full((len(values[names[1]]), len(values[names[0]])), np.nan)
    notes: dict[tuple[int, ...], str] = {}
    chosen = tuple(values[name].index(best.setting[name]) for name in reversed(names))
    for row in table.to_dict("records"):
        place = values[names[1]].index(row[names[1]]), values[names[0]].index(row[names[0]])
        cells[place] = row["value"] if row["state"] in ("complete", "diverged") else np.nan
        near = max(abs(a - b) for a, b in zip(place, chosen, strict=True)) <= 1
        notes[place] = _note(row, study.spec.seeds, near)
    columns, rows = (pd.Index(map(shown, values[name]), name=name) for name in names)
    named, less_is_better = pd.DataFrame(cells, rows, columns), study.spec.judge.sign < 0
    draw_cells(axis, named, notes, chosen, _objective(study), less_is_better=less_is_better, font_size=7.5)
    _title(
        axis, study, f"{setting_label(best.setting)} is chosen; 95 % intervals over {len(best.scores)} seeds there and around"
    )
    return figure


def draw_slices(study: Study) -> Any:
    """The objective along each dimension: all trials as dots; for lists of values, a line through the chosen setting."""
    best, table = study.best(), study.table()
    names = list(study.spec.space.dimensions)
    figure, axes = _figure(4.6 * len(names), 4, len(names))
    for name, axis in zip(names, np.atleast_1d(axes), strict=True):
        dimension = study.spec.space.dimensions[name]
        known = table[table["state"] == "complete"]
        positions = known[name] if isinstance(dimension, Range) or dimension.numeric else known[name].map(shown)
        axis.plot(positions, known["value"], "o", color=GREY, alpha=0.45, markersize=4)
        if isinstance(dimension, Values):
            _draw_line_through(axis, known, study, name, dimension.numeric)
        axis.plot([best.setting[name]], [best.value], "o", markersize=11, fillstyle="none", color=FRAME, markeredgewidth=2)
        if _is_logarithmic(dimension):
            axis.set_xscale("log")
        if isinstance(dimension, Values) and dimension.numeric:  # marked by these, not by powers of ten
            axis.set_xticks(dimension.values, [shown(value) for value in dimension.values], rotation=45, ha="right")
            axis.set_xticks([], minor=True)
        axis.set_xlabel(name)
        plain(axis)
    np.atleast_1d(axes)[0].set_ylabel(_objective(study))
    _title(np.atleast_1d(axes)[0], study, "the others as chosen: line, with 95 % intervals")
    return figure


def draw_curves(study: Study, count: int = BEST_CURVES) -> Any:
    """Learning curves of the best trials, and of the winner on fresh seeds; None where no curves are here."""
    figure, axis = _figure(8, 4.8)
    table = study.ranking()
    table = table[table["state"] == "complete"]
    styles = itertools.product(STYLES, COLOURS)
    drawn = 0
    for row in table.head(count).to_dict("records"):
        curves, (style, colour) = study.curves.read(int(row["slot"])), next(styles)
        if curves is not None:
            label = setting_label({name: row[name] for name in study.spec.space.dimensions})
            _draw_curve(axis, curves, style, colour, f"{label}: {row['value']:.4g}")
            drawn += 1
    fresh = _fresh_curves(study)
    if fresh is not None:
        _draw_curve(axis, fresh, "-", "black", "the winner on fresh seeds")
    if not drawn and fresh is None:
        return None
    _draw_yardsticks(axis, study)
    axis.set(xlabel="timesteps", ylabel="score")
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=2)  # below, where it hides no curve
    plain(axis)
    _title(axis, study, "mean over seeds, with 95 % bootstrap intervals")
    return figure


# --- parts --------------------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    figure = new_figure(width, height)
    return figure, figure.subplots(1, columns)


def _note(row: dict[Any, Any], seeds: list[int], near: bool) -> str:
    """What is written into a cell."""
    if row["state"] == "fail":
        return "failed"
    if math.isnan(row["value"]):
        return ""
    text = f"{row['value']:.3g}" + ("*" if row["diverged"] else "")
    if row["state"] == "pruned":
        return f"{text}\npruned"
    if near:
        found = estimate(tuple(row[f"seed_{seed}"] for seed in seeds))
        if not math.isnan(found.low):
            text += f"\n[{found.low:.3g}, {found.high:.3g}]"
    return text.replace("-", "−")


def _draw_line_through(axis: Any, known: pd.DataFrame, study: Study, name: str, numeric: bool) -> None:
    best = study.best()
    for other, value in best.setting.items():
        if other != name:
            known = known[known[other] == value]
    known = known.sort_values(name) if numeric else known
    found = [estimate(tuple(scores)) for scores in known[[f"seed_{seed}" for seed in study.spec.seeds]].to_numpy()]
    error = np.nan_to_num([[each.value - each.low for each in found], [each.high - each.value for each in found]])
    positions = known[name] if numeric else known[name].map(shown)
    axis.errorbar(positions, known["value"], yerr=error, color=COLOURS[0], linewidth=1.8, marker="o", markersize=4, capsize=3)


def _fresh_curves(study: Study) -> pd.DataFrame | None:
    """The winner's curves on fresh seeds, if they are here."""
    if (found := read_confirmation(study)) is None:
        return None
    file = folder_of(study, found.slot, len(found.seeds)) / CURVES
    return pd.read_parquet(file) if file.is_file() else None


def _draw_curve(axis: Any, curves: pd.DataFrame, style: str, colour: str, label: str) -> None:
    table = curves.pivot_table(index="timestep", columns="seed", values="score")
    draw_curve(axis, table, style, colour, 0.15, linewidth=1.8, label=label)


def _draw_yardsticks(axis: Any, study: Study) -> None:
    task = study.spec.environment.task()
    dynamics, steps = None if task is None else task.env, default_sizes(task, None, study.spec.eval_steps)[1]
    if (reference := yardsticks_of(find_agent(study.spec.agent).cls, dynamics, steps)) is not None:
        draw_yardsticks(axis, reference, beside=False)


def _is_logarithmic(dimension: Values | Range) -> bool:
    if isinstance(dimension, Range):
        return dimension.log
    return dimension.numeric and is_logarithmic(dimension.values)


def _objective(study: Study) -> str:
    return f"{study.spec.objective} score, mean over seeds"


def _title(axis: Any, study: Study, text: str) -> None:
    title = f"{study.spec.agent} in {study.spec.environment.title}, {study.spec.total_timesteps:,} steps"
    axis.set_title(f"{title}\n{text}", loc="left", color=INK, fontsize=10)
