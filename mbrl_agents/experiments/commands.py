"""The sub-commands ``mbrl train``, ``compare``, ``evaluate``, ``plot`` and ``presets``: their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mbrl_agents.experiments.command_parts import (
    add_environment_arguments,
    add_execution_arguments,
    add_training_arguments,
    command_from,
    refuse_options,
)
from mbrl_agents.runs.old_names import EVALUATION_OPTIONS
from mbrl_envs.assignments import whole

DEFAULT_AGENTS, DEFAULT_SEEDS, DEFAULT_COMPARE_TIMESTEPS, DEFAULT_TRAIN_TIMESTEPS = (
    ("ReplayDQN", "DQN", "PPO"),
    3,
    15_000,
    100_000,
)


def register(subparsers: Any) -> None:
    """Adds the sub-commands; see :mod:`mbrl_envs.cli`."""
    _register_train(subparsers)
    _register_compare(subparsers)
    _register_evaluate(subparsers)
    _register_plot(subparsers)
    _register_presets(subparsers)


def _register_train(subparsers: Any) -> None:
    train = subparsers.add_parser(
        "train",
        help="train one agent",
        description="Train one agent and write a folder: configuration, versions, metrics, agent. "
        "Ctrl-C stops it; --resume goes on.",
    )
    train.add_argument("agent", metavar="AGENT", help="such as ReplayDQN, or any of Stable-Baselines3 and sb3-contrib")
    train.add_argument("env_id", metavar="ENV_ID", nargs="?", help="Gymnasium id, such as mbrl/PanFlute-v0")
    train.add_argument(
        "--preset", help="settings by name, procmaze-high, panflute-low, cartpole, cue-recall, …, or a .yaml file of them"
    )
    train.add_argument("--seed", type=whole, default=0, help="seed of everything random (default: 0)")
    add_training_arguments(train, DEFAULT_TRAIN_TIMESTEPS)
    train.add_argument("--save-replay", action="store_true", help="keep the replay memory, too (replay.npz)")
    train.add_argument("--out", metavar="DIR", help="folder (default: runs/ENV_AGENT_seedN, or runs/ENV_AGENT_sweep)")
    train.add_argument("--resume", action="store_true", help="go on with an interrupted run (a sweep goes on by itself)")
    train.add_argument("--force", action="store_true", help="replace a run or sweep that is there already")
    _add_sweep_arguments(train)
    train.set_defaults(run=_function("train"))


def _register_compare(subparsers: Any) -> None:
    compare = subparsers.add_parser(
        "compare",
        help="train several agents with several seeds and compare them",
        description=(
            "Train several agents with several seeds; write a table (results.csv) and learning curves (curves.png). "
            "The same command again goes on where it was stopped, and adds what is new: agents, seeds."
        ),
    )
    compare.add_argument("env_id", metavar="ENV_ID", nargs="?", help="Gymnasium id, such as mbrl/PanFlute-v0")
    compare.add_argument(
        "--agents",
        nargs="+",
        metavar="AGENT",
        help="agents, ours or any of Stable-Baselines3 and sb3-contrib; LABEL=AGENT to have one several times "
        f"(default: {' '.join(DEFAULT_AGENTS)}; with one of the study's presets its five)",
    )
    compare.add_argument(
        "--preset",
        default="study",
        help="study: in the study's environments, agents made for others get its discount, and DQNs of other libraries its "
        "rhythm of learning, unless --set says otherwise; none: everyone's own defaults; procmaze-high, panflute-low, …: the "
        "study's own comparison in an environment and a regime; or a .yaml file of settings (default: study)",
    )
    compare.add_argument(
        "--seeds", type=whole, default=DEFAULT_SEEDS, metavar="N", help=f"runs per agent (default: {DEFAULT_SEEDS})"
    )
    compare.add_argument("--seed", type=whole, default=0, help="seeds are SEED, SEED+1, … (default: 0)")
    add_training_arguments(compare, DEFAULT_COMPARE_TIMESTEPS, several_agents=True)
    compare.add_argument(
        "--jobs",
        type=whole,
        metavar="N",
        help="runs at once (default: one for each core); those of the host loop have a process each",
    )
    compare.add_argument("--out", metavar="DIR", help="folder (default: runs/compare_ENV)")
    compare.add_argument("--force", action="store_true", help="delete a comparison that is there already")
    compare.set_defaults(run=command_from("mbrl_agents.experiments.command_compare", "compare"))


def _add_sweep_arguments(parser: argparse.ArgumentParser) -> None:
    sweep = parser.add_argument_group("many runs in one program (our agents in mbrl/ environments)")
    sweep.add_argument("--seeds", type=whole, metavar="N", help="train with N seeds: --seed, --seed + 1, …")
    sweep.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUE,VALUE,…",
        help="values of an argument of the agent; may be given several times: all combinations are trained, with every seed",
    )
    sweep.add_argument("--paired", action="store_true", help="pair the i-th values of all --sweep, instead of all combinations")
    add_execution_arguments(sweep)
    sweep.add_argument("--dry-run", action="store_true", help="only say how much memory it takes")


def _register_evaluate(subparsers: Any) -> None:
    evaluate = subparsers.add_parser(
        "evaluate",
        help="evaluate a saved agent",
        description="Evaluate a saved agent; film it, or look at what its world model imagines, if asked to.",
    )
    evaluate.add_argument("path", metavar="PATH", help="a run's folder, or an agent.zip")
    evaluate.add_argument(
        "--agent", help="class of an agent.zip that is not in a run's folder (our own files tell it themselves)"
    )
    evaluate.add_argument("--env", metavar="ENV_ID", help="environment (default: the run's)")
    evaluate.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="argument of an SB3 agent, whose file does not say"
    )
    add_environment_arguments(evaluate)
    evaluate.add_argument("--eval-episodes", type=whole, metavar="N", help="number of episodes (default: as in training)")
    evaluate.add_argument("--eval-steps", type=whole, metavar="N", help="steps of each (default: as in training)")
    evaluate.add_argument("--seed", type=whole, default=12345, help="decides which episodes these are (default: 12345)")
    evaluate.add_argument("--video", metavar="FILE", help="film the agent: a .gif or .mp4")
    evaluate.add_argument("--video-steps", type=whole, metavar="N", default=200, help="steps to film (default: 200)")
    refuse_options(evaluate, EVALUATION_OPTIONS)
    imagine = evaluate.add_argument_group("what its world model imagines (PerfectModelDQN, SimpleModelDQN, LatentModelDQN)")
    imagine.add_argument(
        "--imagine",
        metavar="FOLDER",
        help="judge the model by what really happens, and write tables (prediction_errors.csv, termination_calibration.csv) "
        "and pictures (prediction_errors.png, calibration.png, rollouts.png)",
    )
    imagine.add_argument("--imagine-steps", type=whole, metavar="K", help="most steps imagined from a start (default: 10)")
    imagine.add_argument(
        "--imagine-greedy",
        action="store_true",
        help="let the agent act greedily there (default: it explores as at the end of its training)",
    )
    evaluate.set_defaults(run=_function("evaluate"))


def _register_plot(subparsers: Any) -> None:
    plot = subparsers.add_parser(
        "plot",
        help="draw learning curves",
        description="Draw the learning curves of all runs in folders, a panel for each environment.",
    )
    plot.add_argument("paths", nargs="+", metavar="DIR", help="a run's folder, a comparison's, or any folder above them")
    plot.add_argument("--out", default="curves.png", metavar="FILE", help="a .png, .pdf or .svg (default: curves.png)")
    plot.add_argument("--normalised", action="store_true", help="from the uniform policy (0) to the best one (1), where known")
    plot.set_defaults(run=_function("plot"))


def _register_presets(subparsers: Any) -> None:
    presets = subparsers.add_parser(
        "presets",
        help="list presets, or print one",
        description="List presets; or print everything that one says, as a .yaml file that --preset reads.",
    )
    presets.add_argument("preset", metavar="NAME", nargs="?", help="such as procmaze-high, or a .yaml file")
    presets.add_argument("--agent", metavar="AGENT", help="only this one of its agents, such as simple, or a class")
    presets.set_defaults(run=command_from("mbrl_agents.experiments.command_presets", "presets"))


def _function(name: str) -> Callable[[argparse.Namespace], int]:
    return command_from("mbrl_agents.experiments.command_runs", name)
