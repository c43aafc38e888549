"""Plots of what world models predict: errors by horizon, calibration of ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments.figures import COLOURS, GREY, INK, new_figure, plain
from mbrl_agents.model_dqn.inspection import PROBABILITY

MODEL = COLOURS[0]
MOST_PANELS = 16


def errors_figure(errors: pd.DataFrame, title: str) -> Any:
    """Errors over the number of steps, a panel for each quantity, with their baselines.

    Args:
        errors: See :func:`~mbrl_agents.model_dqn.inspection.prediction_errors`.
        title: Title.
    """
    names = list(dict.fromkeys(errors["quantity"]))
    # Rewards and ends come last, and are shown in any case.
    others = len({"reward", "termination"} & {*names})
    names = names[: MOST_PANELS - others] + names[max(len(names) - others, MOST_PANELS - others) :]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = new_figure(3.0 * columns + 0.4, 2.5 * rows + 0.9, title)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        table = errors[errors["quantity"] == name]
        (model,) = axis.plot(table["horizon"], table["error"], "o-", color=MODEL, markersize=3.5, zorder=3)
        (baseline,) = axis.plot(table["horizon"], table["baseline"], color=GREY, linestyle=(0, (4, 3)), zorder=2)
        axis.set_title(name, loc="left", color=INK, fontsize=10)
        axis.set_ylabel("P(wrong value)" if table["measure"].iloc[0] == PROBABILITY else "squared error", fontsize=8.5)
        top = 1.08 * float(table[["error", "baseline"]].max().max()) or 1.0
        axis.set_ylim(-0.03 * top, top)
        axis.set_xlim(-0.3, errors["horizon"].max() + 0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
        plain(axis)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis in axes.flat[len(names) - columns : len(names)]:
        axis.set_xlabel("steps imagined", fontsize=8.5)
    labels = ("model", "baseline: all stays as it was, the mean reward, ends as often as here")
    figure.legend((model, baseline), labels, loc="outside lower left", ncols=2, frameon=False, fontsize=8.5)
    return figure


def calibration_figure(calibration: pd.DataFrame, title: str) -> Any:
    """Frequency of ends over their predicted probability, with 95 % Wilson intervals, and how often each was predicted.

    Args:
        calibration: See :func:`~mbrl_agents.model_dqn.inspection.termination_calibration`.
        title: Title.
    """
    from scipy.stats import binomtest

    total, bins = calibration.iloc[-1], calibration.iloc[:-1]
    there = bins[bins["count"] > 0]
    figure = new_figure(4.8, 5.6, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), label="calibrated")
    tests = [
        binomtest(round(observed * count), count) for observed, count in zip(there["observed"], there["count"], strict=True)
    ]
    limits = np.array([test.proportion_ci(method="wilson") for test in tests]).T
    reach = np.abs(limits - there["observed"].to_numpy())
    look = {"fmt": "o", "color": MODEL, "markersize": 5, "capsize": 2, "clip_on": False, "zorder": 3}
    upper.errorbar(there["predicted"], there["observed"], reach, label="model, 95 % interval", **look)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="observed frequency of ends")
    upper.legend(loc="upper left", frameon=False, fontsize=8.5)
    score = f"Brier score {total['brier']:.3g}, log loss {total['log_loss']:.3g} ({100 * total['observed']:.3g} % of steps end)"
    upper.set_title(score, loc="left", color=GREY, fontsize=9)
    middle = (np.arange(len(bins)) + 0.5) / len(bins)
    lower.bar(middle, bins["count"], 0.9 / len(bins), color=MODEL)
    lower.set_yscale("symlog", linthresh=1)
    lower.set(xlabel="predicted probability of an end", ylabel="steps", ylim=(0, 3 * bins["count"].max()))
    for axis in (upper, lower):
        plain(axis)
    return figure
