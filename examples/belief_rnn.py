"""Do networks that learn values come to represent beliefs? Starkweather's tasks, many network sizes, trained and untrained.

Run as ``python examples/belief_rnn.py`` (``--quick`` for a minute's worth). Settings are the published ones, of the files in
``mbrl_agents/value_rnn/published``, and may be shortened by ``--epochs``, ``--episodes`` and ``--seeds``. ``--parts`` are:

* ``beliefs``: how much of an observer's beliefs a linear regression finds in the hidden units (held out), and how far
  prediction errors are from the exact ones once the read-out is refitted by LSTD; with the noise that the published analysis
  adds to hidden units, and without; in trained networks and in untrained ones. Also fixed points and memory.
* ``gains``: the same of untrained networks whose recurrent weights are larger or smaller.
* ``blocks``: Babayan's task: networks that have learned rewards of 1 and 10 are shown others.

Trained networks are kept in the folder, and loaded if they are there. Written are pictures, and tables with a row for each
network as soon as it is measured; rows of other sizes and tasks that are there stay.
"""

import argparse
import functools
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import belief_plots, figures, value_rnn_plots
from mbrl_agents.value_rnn import ValueRNN, analysis, fit_many
from mbrl_agents.value_rnn.published import Study, study
from mbrl_envs.conditioning import Starkweather, Trial, sample_trials

STARKWEATHER, BABAYAN = study("starkweather"), study("babayan")
NOISE, OMISSION = STARKWEATHER.analysis["noise"], STARKWEATHER.analysis["omission"]
# Belief R² of the study by size, (trained, untrained): task 2, with noise.
PUBLISHED = {2: (0.09, 0.10), 5: (0.28, 0.24), 10: (0.40, 0.33), 20: (0.56, 0.37), 50: (0.67, 0.41), 100: (0.72, 0.44)}
# Our own choices: recurrent gains (the study has 14, their values are not known here), and what is measured on.
GAINS = tuple(float(gain) for gain in np.geomspace(0.25, 8, 14).round(3))
PROBES, STEPS, BURN_IN = 48, 500, 50  # episodes, steps of each, and how many of them are left out at the start
PARTS = ("beliefs", "gains", "blocks")


@functools.cache
def probes(task: Starkweather, seed: int) -> list[Trial]:
    """Episodes to measure on, cut to one length, for which exact values are computed at once."""
    return [_head(each, STEPS) for each in sample_trials(task, PROBES, seed=seed, trials_per_episode=25)]


def _head(trial: Trial, steps: int) -> Trial:
    """The first steps of an episode."""
    return Trial(trial.observations[:steps], trial.rewards[:steps], trial.states[:steps], terminated=False)


def trained(name: str, given: Study, units: int, options: argparse.Namespace, **changes: Any) -> list[ValueRNN]:
    """Networks of one size, from files if they are there, else fitted and written."""
    ending = f"{units}units_{options.epochs}epochs_{options.episodes}episodes"
    files = [options.out / "networks" / f"{name}_{ending}_seed{seed}.zip" for seed in range(options.seeds)]
    new = {
        seed: ValueRNN(hidden_size=units, seed=seed, **given.network) for seed, file in enumerate(files) if not file.exists()
    }
    if new:
        began = time.process_time()
        trials, validation = (given.trials(seed, number, **changes) for seed, number in ((1, options.episodes), (4, 50)))
        fit = given.fit | {"epochs": options.epochs}
        fit_many(list(new.values()), trials, validation=validation, progress_bar=True, **fit)
        for seed, network in new.items():
            files[seed].parent.mkdir(parents=True, exist_ok=True)
            network.save(files[seed])
        print(f"\n{name}, {units} units: {(time.process_time() - began) / len(new):.0f} s of CPU time for each network")
    return [ValueRNN.load(file) for file in files]


def fresh(units: int, seed: int) -> ValueRNN:
    """An untrained network."""
    network = ValueRNN(hidden_size=units, seed=seed, **STARKWEATHER.network)
    network.prepare(2)
    return network


def measure(network: ValueRNN, task: Starkweather, noise: float, seed: int) -> dict[str, float]:
    """Beliefs and prediction errors, the read-out refitted; of a trained network also with its own, and with late omissions."""
    trials, held_out = probes(task, 2), probes(task, 3)
    rest: dict[str, Any] = {"noise": noise, "burn_in": BURN_IN}
    refitted = analysis.refit_readout(network, trials, ridge=0.0, seed=2 * seed, **rest)
    rest["seed"] = 2 * seed + 1
    regression = analysis.belief_regression(network, task, trials, held_out, omission=OMISSION, **rest)
    found = {"noise": noise, "belief_r2": regression.r2} | analysis.errors(refitted, task, held_out, **rest)._asdict()
    if network._n_updates:
        late = analysis.belief_regression(network, task, trials, held_out, omission="late", **rest)
        found |= {"belief_r2_late": late.r2, "own_rpe_mse": analysis.errors(network, task, held_out, **rest).rpe_mse}
    return found


def rest_of(network: ValueRNN, task: Starkweather) -> dict[str, float]:
    """Fixed points without input, and how long a cue and a reward are remembered."""
    starts = analysis.visited_states(network, probes(task, 2)[:2], num=16)
    found, memory = analysis.fixed_points(network, starts), analysis.memory(network)
    duration = memory.groupby("input")["duration"].first()
    slowest = {"time_constant": float(found.time_constants[0]) if len(found.states) else np.nan}
    counted = {"fixed_points": len(found.states), "stable": int(found.stable.sum()), "lost": found.num_lost}
    return counted | slowest | {"cue_memory": int(duration.iloc[0]), "reward_memory": int(duration.iloc[-1])}


def beliefs(options: argparse.Namespace) -> None:
    """The table of belief R² and prediction errors by size, and its pictures."""
    rows, resting = _others(options, "networks.csv"), _others(options, "resting.csv")
    for number in options.tasks:
        task = Starkweather(task=number)
        for units in options.sizes:
            networks = {
                "trained": trained(f"task{number}", STARKWEATHER, units, options, task=number),
                "untrained": [fresh(units, seed) for seed in range(options.untrained)],
            }
            for kind, several in networks.items():
                for seed, network in enumerate(several):
                    row = {"task": number, "units": units, "kind": kind, "seed": seed}
                    rows += [row | measure(network, task, noise, seed) for noise in dict.fromkeys((options.noise, 0.0))]
                    pd.DataFrame(rows).to_csv(options.out / "networks.csv", index=False)
                    if seed < options.resting:
                        resting.append(row | rest_of(network, task))
                        pd.DataFrame(resting).to_csv(options.out / "resting.csv", index=False)
            _tell(pd.DataFrame(rows), number, units)
        if not networks["trained"]:
            continue
        held_out = probes(task, 3)
        by_delay = [analysis.rpe_by_delay(each, task, held_out) for each in networks["trained"]]
        figure = value_rnn_plots.rpe_figure({f"task {number}, {units} units": by_delay}, "Prediction error at the reward")
        figures.save(figure, options.out / f"rpe_task{number}.png")
        shown = [_head(held_out[0], 120)]
        figure = value_rnn_plots.values_figure(networks["trained"][0], task, shown, f"Task {number}, {units} units")
        figures.save(figure, options.out / f"values_task{number}.png")
    figures.save(belief_plots.beliefs_figure(pd.DataFrame(rows), PUBLISHED), options.out / "beliefs.png")
    figures.save(belief_plots.memory_figure(pd.DataFrame(resting)), options.out / "memory.png")


def _others(options: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """Rows that are there of other sizes and tasks than those to be measured."""
    if not (options.out / name).exists():
        return []
    table = pd.read_csv(options.out / name)
    again = table["task"].isin(options.tasks) & table["units"].isin(options.sizes)
    return table[~again].to_dict("records")


def _tell(table: pd.DataFrame, number: int, units: int) -> None:
    rows = table[(table["task"] == number) & (table["units"] == units)]
    for (kind, noise), some in rows.groupby(["kind", "noise"]):
        print(
            f"task {number}, {units} units, {kind} (n={len(some)}), noise {noise:g}: belief R² {some['belief_r2'].mean():.3f}, "
            f"squared RPE error {some['rpe_mse'].mean():.5f}",
            flush=True,
        )


def gains(options: argparse.Namespace) -> None:
    """Untrained networks of many recurrent gains."""
    task, rows = Starkweather(task=2), []
    for gain in options.gains:
        for seed in range(options.gain_networks):
            network = analysis.with_recurrent_gain(fresh(options.gain_units, seed), gain)
            row = {"gain": gain, "units": options.gain_units, "seed": seed} | rest_of(network, task)
            rows += [row | measure(network, task, noise, seed) for noise in dict.fromkeys((options.noise, 0.0))]
            pd.DataFrame(rows).to_csv(options.out / "gains.csv", index=False)
    table = pd.DataFrame(rows)
    print(table.groupby(["noise", "gain"])[["belief_r2", "rpe_mse", "cue_memory", "fixed_points"]].mean().to_string())
    figures.save(belief_plots.gains_figure(table), options.out / "gains.png")


def blocks(options: argparse.Namespace) -> None:
    """Babayan's task, with sizes of reward between those learned."""
    networks = trained("babayan", BABAYAN, options.block_units, options)
    shown = BABAYAN.trials(3, 200, sizes=BABAYAN.shown)
    tables = [analysis.block_responses(each, BABAYAN.task(), shown) for each in networks]
    table = pd.concat([each.assign(seed=seed) for seed, each in enumerate(tables)])
    table.to_csv(options.out / "blocks.csv", index=False)
    print(table.groupby(["trial", "size"])[["value", "exact_value", "rpe", "exact_rpe"]].mean().round(2).to_string())
    figures.save(belief_plots.blocks_figure(tables), options.out / "blocks.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--tasks", type=int, nargs="+", default=[2])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(STARKWEATHER.sizes))
    parser.add_argument("--seeds", type=int, default=3, help="trained networks of each size, also 0 (published: 12)")
    parser.add_argument("--untrained", type=int, default=12, help="untrained networks of each size")
    parser.add_argument("--resting", type=int, default=3, help="networks of each kind whose fixed points are looked for")
    parser.add_argument("--episodes", type=int, default=STARKWEATHER.episodes, help="of 20 trials each, to learn from")
    parser.add_argument("--epochs", type=int, default=STARKWEATHER.fit["epochs"])
    parser.add_argument("--noise", type=float, default=NOISE, help="share of each unit's spread (default: %(default)s)")
    parser.add_argument("--gains", type=float, nargs="+", default=list(GAINS))
    parser.add_argument("--gain-networks", type=int, default=12, help="untrained networks of each gain")
    parser.add_argument("--gain-units", type=int, default=50)
    parser.add_argument("--block-units", type=int, default=20, help="size of the networks that learn Babayan's task")
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--out", type=pathlib.Path, default="runs/belief_rnn", help="folder (default: %(default)s)")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.seeds, options.untrained, options.episodes, options.epochs = [2, 5], 1, 2, 20, 3
        options.gains, options.gain_networks, options.gain_units, options.block_units = [0.5, 2.0], 2, 5, 5
    options.out.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        {"beliefs": beliefs, "gains": gains, "blocks": blocks}[part](options)
    print(f"\n{options.out}: {', '.join(sorted(path.name for path in options.out.iterdir() if path.is_file()))}")


if __name__ == "__main__":
    main()
