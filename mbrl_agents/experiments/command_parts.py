"""Parts of which commands are made: arguments that several have in common, and a frame in which all of them run.

Nothing heavy is imported here, so that ``mbrl --help`` is quick.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mbrl_agents.core.interrupt import handled
from mbrl_agents.runs.old_names import TRAINING_OPTIONS
from mbrl_envs.assignments import whole

FAILED, INTERRUPTED = 1, 130  # exit codes
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}


def add_training_arguments(
    parser: argparse.ArgumentParser, total_timesteps: int, *, several_agents: bool = False, presets: bool = True
) -> None:
    """What agents are trained on, and how they are evaluated.

    Args:
        parser: Gets the arguments.
        total_timesteps: Transitions to train on unless others are given; left in ``default_total_timesteps``.
        several_agents: Whether ``--set`` may name the agent that it is about.
        presets: Whether a preset may say how many steps.
    """
    default = f"{total_timesteps:,}" + (", or the preset's" if presets else "")
    parser.add_argument("--total-timesteps", type=whole, metavar="N", help=f"transitions to train on (default: {default})")
    parser.set_defaults(default_total_timesteps=total_timesteps)
    refuse_options(parser, TRAINING_OPTIONS)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="AGENT.NAME=VALUE" if several_agents else "NAME=VALUE",
        help="argument of an agent" + (" (without AGENT: of all)" if several_agents else "") + "; may be given several times",
    )
    parser.add_argument("--n-envs", type=whole, metavar="N", help="environments side by side in training (default: 1)")
    add_environment_arguments(parser)
    parser.add_argument(
        "--eval-interval", type=whole, metavar="STEPS", help="steps between evaluations (default: about 30 in a run)"
    )
    parser.add_argument(
        "--eval-episodes", type=whole, metavar="N", help="episodes of an evaluation (default: 32; other than mbrl/: 10)"
    )
    parser.add_argument(
        "--eval-steps",
        type=whole,
        metavar="N",
        help="steps of an episode (default: 100 for most; other than mbrl/: its own)",
    )


def add_environment_arguments(parser: argparse.ArgumentParser) -> None:
    """Constants and time limit of the environment."""
    parser.add_argument(
        "--env-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the environment; may be given several times",
    )
    parser.add_argument(
        "--max-episode-steps",
        type=whole,
        metavar="N",
        help="time limit (default: the run's, or the id's own; -1 for none, as in the published study's continuing tasks)",
    )


def refuse_options(parser: argparse.ArgumentParser, renamed: Mapping[str, str]) -> None:
    """Refuses options of earlier versions with a message that says what they are called now."""
    for option, today in renamed.items():
        parser.add_argument(option, action=_Renamed, nargs="?", const=today, help=argparse.SUPPRESS)


class _Renamed(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None) -> None:
        del namespace, values
        parser.error(f"{option_string} is {self.const} now")


def add_execution_arguments(parser: argparse._ActionsContainer) -> None:
    """How many runs are trained in one program."""
    parser.add_argument("--max-parallel-runs", type=whole, metavar="N", help="runs in memory at once (default: as many as fit)")
    parser.add_argument("--execution", choices=("loop", "vmap"), help="default: the faster one on this machine's devices")


def command_from(
    module: str, name: str, *, needs: Collection[str] = (), extra: str = ""
) -> Callable[[argparse.Namespace], int]:
    """A command's function, whose module is imported when the command is called.

    It takes SIGTERM (of a batch system, say) for Ctrl-C, and a full disk for what it is.

    Args:
        module: Where the function is.
        name: Its name.
        needs: Libraries without which the module cannot be imported, and which not everybody has.
        extra: The extra that installs them.
    """

    def run(arguments: argparse.Namespace) -> int:
        try:
            function = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if (missing := str(error.name).partition(".")[0]) not in needs:
                raise
            raise ImportError(f'this command needs {missing}: pip install "mbrl-lab[{extra}]"') from error
        try:
            with handled(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)):
                return function(arguments)
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            print(f"mbrl: error: cannot write: {error}", file=sys.stderr)
            return FAILED

    return run
