"""Trials, value networks of every kind, and returns by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_agents.core.recurrent import Cell
from mbrl_agents.value_rnn import OwnTrial, make_trials
from mbrl_agents.value_rnn.network import TDHyperparameters, ValueNetwork


def trial(length: int, cue: int, reward: int, cues: int = 2) -> np.ndarray:
    """A cue at step 1, a reward ``reward`` steps later."""
    array = np.zeros((length, cues + 1), np.float32)
    array[1, cue] = array[1 + reward, -1] = 1
    return array


ARRAYS = [trial(6, 0, 2), trial(9, 1, 5), trial(7, 0, 2), trial(2 + 5, 1, 5)]
TRIALS = make_trials(ARRAYS, reward_column=-1)


def hyper(network: ValueNetwork, gamma: float = 0.8, td_lambda: float = 0.0) -> TDHyperparameters:
    """Numbers, everything learning."""
    levels = (jnp.arange(network.num_values) + 0.5) / network.num_values
    return TDHyperparameters(jnp.float32(gamma), jnp.float32(td_lambda), levels, {})


NETWORKS = [
    ValueNetwork(Cell("gru", 3, 4)),
    ValueNetwork(Cell("lstm", 3, 3), "relu_sum"),
    ValueNetwork(Cell("vanilla", 3, 4), uses_lambda=True),
    ValueNetwork(Cell("gru", 3, 4), num_values=3, loss="asymmetric"),
    ValueNetwork(Cell("gru", 3, 4), num_values=3, loss="expectile"),
    ValueNetwork(Cell("gru", 3, 4), num_values=3, loss="quantile"),
]


def some_params(network: ValueNetwork) -> Any:
    """No weight is 0, as a fresh linear read-out's are."""
    params = network.init(jax.random.PRNGKey(0))
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.PRNGKey(1), len(leaves))
    return structure.unflatten(
        [leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    )


def returns(trial: OwnTrial, gamma: float) -> np.ndarray:
    """Σ_k γ^k r(t+1+k) at each step of a trial that terminates."""
    found = np.zeros(len(trial.rewards))
    for t in range(len(found) - 2, -1, -1):
        found[t] = trial.rewards[t + 1] + gamma * found[t + 1]
    return found
