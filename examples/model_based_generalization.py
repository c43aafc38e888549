"""Does experience from a learned model help more than replay? The study's figure: six panels, five agents (arXiv 2211.02222).

Run as ``python examples/model_based_generalization.py procmaze-high --agents replay perfect --seeds 1``: any presets of the
study, one whole run after another, each to its published length (``--total-timesteps`` and ``--minutes`` make less of it,
``--quick`` some minutes' worth). The same command goes on where it was stopped. Without a preset nothing is trained. Either way
all curves in the folder are brought together, those of its table and those of the runs below it, and written anew:

* ``curves.csv``: every evaluation, by panel, agent and seed.
* ``panels.png``: six panels, mean and 95 % bootstrap interval over seeds; how far each agent has come is named.
* ``milestones.csv``: a row for each run: steps until four evaluations in a row have a score (in ProcMaze −10 and −5, elsewhere
  80 % of the best policy's), and the mean of all scores, the area under the curve.
* ``agreement.csv``: how probable it is that a run of an agent has the larger area than one of replay, over the steps that
  both have made, and whether that agrees with the paper: that experience from a model helps more than replay.
"""

import argparse
import contextlib
import pathlib
import signal
import threading
from typing import Any

import pandas as pd

from mbrl_agents import train_sweep
from mbrl_agents.experiments import figures, results
from mbrl_agents.experiments.preset_files import Preset
from mbrl_agents.experiments.published import presets
from mbrl_agents.experiments.statistics import Interval, probability_of_improvement, steps_until_held
from mbrl_agents.runs.run_folder import runs_below
from mbrl_agents.runs.scores import Yardsticks, known_yardsticks

PANELS = [f"{environment}-{regime}" for regime in ("high", "low") for environment in ("procmaze", "buttongrid", "panflute")]
AGENTS = list(next(iter(presets().values())).agents)
COLUMNS = ["panel", "agent", "seed", "timestep", "score"]
MAZE_SCORES, SHARE_OF_BEST = (-10.0, -5.0), 0.8
EVALUATIONS = 20  # over a whole curve of --quick


def reference(chosen: Preset) -> Yardsticks:
    """Scores of the uniform and the best policy in a preset's environment."""
    found = known_yardsticks(chosen.environment.dynamics(), chosen.regime.eval_steps)
    assert found is not None
    return found


# --- training -----------------------------------------------------------------------------------------------------------------


def train(name: str, options: argparse.Namespace) -> None:
    """Trains what is missing of a panel."""
    chosen = presets()[name]
    settings = [{"label": label, "agent": chosen.agents[label][0]} | chosen.arguments[label] for label in options.agents]
    with contextlib.suppress(KeyboardInterrupt):  # what there is is saved, and shown
        train_sweep(
            None,
            chosen.environment,
            settings,
            range(options.seed, options.seed + options.seeds),
            total_timesteps=options.total_timesteps or chosen.regime.total_timesteps,
            eval_interval=options.eval_interval or max(chosen.regime.total_timesteps // 200, 1),
            eval_episodes=chosen.regime.eval_episodes,
            eval_steps=chosen.regime.eval_steps,
            folder=options.out / "runs" / name,
            n_jobs=options.jobs,
            save_replay=False,
            progress_bar=True,
            keep_going=True,
        )


# --- curves -------------------------------------------------------------------------------------------------------------------


def collected(out: pathlib.Path) -> pd.DataFrame:
    """All curves: those of the folder's table, and of the runs below it, which stand for theirs in the table."""
    file = out / "curves.csv"
    table = pd.read_csv(file)[COLUMNS] if file.exists() else pd.DataFrame(columns=COLUMNS)
    for name in PANELS:
        if runs := runs_below(out / "runs" / name):
            new = results.curves(runs).rename(columns={"label": "agent"}).assign(panel=name)[COLUMNS]
            keys = ["panel", "agent", "seed"]
            there = pd.MultiIndex.from_frame(table[keys]).isin(pd.MultiIndex.from_frame(new[keys]))
            table = pd.concat([table[~there], new]) if len(table) else new
    order = {name: i for i, name in enumerate([*PANELS, *AGENTS])}
    return table.sort_values(COLUMNS[:4], key=lambda column: column.map(order) if column.name in ("panel", "agent") else column)


def by_run(table: pd.DataFrame) -> pd.DataFrame:
    """A panel's scores of one agent: by timestep, a column for each seed."""
    return table.pivot(index="timestep", columns="seed", values="score").sort_index()


# --- tables -------------------------------------------------------------------------------------------------------------------


def milestones(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each run; see the head of this file."""
    rows = []
    for (panel, agent, seed), part in table.groupby(["panel", "agent", "seed"], sort=False):
        curve, chosen = part.set_index("timestep")["score"], presets()[panel]
        wanted = MAZE_SCORES if panel.startswith("procmaze") else (SHARE_OF_BEST * reference(chosen).optimal,)
        row: dict[str, Any] = {"panel": panel, "agent": agent, "seed": seed, "steps": curve.index[-1]}
        row |= {"full_length": curve.index[-1] >= chosen.regime.total_timesteps, "area": curve.mean(), "last": curve.iloc[-1]}
        for number, score in enumerate(wanted, 1):
            row |= {f"score_{number}": score, f"held_from_{number}": steps_until_held(curve, score)}
        rows.append(row)
    whole = {f"held_from_{number}": "Int64" for number in range(1, len(MAZE_SCORES) + 1)}
    found = pd.DataFrame(rows)
    return found.astype({name: kind for name, kind in whole.items() if name in found})


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each panel and agent beside replay; see the head of this file."""
    rows = []
    for panel, part in table.groupby("panel", sort=False):
        scores = {agent: by_run(one) for agent, one in part.groupby("agent", sort=False)}
        replay = scores.pop("replay", None)
        if replay is None:
            continue
        for agent, ours in scores.items():
            common = min(_reached(ours), _reached(replay))
            areas = [each.loc[:common].dropna(axis="columns").mean() for each in (ours, replay)]
            share, interval = probability_of_improvement(*areas)
            row = {"panel": panel, "agent": agent, "steps": common, "seeds": len(areas[0]), "seeds_of_replay": len(areas[1])}
            row |= {"area": areas[0].mean(), "area_of_replay": areas[1].mean(), "probability_of_improvement": share}
            row |= dict(zip(("low", "high"), interval or (None, None), strict=True))
            rows.append(row | {"paper": "above replay", "ours": verdict(interval)})
    return pd.DataFrame(rows)


def _reached(scores: pd.DataFrame) -> int:
    """Steps that all runs of an agent have made."""
    return int(scores.apply(pd.Series.last_valid_index).min())


def verdict(interval: Interval | None) -> str:
    """Whether an agent is above replay, by the interval of the probability that a run of it is."""
    if interval is None:
        return "undecided: fewer than two seeds"
    return "agreed" if interval.low > 0.5 else "contradicted" if interval.high < 0.5 else "undecided"


# --- picture ------------------------------------------------------------------------------------------------------------------


def draw(table: pd.DataFrame) -> Any:
    """The six panels."""
    figure = figures.new_figure(15, 8.4, "Mean over seeds, with 95 % bootstrap intervals")
    for axis, name in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        chosen = presets()[name]
        part, limits = table[table["panel"] == name], reference(chosen)
        for agent in part["agent"].unique():
            scores, colour = by_run(part[part["agent"] == agent]), figures.COLOURS[AGENTS.index(agent) % len(figures.COLOURS)]
            seeds = "1 seed" if scores.shape[1] == 1 else f"{scores.shape[1]} seeds"
            label = f"{agent}: {seeds}, {_reached(scores):,} steps"
            figures.draw_curve(axis, scores, "-", colour, 0.18, linewidth=1.8, label=label, zorder=3)
        figures.draw_yardsticks(axis, limits, beside=False)
        margin = 0.1 * (limits.optimal - limits.uniform)
        axis.set_ylim(min(limits.uniform, part["score"].min()) - margin, limits.optimal + 2 * margin)
        axis.set_xlim(0, chosen.regime.total_timesteps)
        axis.set_title(f"{chosen.environment.title}, {name.rpartition('-')[2]} data", loc="left", fontsize=10)
        axis.set_xlabel("thousands of steps")
        axis.xaxis.set_major_formatter(lambda value, position: f"{value / 1000:,.0f}")
        figures.plain(axis)
        if part.empty:
            axis.text(0.5, 0.5, "not run yet", transform=axis.transAxes, ha="center", color=figures.GREY)
        else:
            axis.legend(fontsize=7.5, loc="lower right")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", metavar="preset", help=f"what to train: {', '.join(PANELS)} (default: nothing)")
    parser.add_argument("--agents", nargs="+", choices=AGENTS, default=AGENTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (default: 1, one whole run after another)")
    parser.add_argument("--minutes", type=float, help="stop after so many, as Ctrl-C does (default: at the end)")
    parser.add_argument("--total-timesteps", type=int, help="at most so many (default: the study's)")
    parser.add_argument("--eval-interval", type=int, help="default: a 200th of the study's steps")
    parser.add_argument("--quick", action="store_true", help="1500 steps of replay and the perfect model")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/generalization"))
    options = parser.parse_args()
    for name in options.presets:
        if name not in PANELS:
            parser.error(f"there is no preset {name!r} of the study; there are {', '.join(PANELS)}")
    if options.quick:
        options.agents = [label for label in options.agents if label in ("replay", "perfect")]
        options.total_timesteps, options.eval_interval = 1500, 1500 // EVALUATIONS

    if options.minutes:
        # Ctrl-C, pressed by a clock: what there is then is saved.
        clock = threading.Timer(60 * options.minutes, lambda: signal.raise_signal(signal.SIGINT))
        clock.daemon = True
        clock.start()
    for name in options.presets:
        train(name, options)

    table = collected(options.out)
    if table.empty:
        parser.error(f"{options.out} has no curves yet: name a preset to train")
    results.write_csv(table, options.out / "curves.csv")
    results.write_csv(milestones(table), options.out / "milestones.csv")
    compared = agreement(table)
    results.write_csv(compared, options.out / "agreement.csv")
    figures.save(draw(table), options.out / "panels.png")
    with pd.option_context("display.width", 200, "display.max_columns", 20):
        print(milestones(table).to_string(index=False))
        print(compared.to_string(index=False))
    print(f"curves in {options.out / 'panels.png'}")


if __name__ == "__main__":
    main()
