"""The command ``mbrl``: gathers the sub-commands of all packages and turns errors into one line.

A package brings its own sub-commands through an entry point of the group ``mbrl.commands``: a function ``register(subparsers)``
that adds parsers and gives each one a default ``run``, a function from the parsed arguments to an exit code (or None for 0).
So this file knows no other package, and ``register`` must be quick: import what is heavy inside ``run``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence

COMMAND_GROUP = "mbrl.commands"
USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

# Our own commands are there even where the package is not installed but found on the path.
_OWN = importlib.metadata.EntryPoint("envs", "mbrl_envs.commands:register", COMMAND_GROUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments after the program's name; those of the process by default.

    Returns:
        Exit code: 0, 2 after a mistake in the arguments, 130 after Ctrl-C, or what the sub-command returns.
    """
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        if not hasattr(arguments, "run"):
            parser.print_help()
            return USER_ERROR
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse has said what it had to say
        return stop.code if isinstance(stop.code, int) else USER_ERROR
    except KeyboardInterrupt:
        print("\nmbrl: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has closed it, as in `mbrl envs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        if os.environ.get("MBRL_DEBUG") == "1" or not _is_user_error(error):
            raise
        print(f"mbrl: error: {_one_line(error)}", file=sys.stderr)
        return USER_ERROR


def build_parser() -> argparse.ArgumentParser:
    """The parser with the sub-commands of every installed package; one that fails to load is a warning, not an error."""
    parser = argparse.ArgumentParser(prog="mbrl", description="Environments, agents and studies of reinforcement learning.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    found = {_OWN.value: _OWN}
    found.update({entry_point.value: entry_point for entry_point in importlib.metadata.entry_points(group=COMMAND_GROUP)})
    for entry_point in found.values():
        try:
            entry_point.load()(subparsers)
        except Exception as error:
            if os.environ.get("MBRL_DEBUG") == "1":
                raise
            problem = f"{type(error).__name__}: {_one_line(error)}"
            print(f"mbrl: warning: commands of {entry_point.value} are missing ({problem})", file=sys.stderr)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("mbrl-lab")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _is_user_error(error: Exception) -> bool:
    """Whether ``error`` tells users what *they* can change: an argument, a file, a missing extra."""
    import gymnasium

    kinds = (ValueError, TypeError, FileNotFoundError, FileExistsError, ImportError, MemoryError, gymnasium.error.Error)
    # A server that was named and does not answer; the kinds of this error that the system raises say nothing of an argument.
    return isinstance(error, kinds) or type(error) is ConnectionError


def _one_line(error: Exception) -> str:
    # gymnasium.make adds where the error came from, which says nothing to someone who has just typed the argument.
    return " ".join(str(error).partition(" was raised from the environment creator")[0].split())


if __name__ == "__main__":
    sys.exit(main())
