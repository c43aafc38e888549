"""The sub-commands ``mbrl tune …`` and ``mbrl dashboard``: their arguments. What they do: :mod:`tuning.command_studies`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from mbrl_agents.experiments.command_parts import add_execution_arguments, add_training_arguments, command_from
from mbrl_envs.assignments import whole

DEFAULT_TOTAL_TIMESTEPS, DEFAULT_SEEDS, DEFAULT_CONFIRM, DEFAULT_BATCH, DEFAULT_LEASE = 100_000, 3, 10, 8, 60.0


def register(subparsers: Any) -> None:
    """Adds the sub-commands; see :mod:`mbrl_envs.cli`."""
    tune = subparsers.add_parser(
        "tune",
        help="search hyperparameters",
        description="Search hyperparameters: Optuna proposes, one compiled program trains a batch of trials.",
    )
    parts = tune.add_subparsers(title="what to do", metavar="ACTION", required=True)
    _register_run(parts)
    _register_workers(parts)
    _register_results(parts)
    _register_dashboard(subparsers)


def _register_run(parts: Any) -> None:
    run = parts.add_parser(
        "run",
        help="make a study and work on it",
        description="Make a study and work on it. Ctrl-C or a kill loses nothing: the same command goes on, or resume.",
    )
    run.add_argument("agent", metavar="AGENT", help="one of our agents, such as ReplayDQN")
    run.add_argument("env_id", metavar="ENV_ID", help="environment, such as mbrl/PanFlute-v0")
    run.add_argument(
        "--space",
        action="append",
        required=True,
        metavar="NAME=VALUES",
        help="what to search; may be given several times: learning_rate=grid2:3.125e-6:1.6e-3 (factors of two), "
        "temperature=0.1,0.2,0.4, learning_rate=log:1e-5:1e-2, gamma=uniform:0.8:0.99, target_update_interval=int:1:1000",
    )
    run.add_argument("--sampler", choices=("grid", "tpe", "cmaes", "qmc", "random"), default="grid", help="default: grid")
    run.add_argument("--sampler-seed", type=whole, default=0, metavar="N", help="decides what it proposes (default: 0)")
    run.add_argument(
        "--trials",
        type=whole,
        metavar="N",
        help="how many (default: all points of the grid; other samplers must be told)",
    )
    run.add_argument(
        "--pruning",
        default="none",
        metavar="NAME",
        help="halving: of the trials that have come half-way (a quarter, …), only the better half goes on; halving-3: one of "
        "three (default: none)",
    )
    run.add_argument(
        "--seeds-per-trial",
        type=whole,
        default=DEFAULT_SEEDS,
        metavar="N",
        help=f"runs of a trial (default: {DEFAULT_SEEDS})",
    )
    run.add_argument("--seed", type=whole, default=0, metavar="SEED", help="the first of their seeds (default: 0)")
    run.add_argument(
        "--objective", default="final", help="final, mean, max, min, auc, or last-K such as last-3 (default: final)"
    )
    run.add_argument("--direction", choices=("maximize", "minimize"), default="maximize", help="default: maximize")
    add_training_arguments(run, DEFAULT_TOTAL_TIMESTEPS, presets=False)
    run.add_argument("--out", metavar="DIR", help="folder (default: runs/tune_ENV_AGENT)")
    run.add_argument("--name", help="the study's name (default: ENV_AGENT)")
    run.add_argument(
        "--storage",
        metavar="URL",
        help="for several workers: a file study.journal, postgresql+psycopg2://…, or grpc://HOST:PORT "
        "(default: DIR/study.db, for one)",
    )
    _add_work_arguments(run)
    run.set_defaults(run=_function("run"))


def _register_workers(parts: Any) -> None:
    resume = parts.add_parser("resume", help="go on with a study", description="Go on with a study that was stopped or killed.")
    _add_study_arguments(resume)
    resume.add_argument("--trials", type=whole, metavar="N", help="how many there are to be (default: as before)")
    _add_work_arguments(resume)
    resume.set_defaults(run=_function("resume"))
    worker = parts.add_parser(
        "worker",
        help="help with a study, on any number of processes and machines",
        description="Take batches of a study until all trials are finished; adopt what other workers have left behind.",
    )
    _add_study_arguments(worker)
    _add_batch_arguments(worker)
    worker.set_defaults(run=_function("worker"))


def _register_results(parts: Any) -> None:
    for name, text in {
        "status": "say how far a study is, and who is at work on it",
        "best": "show the best trials",
        "plot": "draw heat map, slices and curves: PNG files, and one page of HTML",
        "export": "write the best setting to a preset file",
    }.items():
        parser = parts.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        _add_study_arguments(parser)
        if name in ("plot", "export"):
            what = "FILE" if name == "export" else "DIR"
            place = "STUDY.yaml" if name == "export" else "the study's folder"
            parser.add_argument("--to", metavar=what, help=f"where (default: {place})")
        parser.set_defaults(run=_function(name))


def _register_dashboard(subparsers: Any) -> None:
    dashboard = subparsers.add_parser(
        "dashboard",
        help="look at studies in a browser",
        description='Start optuna-dashboard on a study\'s storage (pip install "mbrl-lab[dashboard]").',
    )
    _add_study_arguments(dashboard)
    dashboard.add_argument("--host", default="localhost", help="default: localhost")
    dashboard.add_argument("--port", type=whole, default=8080, help="default: 8080")
    dashboard.set_defaults(run=_function("dashboard"))


def _add_study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", nargs="?", help="the study's folder, such as runs/tune_PanFlute_ReplayDQN")
    parser.add_argument("--storage", metavar="URL", help="its storage (default: DIR/study.db or DIR/study.journal)")
    parser.add_argument("--study", metavar="NAME", help="its name, if there are several in the storage")


def _add_work_arguments(parser: argparse.ArgumentParser) -> None:
    _add_batch_arguments(parser)
    parser.add_argument(
        "--confirm",
        type=whole,
        default=DEFAULT_CONFIRM,
        metavar="N",
        help=f"train the winner again on N fresh seeds (default: {DEFAULT_CONFIRM}; 0: do not)",
    )


def _add_batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size",
        type=whole,
        default=DEFAULT_BATCH,
        metavar="N",
        help=f"trials trained together (default: {DEFAULT_BATCH})",
    )
    parser.add_argument(
        "--lease-seconds",
        type=float,
        default=DEFAULT_LEASE,
        metavar="S",
        help=f"silence after which others take a worker for gone (default: {DEFAULT_LEASE:g})",
    )
    parser.add_argument("--keep-runs", action="store_true", help="keep the agents of all trials")
    add_execution_arguments(parser)


def _function(name: str) -> Callable[[argparse.Namespace], int]:
    return command_from("tuning.command_studies", name, needs=("optuna", "pyarrow"), extra="tuning")
