"""R2D2 in RL Zoo (``pip install "mbrl-lab[zoo]"``).

RL Zoo's programs know the algorithms of a table that is filled when they are imported. This module adds R2D2 to it, and then
runs one of them::

    python -m mbrl_agents.r2d2.zoo train --algo r2d2 --env CartPole-v1        # is python -m rl_zoo3.train --algo r2d2 …
    python -m mbrl_agents.r2d2.zoo enjoy --algo r2d2 --env CartPole-v1 -f logs/

In a program of one's own, :func:`register` before ``rl_zoo3.train.train()`` does the same. Hyperparameters for environments are
in :data:`hyperparams`; ``--conf-file`` names others, as always.

Importing RL Zoo changes Gymnasium for the whole process: every ``TimeLimit`` made from then on reports episodes as RL Zoo wants
(``truncated`` only where nothing else ended the episode). Keep it in a process of its own.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from typing import Any

import mbrl_envs  # noqa: F401  (registers the ids)
from mbrl_agents.r2d2.r2d2 import R2D2

NAME = "r2d2"
_MODULE = "mbrl_agents.r2d2.zoo"  # under ``python -m`` it is called __main__, which RL Zoo could not import
PROGRAMS = ("train", "enjoy", "record_video", "record_training", "benchmark")

_SMALL: dict[str, Any] = {
    "policy": "MlpLstmPolicy",
    "n_timesteps": 30_000,
    "learning_rate": "lin_2e-3",  # RL Zoo's way to say that it falls to 0
    "buffer_size": 10_000,
    "learning_starts": 1000,
    "batch_size": 64,
    "gamma": 0.99,
    "train_freq": 10,
    "n_steps": 5,
    "burn_in": 5,
    "sequence_length": 10,
    "overlap": 0,
    "target_update_interval": 500,
    "exploration_fraction": 0.3,
    "policy_kwargs": "dict(cell='gru', lstm_hidden_size=64, pre_net_arch=[], net_arch=[64], optimizer_kwargs={'eps': 1e-3})",
}
_ATARI: dict[str, Any] = {
    "policy": "CnnLstmPolicy",
    "env_wrapper": ["stable_baselines3.common.atari_wrappers.AtariWrapper"],
    "n_timesteps": 10_000_000,
    "n_envs": 8,
    "exploration": "ladder",
    "learning_starts": 50_000,
    "policy_kwargs": "dict(lstm_hidden_size=512)",
}

# By environment, as RL Zoo reads it from a Python module.
hyperparams: dict[str, dict[str, Any]] = {
    "default": _SMALL,
    "CartPole-v1": _SMALL,
    "mbrl/CartPoleNoVelocity-v0": _SMALL | {"n_timesteps": 100_000, "buffer_size": 100_000},
    "mbrl/CueRecall-v0": _SMALL
    | {"n_timesteps": 100_000, "n_envs": 8, "train_freq": 2, "burn_in": 0, "sequence_length": 12, "gamma": 0.9}
    | {"policy_kwargs": "dict(forget_bias=4.0, lstm_hidden_size=64, pre_net_arch=[], net_arch=[64])"},
    "atari": _ATARI,
}


def register() -> None:
    """Adds R2D2 to RL Zoo's table of algorithms.

    Raises:
        ImportError: RL Zoo is not installed.
    """
    try:
        import rl_zoo3
    except ImportError as error:
        raise ImportError('RL Zoo is needed: pip install "mbrl-lab[zoo]"') from error
    rl_zoo3.ALGOS[NAME] = R2D2


def arguments_for(program: str, arguments: Sequence[str]) -> list[str]:
    """The program's arguments; training R2D2 without ``--conf-file`` reads :data:`hyperparams`."""
    given = list(arguments)
    names = {argument.partition("=")[0] for argument in given}
    trains_r2d2 = program == "train" and any(each in (NAME, f"--algo={NAME}") for each in given)
    return given if not trains_r2d2 or names & {"-conf", "--conf-file"} else [*given, "--conf-file", _MODULE]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one of RL Zoo's programs.

    Raises:
        SystemExit: There is no such program, or it says so.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    if not given or given[0] not in PROGRAMS:
        raise SystemExit(f"usage: python -m mbrl_agents.r2d2.zoo PROGRAM ARGUMENTS, PROGRAM being {', '.join(PROGRAMS)}")
    program, *rest = given
    register()
    sys.argv = [f"rl_zoo3.{program}", *arguments_for(program, rest)]
    runpy.run_module(f"rl_zoo3.{program}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
