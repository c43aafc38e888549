"""Values and prediction errors beside the exact ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.analysis import activity
from mbrl_agents.value_rnn.trial_arrays import cues_of
from mbrl_envs import conditioning
from mbrl_envs.conditioning.trials import conditioning_task


class Errors(NamedTuple):
    """How far values and prediction errors are from the exact ones, over all steps of all trials.

    Attributes:
        value_mse: Mean squared difference of values.
        value_max: Largest difference.
        rpe_mse: Mean squared difference of reward prediction errors.
        rpe_max: Largest difference.
    """

    value_mse: float
    value_max: float
    rpe_mse: float
    rpe_max: float


def errors(network: ValueRNN, env: Any, trials: Any, *, noise: float = 0.0, seed: int = 0, burn_in: int = 0) -> Errors:
    """Values and prediction errors beside the exact ones, with the network's γ.

    Args:
        network: The network.
        env: The task.
        trials: Trials.
        noise: Fraction of each unit's standard deviation that is added as noise, at least 0.
        seed: Seed of the noise.
        burn_in: Steps at the start of each trial that are left out.

    Raises:
        TypeError, ValueError: ``env`` is no cue–reward task, or cannot show these trials; or an argument is out of range.
    """
    found = activity.as_trials(trials, env)
    wanted = activity.after_burn_in(exact_values(env, found, network.gamma), burn_in)
    read = activity.values(network, found, noise, seed, burn_in)
    value = np.concatenate(read) - np.concatenate(wanted)
    ours, theirs = (np.concatenate(activity.prediction_errors(found, each, network.gamma)) for each in (read, wanted))
    rpe = ours - theirs
    return Errors(*(float(each) for each in (np.mean(value**2), np.abs(value).max(), np.mean(rpe**2), np.abs(rpe).max())))


def exact_values(env: Any, trials: Any, gamma: float) -> list[np.ndarray]:
    """The exact values of each trial, float64 (T,); see :func:`mbrl_envs.conditioning.values`."""
    found = activity.as_trials(trials, env)
    return activity.by_length(found, lambda observations: conditioning.values(env, observations, gamma))


def rpe_by_delay(network: ValueRNN, env: Any, trials: Any, *, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Prediction errors when the reward comes, by the steps since the last cue.

    Args:
        network: The network.
        env: The task; None for trials of one's own that belong to none, of which nothing exact is known.
        trials: Trials.
        noise: Fraction of each unit's standard deviation that is added as noise, at least 0.
        seed: Seed of the noise.

    Returns:
        A row for each cue and delay: columns ``cue`` (its name in the task, else its number), ``delay``, ``rpe`` (the network's
        mean), ``exact`` (if there is a task), ``count``.

    Raises:
        TypeError, ValueError: As for :func:`errors`.
    """
    found = activity.as_trials(trials, env)
    read = activity.prediction_errors(found, activity.values(network, found, noise, seed), network.gamma)
    columns, tables = ["cue", "delay", "rpe"], [read]
    if env is not None:
        columns.append("exact")
        tables.append(activity.prediction_errors(found, exact_values(env, found, network.gamma), network.gamma))
    names = None if env is None else conditioning_task(env).cue_names
    rows = []
    for trial, *each in zip(found, *tables, strict=True):
        shown, cue_at = _last_cue(trial)
        for t in np.flatnonzero((trial.rewards > 0) & (cue_at >= 0)):
            if t > 0:
                cue = int(shown[cue_at[t]])
                rows.append((names[cue] if names else str(cue), t - cue_at[t], *(own[t - 1] for own in each)))
    grouped = pd.DataFrame(rows, columns=columns).groupby(["cue", "delay"])
    return grouped.mean().assign(count=grouped.size()).reset_index()


def _last_cue(trial: Any) -> tuple[np.ndarray, np.ndarray]:
    """The cue in each step, −1 for none, and the step of the last one, −1 before the first."""
    cues = cues_of(trial)
    shown = np.where(cues.any(axis=1), cues.argmax(axis=1), -1)
    return shown, np.maximum.accumulate(np.where(shown >= 0, np.arange(len(shown)), -1))


def block_responses(network: ValueRNN, env: Any, trials: Any, *, reward_noise: float = 1.0) -> pd.DataFrame:
    """Values and prediction errors by the size of a block's rewards, in Babayan's task.

    How a network interpolates is seen where it has learned two sizes and is shown others.

    Args:
        network: The network.
        env: The :class:`~mbrl_envs.conditioning.Babayan` task that it has learned, by which exact values go.
        trials: Episodes with blocks of as many trials, whose rewards may have any size.
        reward_noise: How much the exact observer takes sizes to be blurred; see :func:`mbrl_envs.conditioning.beliefs`.

    Returns:
        A row for each size and place in the block: columns ``size``, ``trial`` (from 1), ``value`` and ``exact_value`` (when
        the cue is shown), ``rpe`` and ``exact_rpe`` (when the reward comes), ``count``; means over blocks.

    Raises:
        TypeError, ValueError: ``env`` is no such task, or trials have other cues or rewards before the first cue.
    """
    task = conditioning_task(env)
    if not isinstance(task, conditioning.Babayan):
        raise TypeError(f"env must be a Babayan task, got {task}")
    found = activity.as_trials(trials, env)
    exact = activity.by_length(found, lambda seen: conditioning.values(task, seen, network.gamma, reward_noise=reward_noise))
    read = activity.values(network, found, 0.0, 0)
    errors_of = (activity.prediction_errors(found, each, network.gamma) for each in (read, exact))
    rows = []
    for trial, ours, theirs, rpe, exact_rpe in zip(found, read, exact, *errors_of, strict=True):
        cue_at = _last_cue(trial)[1]
        for number, t in enumerate(np.flatnonzero(trial.rewards > 0)):
            place = 1 + number % task.block_length
            rows.append((trial.rewards[t], place, ours[cue_at[t]], theirs[cue_at[t]], rpe[t - 1], exact_rpe[t - 1]))
    columns = ["size", "trial", "value", "exact_value", "rpe", "exact_rpe"]
    grouped = pd.DataFrame(rows, columns=columns).groupby(["size", "trial"])
    return grouped.mean().assign(count=grouped.size()).reset_index()
