"""How fast value RNNs learn: networks of several sizes at once, beside the same written plainly in JAX and in PyTorch.

Run as ``python -m tests.benchmarks.value_rnn``; prints CPU time for each network and epoch (100 trials of the public example in
batches of 12, and a look at the loss on all trials). Compiling is left out. The plain loop in PyTorch trains one network with
``nn.LSTM`` on the same padded batches, as published code does, without masks or shuffling.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch as th
from torch import nn

from mbrl_agents.value_rnn import ValueRNN, fit_many
from mbrl_agents.value_rnn.trial_arrays import pad
from mbrl_envs.conditioning import CueReward, sample_trials
from tests.benchmarks.machine import header
from tests.benchmarks.recorded import Recorded

RECORDED = Recorded(
    ("--sizes", "2", "--repeats", "2", "--epochs", "100"),
    quick=("--sizes", "2", "--repeats", "1", "--epochs", "2"),
    one_core=True,
)

BATCH, GAMMA = 12, 0.5
WARM_UP = 25  # epochs that are not measured, of both
TRIALS = sample_trials(CueReward(), 100, seed=1)


def ours(hidden_size: int, networks: int, epochs: int) -> float:
    """CPU seconds for each network and epoch."""

    def run(epochs: int) -> float:
        fresh = [
            ValueRNN(hidden_size=hidden_size, cell="lstm", readout="relu_sum", gamma=GAMMA, seed=i) for i in range(networks)
        ]
        began = time.process_time()
        fit_many(fresh, TRIALS, epochs=epochs, patience=None)
        return time.process_time() - began

    run(WARM_UP)  # compiles
    return (run(WARM_UP + epochs) - run(WARM_UP)) / epochs / networks


def plain(hidden_size: int, epochs: int) -> float:
    """CPU seconds for each epoch of one network in PyTorch."""
    padded = pad(TRIALS)
    observations, rewards = th.tensor(padded.observations), th.tensor(padded.rewards)
    layer = nn.LSTM(3, hidden_size)
    optimizer = th.optim.Adam(layer.parameters(), 3e-3)

    def run(epochs: int) -> float:
        began = time.process_time()
        for _ in range(epochs):
            for first in range(0, len(TRIALS), BATCH):
                value = th.relu(layer(observations[:, first : first + BATCH])[0]).sum(-1)
                target = rewards[1:, first : first + BATCH] + GAMMA * value[1:].detach()
                loss = (target - value[:-1]).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return time.process_time() - began

    run(WARM_UP)
    return run(epochs) / epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 6, 50])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    th.set_num_threads(1)
    print(header("jax", "torch"))
    print("\n| units | networks | ms per network and epoch | plain PyTorch, one network |\n|---|---|---|---|")
    for size in options.sizes:
        for networks in (1, 24):
            found = [(ours(size, networks, options.epochs), plain(size, options.epochs)) for _ in range(options.repeats)]
            own, theirs = np.min(found, axis=0) * 1000
            print(f"| {size} | {networks} | {own:.2f} | {theirs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
