"""Pictures of what many value networks know: beliefs by size, recurrent gains, memory, blocks of rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mbrl_agents.experiments.figures import COLOURS, GREY, INK, new_figure, plain

KINDS = ("trained", "untrained")


def beliefs_figure(table: pd.DataFrame, published: Mapping[int, tuple[float, float]]) -> Any:
    """Belief R² by size, a panel for each task and noise; in task 2 with noise, beside the published means.

    Args:
        table: Columns ``task``, ``units``, ``kind`` (trained or untrained), ``noise`` and ``belief_r2``, a row for a network.
        published: For each size the published means, trained and untrained.
    """
    panels = [(task, noise) for task in sorted(table["task"].unique()) for noise in sorted(table["noise"].unique())[::-1]]
    figure = new_figure(1.0 + 3.6 * len(panels), 3.6, "How much of the beliefs the hidden units tell")
    for axis, (task, noise) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        for i, kind in enumerate(KINDS):
            rows = table[(table["task"] == task) & (table["noise"] == noise) & (table["kind"] == kind)]
            _points_and_mean(axis, rows, "units", "belief_r2", COLOURS[i], kind)
            if task == 2 and noise > 0:
                sizes = [size for size in sorted(rows["units"].unique()) if size in published]
                means = [published[size][i] for size in sizes]
                axis.plot(sizes, means, "x--", color=COLOURS[i], lw=0.8, label=f"{kind}, published")
        _sizes(axis, table)
        axis.set_title(f"task {task}, noise {noise:g}" if noise else f"task {task}, no noise", loc="left", fontsize=10)
        axis.set_ylabel("R²" if axis.get_subplotspec().is_first_col() else "")
        axis.legend(frameon=False, fontsize=8)
    return figure


def gains_figure(table: pd.DataFrame) -> Any:
    """Belief R² and memory of untrained networks by their recurrent gain.

    Args:
        table: Columns ``gain``, ``units`` (the same in all rows), ``noise``, ``belief_r2``, ``cue_memory`` and
            ``reward_memory``, a row for a network and noise.
    """
    figure = new_figure(7.6, 3.6, f"Untrained networks of {table['units'].iloc[0]} units by recurrent gain")
    left, right = figure.subplots(1, 2)
    for i, noise in enumerate(sorted(table["noise"].unique())[::-1]):
        label = f"noise {noise:g}" if noise else "no noise"
        _points_and_mean(left, table[table["noise"] == noise], "gain", "belief_r2", COLOURS[i], label)
    once = table[table["noise"] == table["noise"].iloc[0]]
    for i, name in enumerate(("cue", "reward")):
        _points_and_mean(right, once, "gain", f"{name}_memory", COLOURS[2 + i], name, median=True)
    left.set(ylabel="belief R²")
    right.set(yscale="log", ylabel="steps until back at rest (median)")
    for axis in (left, right):
        axis.set(xscale="log", xlabel="factor of the recurrent weights")
        axis.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
        axis.minorticks_off()
        axis.axvline(1, color=GREY, lw=0.8, ls=":")
        plain(axis)
        axis.legend(frameon=False, fontsize=8)
    return figure


def memory_figure(table: pd.DataFrame) -> Any:
    """How long cue and reward are remembered by size, trained and untrained.

    Args:
        table: Columns ``task``, ``units``, ``kind``, ``cue_memory`` and ``reward_memory``, a row for a network.
    """
    from matplotlib.ticker import LogLocator, NullLocator  # takes a second to import

    tasks = sorted(table["task"].unique())
    figure = new_figure(1.0 + 3.4 * 2 * len(tasks), 3.4, "Steps until the state is back within .001 of its fixed point")
    panels = [(task, name) for task in tasks for name in ("cue", "reward")]
    for axis, (task, name) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        for i, kind in enumerate(KINDS):
            rows = table[(table["task"] == task) & (table["kind"] == kind)]
            _points_and_mean(axis, rows, "units", f"{name}_memory", COLOURS[i], kind, median=True)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_title(f"task {task}, after a {name}", loc="left", color=INK, fontsize=10)
        _sizes(axis, table)
        axis.legend(frameon=False, fontsize=8)
    return figure


def blocks_figure(tables: Sequence[pd.DataFrame]) -> Any:
    """Values and prediction errors in Babayan's task by the size of the block's rewards.

    Args:
        tables: For each network its table; see :func:`mbrl_agents.value_rnn.analysis.block_responses`.
    """
    figure = new_figure(7.6, 3.6, f"Blocks of rewards that were not learned (n={len(tables)})")
    axes = figure.subplots(1, 2)
    mean = pd.concat(tables).groupby(["trial", "size"]).mean()
    shown = [trial for trial in (1, 2, 5) if trial in mean.index.get_level_values("trial")]
    for axis, column, label in zip(axes, ("value", "rpe"), ("value at the cue", "RPE at the reward"), strict=True):
        for i, trial in enumerate(shown):
            own = mean.loc[trial]
            for table in tables:
                rows = table[table["trial"] == trial]
                axis.plot(rows["size"], rows[column], color=COLOURS[i], lw=0.7, alpha=0.4)
            axis.plot(own.index, own[column], "o-", color=COLOURS[i], lw=2, ms=4, label=f"trial {trial}")
            dashed = {"color": COLOURS[i], "ls": (0, (4, 3)), "lw": 1.2, "label": "exact" if i == 0 else None}
            axis.plot(own.index, own[f"exact_{column}"], **dashed)
        axis.set(xlabel="size of the block's rewards", ylabel=label, xticks=sorted(set(mean.index.get_level_values("size"))))
        plain(axis)
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _points_and_mean(axis: Any, rows: pd.DataFrame, x: str, y: str, colour: str, label: str, *, median: bool = False) -> None:
    grouped = rows.groupby(x)[y]
    middle = grouped.median() if median else grouped.mean()
    axis.plot(rows[x], rows[y], ".", color=colour, alpha=0.3, ms=4)
    axis.plot(middle.index, middle, color=colour, lw=2, label=label)


def _sizes(axis: Any, table: pd.DataFrame) -> None:
    sizes = sorted(table["units"].unique())
    axis.set(xscale="log", xlabel="hidden units")
    axis.set_xticks(sizes, sizes)
    axis.minorticks_off()
    plain(axis)
