"""Pictures of sweeps: the objective against what was swept."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments.figures import (
    COLOURS,
    INK,
    draw_cells,
    image_kind,
    is_logarithmic,
    new_figure,
    plain,
    saved,
)


def plot_hyperparameters(
    table: pd.DataFrame, names: list[str], what: str, title: str, path: str | os.PathLike[str] | None
) -> Any:
    """The objective against one or two hyperparameters; see :meth:`SweepResult.plot_hyperparameters`.

    Args:
        table: A row for each setting, with the hyperparameters, ``mean``, ``low`` and ``high``.
        names: The hyperparameters.
        what: What the objective is called.
        title: Title.
        path: File to write; None for none.
    """
    if path is not None:
        image_kind(path)
    if len(names) not in (1, 2) or not all(pd.api.types.is_numeric_dtype(table[name]) for name in names):
        raise ValueError(f"one or two numbers must have been swept to be drawn, got {names}")
    figure = new_figure(7.2, 4.6)
    axis = figure.subplots()
    (_draw_line if len(names) == 1 else _draw_map)(axis, table, names, what)
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    return saved(figure, path)


def _draw_line(axis: Any, table: pd.DataFrame, names: list[str], what: str) -> None:
    (name,) = names
    table = table.sort_values(name)
    # Intervals where there are several seeds; a setting all of whose runs diverged leaves a gap.
    error = np.nan_to_num(np.array([table["mean"] - table["low"], table["high"] - table["mean"]]))
    axis.errorbar(table[name], table["mean"], yerr=error, color=COLOURS[0], linewidth=2, marker="o", capsize=3)
    if is_logarithmic(table[name].to_numpy()):
        axis.set_xscale("log")
    axis.set_xlabel(name)
    axis.set_ylabel(f"{what}, 95 % interval")
    plain(axis)


def _draw_map(axis: Any, table: pd.DataFrame, names: list[str], what: str) -> None:
    """With the number in each cell, and a frame around the best."""
    cells = table.pivot_table(index=names[1], columns=names[0], values="mean", aggfunc="mean", dropna=False)
    values = cells.to_numpy()
    notes: dict[tuple[int, ...], str] = {}
    if values.size <= 150:
        notes = {
            place: "–" if math.isnan(value) else f"{value:.3g}".replace("-", "−") for place, value in np.ndenumerate(values)
        }
    best = None if np.isnan(values).all() else tuple(map(int, np.unravel_index(np.nanargmax(values), values.shape)))
    draw_cells(axis, cells.rename("{:g}".format, axis=0).rename("{:g}".format, axis=1), notes, best, what)
