"""Trials of unequal length as arrays of one shape: checked, padded, masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Trials(NamedTuple):
    """N trials, padded to the longest of T steps.

    Attributes:
        observations: float32 (T, N, F), 0 where padded.
        rewards: The reward that came with each step, float32 (T, N).
        lengths: Steps of each trial, int32 (N,).
        terminated: Whether nothing follows after its last step, bool (N,).
    """

    observations: np.ndarray
    rewards: np.ndarray
    lengths: np.ndarray
    terminated: np.ndarray

    @property
    def num_features(self) -> int:
        """Width of the observations."""
        return self.observations.shape[-1]

    def unpadded(self, array: np.ndarray) -> list[np.ndarray]:
        """An array (T, N, …) as one for each trial, without padding."""
        return [array[:length, i] for i, length in enumerate(self.lengths)]


def is_one(trials: Any) -> bool:
    """Whether it is a single trial, not a list of such."""
    return hasattr(trials, "observations") or (isinstance(trials, np.ndarray) and trials.ndim == 2)


def pad(trials: Any, num_features: int | None = None, *, shortest: int = 1, name: str = "trials") -> Trials:
    """Checks trials and puts them together.

    Args:
        trials: A list of trials: each something with ``observations`` (T, F), ``rewards`` (T,) and ``terminated``, such as
            :class:`mbrl_envs.conditioning.Trial`, or an array (T, F) whose last feature is the reward, of a trial after which
            nothing of value follows.
        num_features: How many features there have to be; None for any number.
        shortest: Least number of steps.
        name: What messages call them.

    Raises:
        TypeError: It is no list of trials.
        ValueError: There is none; one is too short, has other features than the first, or numbers that are not finite.
    """
    if not isinstance(trials, Sequence | np.ndarray) or isinstance(trials, str | bytes) or is_one(trials):
        raise TypeError(f"{name} must be a list of trials, got {type(trials).__name__}")
    if len(trials) == 0:
        raise ValueError(f"{name} must be a list of at least one trial, got none")
    parts = [_parts(f"{name}[{i}]", trial) for i, trial in enumerate(trials)]
    width = num_features or parts[0][0].shape[1]
    for i, (observations, _, _) in enumerate(parts):
        if observations.shape[1] != width:
            raise ValueError(f"{name}[{i}] must have {width} features, got {observations.shape[1]}")
        if len(observations) < shortest:
            raise ValueError(f"{name}[{i}] must have at least {shortest} steps, got {len(observations)}")
    lengths = np.array([len(observations) for observations, _, _ in parts], np.int32)
    padded = np.zeros((lengths.max(), len(parts), width), np.float32)
    rewards = np.zeros((lengths.max(), len(parts)), np.float32)
    for i, (observations, own, _) in enumerate(parts):
        padded[: lengths[i], i], rewards[: lengths[i], i] = observations, own
    return Trials(padded, rewards, lengths, np.array([terminated for _, _, terminated in parts]))


def _parts(name: str, trial: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Observations, rewards, and whether it is over for good."""
    observations = _numbers(name, getattr(trial, "observations", trial), 2)
    if not hasattr(trial, "observations"):
        return observations, observations[:, -1], True
    if missing := [each for each in ("rewards", "terminated") if not hasattr(trial, each)]:
        raise TypeError(f"{name} has observations, but no {' and no '.join(missing)}")
    rewards = _numbers(f"{name}.rewards", trial.rewards, 1)
    if len(rewards) != len(observations):
        raise ValueError(f"{name} must have as many rewards as observations, got {len(rewards)} and {len(observations)}")
    return observations, rewards, bool(trial.terminated)


def _numbers(name: str, value: Any, ndim: int) -> np.ndarray:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from None
    if array.ndim != ndim or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must be an array of {ndim} dimensions (steps{', features' * (ndim - 1)}), got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} must be finite numbers, got NaN or infinity at step {int(np.argwhere(~np.isfinite(array))[0, 0])}"
        )
    return array
