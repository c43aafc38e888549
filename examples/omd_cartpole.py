"""What should a small model of CartPole be trained for? Return (OMD), likelihood (MLE), or values (VEP, VaGraM).

Run as ``python examples/omd_cartpole.py`` (``--quick`` for a minute's worth). Agents that differ in nothing but their model's
loss are trained with models of several sizes, and with numbers that mean nothing appended to what is seen; arXiv 2106.03273.
Settings are those of the study (the preset ``omd-cartpole``) but for the number of steps; VaGraM's are those of MLE.
All are sweeps in a folder: stopped, the same command goes on. Every evaluation plays ten episodes with actions drawn from
softmax(Q/α), as published, and the same ten greedily. Writes ``returns.csv`` (a row for each evaluation), ``on_the_way.csv``
(mean, least and greatest seed after an eighth, a quarter, half and all of the steps), ``summary.csv``, and, of the drawn
actions, ``sizes.png`` (return at the end by size of the model), ``distractors.png``, and ``curves.png`` for the largest model.
"""

import argparse
import contextlib
import pathlib

import gymnasium
import pandas as pd

from mbrl_agents import grid, train_sweep
from mbrl_agents.experiments import figures, published, statistics
from mbrl_agents.omd.losses import MODEL_LOSSES

SIZES, DISTRACTORS, EVALUATIONS = (2, 4, 8, 16, 32), (0, 10, 30), 8
KEYS = ["model_loss", "size", "distractors"]
PUBLISHED = published.preset("omd-cartpole").arguments["mle"] | {"carry_optimizer": None}  # which is different under "omd"


def sweep(folder: pathlib.Path, distractors: int, options: argparse.Namespace) -> pd.DataFrame:
    """Returns on the way, of all losses with models of some sizes; columns ``sampled`` and ``greedy``."""
    hyperparameters = PUBLISHED | grid(model_loss=options.losses, model_net_arch=[[size, size] for size in options.sizes])
    with contextlib.closing(gymnasium.make("mbrl/CartPole-v0", num_distractors=distractors)) as env:
        result = train_sweep(
            "OMD",
            env,
            hyperparameters,
            seeds=options.seeds,
            total_timesteps=options.total_timesteps,
            eval_interval=options.total_timesteps // EVALUATIONS,
            eval_episodes=10,
            folder=folder / f"distractors_{distractors}",
            save_replay=False,
            progress_bar=True,
        )
    table = result.table()
    table = table[table["metric"].isin(["score/sample", "score/greedy"])].assign(distractors=distractors)
    table["size"] = table["model_net_arch"].map(lambda layers: layers[0])
    table = table.pivot(index=[*KEYS, "seed", "timestep"], columns="metric", values="value").reset_index()
    return table.rename(columns={"score/sample": "sampled", "score/greedy": "greedy"}).round(2)


def on_the_way(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, least and greatest seed after an eighth, a quarter, half and all of the steps."""
    last = table["timestep"].max()
    shown = table[table["timestep"].isin([last // 8, last // 4, last // 2, last])]
    rows = shown.melt([*KEYS, "seed", "timestep"], ["sampled", "greedy"], "actions", "return")
    return rows.groupby([*KEYS, "actions", "timestep"], sort=False)["return"].agg(["mean", "min", "max"]).reset_index()


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean return of the last quarter of each run's evaluations, and of these mean and 95 % t interval over seeds.

    The interval is that of drawn actions; ``greedy`` is the mean of the others.
    """
    late = table[table["timestep"] > 0.75 * table["timestep"].max()]
    per_run = late.groupby([*KEYS, "seed"], sort=False)[["sampled", "greedy"]].mean()
    rows = []
    for key, values in per_run.groupby(KEYS, sort=False):
        interval = statistics.mean_interval(values["sampled"].to_numpy())
        low, high = (interval.low, interval.high) if interval else (float("nan"), float("nan"))
        rows.append([*key, len(values), values["sampled"].mean(), low, high, values["greedy"].mean()])
    return pd.DataFrame(rows, columns=[*KEYS, "seeds", "mean", "low", "high", "greedy"])


def draw(rows: pd.DataFrame, x: str, path: pathlib.Path, title: str) -> None:
    """Return at the end over size or distractors; a panel for each number of the other."""
    other = "distractors" if x == "size" else "size"
    panels = sorted(rows[other].unique())
    figure = figures.new_figure(1.5 + 3.6 * len(panels), 3.8, title)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, panel in zip(axes, panels, strict=True):
        for i, (loss, own) in enumerate(rows[rows[other] == panel].groupby("model_loss", sort=False)):
            errors = [own["mean"] - own["low"], own["high"] - own["mean"]]
            axis.errorbar(own[x], own["mean"], errors, fmt="o-", capsize=3, color=figures.COLOURS[i], label=loss)
        if x == "size":
            axis.set(xscale="log", xticks=sorted(rows[x].unique()), xticklabels=sorted(rows[x].unique()))
            axis.minorticks_off()
        axis.set_title(f"{panel} {'distractors' if x == 'size' else 'units'}", fontsize=9)
        axis.set(xlabel="hidden units in each layer of the model" if x == "size" else x, ylim=(0, 510))
        figures.plain(axis)
    axes[0].set(ylabel="return")
    axes[0].legend(frameon=False, fontsize=8.5)
    figures.save(figure, path)


def draw_curves(table: pd.DataFrame, path: pathlib.Path, title: str) -> None:
    """Mean and range over seeds on the way."""
    figure = figures.new_figure(6.0, 3.8, title)
    axis = figure.subplots()
    for i, (loss, own) in enumerate(table.groupby("model_loss", sort=False)):
        by_step = own.groupby("timestep")["sampled"]
        axis.plot(by_step.mean(), color=figures.COLOURS[i], label=loss)
        axis.fill_between(by_step.min().index, by_step.min(), by_step.max(), color=figures.COLOURS[i], alpha=0.12, lw=0)
    axis.set(xlabel="environment steps", ylabel="return", ylim=(0, 510))
    axis.legend(frameon=False, fontsize=8.5)
    figures.plain(axis)
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=list(MODEL_LOSSES), choices=MODEL_LOSSES)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--distractors", type=int, nargs="+", default=list(DISTRACTORS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--total-timesteps", type=int, default=40_000)
    parser.add_argument("--quick", action="store_true", help="1 seed, 2 losses, 2 sizes, 2000 steps")
    parser.add_argument("--out", default="runs/omd_cartpole", help="folder (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.sizes, options.distractors, options.total_timesteps = 1, [2, 8], [0, 10], 2000
        options.losses = options.losses[:2]
    folder, largest = pathlib.Path(options.out), max(options.sizes)
    tables = []
    for distractors in options.distractors:
        tables.append(sweep(folder, distractors, options))
        table = pd.concat(tables, ignore_index=True)
        table.to_csv(folder / "returns.csv", index=False)
    rows = summary(table)
    rows.round(2).to_csv(folder / "summary.csv", index=False)
    on_the_way(table).round(2).to_csv(folder / "on_the_way.csv", index=False)
    print(on_the_way(table).round(1).to_string(index=False))
    print(rows.round(1).to_string(index=False))
    draw(
        rows,
        "size",
        folder / "sizes.png",
        f"CartPole, {options.total_timesteps:,} steps: mean return of the last quarter, 95 %",
    )
    draw(rows[rows["size"] == largest], "distractors", folder / "distractors.png", "With numbers that mean nothing")
    shown = table[(table["size"] == largest) & (table["distractors"] == min(options.distractors))]
    draw_curves(shown, folder / "curves.png", f"CartPole, models with {largest} units: mean and range of {options.seeds} seeds")
    print(f"\n{folder}: returns.csv, on_the_way.csv, summary.csv, sizes.png, distractors.png, curves.png")


if __name__ == "__main__":
    main()
