"""The sub-commands ``mbrl envs`` and ``mbrl play``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from mbrl_envs.assignments import parse_assignments, whole


def register(subparsers: Any) -> None:
    """Adds the sub-commands; see :mod:`mbrl_envs.cli`."""
    envs = subparsers.add_parser("envs", help="list the environments", description="List the environments and their scores.")
    envs.add_argument("--json", action="store_true", help="write JSON, for other programs")
    envs.set_defaults(run=run_envs)

    play = subparsers.add_parser("play", help="play an environment yourself", description=PLAY_TEXT)
    play.add_argument("env_id", metavar="ENV_ID", help="Gymnasium id, such as mbrl/ProcMaze-v0")
    play.add_argument(
        "--env-arg",
        "--arg",  # as it was once called
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="argument of the environment; may be given several times",
    )
    play.add_argument("--seed", type=whole, help="seed of the first episode (default: a random one)")
    play.add_argument("--ansi", action="store_true", help="play in the terminal instead of a window")
    play.set_defaults(run=run_play)


PLAY_TEXT = (
    "Play an environment, one key for each step: arrows or w a s d to move, space for no-op, digits for other actions, "
    "r to restart, q to quit. Works with every Gymnasium environment that has Discrete actions and pictures."
)


def run_play(arguments: argparse.Namespace) -> int:
    """Runs ``mbrl play``."""
    import mbrl_envs.play

    constants = parse_assignments(arguments.env_arg, "--env-arg")
    total = mbrl_envs.play.play(arguments.env_id, seed=arguments.seed, text=arguments.ansi, **constants)
    if not arguments.ansi:
        print(f"total reward {total:g}")
    return 0


def run_envs(arguments: argparse.Namespace) -> int:
    """Runs ``mbrl envs``."""
    from mbrl_envs.registration import DYNAMICS

    described = [describe(cls.env_id) for cls in DYNAMICS.values()]
    print(json.dumps(described, indent=2) if arguments.json else table(described))
    return 0


def describe(env_id: str) -> dict[str, Any]:
    """What there is to know about an environment with its default arguments, ready for JSON."""
    import dataclasses

    import gymnasium

    from mbrl_envs import score_table
    from mbrl_envs.registration import make_dynamics

    spec = gymnasium.spec(env_id)
    dynamics = make_dynamics(spec.kwargs["dynamics"])
    constants = {field.name: getattr(dynamics, field.name) for field in dataclasses.fields(dynamics)}  # type: ignore[arg-type]
    rows = score_table.rows_of(env_id, score_table.read(), constants=constants)
    doc = (type(dynamics).__doc__ or "").strip()
    observation, action = dynamics.observation_space, dynamics.action_space
    return {
        "id": env_id,
        "summary": doc.splitlines()[0],
        "arguments": constants,
        "continuing": dynamics.continuing,
        "max_episode_steps": spec.max_episode_steps,
        "observation_space": {"text": str(observation), "shape": observation.shape, "dtype": str(observation.dtype)},
        "action_space": {"text": str(action), "shape": action.shape, "dtype": str(action.dtype)},
        "action_names": getattr(dynamics, "action_names", None),
        "scores": [{k: v for k, v in dataclasses.asdict(row).items() if k != "environment"} for row in rows],
    }


def table(described: list[dict[str, Any]]) -> str:
    """Environments as lines of text."""
    from mbrl_envs.score_table import measure, rounded

    lines = []
    for env in described:
        arguments = ", ".join(f"{name}={value!r}" for name, value in env["arguments"].items())
        lines += [f"{env['id']}({arguments})", f"    {env['summary']}"]
        lines.append(f"    observation {env['observation_space']['text']}, action {env['action_space']['text']}")
        for row in env["scores"]:
            what = measure(env["continuing"], row["steps"])
            best = rounded(row["optimal"], row["optimal_standard_error"])
            random = rounded(row["uniform"], row["uniform_standard_error"])
            lines.append(f"    {what}: best policy {best}, uniform policy {random}")
        lines.append("")
    return "\n".join(lines) + "\nScores of other sizes: mbrl_envs/README.md, or mbrl_envs.yardsticks for any size."
