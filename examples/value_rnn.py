"""The public example of value RNNs: two cues, a reward 10 or 15 steps later, networks that learn when to expect it.

Run as ``python examples/value_rnn.py`` (``--quick`` for a few seconds' worth). Many networks with two hidden units and without
a learned read-out learn at once; drawn are trials, all losses, and of the best network values beside the exact ones and the
trajectories of its two units. A network counts as right if its value is off by less than .05 wherever the cue has been seen and
the reward is still to come. ``--published`` trains with the public code's settings (``mbrl_agents/value_rnn/published``),
``--study`` again without each of the things that help, and tells the shares.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import figures, value_rnn_plots
from mbrl_agents.value_rnn import Fit, ValueRNN, fit_many
from mbrl_agents.value_rnn.published import study
from mbrl_envs.conditioning import CueReward, Trial, sample_trials, values

GAMMA, RIGHT = 0.5, 0.05
TASK = CueReward()
NETWORK: dict[str, Any] = {"cell": "lstm", "readout": "relu_sum", "gamma": GAMMA, "batch_size": 12}
NETWORK |= {"learning_rate": 1e-2, "max_grad_norm": 0.1, "td_lambda": 0.9}
FITTING: dict[str, Any] = {"patience": None}
# The public code's settings; what they do not say is as PyTorch has it.
PUBLIC: tuple[dict[str, Any], dict[str, Any]] = (
    study("two-cues").network | {"max_grad_norm": None},
    {name: value for name, value in study("two-cues").fit.items() if name != "epochs"},
)
# What is changed in the networks, and in fitting.
STUDY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it is": ({}, {}),
    "no terminal target": ({}, {"terminal_target": False}),
    "batches not shuffled": ({}, {"shuffle": False}),
    "uniform initialisation": ({"initialization": "uniform"}, {}),
    "TD(0)": ({"td_lambda": 0.0}, {}),
    "no clipping": ({"max_grad_norm": None}, {}),
    "step size .003": ({"learning_rate": 3e-3}, {}),
    "last weights, not the best": ({}, {"keep_best": False}),
    "stopping after 200 epochs without gain": ({}, {"patience": 200}),
    "linear read-out": ({"readout": "linear"}, {}),
    "as the public code": PUBLIC,
    "the same with terminal target": (PUBLIC[0], PUBLIC[1] | {"terminal_target": True}),
}


def value_error(network: ValueRNN, trials: list[Trial]) -> float:
    """The largest error of the value between cue and reward."""
    worst = 0.0
    for trial, value in zip(trials, network.value(trials), strict=True):
        cue, reward = int(trial.observations[:, :-1].any(axis=1).argmax()), int(trial.rewards.argmax())
        exact = values(TASK, trial.observations, GAMMA)
        worst = max(worst, float(np.abs(value - exact)[cue:reward].max()))
    return worst


def train(
    hidden_size: int, seeds: range, epochs: int, trials: list[Trial], changes: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
) -> tuple[list[ValueRNN], list[Fit]]:
    """Networks of one size with different seeds, at once."""
    networks = [ValueRNN(hidden_size=hidden_size, seed=seed, **(NETWORK | changes[0])) for seed in seeds]
    return networks, fit_many(networks, trials, epochs=epochs, progress_bar=True, **(FITTING | changes[1]))


def compare(sizes: dict[int, int], seeds: range, trials: list[Trial], test: list[Trial]) -> pd.DataFrame:
    """The share of networks that are right, for each change and each size with its number of epochs."""
    rows = []
    for name, changes in STUDY.items():
        for hidden_size, epochs in sizes.items():
            networks, _ = train(hidden_size, seeds, epochs, trials, changes)
            errors = np.array([value_error(network, test) for network in networks])
            row = {"change": name, "units": hidden_size, "epochs": epochs, "networks": len(seeds)}
            rows.append(row | {"right": np.mean(errors < RIGHT), "median_error": np.median(errors)})
            print(f"\n{name}, {hidden_size} units: {np.sum(errors < RIGHT)} of {len(seeds)} right", flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=24, help="number of networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument(
        "--published", action="store_true", help="networks and fitting as in the public code, not with what helps"
    )
    parser.add_argument(
        "--study", action="store_true", help="also what each remedy brings, for 2 units (2000 epochs) and 6 units (500)"
    )
    parser.add_argument("--quick", action="store_true", help="4 networks, 100 epochs")
    parser.add_argument("--out", default="runs/value_rnn", help="folder (default: %(default)s)")
    options = parser.parse_args()
    number, epochs = (4, 100) if options.quick else (options.seeds, options.epochs)
    seeds = range(options.seed, options.seed + number)
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    trials, test = sample_trials(TASK, 100, seed=1), sample_trials(TASK, 100, seed=2)

    began = time.process_time()
    networks, fits = train(options.units, seeds, epochs, trials, PUBLIC if options.published else ({}, {}))
    seconds = time.process_time() - began
    errors = np.array([value_error(network, test) for network in networks])
    table = pd.DataFrame({"seed": seeds, "value_error": errors, "loss": [fit.losses.min() for fit in fits]})
    table.to_csv(folder / "networks.csv", index=False)
    print(f"\n{np.sum(errors < RIGHT)} of {number} networks right (error below {RIGHT}); median error {np.median(errors):.3g}")
    print(f"{1000 * seconds / number / epochs:.3f} ms of CPU time per network and epoch, compiling included")

    best = networks[int(errors.argmin())]
    by_cue = [next(each for each in test if each.observations[:, cue].any()) for cue in range(2)]
    pictures = {
        "trials": value_rnn_plots.trials_figure(TASK, test[:5], "What is seen"),
        "losses": value_rnn_plots.losses_figure({f"{options.units} units": [fit.losses for fit in fits]}, "Losses"),
        "values": value_rnn_plots.values_figure(best, TASK, by_cue, "The best network, one trial of each cue"),
        "trajectories": value_rnn_plots.trajectories_figure(best, test[:12], "Its hidden units, 12 trials"),
    }
    for name, figure in pictures.items():
        figures.save(figure, folder / f"{name}.png")
    best.save(folder / "best")
    if options.study:
        found = compare({2: 40, 6: 20} if options.quick else {2: 2000, 6: 500}, seeds, trials, test)
        found.to_csv(folder / "study.csv", index=False)
        print("\n" + found.to_string(index=False))
    print(f"\n{folder}: networks.csv, {', '.join(f'{name}.png' for name in pictures)}, best.zip")


if __name__ == "__main__":
    main()
