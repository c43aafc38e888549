"""Do networks that learn values come to represent beliefs? Starkweather's tasks, many network sizes, trained and untrained.

Run as ``python examples/belief_rnn.py`` (``--quick`` for a minute's worth). For each task and number of hidden units, networks
learn the value of 20-trial episodes. Measured on fresh episodes are: how far values and prediction errors are from those of a
perfect observer; how much of its beliefs a linear regression finds in the hidden units (held out), in the trained network and
in the same one before training; how well they tell the hidden state; how long a reward is remembered. Written are pictures, and
``networks.csv``, a row for each network as soon as it is measured.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents.experiments import figures, value_rnn_plots
from mbrl_agents.value_rnn import ValueRNN, analysis, fit_many
from mbrl_envs.conditioning import Starkweather, Trial, sample_trials

# The published step size, but falling: held, the loss of large networks swings by a third from epoch to epoch.
NETWORK: dict[str, Any] = {"cell": "gru", "gamma": 0.93, "learning_rate": LinearSchedule(3e-3, 1e-4, 1.0), "batch_size": 12}
SIZES = (2, 5, 10, 20, 50, 100)
PUBLISHED = {2: (0.09, 0.10), 5: (0.28, 0.24), 10: (0.40, 0.33), 20: (0.56, 0.37), 50: (0.67, 0.41), 100: (0.72, 0.44)}


def measure(
    network: ValueRNN, task: Starkweather, trials: list[Trial], held_out: list[Trial], decode: bool
) -> dict[str, float]:
    """Everything that is measured of one network."""
    found = analysis.errors(network, task, held_out)._asdict()
    found["belief_r2"] = analysis.belief_regression(network, task, trials, held_out).r2
    memory = analysis.memory(network)
    found["reward_memory"] = float(memory.loc[memory["input"] == 1, "duration"].iloc[0])
    if decode:
        found["state_log_likelihood"] = analysis.state_decoding(network, task, trials, held_out).network
    return found


def draw(table: pd.DataFrame, path: pathlib.Path) -> None:
    """Belief R² by size, trained and untrained, beside the published means."""
    tasks = sorted(table["task"].unique())
    figure = figures.new_figure(1.0 + 3.6 * len(tasks), 3.6, "How much of the beliefs the hidden units tell")
    for axis, task in zip(figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0], tasks, strict=True):
        for i, kind in enumerate(("trained", "untrained")):
            rows = table[(table["task"] == task) & (table["kind"] == kind)]
            by_size = rows.groupby("units")["belief_r2"]
            axis.plot(rows["units"], rows["belief_r2"], ".", color=figures.COLOURS[i], alpha=0.4)
            axis.plot(by_size.mean().index, by_size.mean(), color=figures.COLOURS[i], label=kind)
            if task == 2:
                published = pd.Series({size: PUBLISHED[size][i] for size in by_size.mean().index if size in PUBLISHED})
                axis.plot(published.index, published, "x--", color=figures.COLOURS[i], lw=0.8, label=f"{kind}, published")
        sizes = sorted(table["units"].unique())
        axis.set(xscale="log", xlabel="hidden units", title=f"task {task}", xticks=sizes, xticklabels=sizes)
        axis.minorticks_off()
        figures.plain(axis)
        axis.legend(frameon=False, fontsize=8)
    figures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=3, help="networks of each size (published: 12)")
    parser.add_argument("--episodes", type=int, default=500, help="of 20 trials each")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument(
        "--validate", action="store_true", help="keep the weights that are best on other episodes, not on these"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, 30 episodes, 10 epochs")
    parser.add_argument("--out", default="runs/belief_rnn", help="folder (default: %(default)s)")
    options = parser.parse_args()
    sizes, episodes, epochs = ([2, 5], 30, 10) if options.quick else (options.sizes, options.episodes, options.epochs)
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    by_delay: dict[str, list[pd.DataFrame]] = {}
    for task_number in options.tasks:
        task = Starkweather(task=task_number)
        trials, probe, held_out = (
            sample_trials(task, num, seed=seed, trials_per_episode=20)
            for num, seed in ((episodes, 1), (min(episodes, 50), 2), (min(episodes, 50), 3))
        )
        for size in sizes:
            began = time.process_time()
            trained = [ValueRNN(hidden_size=size, seed=seed, **NETWORK) for seed in range(options.seeds)]
            for network in trained:
                network.prepare(2)
            untrained = [analysis.clone(network) for network in trained]
            fit_many(trained, trials, epochs, validation=probe if options.validate else None, progress_bar=True)
            seconds = time.process_time() - began
            for kind, networks in (("trained", trained), ("untrained", untrained)):
                for seed, network in enumerate(networks):
                    if kind == "untrained":  # nothing but the read-out can be asked of it
                        network = analysis.refit_readout(network, probe)
                    found = measure(network, task, probe, held_out, decode=seed == 0)
                    rows.append({"task": task_number, "units": size, "kind": kind, "seed": seed, **found})
                    pd.DataFrame(rows).to_csv(folder / "networks.csv", index=False)
            r2 = {
                kind: np.mean([r["belief_r2"] for r in rows if (r["task"], r["units"], r["kind"]) == (task_number, size, kind)])
                for kind in ("trained", "untrained")
            }
            print(
                f"\ntask {task_number}, {size} units: belief R² {r2['trained']:.2f} trained, {r2['untrained']:.2f} untrained; "
                f"{seconds:.0f} s of CPU time",
                flush=True,
            )
        by_delay[f"task {task_number}, {sizes[-1]} units"] = [analysis.rpe_by_delay(each, task, held_out) for each in trained]
        figure = value_rnn_plots.values_figure(trained[0], task, [_head(held_out[0])], f"Task {task_number}, {sizes[-1]} units")
        figures.save(figure, folder / f"values_task{task_number}.png")
    figures.save(value_rnn_plots.rpe_figure(by_delay, "Prediction error when the reward comes"), folder / "rpe.png")
    draw(pd.DataFrame(rows), folder / "beliefs.png")
    print(f"\n{folder}: networks.csv, beliefs.png, rpe.png, values_task….png")


def _head(trial: Trial, steps: int = 120) -> Trial:
    """The first steps of an episode."""
    return Trial(trial.observations[:steps], trial.rewards[:steps], trial.states[:steps], terminated=False)


if __name__ == "__main__":
    main()
