"""What R2D2 remembers: CartPole, CartPole without velocities, and cues after a delay, beside agents of other libraries.

Run as ``python examples/r2d2_memory.py cartpole`` (or ``cartpole-no-velocity``, ``cue-recall``, ``longest-delay``,
``ablation``; ``--quick`` for a minute's worth). Each writes a table ``results.csv`` (a row for each agent, seed and evaluation,
on the way, so that what was stopped can still be read) and curves into a folder. Settings are those of the presets
``cartpole``, ``cartpole-no-velocity`` and ``cue-recall``, the latter with 8 environments (``mbrl train R2D2 --preset cue-recall
--n-envs 8``); ``longest-delay`` and ``ablation`` vary them. One process, one thread.
"""

import argparse
import csv
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from mbrl_agents.experiments import figures
from mbrl_agents.experiments.published import preset
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.training import Calling, EvaluationGrid

EPISODES, POINTS = 20, 15
DELAYS = (10, 40, 80, 160)
ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "zero state": {"stored_state": False},
    "burn-in 0": {"burn_in": 0},
    "burn-in 20": {"burn_in": 20},
    "uniform draws": {"prioritized": False},
    "n-step 1": {"n_steps": 1},
    "rescaling": {"value_rescaling": True},
    "no rescaling": {"value_rescaling": False},
}
ABLATION_DELAY = 20  # of the cues, longer than burn-in and sequence together


class Run(NamedTuple):
    """One training: what it is called, the agent with its arguments, and where."""

    label: str
    agent: str
    arguments: dict[str, Any]
    environment: EnvironmentSpec
    steps: int


def of_preset(name: str, steps: int | None, labels: tuple[str, ...] = ()) -> list[Run]:
    """The runs of a preset, all of its agents or some."""
    found = preset(name)
    chosen = labels or tuple(found.agents)
    total = steps or found.regime.total_timesteps
    return [Run(each, found.agents[each][0], found.arguments[each], found.environment, total) for each in chosen]


def cue_recall(steps: int | None, delays: tuple[int, ...], labels: tuple[str, ...] = ()) -> Iterator[Run]:
    """Cues after several delays; sequences are as long as episodes."""
    for delay in delays:
        for run in of_preset("cue-recall", steps, labels):
            changes = {"sequence_length": delay + 2} if run.agent == "R2D2" else {}
            spec = EnvironmentSpec(run.environment.id, run.environment.arguments | {"delay": delay})
            yield run._replace(label=f"{run.label}, delay {delay}", arguments=run.arguments | changes, environment=spec)


def ablation(steps: int | None) -> Iterator[Run]:
    """R2D2 with one thing changed at a time, on both memory tasks; sequences shorter than the delay, so that states matter."""
    (control,), (recall,) = (of_preset(name, steps, ("r2d2",)) for name in ("cartpole-no-velocity", "cue-recall"))
    later = EnvironmentSpec(recall.environment.id, recall.environment.arguments | {"delay": ABLATION_DELAY})
    for run in (control, recall._replace(environment=later)):
        base = {"value_rescaling": True} | run.arguments | {"burn_in": 5, "sequence_length": 10, "overlap": 0}
        for label, changes in ABLATIONS.items():
            if not changes or (base | changes) != base:
                yield run._replace(label=f"{run.environment.name}: {label}", arguments=base | changes)


EXPERIMENTS: dict[str, Callable[[int | None], Any]] = {
    "cartpole": lambda steps: of_preset("cartpole", steps),
    "cartpole-no-velocity": lambda steps: of_preset("cartpole-no-velocity", steps),
    "cue-recall": lambda steps: cue_recall(steps, (10, 40)),
    "longest-delay": lambda steps: cue_recall(steps or 200_000, DELAYS, ("r2d2", "recurrent_ppo")),
    "ablation": ablation,
}


def train(run: Run, seed: int, write: Callable[[list[Any]], None]) -> float:
    """Trains a run and writes its scores; returns the last one."""
    evaluator = Evaluator(run.environment, EPISODES, run.environment.arguments.get("delay", 98) + 2)
    if run.environment.dynamics() is None:  # a task of control: its own time limit
        evaluator.steps = None
    num_envs = 8 if run.environment.dynamics() is not None else 1
    arguments = dict(run.arguments)
    agent = find_agent(run.agent).make(run.environment.training_env(num_envs), arguments, seed, device="cpu")
    began = time.process_time()
    scores: dict[int, float] = {}

    def look() -> bool:
        steps = agent.num_timesteps
        if steps not in scores:
            scores[steps] = float(np.mean(evaluator.scores(agent, seed=10_000 + seed)))
            write([run.label, seed, steps, scores[steps], round(time.process_time() - began, 1)])
        return True

    agent.learn(run.steps, callback=EvaluationGrid(max(run.steps // POINTS, 1), Calling(look)))
    look()
    evaluator.close()
    final = scores[agent.num_timesteps]
    print(f"{run.label}, seed {seed}: {final:.3g} after {agent.num_timesteps:,} steps", flush=True)
    return final


def draw(table: pd.DataFrame, path: pathlib.Path, title: str) -> None:
    """Mean over seeds and range of each label; a panel for each task or agent before a colon or comma, if there are such."""
    task = table["label"].str.extract(r"^(.*?)[:,] ", expand=False).fillna("")
    panels = list(table.groupby(task, sort=False))
    figure = figures.new_figure(6.5 * len(panels), 5, title)
    one_scale = not table["label"].str.contains(": ").any()  # agents have the same task, and are to be compared
    for axis, (name, rows) in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=one_scale)), panels, strict=True):
        for i, (label, own) in enumerate(rows.groupby("label", sort=False)):
            by_step, colour = own.groupby("timestep")["score"], figures.COLOURS[i % len(figures.COLOURS)]
            style = figures.STYLES[i // len(figures.COLOURS) % len(figures.STYLES)]
            short = str(label)[len(name) + 2 :] if name else str(label)
            axis.plot(by_step.mean(), style, color=colour, label=short)
            axis.fill_between(by_step.min().index, by_step.min(), by_step.max(), color=colour, alpha=0.12, lw=0)
        axis.set(xlabel="environment steps", ylabel="score of the greedy policy", title=name)
        columns = 4 if len(panels) > 1 else 2  # names with a task before them are short
        axis.legend(frameon=False, fontsize=8.5, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.12))
        figures.plain(axis)
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--total-timesteps", type=int, help="of each run (default: the preset's)")
    parser.add_argument("--only", nargs="+", metavar="LABEL", help="only runs whose label begins with one of these")
    parser.add_argument("--quick", action="store_true", help="one seed, 2000 steps")
    parser.add_argument("--out", help="folder (default: runs/r2d2_EXPERIMENT)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds, steps = (1, 2000) if options.quick else (options.seeds, options.total_timesteps)
    folder = pathlib.Path(options.out or f"runs/r2d2_{options.experiment}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "seed", "timestep", "score", "cpu_seconds"])

        def write(row: list[Any]) -> None:
            writer.writerow(row)
            file.flush()

        for seed in range(seeds):  # seed by seed, so that what was stopped has all agents
            for run in EXPERIMENTS[options.experiment](steps):
                if not options.only or run.label.startswith(tuple(options.only)):
                    train(run, seed, write)
    table = pd.read_csv(folder / "results.csv")
    draw(table, folder / "curves.png", f"{options.experiment}: mean and range of {seeds} seeds")
    last = table.groupby(["label", "seed"], sort=False).last()["score"]
    print("\n| run | mean of the last scores | seeds |\n|---|---|---|")
    for label, scores in last.groupby("label", sort=False):
        print(f"| {label} | {scores.mean():.3g} | {' / '.join(f'{score:.3g}' for score in scores)} |")
    print(f"\n{folder}: results.csv, curves.png")


if __name__ == "__main__":
    main()
