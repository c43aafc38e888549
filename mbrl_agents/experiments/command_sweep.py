"""Sweeps as commands: ``mbrl train`` with several seeds or hyperparameters, and what ``mbrl compare`` has in common with it."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import sys
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from mbrl_agents.experiments.command_arguments import environment_of, parse_lists, training_arguments
from mbrl_agents.experiments.command_parts import FAILED, INTERRUPTED
from mbrl_agents.experiments.published import Preset
from mbrl_agents.experiments.sweeps import SweepResult, grid, sweep_memory, train_sweep
from mbrl_agents.experiments.sweeps.folder import holds_sweep
from mbrl_agents.experiments.tables import console
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.run_folder import DIVERGED, ENDED
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.checks import integer_in


def sweep(arguments: argparse.Namespace, preset: Preset | None = None) -> int:
    """Trains; see :func:`run`."""
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
    return run(path, kind.cls, environment, hyperparameters, seed_list, arguments, save_replay=arguments.save_replay, **limits)


def run(
    path: pathlib.Path,
    agent_class: type[BaseAlgorithm] | None,
    environment: EnvironmentSpec,
    hyperparameters: Any,
    seeds: list[int],
    arguments: argparse.Namespace,
    **more: Any,
) -> int:
    """Trains a sweep, or goes on with it; writes and shows what it has brought so far, and says how it ended.

    Args:
        path: Its folder.
        agent_class: See :func:`~mbrl_agents.train_sweep`, as for the following.
        environment: The environment.
        hyperparameters: The settings.
        seeds: The seeds.
        arguments: The command's.
        more: Further arguments of ``train_sweep``.

    Returns:
        The command's exit code.
    """
    own = None
    with contextlib.suppress(KeyboardInterrupt):
        own = train_sweep(
            agent_class,
            environment,
            hyperparameters,
            seeds,
            folder=path,
            progress_bar=True,
            force=arguments.force,
            **training_arguments(arguments),
            **more,
        )
    if holds_sweep(path):
        _report(SweepResult.open(path), path)  # with the runs of earlier commands
    if own is None:
        print("stopped; the same command again goes on", file=sys.stderr)
        return INTERRUPTED
    if failed := int((~own.runs()["state"].isin(ENDED)).sum()):
        print(f"{failed} runs failed; see status.json in their folders", file=sys.stderr)
    return FAILED if failed else 0


def _report(result: SweepResult, path: pathlib.Path) -> None:
    """Writes and shows what there is, if any run has come to its end."""
    states = result.runs()["state"]
    if not states.isin(ENDED).any():
        return
    written = result.write()
    result.show(console())
    print(f"{len(result)} runs; {path}: {', '.join(written)}, and a folder for each run")
    if titles := [result.run_folder(int(run)).config.title for run in states.index[states == DIVERGED]]:
        print(f"diverged, so that loss or weights were no longer finite: {', '.join(titles)}", file=sys.stderr)


def use_one_thread() -> None:
    """Small networks are slower on several threads, and far slower while anything else is running."""
    torch.set_num_threads(1)
