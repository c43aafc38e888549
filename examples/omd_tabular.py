"""Which model of bounded size is best: the likeliest, or the one that leads to most return? Two states, two actions.

Run as ``python examples/omd_tabular.py`` (``--quick`` for a few seconds' worth). Three pictures, as of the published study: the
true return of models trained by OMD and by likelihood (MLE) over the size of the ball that parameters are held in, with either
projection; the return of OMD over noise in the inner solution, with the exact inverse and with the identity in its place; and
how wrong the models' values are, beside what bounds that.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import figures
from mbrl_agents.omd import LinearSolver, tabular

MDP, BEST = tabular.two_states(), 1.0272727
NOISES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def lines(table: pd.DataFrame, by: str, x: str, y: str, path: pathlib.Path, title: str, best: float | None = None) -> None:
    """Mean and range over seeds of each kind."""
    figure = figures.new_figure(6.0, 3.8, title)
    axis = figure.subplots()
    for i, (label, rows) in enumerate(table.groupby(by, sort=False)):
        found = rows.groupby(x)[y]
        axis.plot(found.mean().index, found.mean(), "o-", color=figures.COLOURS[i], markersize=3, label=label)
        axis.fill_between(found.mean().index, found.min(), found.max(), color=figures.COLOURS[i], alpha=0.15, lw=0)
    if best is not None:
        axis.axhline(best, color=figures.GREY, ls="--", lw=1, label="best")
    axis.set(xlabel=x, ylabel=y)
    axis.legend(frameon=False, fontsize=8.5)
    figures.plain(axis)
    figures.save(figure, path)


def rows_of(found: tabular.TabularResult, x: str, values: Any, **labels: Any) -> list[dict[str, Any]]:
    """A row for each bound and seed."""
    rows = []
    for i, value in enumerate(values):
        for seed in range(found.returns.shape[1]):
            error, bound = tabular.value_errors(MDP, found.q_values[i, seed])
            row = {x: value, "seed": seed, "return": found.returns[i, seed], "value error": error, "its bound": bound}
            rows.append(labels | row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 200 steps")
    parser.add_argument("--out", default="runs/omd_tabular", help="folder (default: %(default)s)")
    options = parser.parse_args()
    common: dict[str, Any] = (
        {"seeds": 2, "num_steps": 200} if options.quick else {"seeds": options.seeds, "num_steps": options.steps}
    )
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    bounds, rows = np.linspace(0, 6, 20)[1:], []
    for projection in tabular.PROJECTIONS:
        for loss in tabular.LOSSES:
            began = time.process_time()
            found = tabular.solve(MDP, model_loss=loss, norm_bound=bounds, projection=projection, **common)
            print(
                f"{loss}, {projection}: {time.process_time() - began:.1f} s of CPU time, {found.fallbacks.sum()} fallbacks",
                flush=True,
            )
            rows += rows_of(found, "norm bound", bounds, kind=f"{loss.upper()}, {projection}")
    table = pd.DataFrame(rows)
    table.to_csv(folder / "bounds.csv", index=False)
    lines(table, "kind", "norm bound", "return", folder / "returns.png", "Return in the true MDP", BEST)

    rows = []
    for method in ("direct", "identity"):
        for noise in NOISES:
            solver = LinearSolver(method, damping=0.0)
            found = tabular.solve(MDP, model_loss="omd", norm_bound=3.0, solver=solver, inner_noise=noise, **common)
            rows += rows_of(found, "noise", [noise], kind="exact inverse" if method == "direct" else "identity")
    noisy = pd.DataFrame(rows)
    noisy.to_csv(folder / "noise.csv", index=False)
    lines(noisy, "kind", "noise", "return", folder / "noise.png", "OMD with a noisy inner solution, norm bound 3", BEST)

    joint = table[table["kind"].str.contains("joint")]
    long = joint.melt(["kind", "norm bound", "seed"], ["value error", "its bound"], "what", "largest error of Q")
    long["kind"] = long["kind"].str.split(",").str[0] + ", " + long["what"]
    lines(
        long,
        "kind",
        "norm bound",
        "largest error of Q",
        folder / "value_errors.png",
        "How wrong values are, and what bounds it",
    )
    print(table.groupby(["kind", "norm bound"], sort=False)["return"].agg(["mean", "std"]).round(3).to_string())
    print(f"\n{folder}: bounds.csv, noise.csv, returns.png, noise.png, value_errors.png")


if __name__ == "__main__":
    main()
