"""What the commands do; see :mod:`mbrl_agents.experiments.commands` for their arguments."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

import numpy as np

from mbrl_agents.experiments import (
    command_imagine,
    command_sweep,
    figures,
    plots,
    results,
    statistics,
    video,
)
from mbrl_agents.experiments.command_arguments import environment_of, training_arguments, with_preset
from mbrl_agents.experiments.command_parts import FAILED, INTERRUPTED
from mbrl_agents.model_dqn.foresight import learner_with_model
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.config import RunConfig, differences, make_config
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.progress import RunProgress, tracked
from mbrl_agents.runs.run_folder import DIVERGED, ENDED, RunFolder, check_free, check_idle, find_runs, is_run
from mbrl_agents.runs.saved_agents import load_for_evaluation
from mbrl_agents.runs.training import train as train_run
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.checks import integer_in


def train(arguments: argparse.Namespace) -> int:
    """``mbrl train``."""
    if arguments.preset == "study":
        raise ValueError("--preset study is of mbrl compare, for agents of Stable-Baselines3: give their arguments with --set")
    preset = with_preset(arguments)
    if arguments.seeds is not None or arguments.sweep:
        return command_sweep.sweep(arguments, preset)
    for option in ("paired", "max_parallel_runs", "execution", "dry_run"):
        if getattr(arguments, option):
            raise ValueError(f"--{option.replace('_', '-')} is for several runs: give --seeds or --sweep as well")
    settings = parse_assignments(arguments.set, "--set")
    if preset is not None:
        settings = preset.for_agent(find_agent(arguments.agent).name, settings)
    config = make_config(
        arguments.agent,
        environment_of(arguments),
        seed=arguments.seed,
        arguments=settings,
        save_replay=arguments.save_replay,
        **training_arguments(arguments),
    )
    name = f"{config.environment.name}_{config.label}_seed{config.seed}"
    path = pathlib.Path(arguments.out or pathlib.Path("runs") / name)
    folder = _folder(path, config, arguments)
    status = folder.status()
    if status.state not in ENDED:
        command_sweep.use_one_thread()
        with tracked([RunProgress(config.label, config.title, config.total_timesteps)], 1) as tracker:

            def report(timesteps: int, score: float | None) -> bool:
                tracker.progress(0, timesteps, score)
                return True

            status = train_run(folder, report)
        if status.state not in ENDED:
            print(
                f"stopped after {status.timesteps:,} of {config.total_timesteps:,} steps; the agent is in {path}",
                file=sys.stderr,
            )
            print("--resume goes on", file=sys.stderr)
            return INTERRUPTED
    if status.state == DIVERGED:
        print(f"{config.title} diverged: {status.error}; {path} has the agent as it was then", file=sys.stderr)
        return FAILED
    score, reference = results.final_score(folder), results.run_yardsticks(folder)
    print(f"{config.label} in {config.environment.title}: score {score:.4g}{_on_scale(score, reference)}")
    print(f"{path}: agent.zip, metrics.csv, config.yaml")
    return 0


def _folder(path: pathlib.Path, config: RunConfig, arguments: argparse.Namespace) -> RunFolder:
    """The run's folder, new or gone on with."""
    if not arguments.resume or not is_run(path):
        check_free(path, force=arguments.force)
        return RunFolder.create(path, config, force=arguments.force)
    if arguments.force:
        raise ValueError("--resume goes on with a run, --force replaces it: give one of them")
    folder = RunFolder.open(path)
    if changed := differences(folder.config, config):
        raise ValueError(f"{path} holds a run with another configuration ({'; '.join(changed)}): --resume needs the same")
    check_idle(folder)
    return folder


def evaluate(arguments: argparse.Namespace) -> int:
    """``mbrl evaluate``."""
    if arguments.video:
        video.check_video_path(arguments.video)
        integer_in("--video-steps", arguments.video_steps, 1, 100_000)
    command_imagine.check(arguments)
    integer_in("--seed", arguments.seed, 0, 2**32 - 1)
    command_sweep.use_one_thread()
    given = environment_of(arguments, arguments.env) if arguments.env else None
    if given is None and (arguments.env_arg or arguments.max_episode_steps is not None):
        raise ValueError("--env-arg and --max-episode-steps need --env")
    settings = parse_assignments(arguments.set, "--set")
    model, environment, run = load_for_evaluation(arguments.path, arguments.agent, given, settings)
    if arguments.imagine:
        learner_with_model(model)
    usual = run.config.evaluation if run is not None and environment == run.config.environment else None
    episodes = usual.episodes if usual and arguments.eval_episodes is None else arguments.eval_episodes
    steps = usual.steps if usual and arguments.eval_steps is None else arguments.eval_steps
    evaluator = Evaluator(environment, episodes, steps)
    scores = np.asarray(evaluator.scores(model, arguments.seed), float)
    evaluator.close()
    interval = statistics.mean_interval(scores)
    text = f"{scores.mean():.4g}" + (f" [{interval.low:.4g}, {interval.high:.4g}]" if interval else "")
    print(f"{type(model).__name__} in {environment.title}: score {text}{_on_scale(scores.mean(), evaluator.yardsticks(model))}")
    print(f"({evaluator.episodes} episodes, acting deterministically; in brackets the 95 % interval of their mean)")
    if arguments.video:
        frames = video.record(model, environment, arguments.video, steps=arguments.video_steps, seed=arguments.seed)
        print(f"{arguments.video}: {frames} frames")
    if arguments.imagine:
        command_imagine.imagine(arguments, model, environment)
    return 0


def plot(arguments: argparse.Namespace) -> int:
    """``mbrl plot``."""
    figures.image_kind(arguments.out)
    plots.plot_curves(find_runs(arguments.paths), arguments.out, normalised=arguments.normalised)
    print(arguments.out)
    return 0


def _on_scale(score: float, reference: Any) -> str:
    if reference is None:
        return ""
    scale = f"uniform policy {reference.uniform:.4g}, best policy {reference.optimal:.4g}"
    return f", normalised {reference.normalised(score):.2f} ({scale})"
