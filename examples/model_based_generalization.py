"""Does experience from a learned model help more than replay? The study's five agents side by side, in a budget of time.

Run as ``python examples/model_based_generalization.py panflute-high --seeds 3 --minutes 20`` (any preset of the study, any
number of seeds; ``--env-arg grid_size=6`` for another size; ``--quick`` for some minutes' worth); arXiv 2211.02222. All runs
go forward together, so that they have seen equally much when time is up; the same command goes on from there. Writes
``curves.csv`` and ``curves.png`` into a folder that also has every run.
"""

import argparse
import dataclasses
import pathlib
import signal
import threading

from mbrl_agents.experiments import plots, results
from mbrl_agents.experiments.comparison import Comparison, Contestant
from mbrl_agents.experiments.published import preset, presets
from mbrl_agents.runs.run_folder import runs_below
from mbrl_envs.assignments import parse_assignments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(presets()))
    labels = list(next(iter(presets().values())).agents)
    parser.add_argument("--agents", nargs="+", choices=labels, default=labels)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--steps", type=int, help="at most so many (default: the study's)")
    parser.add_argument("--eval-interval", type=int, default=1000)
    parser.add_argument("--env-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--quick", action="store_true", help="1 seed, 1500 steps, however long they take")
    parser.add_argument("--out", help="folder (default: runs/PRESET)")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.steps, options.eval_interval, options.minutes = 1, 1500, 500, 60

    chosen = preset(options.preset)
    constants = chosen.environment.arguments | parse_assignments(options.env_arg, "--env-arg")
    environment = dataclasses.replace(chosen.environment, arguments=constants)
    folder = pathlib.Path(options.out or pathlib.Path("runs") / options.preset)
    comparison = Comparison(
        folder,
        [Contestant(label, chosen.agents[label][0], chosen.arguments[label]) for label in options.agents],
        environment,
        range(options.seeds),
        steps=options.steps or chosen.regime.steps,
        eval_interval=options.eval_interval,
        eval_episodes=chosen.regime.eval_episodes,
        eval_steps=chosen.regime.eval_steps,
    )
    # Ctrl-C, pressed by a clock: what there is then is saved.
    clock = threading.Timer(60 * options.minutes, lambda: signal.raise_signal(signal.SIGINT))
    clock.daemon = True
    clock.start()
    comparison.train()
    clock.cancel()

    runs = runs_below(folder)
    table = results.curves(runs)
    results.write_csv(table, folder / "curves.csv")
    common = table.groupby(["agent", "seed"])["timestep"].max().min()
    plots.plot_curves(runs, folder / "curves.png", normalised=True, until=common)
    reached = table[table["timestep"] == common].groupby("agent")["score"]
    reference = results.run_yardsticks(runs[0])
    print(f"\n{environment.title} after {common:,} steps (mean ± standard error over seeds; uniform 0, best policy 1)")
    for agent, score in reached.mean().sort_values(ascending=False).items():
        scaled = "" if reference is None else f"  {reference.normalised(score):6.2f}"
        print(f"{agent:12s} {score:8.4f} ± {reached.sem()[agent]:.4f}{scaled}")
    print(f"curves in {folder / 'curves.png'}")


if __name__ == "__main__":
    main()
