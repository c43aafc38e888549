"""How step size and batch size set the plateau of TD learning: MountainCar's values, by the published recipe and length.

Run as ``python examples/td_mountain_car.py`` (``--quick`` for a minute's worth). Observations are cut into 42 × 28 cells; the
policy is greedy in a table that Q-learning has learned. Values are learned by batch TD with all Fourier modes of the cells from
episodes of 351 positions (350 transitions; after the goal the state is repeated, with reward 0): 10 million batches of one
episode at learning rates from .01 to .2, and a million batches of 1, 2, 4, 8 episodes at a learning rate of .1. Updates are
divided by the number of episodes and by 350. Each of ten runs has a sample of 10 million episodes of its own; a killed call
goes on with the runs that are missing. Written are ``policies.csv``, ``curves.csv``, ``plateaus.csv``, ``fits.csv`` and
pictures. ``published.yaml`` in ``mbrl_agents/td_dynamics`` has the settings and says what is published and what is ours.

Three errors are followed: over all cells alike, against Monte Carlo values from a simulator in plain NumPy (``monte_carlo``)
and against the fixed point of TD (``all_cells``), estimated from a further sample; and against the latter, cells counting as
often as they are visited (``visited``).
"""

import argparse
import functools
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from mbrl_agents.core.files import arrays_from_bytes, arrays_to_bytes, write_atomically
from mbrl_agents.experiments import figures
from mbrl_agents.td_dynamics.episode_sampling import sample
from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_agents.td_dynamics.least_squares import count, td_values
from mbrl_agents.td_dynamics.linear_features import FourierModes
from mbrl_agents.td_dynamics.policy_evaluation import BatchTD
from mbrl_agents.td_dynamics.published import published_study
from mbrl_agents.td_dynamics.tabular_control import q_learning
from mbrl_envs import MountainCar

SETTING = published_study("mountain_car").settings
ENV, POSITIONS, GAMMA = MountainCar(), SETTING["positions"], SETTING["gamma"]
TRANSITIONS = POSITIONS - 1
CELLS = FourierModes(ENV.observation_space.low, ENV.observation_space.high, SETTING["cells"])
TABLE = CELLS.table()
SHARE = SETTING["batches"] / SETTING["episodes"]  # length of the batch-size study beside that of the other
# For each study: what the plateau should be linear in, (batch size, learning rate) by its value, and the share of the length.
STUDIES = {
    "step_size": ("learning rate", {rate: (1, rate) for rate in SETTING["learning_rates"]}, 1.0),
    "batch_size": ("1 / batch size", {1 / size: (size, SETTING["usual_rate"]) for size in SETTING["batch_sizes"]}, SHARE),
}
LENGTHS = {setting: share for _, settings, share in reversed(STUDIES.values()) for setting in settings.values()}
ERRORS = {
    "monte_carlo": "all cells, against Monte Carlo values",
    "all_cells": "all cells, against TD's fixed point",
    "visited": "as often as visited, against TD's fixed point",
}
RECORDS = 500  # of the batch-size study
BLOCK = 65_536


def candidates(seeds: int, episodes: int) -> dict[str, np.ndarray]:
    """Policies of the published Q-learning, by seed: what they do, and their ``actions`` (seeds, S).

    Whether learning with single episodes at the largest of the learning rates ``converges`` is tried out; values are at least
    −1 / (1 − γ), but errors may be larger for a while.
    """
    policies, rows, rate = [], [], max(SETTING["learning_rates"])
    for seed in range(seeds):
        policy = q_learning(ENV, CELLS, seed=seed, **SETTING["q_learning"]).policy
        drawn = sample(ENV, CELLS, policy, num_episodes=episodes, steps=POSITIONS, seed=0)
        row = {"seed": seed, "past_200": (drawn.lengths > 200).mean(), "past_350": (drawn.lengths > TRANSITIONS).mean()}
        learner = learner_of(1, rate, every=64)
        try:
            learner.learn(drawn)
            converges = np.abs(learner.result.values).max() < 2 / (1 - GAMMA)
        except FloatingPointError:
            converges = False
        rows.append(row | {"cells": len(np.unique(drawn.cells)), "converges": converges})
        policies.append(policy)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} | {"actions": np.stack(policies)}


def nearest(table: pd.DataFrame) -> int:
    """The seed of the policy that is most like the published one, of those with which learning converges.

    Its share of long episodes is to be within .02 of the published one, its number of visited cells as near as can be.
    """
    able = table[table["converges"]]
    far = (able["past_200"] - np.mean(SETTING["share_past_200"])).abs()
    near = able[far <= max(0.02, far.min())]
    return int(near.loc[(near["cells"] - SETTING["visited_cells"]).abs().idxmin(), "seed"])


def learner_of(size: int, rates: float | list[float], every: int) -> BatchTD:
    """TD with the published features, batches of ``size`` episodes and learning rates side by side."""
    step = (np.array(rates) / TRANSITIONS).tolist()
    return BatchTD(CELLS.num_cells, gamma=GAMMA, step_size=step, batch_size=size, features=TABLE, every=every)


def blocks(policy: np.ndarray, episodes: int, seed: int) -> Iterator[Episodes]:
    """A sample of episodes, a block at a time."""
    for first in range(0, episodes, BLOCK):
        yield sample(ENV, CELLS, policy, num_episodes=BLOCK, steps=POSITIONS, seed=seed, first=first)


def monte_carlo(policy: np.ndarray, episodes: int, horizon: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Mean discounted return after each cell, over all its visits in the first 350 steps, and its standard error, (S,) each.

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
        if t < TRANSITIONS:
            np.add.at(sums, (groups, cells[t]), following)
            np.add.at(visits, (groups, cells[t]), 1)
    number = np.maximum(visits.sum(0), 1)
    values = sums.sum(0) / number
    return values, np.sqrt(np.square(sums - visits * values).sum(0)) / number


def true_values(policy: np.ndarray, sampled: int, simulated: int) -> dict[str, np.ndarray]:
    """Monte Carlo values with standard errors, the fixed point of TD, and visits, (S,) each; seed 0 is no run's."""
    counts = count(blocks(policy, sampled, seed=0), CELLS.num_cells)
    values, standard_error = monte_carlo(policy, simulated)
    found = {"monte_carlo": values, "standard_error": standard_error, "td": td_values(counts, gamma=GAMMA)}
    return found | {"visits": counts.visits}


def kept(path: pathlib.Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of a file, made if it is not there."""
    if not path.exists():
        write_atomically(path, arrays_to_bytes(make()))
    return arrays_from_bytes(path.read_bytes(), str(path))


def record_interval(batches: int) -> int:
    """Batches between records."""
    return max(round(batches * SHARE) // RECORDS, 1)


def lengths(batches: int) -> dict[tuple[int, float], int]:
    """Batches of each setting, whole records."""
    every = record_interval(batches)
    return {setting: round(batches * share) // every * every for setting, share in LENGTHS.items()}


def one_run(run: int, policy: np.ndarray, batches: int, truths: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Errors of every setting in one run, float64 (records,) by ``<batch size> <learning rate> <error>``."""
    began, cpu = time.perf_counter(), time.process_time()
    limits, every = lengths(batches), record_interval(batches)
    rates = {size: [rate for other, rate in LENGTHS if other == size] for size, _ in LENGTHS}
    learners = {size: learner_of(size, own, every) for size, own in rates.items()}
    ends = {size: max(limits[size, rate] for rate in own) for size, own in rates.items()}
    needed = max(size * end for size, end in ends.items())
    for block in blocks(policy, needed, seed=run + 1):
        for size, learner in learners.items():
            if learner.num_batches < ends[size]:
                learner.learn(block, ends[size])
    errors = {}
    for size, learner in learners.items():
        for kind in ERRORS:
            truth = truths["monte_carlo" if kind == "monte_carlo" else "td"]
            found = learner.result.errors(truth, truths["visits"] if kind == "visited" else None)
            errors |= {f"{size} {rate} {kind}": found[:, i] for i, rate in enumerate(rates[size])}
    updates = sum(ends[size] * len(own) for size, own in rates.items())
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"run {run}: {needed} episodes, {updates} updates, {wall:.0f} s ({cpu:.0f} s of CPU time)", flush=True)
    return errors


def tables(runs: list[dict[str, np.ndarray]], batches: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean errors at some sixty batches of each curve, and the plateau of each run: its mean error over the last batches."""
    every, limits = record_interval(batches), lengths(batches)
    curves, plateaus = [], []
    for study, (_, settings, _) in STUDIES.items():
        for x, (size, rate) in settings.items():
            length = round(batches * STUDIES[study][2]) // every
            assert length <= limits[size, rate] // every
            last = plateau_batches(length * every) // every
            shown = np.unique(np.geomspace(1, length, 60).astype(int)) - 1
            for kind in ERRORS:
                found = np.stack([run[f"{size} {rate} {kind}"][:length] for run in runs])
                about = {"study": study, "batch_size": size, "learning_rate": rate, "error": kind}
                mean, spread = found.mean(0), found.std(0, ddof=1)
                curves += [{**about, "batches": every * (i + 1), "mean": mean[i], "std": spread[i]} for i in shown]
                own = found[:, -last:].mean(1)
                plateaus += [{**about, "x": x, "run": run, "plateau": value} for run, value in enumerate(own)]
    return pd.DataFrame(curves), pd.DataFrame(plateaus)


def plateau_batches(length: int) -> int:
    """Batches at the end of a curve whose mean is its plateau: the published number, or half of a short one."""
    return min(SETTING["plateau_batches"], length // 2)


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
    figure = figures.new_figure(11, 6.4, "Plateau of the error (mean over a run's last batches), and the line through it")
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


def draw_policies(policies: pd.DataFrame, path: pathlib.Path) -> None:
    """Share of episodes past 200 steps by policy, beside the published share."""
    figure = figures.new_figure(8, 3.2, "Policies of the published Q-learning: share of episodes of more than 200 steps")
    axis = figure.subplots()
    ordered = policies.sort_values("past_200")
    for able, words, colour in ((True, "TD converges", figures.COLOURS[0]), (False, "TD diverges", figures.COLOURS[5])):
        places = np.flatnonzero(ordered["converges"] == able)
        axis.bar(places, ordered["past_200"].to_numpy()[places], color=colour, width=0.7, label=words)
    axis.axhspan(*SETTING["share_past_200"], color=figures.COLOURS[1], alpha=0.6, label="published")
    axis.set_xticks(range(len(ordered)), [str(seed) for seed in ordered["seed"]])
    axis.set(xlabel="seed of Q-learning", ylabel="share", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    figures.plain(axis)
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 000 batches, 3 runs")
    parser.add_argument("--batches", type=int, help="batches of the step-size study, ten times those of the other (10 000 000)")
    parser.add_argument("--runs", type=int, help="runs (10)")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/td_mountain_car"), help="for finished runs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("td_mountain_car"), help="folder of results")
    arguments = parser.parse_args()
    batches = arguments.batches or (200_000 if arguments.quick else SETTING["episodes"])
    runs = arguments.runs or (3 if arguments.quick else SETTING["runs"])
    folder = arguments.work / f"{POSITIONS}_positions_{batches}"
    folder.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)

    tried = 16_384 if arguments.quick else 131_072
    # Kept, as rounding on another machine may make them other policies.
    known = kept(folder / "policies.npz", lambda: candidates(SETTING["policies"], tried))
    policies = pd.DataFrame({name: values for name, values in known.items() if name != "actions"})
    seed = nearest(policies)
    policy = known["actions"][seed]
    print(policies.to_string(index=False, float_format="%.4g"), f"\nthe policy is that of seed {seed}", flush=True)
    truths = kept(folder / "truths.npz", lambda: true_values(policy, batches, 20_000 if arguments.quick else 100_000))
    visits = truths["visits"]
    bias = np.square(truths["td"] - truths["monte_carlo"])
    print(
        f"{(visits > 0).sum()} of {CELLS.num_cells} cells visited; mean squared difference of TD's fixed point from Monte "
        f"Carlo values: {bias.mean():.3f} over all cells, {bias @ visits / visits.sum():.3f} as often as visited; mean squared "
        f"standard error of the latter {np.square(truths['standard_error']).mean():.4f}",
        flush=True,
    )
    found = [kept(folder / f"run_{run}.npz", functools.partial(one_run, run, policy, batches, truths)) for run in range(runs)]
    curves, plateaus = tables(found, batches)
    fits = fit(plateaus)
    for name, table in (("policies", policies), ("curves", curves), ("plateaus", plateaus), ("fits", fits)):
        table.to_csv(arguments.out / f"{name}.csv", index=False, float_format="%.6g")
    draw_policies(policies, arguments.out / "policies.png")
    draw_curves(curves, arguments.out / "curves.png")
    draw_plateaus(plateaus, fits, arguments.out / "plateaus.png")
    draw_values(truths, visits, arguments.out / "values.png")
    print(fits.to_string(index=False, float_format="%.4g"))


if __name__ == "__main__":
    main()
