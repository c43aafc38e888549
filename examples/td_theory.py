"""The theory of TD learning beside simulations, with the published settings.

Run as ``python examples/td_theory.py`` (``--quick`` for a minute's worth). Each study is a picture and a table of curves. Six
are of decoupled features (spectrum k^−1.2, correlation time 10/√k, rewards k^−1.1): batch, discount, step size, schedules,
shaping. Three are of place cells in RandomWalk2D, a random walk from the centre of a square that bounces off its edges, with
centred features and rewards: their width, reward functions, noise of rewards. One, ``suggested``, is our own. The settings are
those of ``mbrl_agents/td_dynamics/published.yaml``, which says what is published and what is ours. Lines are theory, dots with
bars (95 %) are means of simulations: of Gaussian features, and of the sampled walk. Beside them is the ratio of simulation to
theory in windows of updates; ``…_agreement.csv`` has these windows with z-scores. ``--only`` picks studies.
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
from mbrl_agents.td_dynamics import published_study
from mbrl_envs import RandomWalk2D
from mbrl_envs.yardsticks import random_walk_2d

RECORDED, WINDOWS = 60, 5  # points of a curve in tables; windows in which curves are compared
DECOUPLED, WALK = (published_study(name).settings for name in ("decoupled", "walk"))


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is; what is published, but for the repeats."""

    features: int = DECOUPLED["features"]
    times: int = DECOUPLED["times"]
    updates: int = DECOUPLED["num_steps"]
    repeats: int = 40
    grid: int = WALK["grid_size"]
    positions: int = WALK["positions"]
    walk_updates: int = WALK["num_steps"]
    walk_repeats: int = 200
    gaussian_repeats: int = 60


QUICK = Scale(30, 10, 100, 10, 7, 12, 60, 20, 10)


@dataclasses.dataclass(frozen=True)
class Curve:
    """A learning curve: ``mean`` after n updates, of a theory, or of simulations with the standard error ``error``.

    With ``x`` it is something else than losses by updates, and is drawn in a panel of its own.
    """

    label: str
    kind: str
    mean: np.ndarray
    error: np.ndarray | None = None
    repeats: np.ndarray | None = None
    x: np.ndarray | None = None


def simulated(label: str, kind: str, losses: np.ndarray) -> Curve:
    return Curve(label, kind, losses.mean(axis=0), losses.std(axis=0, ddof=1) / np.sqrt(len(losses)), losses)


# --- Decoupled features ---------------------------------------------------------------------------------------------------


def decoupled(scale: Scale) -> tuple[td.DecoupledCovariance, np.ndarray]:
    k, apart = np.arange(1.0, scale.features + 1), np.abs(np.subtract.outer(np.arange(scale.times), np.arange(scale.times)))
    slower = np.sqrt(k)[:, None, None] / DECOUPLED["correlation_time"]
    covariance = k[:, None, None] ** DECOUPLED["spectrum"] * np.exp(-apart * slower)
    return td.DecoupledCovariance(covariance), k ** DECOUPLED["rewards"]


def vary(scale: Scale, common: dict[str, Any], settings: dict[str, dict[str, Any]], weights: Any = None) -> list[Curve]:
    """Theory and simulation of Gaussian features for some settings, which differ in what each one says."""
    covariance, rewards = decoupled(scale)
    rewards = rewards if weights is None else weights
    rows = [common | changes for changes in settings.values()]
    theory = [td.theory_curve(covariance, rewards, num_steps=scale.updates, **row) for row in rows]
    paired: Any = {name: [row[name] for row in rows] for name in rows[0]}
    losses = td.simulate_td(covariance, rewards, num_steps=scale.updates, repeats=scale.repeats, progress_bar=True, **paired)
    curves = [Curve(label, "theory", each) for label, each in zip(settings, theory, strict=True)]
    return curves + [simulated(label, "gaussian", each) for label, each in zip(settings, losses, strict=True)]


def numbers(study: str, name: str, symbol: str) -> Callable[[Scale], list[Curve]]:
    """The study of one number, of which its settings have a list."""

    def curves(scale: Scale) -> list[Curve]:
        common = published_study(study).settings
        values = common.pop(name)
        return vary(scale, common, {f"{symbol} = {value:g}": {name: value} for value in values})

    return curves


def schedules(scale: Scale) -> list[Curve]:
    """Learning curves for some χ, and the loss at the end for many."""
    setting = published_study("schedules").settings
    eta, some, scan = (setting.pop(name) for name in ("step_size", "exponents", "scan"))

    def of(exponents: Any) -> list[Curve]:
        return vary(scale, setting, {f"χ = {chi:.3g}": {"step_size": td.PowerSchedule(eta, chi)} for chi in exponents})

    many = np.linspace(*scan)
    found = of(many)
    theory, simulation = found[: len(many)], found[len(many) :]
    name = "loss at the end, by χ"
    expected, mean = (np.array([curve.mean[-1] for curve in each]) for each in (theory, simulation))
    error = np.array([curve.error[-1] for curve in simulation if curve.error is not None])
    return [*of(some), Curve(name, "theory", expected, x=many), Curve(name, "gaussian", mean, error, x=many)]


def suggested(scale: Scale) -> list[Curve]:
    """Ours: B = 1, where noise is what limits; the best constant step size, and what `suggest_schedule` finds."""
    covariance, rewards = decoupled(scale)
    common: dict[str, Any] = {"gamma": 0.9, "batch_size": 1}
    found = td.suggest_schedule(covariance, rewards, budget=scale.updates, progress_bar=True, **common)
    best = found.schedule
    print(f"suggested: η {best.step_size:.4g}, χ {best.exponent:.3g}, delay {best.delay:.4g}", flush=True)
    power = {f"η n^−χ, χ = {chi:g}": td.PowerSchedule(0.025, chi) for chi in (0.0, 0.25, 0.5)}
    all_of_them = power | {"best constant": found.best_constant, "suggested": best}
    return vary(scale, common, {label: {"step_size": each} for label, each in all_of_them.items()})


def shaping(scale: Scale) -> list[Curve]:
    setting, (covariance, rewards) = published_study("shaping").settings, decoupled(scale)
    shares, values = setting.pop("shares"), td.fixed_point(covariance, rewards, gamma=setting["gamma"])
    return vary(scale, setting, {f"β = {share:g}".replace("-", "−"): {"shaping": share * values} for share in shares})


def rotated_shaping(scale: Scale) -> list[Curve]:
    """w_S as long as w_V, at an angle to w_R, which is 1 on one feature."""
    setting, unit = published_study("rotated_shaping").settings, np.eye(scale.features)
    angles, one, other = (setting.pop(name) for name in ("angles", "reward_feature", "towards_feature"))
    rewards, towards = unit[one - 1], unit[other - 1]
    values = td.fixed_point(decoupled(scale)[0], rewards, gamma=setting["gamma"])
    turned = {angle: td.rotated_shaping(values, angle * np.pi, towards) for angle in angles}
    return vary(scale, setting, {f"θ = {angle:g} π": {"shaping": each} for angle, each in turned.items()}, rewards)


# --- Place cells in RandomWalk2D ------------------------------------------------------------------------------------------


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=0) if WALK["centred"] else values


def bump(scale: Scale, at: np.ndarray, width: float) -> np.ndarray:
    """exp(−d² / (2 width²)) of every cell's distance from each place, (cells, places)."""
    squared = ((RandomWalk2D(scale.grid).positions[:, None] - at) ** 2).sum(axis=-1)
    return np.exp(-squared / (2 * width**2))


def place_cells(scale: Scale, width: float) -> td.ChainCovariance:
    """A place cell in every cell of the square."""
    env = RandomWalk2D(scale.grid, edges=WALK["edges"])
    start = np.eye(env.num_cells)[env.start]
    features = centred(bump(scale, env.positions, width))
    return td.ChainCovariance(random_walk_2d.walk(env), start, features, num_steps=scale.positions)


def walk_rewards(scale: Scale, goal: Any = None) -> np.ndarray:
    """Rewards of all cells; in smaller squares the goal is as far along."""
    place = np.round(np.array(WALK["goal"] if goal is None else goal) * (scale.grid - 1) / (WALK["grid_size"] - 1))
    return centred(bump(scale, place[None], WALK["reward_width"]))[:, 0]


def walk_curves(scale: Scale, labels: list[str], covariance: td.ChainCovariance, weights: np.ndarray, **setting: Any) -> Any:
    """The published theory, the exact one, Gaussian features, and the sampled walk; settings may be lists for each label."""
    paired = {name: each if isinstance(each, list) else [each] * len(labels) for name, each in setting.items()}
    curves, common = [], {"num_steps": scale.walk_updates}
    for i, label in enumerate(labels):
        own: Any = common | {name: each[i] for name, each in paired.items()} | {"check_stability": False}  # takes a minute
        for kind, moments in (("theory", "published"), ("theory, exact", "exact")):
            curves.append(Curve(label, kind, td.theory_curve(covariance, weights, fourth_moments=moments, **own)))
    for kind, source, repeats in (("walk", "process", scale.walk_repeats), ("gaussian", "gaussian", scale.gaussian_repeats)):
        many: Any = common | paired | {"source": source, "repeats": repeats, "progress_bar": True}
        losses = td.simulate_td(covariance, weights, **many)
        curves += [simulated(label, kind, each) for label, each in zip(labels, losses, strict=True)]
    return curves


def place_widths(scale: Scale) -> list[Curve]:
    setting, curves = published_study("place_widths").settings, []
    for width in setting.pop("widths"):
        covariance = place_cells(scale, width)
        limit = {name: setting[name] for name in ("gamma", "batch_size")}
        stable = td.largest_stable_step_size(covariance, fourth_moments="exact", **limit)
        print(f"place cells of width {width:g}: largest stable step size {stable:.4g}", flush=True)
        weights = covariance.reward_weights(walk_rewards(scale))
        curves += walk_curves(scale, [f"width {width:g}"], covariance, weights, **setting)
    return curves


def reward_functions(scale: Scale) -> list[Curve]:
    """Rewards near and far, and (ours) C(k), how much of the values lies in the k fastest modes."""
    setting, curves = published_study("reward_functions").settings, []
    covariance, goals = place_cells(scale, setting.pop("width")), setting.pop("goals")
    for goal in goals:
        weights, label = covariance.reward_weights(walk_rewards(scale, goal)), f"reward at ({goal[0]}, {goal[1]})"
        curves += walk_curves(scale, [label], covariance, weights, **setting)
        shares = td.alignment(covariance, weights, gamma=setting["gamma"])
        curves.append(Curve(label, "C(k)", shares, x=np.arange(len(shares))))
    return curves


def reward_noise(scale: Scale) -> list[Curve]:
    setting = published_study("reward_noise").settings
    covariance = place_cells(scale, setting.pop("width"))
    labels = [f"σ = {sigma:g}" for sigma in setting["reward_noise"]]
    return walk_curves(scale, labels, covariance, covariance.reward_weights(walk_rewards(scale)), **setting)


STUDIES: dict[str, tuple[str, Callable[[Scale], list[Curve]]]] = {
    "batch": ("Batch size", numbers("batch", "batch_size", "B")),
    "discount": ("Discount factor", numbers("discount", "gamma", "γ")),
    "step_size": ("Step size", numbers("step_size", "step_size", "η")),
    "schedules": ("Step sizes η n^−χ", schedules),
    "suggested": ("Suggested schedule, one episode per update (our own study)", suggested),
    "shaping": ("Shaping with w_S = β w_V", shaping),
    "rotated_shaping": ("Shaping at an angle to the rewards", rotated_shaping),
    "place_widths": ("Width of place cells in a random walk", place_widths),
    "reward_functions": ("Reward functions in a random walk", reward_functions),
    "reward_noise": ("Noise of rewards in a random walk", reward_noise),
}

# --- Tables and pictures --------------------------------------------------------------------------------------------------

ABSOLUTE = ("shaping", "rotated_shaping", "reward_noise")  # studies whose curves are not divided by their first loss
LOOKS = {"theory": "-", "theory, exact": "--", "gaussian": "o", "walk": "s"}


def table(curves: list[Curve]) -> pd.DataFrame:
    """Curves at their first updates, then at equal ratios; others whole."""
    frames = []
    for curve in curves:
        last = len(curve.mean) - 1
        at = (
            np.unique(np.append(0, np.geomspace(1, last, RECORDED).round())).astype(int)
            if curve.x is None
            else np.arange(last + 1)
        )
        error = np.full(len(at), np.nan) if curve.error is None else curve.error[at]
        x = at if curve.x is None else curve.x
        named = {"label": curve.label, "kind": curve.kind}
        frames.append(pd.DataFrame(named | {"x": x, "value": curve.mean[at], "standard_error": error}))
    return pd.concat(frames)


def windows(study: str, curves: list[Curve]) -> pd.DataFrame:
    """Simulated means over windows of updates beside each theory of the same label: their ratio, and z-scores."""
    rows = []
    for one in (curve for curve in curves if curve.repeats is not None):
        edges = np.unique(np.geomspace(1, len(one.mean), WINDOWS + 1).round().astype(int))
        for theory in (each for each in curves if each.label == one.label and each.kind.startswith("theory")):
            for begin, end in itertools.pairwise(edges):
                means, expected = one.repeats[:, begin:end].mean(axis=1), theory.mean[begin:end].mean()
                error = means.std(ddof=1) / np.sqrt(len(means))
                row = {"study": study, "label": one.label, "simulation": one.kind, "theory": theory.kind}
                row |= {"first": begin, "last": end - 1, "repeats": len(means), "ratio": means.mean() / expected}
                rows.append(row | {"error": error / expected, "z": (means.mean() - expected) / error})
    return pd.DataFrame(rows)


def draw_losses(axis: Any, curves: list[Curve], colours: dict[str, str], absolute: bool) -> None:
    for curve in curves:
        colour, scale, n = colours[curve.label], 1.0 if absolute else curve.mean[0], np.arange(1, len(curve.mean))
        if curve.error is None:
            axis.plot(n, curve.mean[1:] / scale, LOOKS[curve.kind], color=colour, linewidth=1.4)
        else:
            at = np.unique(np.geomspace(1, len(n), 14).round().astype(int))
            style = {"color": colour, "markersize": 4, "linewidth": 1, "markerfacecolor": "white"}
            axis.errorbar(at, curve.mean[at] / scale, 1.96 * curve.error[at] / scale, fmt=LOOKS[curve.kind], **style)
    for label, colour in colours.items():
        axis.plot([], [], color=colour, label=label, linewidth=3)
    for kind in dict.fromkeys(curve.kind for curve in curves):
        axis.plot([], [], LOOKS[kind], color=figures.GREY, markerfacecolor="white", markersize=5, label=kind)
    axis.set(xscale="log", yscale="log", xlabel="updates", ylabel="loss" if absolute else "loss / loss at the start")
    axis.legend(frameon=False, fontsize=8)


def draw_windows(axis: Any, found: pd.DataFrame, colours: dict[str, str]) -> None:
    """Simulation divided by the published theory, by windows."""
    own = found[found["theory"] == "theory"]
    names = [f"{first}–{last}" for first, last in own[["first", "last"]].drop_duplicates().to_numpy()]
    series = list(own.groupby(["label", "simulation"], sort=False))
    for i, ((label, kind), rows) in enumerate(series):
        x = np.arange(len(rows)) + 0.7 * ((i + 0.5) / len(series) - 0.5)
        style = {"color": colours[label], "markersize": 4, "linewidth": 1, "markerfacecolor": "white"}
        axis.errorbar(x, rows["ratio"], 1.96 * rows["error"], fmt=LOOKS[kind], **style)
    axis.axhline(1, color=figures.GREY, linewidth=1)
    axis.set_xticks(range(len(names)), names)
    axis.set(xlabel="updates (windows)", ylabel="simulation / theory")


def draw_other(axis: Any, curves: list[Curve], colours: dict[str, str]) -> None:
    """C(k), or the loss at the end by χ."""
    for curve in curves:
        colour = colours.get(curve.label, figures.INK)
        if curve.error is None:
            axis.plot(curve.x, curve.mean, color=colour)
        else:
            axis.errorbar(curve.x, curve.mean, 1.96 * curve.error, fmt="o", color=colour, markersize=4, markerfacecolor="white")
    shares = {"xscale": "symlog", "xlabel": "modes k, from the fastest", "ylabel": "C(k)"}
    axis.set(**(shares if curves[0].kind == "C(k)" else {"yscale": "log", "xlabel": "χ", "ylabel": "loss at the end"}))


def draw(title: str, curves: list[Curve], found: pd.DataFrame, path: pathlib.Path, absolute: bool) -> None:
    losses, others = [each for each in curves if each.x is None], [each for each in curves if each.x is not None]
    colours = dict(zip(dict.fromkeys(curve.label for curve in losses), figures.COLOURS, strict=False))
    figure = figures.new_figure(14 if others else 10, 4.2, title)
    axes = figure.subplots(1, 3 if others else 2)
    draw_losses(axes[0], losses, colours, absolute)
    draw_windows(axes[1], found, colours)
    if others:
        draw_other(axes[2], others, colours)
    for axis in axes:
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
        found = windows(name, curves)
        table(curves).to_csv(options.out / f"{name}.csv", index=False, float_format="%.5g")
        found.to_csv(options.out / f"{name}_agreement.csv", index=False, float_format="%.4g")
        draw(title, curves, found, options.out / f"{name}.png", name in ABSOLUTE)
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        print(found.groupby(["simulation", "theory"]).z.agg(["count", "std", "min", "max"]).round(2).to_string(), flush=True)


if __name__ == "__main__":
    main()
