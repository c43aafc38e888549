"""Which model of bounded size is best: the likeliest, or the one that leads to most return? Two states, two actions.

Run as ``python examples/omd_tabular.py`` (``--quick`` for a few seconds' worth). Three pictures, as of the published study: the
true return of models trained by OMD and by likelihood (MLE) over the size of the ball that parameters are held in, with either
projection; the return of OMD over noise in the inner solution, with the exact inverse and with the identity in its place; and
how wrong the models' values are, beside what bounds that: the residual of the true Bellman equation, and the model's errors.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import figures, statistics
from mbrl_agents.omd import LinearSolver, tabular
from mbrl_agents.omd.value_bounds import value_bounds

MDP, BEST = tabular.two_states(), 1.0272727
NOISES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
PROJECTIONS = {"joint": "one ball", "per_array": "a ball for each array"}
ERRORS = {"error": "error", "by residual": "bound by the residual", "by model": "bound by the model's errors"}


def rows_of(found: tabular.TabularResult, x: str, values: Any, **labels: Any) -> list[dict[str, Any]]:
    """A row for each bound and seed."""
    rows = []
    for i, value in enumerate(values):
        for seed in range(found.returns.shape[1]):
            model = tabular.Model(found.models.logits[i, seed], found.models.rewards[i, seed])
            bounds = value_bounds(MDP, model, found.q_values[i, seed])
            row = {x: value, "seed": seed, "return": found.returns[i, seed], **dict(zip(ERRORS, bounds, strict=True))}
            rows.append(labels | row)
    return rows


def over_bounds(common: dict[str, Any]) -> pd.DataFrame:
    """OMD and MLE with either projection, over the norm bound."""
    bounds, rows = np.linspace(0, 6, 20)[1:], []
    for projection, told in PROJECTIONS.items():
        for loss in tabular.LOSSES:
            began = time.process_time()
            found = tabular.solve(MDP, model_loss=loss, norm_bound=bounds, projection=projection, **common)
            taken = time.process_time() - began
            print(f"{loss}, {told}: {taken:.1f} s of CPU time, {found.fallbacks.sum()} fallbacks", flush=True)
            rows += rows_of(found, "norm bound", bounds, loss=loss.upper(), projection=projection)
    return pd.DataFrame(rows)


def over_noise(common: dict[str, Any]) -> pd.DataFrame:
    """OMD with noise in the inner solution, with either inverse."""
    rows = []
    for method, told in {"direct": "exact inverse", "identity": "identity"}.items():
        for noise in NOISES:
            solver = LinearSolver(method, damping=0.0)
            found = tabular.solve(MDP, model_loss="omd", norm_bound=3.0, solver=solver, inner_noise=noise, **common)
            rows += rows_of(found, "noise", [noise], inverse=told)
    return pd.DataFrame(rows)


def draw_returns(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Mean and range over seeds: a panel for each projection."""
    figure = figures.new_figure(8.0, 3.6, "True return of models held in a ball: mean and range of the seeds")
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
    axes[1].legend(frameon=False, fontsize=8.5, loc="lower right")
    figures.save(figure, path)


def draw_noise(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Mean with its 95 % t interval, every run a dot; levels side by side, as they span decades."""
    figure = figures.new_figure(6.0, 3.8, "OMD with a noisy inner solution, norm bound 3: mean, 95 % interval, runs")
    axis = figure.subplots()
    for i, (inverse, rows) in enumerate(table.groupby("inverse", sort=False)):
        places = np.arange(len(NOISES)) + 0.16 * (i - 0.5)
        grouped = [rows[rows["noise"] == noise]["return"].to_numpy() for noise in NOISES]
        means = np.array([values.mean() for values in grouped])
        intervals = [statistics.mean_interval(values) for values in grouped]
        half = [each.high - mean if each else 0.0 for each, mean in zip(intervals, means, strict=True)]
        axis.errorbar(places, means, half, fmt="o-", capsize=3, markersize=4, color=figures.COLOURS[i], label=inverse)
        for place, values in zip(places, grouped, strict=True):
            axis.plot(np.full(len(values), place), values, ".", color=figures.COLOURS[i], alpha=0.3, markersize=5, mew=0)
    axis.axhline(BEST, color=figures.GREY, ls="--", lw=1, label="best")
    axis.set(xticks=range(len(NOISES)), xticklabels=NOISES, xlabel="standard deviation of the noise in Q*", ylabel="return")
    axis.legend(frameon=False, fontsize=8.5, loc="lower left")
    figures.plain(axis)
    figures.save(figure, path)


def draw_errors(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Errors of values and their bounds with the joint norm: a panel for each loss."""
    figure = figures.new_figure(8.0, 3.6, "How wrong the values of models are, and what bounds that (one ball, means)")
    axes = figure.subplots(1, 2, sharey=True)
    joint = table[table["projection"] == "joint"]
    for axis, (loss, rows) in zip(axes, joint.groupby("loss", sort=False), strict=True):
        for i, (column, told) in enumerate(ERRORS.items()):
            found = rows.groupby("norm bound")[column]
            axis.plot(found.mean(), "o-", color=figures.COLOURS[i], markersize=3, label=told)
        axis.set_title(loss, fontsize=9.5, color=figures.INK)
        axis.set(xlabel="norm bound", yscale="log")
        figures.plain(axis)
    axes[0].set(ylabel="largest error of Q")
    axes[1].legend(frameon=False, fontsize=8.5, loc="lower left")
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
    common = {"seeds": options.seeds, "num_steps": options.steps}
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    table, noisy = over_bounds(common), over_noise(common)
    table.to_csv(folder / "bounds.csv", index=False, float_format="%.5g")
    noisy.to_csv(folder / "noise.csv", index=False, float_format="%.5g")
    draw_returns(table, folder / "returns.png")
    draw_noise(noisy, folder / "noise.png")
    draw_errors(table, folder / "value_errors.png")
    told = table.pivot_table(index="norm bound", columns=["projection", "loss"], values="return", aggfunc=["mean", "std"])
    print(told.round(3).to_string())
    print(f"\n{folder}: bounds.csv, noise.csv, returns.png, noise.png, value_errors.png")


if __name__ == "__main__":
    main()
