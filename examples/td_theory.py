"""The theory of TD learning beside simulations: what batch, discount, step size, schedule, features, rewards and shaping do.

Run as ``python examples/td_theory.py`` (``--quick`` for a minute's worth). Eight studies, each a picture and a table of curves:
four of decoupled features (spectrum k^−1.2, correlation time 10/√k, rewards k^−1.1), four of place cells in RandomWalk2D, a
random walk from the centre of a square. Lines are theory, dots with bars (95 %) are means of simulations. ``…_agreement.csv``
has z-scores of simulation beside theory in windows of updates. ``--only`` picks studies.
"""

import argparse
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents import td_dynamics as td
from mbrl_agents.experiments import figures
from mbrl_envs import RandomWalk2D
from mbrl_envs.yardsticks import random_walk_2d

GAMMA, STEP_SIZE, PLACE_WIDTH, PLACE_STEP = 0.9, 0.025, 1.0, 0.1
RECORDED = 60  # points of a curve in tables


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is."""

    features: int = 300
    times: int = 50
    updates: int = 500
    repeats: int = 12
    grid: int = 17
    walk_times: int = 50
    walk_updates: int = 120
    walk_repeats: int = 32
    agreement_updates: int = 200
    agreement_repeats: int = 200
    gaussian_repeats: int = 24


QUICK = Scale(30, 10, 100, 10, 7, 12, 60, 20, 60, 20, 10)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A learning curve: ``mean`` after n updates, of a theory, or of simulations with the standard error ``error``."""

    label: str
    kind: str
    mean: np.ndarray
    error: np.ndarray | None = None
    repeats: np.ndarray | None = None


def simulated(label: str, kind: str, losses: np.ndarray) -> Curve:
    return Curve(label, kind, losses.mean(axis=0), losses.std(axis=0, ddof=1) / np.sqrt(len(losses)), losses)


# --- Decoupled features ---------------------------------------------------------------------------------------------------


def decoupled(scale: Scale) -> tuple[td.DecoupledCovariance, np.ndarray]:
    k, apart = np.arange(1.0, scale.features + 1), np.abs(np.subtract.outer(np.arange(scale.times), np.arange(scale.times)))
    covariance = k[:, None, None] ** -1.2 * np.exp(-apart * np.sqrt(k)[:, None, None] / 10)
    return td.DecoupledCovariance(covariance), k**-1.1


def vary(scale: Scale, settings: dict[str, dict[str, Any]]) -> list[Curve]:
    """Theory and simulation for some settings, which differ in what each one says."""
    covariance, rewards = decoupled(scale)
    common = {"gamma": GAMMA, "step_size": STEP_SIZE, "batch_size": 10}
    rows = [common | changes for changes in settings.values()]
    theory = [td.theory_curve(covariance, rewards, num_steps=scale.updates, **row) for row in rows]
    paired: Any = {name: [row[name] for row in rows] for name in common}
    losses = td.simulate_td(covariance, rewards, num_steps=scale.updates, repeats=scale.repeats, progress_bar=True, **paired)
    curves = [Curve(label, "theory", each) for label, each in zip(settings, theory, strict=True)]
    return curves + [simulated(label, "gaussian", each) for label, each in zip(settings, losses, strict=True)]


def batch(scale: Scale) -> list[Curve]:
    return vary(scale, {f"B = {size}": {"batch_size": size} for size in (1, 5, 10, 25, 50)})


def discount(scale: Scale) -> list[Curve]:
    return vary(scale, {f"γ = {gamma:g}": {"gamma": gamma} for gamma in (0.0, 0.5, 0.8, 0.9, 0.99)})


def step_size(scale: Scale) -> list[Curve]:
    return vary(scale, {f"η = {eta:g}": {"step_size": eta} for eta in (0.005, 0.01, 0.025, 0.05, 0.1)})


def schedules(scale: Scale) -> list[Curve]:
    """B = 1, where noise is what limits: constant ones, η n^−χ, and what `suggest_schedule` finds."""
    covariance, rewards = decoupled(scale)
    found = td.suggest_schedule(covariance, rewards, gamma=GAMMA, budget=scale.updates, batch_size=1, progress_bar=True)
    best = found.schedule
    print(f"suggested: η {best.step_size:.4g}, χ {best.exponent:.3g}, delay {best.delay:.4g}", flush=True)
    power = {f"η n^−χ, χ = {chi:g}": td.PowerSchedule(STEP_SIZE, chi) for chi in (0.0, 0.25, 0.5)}
    all_of_them = power | {"best constant": found.best_constant, "suggested": best}
    return vary(scale, {label: {"batch_size": 1, "step_size": each} for label, each in all_of_them.items()})


# --- Place cells in RandomWalk2D ------------------------------------------------------------------------------------------


def place_cells(scale: Scale, width: float) -> td.ChainCovariance:
    """A place cell in every cell of the square."""
    env = RandomWalk2D(scale.grid)
    squared = ((env.positions[:, None] - env.positions) ** 2).sum(axis=-1)
    start = np.eye(env.num_cells)[env.start]
    features = np.exp(-squared / (2 * width**2))
    return td.ChainCovariance(random_walk_2d.walk(env), start, features, num_steps=scale.walk_times)


def reward_weights(covariance: td.ChainCovariance, rewards: np.ndarray) -> np.ndarray:
    """The weights whose rewards are nearest; wide place cells are too much alike to be fitted exactly."""
    return np.linalg.lstsq(covariance.features, rewards, rcond=1e-8)[0]


def walk_curves(scale: Scale, label: str, covariance: td.ChainCovariance, weights: np.ndarray, **changes: Any) -> list[Curve]:
    """The exact theory and the sampled walk."""
    setting = {"gamma": GAMMA, "step_size": PLACE_STEP, "batch_size": 10, "num_steps": scale.walk_updates} | changes
    repeats = setting.pop("repeats", scale.walk_repeats)
    theory = td.theory_curve(covariance, weights, fourth_moments="exact", **setting)
    losses = td.simulate_td(covariance, weights, source="process", repeats=repeats, progress_bar=True, **setting)
    return [Curve(label, "theory, exact", theory), simulated(label, "walk", losses)]


def agreement(scale: Scale) -> list[Curve]:
    """The sampled walk, Gaussian features with its second moments, and theory with and without exact fourth moments."""
    covariance, env = place_cells(scale, PLACE_WIDTH), RandomWalk2D(scale.grid)
    weights = reward_weights(covariance, env.rewards)
    curves = []
    for size in (1, 10):
        label, eta = f"B = {size}", PLACE_STEP if size == 10 else PLACE_STEP / 4
        setting: Any = {"gamma": GAMMA, "step_size": eta, "batch_size": size, "num_steps": scale.agreement_updates}
        curves += walk_curves(scale, label, covariance, weights, repeats=scale.agreement_repeats, **setting)
        gaussian = td.simulate_td(covariance, weights, repeats=scale.gaussian_repeats, seed=1, progress_bar=True, **setting)
        curves += [simulated(label, "gaussian", gaussian)]
        curves += [Curve(label, "theory", td.theory_curve(covariance, weights, **setting))]
    return curves


def place_widths(scale: Scale) -> list[Curve]:
    """Each width with a quarter of its largest stable step size: wide cells can take small steps only."""
    curves, rewards = [], RandomWalk2D(scale.grid).rewards
    for width in (0.5, 1.0, 2.0, 3.0):
        covariance = place_cells(scale, width)
        weights = reward_weights(covariance, rewards)
        stable = td.largest_stable_step_size(covariance, gamma=GAMMA, batch_size=10, fourth_moments="exact")
        missed = np.abs(covariance.features @ weights - rewards).max()
        print(f"place cells of width {width:g}: largest stable step size {stable:.4g}, rewards off by {missed:.1g}", flush=True)
        curves += walk_curves(scale, f"width {width:g}", covariance, weights, step_size=stable / 4)
    return curves


def reward_functions(scale: Scale) -> list[Curve]:
    """Rewards of several widths, and C(k), how much of the values lies in the k fastest modes."""
    covariance, curves = place_cells(scale, PLACE_WIDTH), []
    for width in (0, 2, 4):
        weights = reward_weights(covariance, RandomWalk2D(scale.grid, reward_width=width).rewards)
        label = f"reward width {width}" if width else "reward on the goal alone"
        curves += walk_curves(scale, label, covariance, weights)
        curves.append(Curve(label, "C(k)", td.alignment(covariance, weights, gamma=GAMMA)))
    return curves


def shaping(scale: Scale) -> list[Curve]:
    """A potential w_S = −β w_V takes a share β of the values away before anything is learned."""
    covariance, curves = place_cells(scale, PLACE_WIDTH), []
    weights = reward_weights(covariance, RandomWalk2D(scale.grid).rewards)
    values = td.fixed_point(covariance, weights, gamma=GAMMA)
    for share in (-0.5, 0.0, 0.5, 0.9):
        label = f"β = {share:g}".replace("-", "−")
        curves += walk_curves(scale, label, covariance, weights, shaping=-share * values)
    return curves


STUDIES: dict[str, tuple[str, Callable[[Scale], list[Curve]]]] = {
    "batch": ("Batch size (decoupled features)", batch),
    "discount": ("Discount factor (decoupled features)", discount),
    "step_size": ("Step size (decoupled features)", step_size),
    "schedules": ("Schedules of step sizes, one episode per update", schedules),
    "agreement": ("Sampled walk, Gaussian features, and theory (place cells)", agreement),
    "place_widths": ("Width of place cells", place_widths),
    "reward_functions": ("Reward functions and their alignment", reward_functions),
    "shaping": ("Shaping with a potential", shaping),
}

# --- Tables and pictures --------------------------------------------------------------------------------------------------

ABSOLUTE = ("shaping",)  # studies whose curves begin at different losses, which is the point
LOOKS = {"theory": "-", "theory, exact": "--", "gaussian": "o", "walk": "s"}


def recorded(length: int) -> np.ndarray:
    """Updates that tables keep: the first ones, then at equal ratios."""
    return np.unique(np.concatenate([[0], np.geomspace(1, length - 1, RECORDED).round()])).astype(int)


def table(curves: list[Curve]) -> pd.DataFrame:
    frames = []
    for curve in curves:
        n = recorded(len(curve.mean))
        error = np.full(len(n), np.nan) if curve.error is None else curve.error[n]
        columns = {"label": curve.label, "kind": curve.kind, "n": n, "value": curve.mean[n], "standard_error": error}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames)


def windows(study: str, curves: list[Curve]) -> list[dict[str, Any]]:
    """z-scores: simulated means over windows of updates beside each theory of the same label."""
    rows = []
    for one in (curve for curve in curves if curve.repeats is not None):
        edges = np.unique(np.geomspace(1, len(one.mean), 6).round().astype(int))
        for theory in (curve for curve in curves if curve.label == one.label and curve.kind.startswith("theory")):
            for begin, end in itertools.pairwise(edges):
                means = one.repeats[:, begin:end].mean(axis=1)
                z = (means.mean() - theory.mean[begin:end].mean()) / (means.std(ddof=1) / np.sqrt(len(means)))
                ratio = means.mean() / theory.mean[begin:end].mean()
                names = {"study": study, "label": one.label, "simulation": one.kind, "theory": theory.kind}
                rows.append(names | {"first": begin, "last": end - 1, "repeats": len(means), "ratio": ratio, "z": z})
    return rows


def draw(title: str, curves: list[Curve], path: pathlib.Path, absolute: bool = False) -> None:
    labels = list(dict.fromkeys(curve.label for curve in curves))
    shares = [curve for curve in curves if curve.kind == "C(k)"]
    figure = figures.new_figure(11 if shares else 6.5, 4.2, title)
    axes = figure.subplots(1, 2 if shares else 1, squeeze=False)[0]
    for curve in curves:
        colour = figures.COLOURS[labels.index(curve.label)]
        if curve.kind == "C(k)":
            axes[1].plot(np.arange(len(curve.mean)), curve.mean, color=colour, label=curve.label)
            continue
        scale = 1.0 if absolute else curve.mean[0]
        n = np.arange(1, len(curve.mean))
        if curve.error is None:
            axes[0].plot(n, curve.mean[1:] / scale, LOOKS[curve.kind], color=colour, linewidth=1.6)
        else:
            at = np.unique(np.geomspace(1, len(n), 14).round().astype(int))
            bars, mean = 1.96 * curve.error[at] / scale, curve.mean[at] / scale
            style = {"color": colour, "markersize": 4, "linewidth": 1, "markerfacecolor": "white"}
            axes[0].errorbar(at, mean, bars, fmt=LOOKS[curve.kind], **style)
    for label, colour in zip(labels, figures.COLOURS, strict=False):
        axes[0].plot([], [], color=colour, label=label, linewidth=3)
    for kind in dict.fromkeys(curve.kind for curve in curves if curve.kind in LOOKS):
        axes[0].plot([], [], LOOKS[kind], color=figures.GREY, markerfacecolor="white", markersize=5, label=kind)
    axes[0].set(xscale="log", yscale="log", xlabel="updates", ylabel="loss" if absolute else "loss / loss at the start")
    if shares:
        axes[1].set(xscale="symlog", xlabel="modes k, from the fastest", ylabel="C(k)")
    for axis in axes:
        axis.legend(frameon=False, fontsize=8)
        figures.plain(axis)
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small problems, few repeats")
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES), metavar="STUDY")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/td_theory"), help="folder of the results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    scale = QUICK if options.quick else Scale()
    for name in options.only:
        title, study = STUDIES[name]
        began = time.perf_counter()
        curves = study(scale)
        table(curves).to_csv(options.out / f"{name}.csv", index=False, float_format="%.5g")
        draw(title, curves, options.out / f"{name}.png", name in ABSOLUTE)
        found = pd.DataFrame(windows(name, curves))
        found.to_csv(options.out / f"{name}_agreement.csv", index=False, float_format="%.4g")
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        print(found.groupby(["simulation", "theory"]).z.agg(["count", "std", "min", "max"]).round(2).to_string(), flush=True)


if __name__ == "__main__":
    main()
