"""Hidden units and values with noise, and trials as analyses read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.trial_arrays import make_trials, pad
from mbrl_envs.checks import integer_in, number_in


def hidden_activity(network: ValueRNN, trials: Any, noise: float, seed: int, burn_in: int = 0) -> list[np.ndarray]:
    """Hidden activity after each step of each trial, float64 (T − burn_in, H), with noise.

    Args:
        network: The network.
        trials: A list of trials.
        noise: Standard deviation of what is added, as a fraction of each unit's own over all steps of these trials, at least 0.
        seed: Seed of the noise.
        burn_in: Steps at the start of each trial that are left out.

    Raises:
        TypeError, ValueError: An argument is of a wrong type or out of range.
    """
    noise, seed = number_in("noise", noise, 0), integer_in("seed", seed, 0, 2**63)
    hidden = [each.astype(np.float64) for each in after_burn_in(network.hidden_activity(trials), burn_in)]
    if noise == 0:
        return hidden
    spread = noise * np.concatenate(hidden).std(axis=0)
    rng = np.random.default_rng(seed)
    return [each + spread * rng.standard_normal(each.shape) for each in hidden]


def after_burn_in(arrays: Sequence[np.ndarray], burn_in: int) -> list[np.ndarray]:
    """Arrays (T, …) without their first steps.

    Raises:
        ValueError: The number is negative, or some array has not two steps more.
    """
    burn_in = integer_in("burn_in", burn_in, 0, 2**31 - 1)
    if burn_in and burn_in + 2 > (shortest := min(len(each) for each in arrays)):
        raise ValueError(f"burn_in must leave 2 steps of the shortest trial, which has {shortest}, got {burn_in}")
    return [each[burn_in:] for each in arrays]


def values(network: ValueRNN, trials: Any, noise: float, seed: int, burn_in: int = 0) -> list[np.ndarray]:
    """Values read out of :func:`hidden_activity`, float64 (T − burn_in,)."""
    given, hidden = network.arguments, hidden_activity(network, trials, noise, seed, burn_in)
    if given["readout"] == "linear" and given["num_values"] == 1:
        # In float64: the weights of a refitted read-out may be large and of both signs.
        params = network.learner_state.params["readout"]
        kernel, bias = (np.asarray(params[name], np.float64) for name in ("kernel", "bias"))
        return [each @ kernel[:, 0] + bias[0] for each in hidden]
    shape, state = network.learner.network, network.learner_state
    read = [shape.value(state.params, jnp.asarray(each, jnp.float32), state.hyper.td.levels) for each in hidden]
    return [np.asarray(each, np.float64) for each in read]


def prediction_errors(trials: Sequence[Any], found: Sequence[np.ndarray], gamma: float) -> list[np.ndarray]:
    """δ(t) = r(t) + γ V(t) − V(t−1), given V(t) of the last N steps of each trial, float64 (N − 1,)."""
    return [
        trial.rewards[len(trial.rewards) - len(value) + 1 :] + gamma * value[1:] - value[:-1]
        for trial, value in zip(trials, found, strict=True)
    ]


def as_trials(trials: Any, env: Any) -> Sequence[Any]:
    """Trials with rewards. Arrays are taken as observations of the environment, whose last feature is the reward.

    Raises:
        TypeError, ValueError: They are no trials; or arrays, and there is no environment to say what is what.
    """
    if isinstance(trials, Sequence | np.ndarray) and len(trials) and env is not None:
        trials = [each if hasattr(each, "observations") else make_trials([each], reward_column=-1)[0] for each in trials]
    pad(trials)
    return trials


def by_length(trials: Sequence[Any], function: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """A function of many observations of one length, (N, T, F), for trials of any: padded ones would not be possible ones."""
    lengths = np.array([len(each.observations) for each in trials])
    found: list[Any] = [None] * len(trials)
    for length in np.unique(lengths):
        same = np.flatnonzero(lengths == length).tolist()
        for i, each in zip(same, function(np.stack([trials[i].observations for i in same])), strict=True):
            found[i] = each
    return found
