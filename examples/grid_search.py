"""The published search of step size and temperature for one agent and environment, as large as a budget of time allows.

Run as ``python examples/grid_search.py ReplayDQN mbrl/PanFlute-v0 --minutes 20`` (``--quick`` for a minute's worth); arXiv
2211.02222 searched step sizes from 3.125e-6 to 1.6e-3 and temperatures from 0.0125 to 12.8, in factors of two: 110 points. A
short sweep shows how long a run takes; then as many points around 1e-4 and 0.1 are searched as there is time for. The same
command goes on where it was stopped. Writes a heat map, slices, curves and a page with all of them; the winner is trained again
on fresh seeds.
"""

import argparse
import pathlib
import time

from mbrl_agents import train_sweep
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs.assignments import parse_assignments
from tuning import Worker, create_study, factor_two_grid, open_study
from tuning.confirm import confirm
from tuning.report import write_report
from tuning.training import SweepTrainer

STEP_SIZES, TEMPERATURES = factor_two_grid(3.125e-6, 1.6e-3).values, factor_two_grid(0.0125, 12.8).values
MIDDLE = {"learning_rate": STEP_SIZES.index(1e-4), "temperature": TEMPERATURES.index(0.1)}


def around(values: tuple[float, ...], middle: int, count: int) -> list[float]:
    """So many neighbours on the grid."""
    first = min(max(middle - count // 2, 0), max(len(values) - count, 0))
    return list(values[first : first + count])


def space_of(points: int) -> dict[str, list[float]]:
    """The part of the grid that has at most so many points."""
    side = max(int(points**0.5), 1)
    return {
        "learning_rate": around(STEP_SIZES, MIDDLE["learning_rate"], side),
        "temperature": around(TEMPERATURES, MIDDLE["temperature"], max(points // side, 1) if side > 9 else side),
    }


def seconds_per_run(options: argparse.Namespace, environment: EnvironmentSpec, arguments: dict) -> float:
    """Trains a short sweep to see how long a run takes beside others."""
    steps = max(options.total_timesteps // 10, 1)
    began = time.monotonic()
    train_sweep(options.agent, environment, arguments, options.seeds, steps, eval_interval=steps, save_replay=False)
    # With compiling, so this is rather too much.
    return (time.monotonic() - began) / options.seeds * options.total_timesteps / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="?", default="ReplayDQN")
    parser.add_argument("env_id", nargs="?", default="mbrl/PanFlute-v0")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--points", type=int, help="points of the grid, instead of as many as there is time for")
    parser.add_argument("--total-timesteps", type=int, default=12_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fresh-seeds", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument("--pruning", default="none", help="halving: stop early what does badly (default: none)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--env-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--quick", action="store_true", help="4 points, 1 seed, 1500 steps, 1 fresh seed")
    parser.add_argument("--out", help="folder (default: runs/grid_search)")
    options = parser.parse_args()
    if options.quick:
        options.points, options.seeds, options.total_timesteps, options.fresh_seeds = 4, 1, 1500, 1

    environment = EnvironmentSpec(options.env_id, parse_assignments(options.env_arg, "--env-arg"))
    # As in the study, the untrained network plays before learning starts, where the agent has a choice.
    study_settings = {"warmup": "policy"} if "warmup" in find_agent(options.agent).parameters else {}
    arguments = study_settings | parse_assignments(options.set, "--set")
    folder = pathlib.Path(options.out or "runs/grid_search")
    if (folder / "study.db").is_file():
        study = open_study(folder / "study.db", folder=folder)
    else:
        points = options.points
        if points is None:
            runs = 60 * options.minutes / seconds_per_run(options, environment, arguments) - options.fresh_seeds
            points = int(runs / options.seeds)
        study = create_study(
            options.agent,
            environment,
            space_of(points),
            total_timesteps=options.total_timesteps,
            seeds_per_trial=options.seeds,
            arguments=arguments,
            pruning=options.pruning,
            folder=folder,
        )
    print(f"{study.set_trials(None)} points, {study.spec.seeds_per_trial} seeds each")
    began = time.monotonic()
    trainer = SweepTrainer(progress_bar=True)
    Worker(study, options.batch_size, trainer, say=print).run()
    print(f"searched in {time.monotonic() - began:.0f} s")
    print(confirm(study, options.fresh_seeds, trainer))
    print(f"{folder}: {', '.join(write_report(study, folder))}")


if __name__ == "__main__":
    main()
