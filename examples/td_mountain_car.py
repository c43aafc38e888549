"""How step size and batch size set the plateau of TD learning: MountainCar's values, at the length of the published study.

Run as ``python examples/td_mountain_car.py`` (``--quick`` for a minute's worth). Observations are cut into 42 × 28 cells; the
policy is greedy in a table that Q-learning has learned. 10 million episodes of 350 steps are sampled to disk (7 GB; a killed
run goes on), and values are learned from them by batch TD with all Fourier modes of the cells: batches of 1, 2, 4, 8 episodes
at a learning rate of .1, and learning rates from .01 to .2 with single episodes. Each of ten runs takes the episodes in an
order of its own. Written are ``curves.csv``, ``plateaus.csv``, ``fits.csv`` and pictures.

Three errors are followed: over all cells alike, against Monte Carlo values from a simulator in plain NumPy (``monte_carlo``)
and against the fixed point of TD on these episodes (``all_cells``); and against the latter, cells counting as often as they are
visited (``visited``).
"""

import argparse
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy import stats

from mbrl_agents.common.files import arrays_from_bytes, arrays_to_bytes, write_atomically
from mbrl_agents.experiments import figures
from mbrl_agents.td_dynamics.episode_sampling import sample, sample_episodes
from mbrl_agents.td_dynamics.episode_store import EpisodeStore
from mbrl_agents.td_dynamics.least_squares import count, td_values
from mbrl_agents.td_dynamics.linear_features import FourierModes
from mbrl_agents.td_dynamics.policy_evaluation import BatchTD
from mbrl_agents.td_dynamics.tabular_control import q_learning
from mbrl_envs import MountainCar

ENV, STEPS, GAMMA = MountainCar(), 350, 0.99
CELLS = FourierModes(ENV.observation_space.low, ENV.observation_space.high, (42, 28))
LEARNING_RATES, BATCH_SIZES, USUAL_RATE = (0.01, 0.02, 0.05, 0.1, 0.2), (1, 2, 4, 8), 0.1
# For each study: what the plateau should be linear in, (batch size, learning rate) by its value, and the share of the length.
STUDIES = {
    "step_size": ("learning rate", {rate: (1, rate) for rate in LEARNING_RATES}, 1),
    "batch_size": ("1 / batch size", {1 / size: (size, USUAL_RATE) for size in BATCH_SIZES}, 10),
}
SETTINGS = {setting: share for _, settings, share in reversed(STUDIES.values()) for setting in settings.values()}
ERRORS = {
    "monte_carlo": "all cells, against Monte Carlo values",
    "all_cells": "all cells, against TD's fixed point",
    "visited": "as often as visited, against TD's fixed point",
}
PUBLISHED_SHARE = 0.88  # of episodes that take more than 200 steps
RECORDS = 500  # of the batch-size study
BLOCK = 64_000


def behaviour(seeds: int = 12, num_episodes: int = 10_000) -> np.ndarray:
    """The greedy policy of Q-learning, of those of some seeds the one that is most like the published study's.

    There 88 % of the episodes take more than 200 steps, and a learning rate of .2 converges. After the study's 2000 episodes of
    Q-learning no policy that we found is like that: hardly any reaches the goal within 200 steps, and as they roll to and fro
    between a few cells instead, TD diverges at .2 (and sometimes at .1). After 10 000 episodes there are some.
    """
    policies = [q_learning(ENV, CELLS, seed=seed, num_episodes=num_episodes).policy for seed in range(seeds)]
    lengths = [sample(ENV, CELLS, each, num_episodes=4096, steps=STEPS, seed=1).lengths for each in policies]
    return policies[int(np.argmin([abs((each > 200).mean() - PUBLISHED_SHARE) for each in lengths]))]


def monte_carlo(policy: np.ndarray, episodes: int, horizon: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Mean discounted return after each cell, over all its visits in the first 349 steps, and its standard error, (S,) each.

    A simulator of its own, in float64 and with nothing of the package: what follows a visit is not cut after 350 steps.
    """
    rng = np.random.default_rng(0)
    position, velocity = rng.uniform(-0.6, -0.4, episodes), np.zeros(episodes)
    cells, running = np.zeros((horizon, episodes), np.int16), np.zeros((horizon, episodes), bool)
    alive = np.ones(episodes, bool)
    for t in range(horizon):
        column = np.minimum(((position + 1.2) / 1.8 * 42).astype(int), 41)
        row = np.minimum(((velocity + 0.07) / 0.14 * 28).astype(int), 27)
        cells[t], running[t] = column * 28 + row, alive
        faster = np.clip(velocity + 0.001 * (policy[cells[t]] - 1) - 0.0025 * np.cos(3 * position), -0.07, 0.07)
        further = np.clip(position + faster, -1.2, 0.6)
        faster[(further <= -1.2) & (faster < 0)] = 0
        position, velocity = np.where(alive, further, position), np.where(alive, faster, velocity)
        alive &= position < 0.5
    groups = np.arange(episodes) * 20 // episodes  # for standard errors
    sums, visits, following = np.zeros((20, 1176)), np.zeros((20, 1176)), np.zeros(episodes)
    for t in reversed(range(horizon)):
        following = np.where(running[t], -1 + GAMMA * following, 0)
        if t < STEPS - 1:
            np.add.at(sums, (groups, cells[t]), following)
            np.add.at(visits, (groups, cells[t]), 1)
    number = np.maximum(visits.sum(0), 1)
    values = sums.sum(0) / number
    return values, np.sqrt(np.square(sums - visits * values).sum(0)) / number


def true_values(folder: pathlib.Path, store: EpisodeStore, policy: np.ndarray, episodes: int) -> dict[str, np.ndarray]:
    """Monte Carlo values with standard errors, the fixed point of TD, and visits, (S,) each; kept in the folder."""
    path = folder / "truths.npz"
    if not path.exists():
        counts = count(store.blocks(BLOCK), CELLS.num_cells)
        values, standard_error = monte_carlo(policy, episodes)
        found = {"monte_carlo": values, "standard_error": standard_error, "td": td_values(counts, gamma=GAMMA)}
        write_atomically(path, arrays_to_bytes(found | {"visits": counts.visits}))
    return arrays_from_bytes(path.read_bytes(), str(path))


def one_run(
    run: int, store: EpisodeStore, batches: int, truths: dict[str, np.ndarray], visits: np.ndarray
) -> dict[str, np.ndarray]:
    """Errors of every setting in one run, float64 (records,) by ``<batch size> <learning rate> <error>``."""
    every = max(batches // 10 // RECORDS, 1)
    table = CELLS.table()
    learners = [
        BatchTD(CELLS.num_cells, gamma=GAMMA, step_size=rate / STEPS, batch_size=size, features=table, every=every)
        for size, rate in SETTINGS
    ]
    limits = [batches // share for share in SETTINGS.values()]
    with ThreadPoolExecutor() as pool:
        for block in store.blocks(BLOCK, order=run):
            list(pool.map(lambda learner, most, block=block: learner.learn(block, most), learners, limits))
    errors = {}
    for (size, rate), learner in zip(SETTINGS, learners, strict=True):
        for kind in ERRORS:
            truth, weighting = truths["monte_carlo" if kind == "monte_carlo" else "td"], visits if kind == "visited" else None
            errors[f"{size} {rate} {kind}"] = learner.result.errors(truth, weighting)
    return errors


def tables(runs: list[dict[str, np.ndarray]], batches: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean errors at some sixty batches of each curve, and the plateau of each run: its mean error over the last half."""
    every = max(batches // 10 // RECORDS, 1)
    curves, plateaus = [], []
    for study, (_, settings, share) in STUDIES.items():
        length = batches // share // every
        shown = np.unique(np.geomspace(1, length, 60).astype(int)) - 1
        for x, (size, rate) in settings.items():
            for kind in ERRORS:
                found = np.stack([run[f"{size} {rate} {kind}"][:length] for run in runs])
                about = {"study": study, "batch_size": size, "learning_rate": rate, "error": kind}
                mean, spread = found.mean(0), found.std(0, ddof=1)
                curves += [{**about, "batches": every * (i + 1), "mean": mean[i], "std": spread[i]} for i in shown]
                own = found[:, length // 2 :].mean(1)
                plateaus += [{**about, "x": x, "run": run, "plateau": value} for run, value in enumerate(own)]
    return pd.DataFrame(curves), pd.DataFrame(plateaus)


def fit(plateaus: pd.DataFrame) -> pd.DataFrame:
    """For each study and error: line and power law through the plateaus of each run; means with 95 % t intervals over runs.

    Once through all settings, and once without the largest x: towards the step size at which learning diverges, plateaus rise
    faster than in proportion.
    """
    rows = []
    tops = [(key, group, top) for key, group in plateaus.groupby(["study", "error"], sort=False) for top in (0, 1)]
    for (study, kind), group, left_out in tops:
        wide = group.pivot(index="run", columns="x", values="plateau").iloc[:, : group["x"].nunique() - left_out]
        x = wide.columns.to_numpy(float)
        lines = np.array([np.polyfit(x, row, 1) for row in wide.to_numpy()])
        powers = np.array([np.polyfit(np.log(x), np.log(row), 1) for row in wide.to_numpy()])
        mean = wide.to_numpy().mean(0)
        left = mean - np.polyval(lines.mean(0), x)
        row = {"study": study, "error": kind, "up_to": x[-1], "r_squared": 1 - left.var() / mean.var()}
        for name, values in (("slope", lines[:, 0]), ("intercept", lines[:, 1]), ("exponent", powers[:, 0])):
            half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            row |= {name: values.mean(), f"{name}_low": values.mean() - half, f"{name}_high": values.mean() + half}
        rows.append(row)
    return pd.DataFrame(rows)


def draw_curves(curves: pd.DataFrame, path: pathlib.Path) -> None:
    """Mean error by batches, a row of pictures for each study, a column for each error."""
    figure = figures.new_figure(11, 6.4, "TD learning of MountainCar's values: mean squared error, mean over runs")
    axes = figure.subplots(len(STUDIES), len(ERRORS), sharex="row")
    for line, (study, (_, settings, _)) in zip(axes, STUDIES.items(), strict=True):
        for axis, (kind, words) in zip(line, ERRORS.items(), strict=True):
            for i, (size, rate) in enumerate(settings.values()):
                rows = curves[(curves["study"] == study) & (curves["error"] == kind)]
                rows = rows[(rows["batch_size"] == size) & (rows["learning_rate"] == rate)]
                label = f"learning rate {rate:g}" if study == "step_size" else f"batches of {size}"
                axis.plot(rows["batches"], rows["mean"], color=figures.COLOURS[i], label=label)
            axis.set(xscale="log", yscale="log", xlabel="batches")
            axis.set_title(words, fontsize=9)
            figures.plain(axis)
        line[0].legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def draw_plateaus(plateaus: pd.DataFrame, fits: pd.DataFrame, path: pathlib.Path) -> None:
    """Plateau of every run by learning rate and by 1/B, with the line through them."""
    figure = figures.new_figure(11, 6.4, "Plateau of the error (mean over the last half of a run), and the line through it")
    axes = figure.subplots(len(STUDIES), len(ERRORS), sharex="row")
    for line, (study, (name, _, _)) in zip(axes, STUDIES.items(), strict=True):
        for axis, (kind, words) in zip(line, ERRORS.items(), strict=True):
            rows, own = (each[(each["study"] == study) & (each["error"] == kind)] for each in (plateaus, fits))
            axis.plot(rows["x"], rows["plateau"], ".", color=figures.COLOURS[0], alpha=0.5)
            x = np.array([0, rows["x"].max()])
            for i, (_, line_fit) in enumerate(own.iterrows()):
                y = line_fit["intercept"] + line_fit["slope"] * x
                label = f"up to {line_fit['up_to']:g}: R² = {line_fit['r_squared']:.4f}"
                axis.plot(x, y, figures.STYLES[i], color=figures.COLOURS[i + 1], lw=1, label=label)
            axis.set(xlabel=name, xlim=(0, None))
            axis.set_title(words, fontsize=9)
            axis.legend(frameon=False, fontsize=8)
            figures.plain(axis)
        line[0].set_ylabel("mean squared error")
    figures.save(figure, path)


def draw_values(truths: dict[str, np.ndarray], visits: np.ndarray, path: pathlib.Path) -> None:
    """Values and visits by position and velocity."""
    figure = figures.new_figure(11, 3.2, "Cells of position and velocity")
    often = np.log10(np.where(visits > 0, visits / visits.sum(), np.nan))
    shown = {"log10 share of visits": often} | {
        f"value, {name}": np.where(visits > 0, truths[key], np.nan)
        for name, key in (("Monte Carlo", "monte_carlo"), ("fixed point of TD", "td"))
    }
    axes = figure.subplots(1, 3, sharey=True)
    axes[0].set_ylabel("velocity")
    for axis, (name, cells) in zip(axes, shown.items(), strict=True):
        image = axis.imshow(
            cells.reshape(42, 28).T, origin="lower", aspect="auto", extent=(-1.2, 0.6, -0.07, 0.07), cmap="viridis"
        )
        axis.set(xlabel="position")
        axis.set_title(name, fontsize=9)
        figure.colorbar(image, ax=axis)
    figures.save(figure, path)


def learn_all(
    folder: pathlib.Path, store: EpisodeStore, runs: int, batches: int, truths: dict, visits: np.ndarray
) -> list[dict]:
    """All runs; those that an earlier call finished are read."""
    found = []
    for run in range(runs):
        path = folder / f"run_{run}_{batches}.npz"
        if not path.exists():
            began, cpu = time.perf_counter(), time.process_time()
            write_atomically(path, arrays_to_bytes(one_run(run, store, batches, truths, visits)))
            updates = sum(batches // share for share in SETTINGS.values())
            seconds = time.perf_counter() - began
            print(f"run {run}: {updates} updates, {seconds:.0f} s ({time.process_time() - cpu:.0f} s of CPU time)", flush=True)
        found.append(arrays_from_bytes(path.read_bytes(), str(path)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 000 batches, 3 runs")
    parser.add_argument("--batches", type=int, help="batches of the step-size study, ten times those of the other (10 000 000)")
    parser.add_argument("--runs", type=int, help="runs (10)")
    parser.add_argument("--samples", type=pathlib.Path, default=pathlib.Path("runs/td_mountain_car"), help="folder of episodes")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("td_mountain_car"), help="folder of results")
    arguments = parser.parse_args()
    batches = arguments.batches or (200_000 if arguments.quick else 10_000_000)
    runs = arguments.runs or (3 if arguments.quick else 10)
    folder = arguments.samples / str(batches)
    folder.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)

    policy_file = folder / "policy.npz"  # kept, as rounding on another machine may make it another policy
    if not policy_file.exists():
        write_atomically(policy_file, arrays_to_bytes({"policy": behaviour()}))
    policy = arrays_from_bytes(policy_file.read_bytes(), str(policy_file))["policy"]
    store = sample_episodes(
        folder / "episodes", ENV, CELLS, policy, num_episodes=batches, steps=STEPS, seed=1, progress_bar=True
    )
    truths = true_values(folder, store, policy, 20_000 if arguments.quick else 100_000)
    visits = truths["visits"]
    bias = np.square(truths["td"] - truths["monte_carlo"])
    print(
        f"{(visits > 0).sum()} of {CELLS.num_cells} cells visited; mean squared difference of TD's fixed point from Monte "
        f"Carlo values: {bias.mean():.3f} over all cells, {bias @ visits / visits.sum():.3f} as often as visited; mean squared "
        f"standard error of the latter {np.square(truths['standard_error']).mean():.4f}",
        flush=True,
    )
    found = learn_all(folder, store, runs, batches, truths, visits)
    curves, plateaus = tables(found, batches)
    fits = fit(plateaus)
    for name, table in (("curves", curves), ("plateaus", plateaus), ("fits", fits)):
        table.to_csv(arguments.out / f"{name}.csv", index=False, float_format="%.6g")
    draw_curves(curves, arguments.out / "curves.png")
    draw_plateaus(plateaus, fits, arguments.out / "plateaus.png")
    draw_values(truths, visits, arguments.out / "values.png")
    print(fits.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
