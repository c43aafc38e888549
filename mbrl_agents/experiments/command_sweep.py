"""``mbrl train`` with several seeds or hyperparameters."""

from __future__ import annotations

import argparse
import math
import pathlib
import sys

import pandas as pd

from mbrl_agents.experiments import results
from mbrl_agents.experiments.command_arguments import environment_of, parse_lists, training_arguments
from mbrl_agents.experiments.command_parts import INTERRUPTED
from mbrl_agents.experiments.published import Preset
from mbrl_agents.experiments.sweeps import SweepResult, grid, sweep_memory, train_sweep
from mbrl_agents.experiments.tables import console, new_table, shown
from mbrl_agents.runs.agents import find_agent
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.checks import integer_in

SHOWN_SETTINGS = 20


def sweep(arguments: argparse.Namespace, preset: Preset | None = None) -> int:
    """Trains, and writes ``table.csv``, ``summary.csv`` and pictures beside the runs."""
    kind, environment = find_agent(arguments.agent), environment_of(arguments)
    seeds = 1 if arguments.seeds is None else integer_in("--seeds", arguments.seeds, 1, 100_000)
    swept, common = parse_lists(arguments.sweep, "--sweep"), parse_assignments(arguments.set, "--set")
    if preset is not None:
        common = preset.for_agent(kind.name, common)
        common = {name: value for name, value in common.items() if name not in swept}
    if both := sorted(set(swept) & set(common)):
        raise ValueError(f"{', '.join(both)}: give either --set or --sweep")
    hyperparameters = {**common, **(swept if arguments.paired else grid(**swept))}
    seed_list = list(range(arguments.seed, arguments.seed + seeds))
    limits = {"max_parallel_runs": arguments.max_parallel_runs, "execution": arguments.execution}
    if arguments.dry_run:
        print(sweep_memory(kind.cls, environment, hyperparameters, seed_list, n_envs=arguments.n_envs, **limits))
        return 0
    path = pathlib.Path(arguments.out or pathlib.Path("runs") / f"{environment.name}_{kind.name}_sweep")
    sizes = {name: value for name, value in training_arguments(arguments).items() if value is not None}
    sizes["n_envs"], sizes["total_timesteps"] = sizes.pop("num_envs"), sizes.pop("steps")
    try:
        result = train_sweep(
            kind.cls,
            environment,
            hyperparameters,
            seed_list,
            folder=path,
            save_replay=arguments.save_replay,
            progress_bar=True,
            force=arguments.force,
            **limits,
            **sizes,
        )
    except KeyboardInterrupt:
        print("stopped; the same command again goes on", file=sys.stderr)
        return INTERRUPTED
    written = _write(result, path)
    _show(result)
    print(f"{path}: {', '.join(written)}, and a folder for each run")
    return 0


def _write(result: SweepResult, path: pathlib.Path) -> list[str]:
    result.to_csv(path / "table.csv")
    results.write_csv(result.summary(), path / "summary.csv")
    result.plot(path / "curves.png")
    written = ["table.csv", "summary.csv", "curves.png"]
    if len(result.hyperparameters) in (1, 2) and all(
        pd.api.types.is_numeric_dtype(result.summary()[name]) for name in result.hyperparameters
    ):
        result.plot_hyperparameters(path / "hyperparameters.png")
        written.append("hyperparameters.png")
    return written


def _show(result: SweepResult) -> None:
    table = result.summary().sort_values("mean", ascending=False, kind="stable")
    config, reference = result.first.config, results.run_yardsticks(result.first)
    columns = (*result.hyperparameters, "runs", "score", "normalised", "diverged")
    out = new_table(f"{config.environment.title} after {config.steps:,} steps", numbers=columns)
    for row in table.head(SHOWN_SETTINGS).to_dict("records"):
        swept = [shown(row[name]) for name in result.hyperparameters]
        interval = "" if math.isnan(row["low"]) else f" [{row['low']:.4g}, {row['high']:.4g}]"
        scaled = "–"
        if reference is not None and not math.isnan(row["mean"]):
            scaled = f"{reference.normalised(row['mean']):.2f}"
        out.add_row(*swept, str(row["runs"]), f"{row['mean']:.4g}{interval}", scaled, str(row["diverged"] or ""))
    console().print(out)
    if len(table) > SHOWN_SETTINGS:
        print(f"({len(table) - SHOWN_SETTINGS} more settings in summary.csv)")
    seconds = result.runs()["seconds"].mean()
    print(f"{len(result)} runs, {seconds:.1f} s of computing each; in brackets the 95 % interval over seeds")
