"""Which model of bounded size is best: the likeliest, or the one that leads to most return? Two states, two actions.

Run as ``python examples/omd_tabular.py`` (``--quick`` for a few seconds' worth). Settings are those of the published studies,
``mbrl_agents/omd/tabular_studies/published.yaml``. Three pictures: the true return of models held in a ball, over its size and
with either projection, for OMD on the return, OMD on the residual of the Bellman equation, and likelihood (MLE); return and
error of values of OMD on the residual over noise in the inner solution, with the exact inverse and with the identity in its
place; and how wrong the values of models in balls are, beside what bounds that: the residual, and the model's own errors.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import figures, statistics
from mbrl_agents.omd import tabular, tabular_studies
from mbrl_agents.omd.value_bounds import value_bounds

BEST = 1.0272727
NOISES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)  # the published ones, and two more
PROJECTIONS = {"joint": "one ball", "per_array": "a ball for each array"}
ERRORS = {
    "error": "error",
    "by residual": "bound by the residual",
    "by model": "bound by the model's errors",
    "by model, published": "bound by them, as published",
}
MDP, STUDIES = tabular_studies.published()


def rows_of(found: tabular.TabularResult, x: str, values: Any, **labels: Any) -> list[dict[str, Any]]:
    """A row for each setting and seed."""
    rows = []
    for i, value in enumerate(values):
        for seed in range(found.returns.shape[1]):
            model = tabular.Model(found.models.logits[i, seed], found.models.rewards[i, seed])
            bounds = value_bounds(MDP, model, found.q_values[i, seed])
            row = {x: value, "seed": seed, "return": found.returns[i, seed], **dict(zip(ERRORS, bounds, strict=True))}
            rows.append(labels | row)
    return rows


def solved(told: str, arguments: dict[str, Any]) -> tabular.TabularResult:
    """Models, with a line on the time they took."""
    began = time.process_time()
    found = tabular.solve(MDP, **arguments)
    print(f"{told}: {time.process_time() - began:.1f} s of CPU time, {found.fallbacks.sum()} fallbacks", flush=True)
    return found


def over_bounds(changes: dict[str, Any]) -> pd.DataFrame:
    """OMD on either objective and MLE, with either projection, over the norm bound."""
    bounds, rows = STUDIES["returns"]["OMD"]["norm_bound"], []
    for projection, told in PROJECTIONS.items():
        for loss, published in STUDIES["value_errors"].items():
            found = solved(f"{loss}, {told}", published | changes | {"norm_bound": bounds, "projection": projection})
            rows += rows_of(found, "norm bound", bounds, loss=loss, projection=projection)
    return pd.DataFrame(rows)


def over_noise(changes: dict[str, Any]) -> pd.DataFrame:
    """OMD on the residual without a bound, with noise in the inner solution and either inverse."""
    rows = []
    for inverse, published in STUDIES["noise"].items():
        found = solved(f"noise, {inverse}", published | changes | {"inner_noise": NOISES})
        rows += rows_of(found, "noise", NOISES, inverse=inverse)
    return pd.DataFrame(rows)


def draw_returns(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Mean and range over seeds: a panel for each projection."""
    figure = figures.new_figure(8.0, 3.9, "True return of models held in a ball: mean and range of the seeds")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (projection, told) in zip(axes, PROJECTIONS.items(), strict=True):
        for i, (loss, rows) in enumerate(table[table["projection"] == projection].groupby("loss", sort=False)):
            found = rows.groupby("norm bound")["return"]
            axis.plot(found.mean(), "o-", color=figures.COLOURS[i], markersize=3, label=loss)
            axis.fill_between(found.mean().index, found.min(), found.max(), color=figures.COLOURS[i], alpha=0.15, lw=0)
        axis.axhline(BEST, color=figures.GREY, ls="--", lw=1, label="best")
        axis.set_title(told, fontsize=9.5, color=figures.INK)
        axis.set(xlabel="norm bound")
        figures.plain(axis)
    axes[0].set(ylabel="return")
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8.5, loc="outside lower center", ncols=4)
    figures.save(figure, path)


def draw_noise(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Mean with its 95 % t interval, every run a dot; levels side by side, as they span decades."""
    figure = figures.new_figure(9.0, 3.8, "OMD on the residual with a noisy inner solution: mean, 95 % interval, runs")
    axes = figure.subplots(1, 2)
    for axis, column in zip(axes, ("return", "error"), strict=True):
        for i, (inverse, rows) in enumerate(table.groupby("inverse", sort=False)):
            places = np.arange(len(NOISES)) + 0.16 * (i - 0.5)
            grouped = [rows[rows["noise"] == noise][column].to_numpy() for noise in NOISES]
            means = np.array([values.mean() for values in grouped])
            intervals = [statistics.mean_interval(values) for values in grouped]
            half = [each.high - mean if each else 0.0 for each, mean in zip(intervals, means, strict=True)]
            axis.errorbar(places, means, half, fmt="o-", capsize=3, markersize=4, color=figures.COLOURS[i], label=inverse)
            for place, values in zip(places, grouped, strict=True):
                axis.plot(np.full(len(values), place), values, ".", color=figures.COLOURS[i], alpha=0.3, markersize=5, mew=0)
        axis.set(xticks=range(len(NOISES)), xticklabels=NOISES, xlabel="standard deviation of the noise in Q*")
        figures.plain(axis)
    axes[0].axhline(BEST, color=figures.GREY, ls="--", lw=1, label="best")
    axes[0].set(ylabel="return")
    axes[1].set(ylabel="largest error of Q")
    axes[0].legend(frameon=False, fontsize=8.5, loc="lower left")
    figures.save(figure, path)


def draw_errors(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Errors of values and their bounds: a panel for each loss, a row for each projection."""
    figure = figures.new_figure(10.0, 6.0, "How wrong the values of models are, and what bounds that (means)")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for row, (projection, told) in zip(axes, PROJECTIONS.items(), strict=True):
        for axis, (loss, rows) in zip(row, table[table["projection"] == projection].groupby("loss", sort=False), strict=True):
            for i, (column, label) in enumerate(ERRORS.items()):
                found = rows.groupby("norm bound")[column]
                axis.plot(found.mean(), "o-", color=figures.COLOURS[i], markersize=3, label=label)
            axis.set_title(f"{loss}, {told}", fontsize=9.5, color=figures.INK)
            axis.set(yscale="log")
            figures.plain(axis)
        row[0].set(ylabel="largest error of Q")
    for axis in axes[1]:
        axis.set(xlabel="norm bound")
    axes[0, 0].legend(frameon=False, fontsize=8.5, loc="lower left")
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 200 steps")
    parser.add_argument("--out", default="runs/omd_tabular", help="folder (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps = 2, 200
    changes = {"seeds": options.seeds, "num_steps": options.steps}
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    table, noisy = over_bounds(changes), over_noise(changes)
    table.to_csv(folder / "bounds.csv", index=False, float_format="%.5g")
    noisy.to_csv(folder / "noise.csv", index=False, float_format="%.5g")
    draw_returns(table, folder / "returns.png")
    draw_noise(noisy, folder / "noise.png")
    draw_errors(table, folder / "value_errors.png")
    for column in ("return", "error"):
        told = table.pivot_table(index="norm bound", columns=["projection", "loss"], values=column, aggfunc=["mean", "std"])
        print(f"\n{column}\n{told.round(3).to_string()}")
    told = noisy.pivot_table(index="noise", columns="inverse", values=["return", "error"], aggfunc=["mean", "std"])
    print(f"\nnoise\n{told.round(4).to_string()}")
    print(f"\n{folder}: bounds.csv, noise.csv, returns.png, noise.png, value_errors.png")


if __name__ == "__main__":
    main()
