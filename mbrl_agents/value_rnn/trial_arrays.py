"""Trials of unequal length: made from arrays, checked, and put together as arrays of one shape, padded and masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mbrl_envs.checks import boolean, integer_in


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


class OwnTrial(NamedTuple):
    """A trial of one's own, of T steps; see :func:`make_trials`.

    Attributes:
        observations: What the network sees, float32 (T, F).
        rewards: The reward that came with each step, float32 (T,).
        terminated: Whether nothing of value follows after its last step.
        cues: The observations without the reward, float32 (T, C).
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: bool
    cues: np.ndarray


def make_trials(
    trials: Any, rewards: Any = None, *, reward_column: int | None = None, terminated: bool = True
) -> list[OwnTrial]:
    """Trials from plain arrays, for :meth:`ValueRNN.fit`, analyses and pictures.

    Args:
        trials: A list of arrays (T, C), one for each trial.
        rewards: For each of them its rewards, (T,), which become the last feature of what the network sees.
        reward_column: In place of ``rewards``: which column of the arrays has them, −C to C − 1. The network sees all columns,
            in their order.
        terminated: Whether nothing of value follows after a trial's last step; False for recordings that were only cut.

    Raises:
        TypeError: Not one of ``rewards`` and ``reward_column`` is given, or both; or something is no list of arrays.
        ValueError: Lengths do not match, there is no such column, or numbers are not finite.
    """
    boolean("terminated", terminated)
    if (rewards is None) == (reward_column is None):
        raise TypeError("give either rewards, an array for each of the trials, or reward_column, got " + _which(rewards))
    arrays = [_numbers(f"trials[{i}]", each, 2) for i, each in enumerate(_list("trials", trials))]
    if rewards is None:
        assert reward_column is not None
        return [_with_column(i, array, reward_column, terminated) for i, array in enumerate(arrays)]
    gains = [_numbers(f"rewards[{i}]", each, 1) for i, each in enumerate(_list("rewards", rewards))]
    if len(gains) != len(arrays):
        raise ValueError(f"rewards must have an array for each of the {len(arrays)} trials, got {len(gains)}")
    for i, (array, gain) in enumerate(zip(arrays, gains, strict=True)):
        if len(array) != len(gain):
            raise ValueError(f"rewards[{i}] must have {len(array)} steps, as trials[{i}], got {len(gain)}")
    return [
        OwnTrial(np.column_stack([array, gain]), gain, terminated, array) for array, gain in zip(arrays, gains, strict=True)
    ]


def given_trials(trials: Any, rewards: Any, reward_column: int | None) -> Any:
    """Trials of :func:`make_trials` if either of the others is given, else trials as they are."""
    return trials if rewards is None and reward_column is None else make_trials(trials, rewards, reward_column=reward_column)


def _which(rewards: Any) -> str:
    return "neither" if rewards is None else "both"


def _with_column(i: int, array: np.ndarray, column: int, terminated: bool) -> OwnTrial:
    column = integer_in(f"reward_column (of trials[{i}])", column, -array.shape[1], array.shape[1] - 1)
    return OwnTrial(array, array[:, column], terminated, np.delete(array, column, axis=1))


def _list(name: str, value: Any) -> Any:
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes):
        hint = "; epochs is the third argument" if name == "rewards" and isinstance(value, int) else ""
        raise TypeError(f"{name} must be a list with an array for each trial, got {type(value).__name__}{hint}")
    return value


def is_one(trials: Any) -> bool:
    """Whether it is a single trial, not a list of such."""
    return hasattr(trials, "observations") or (isinstance(trials, np.ndarray) and trials.ndim == 2)


def cues_of(trial: Any) -> np.ndarray:
    """What a trial shows beside the reward, (T, C): all features but the last, if it does not say otherwise."""
    return getattr(trial, "cues", trial.observations[:, :-1])


def pad(
    trials: Any, num_features: int | None = None, *, shortest: int = 1, name: str = "trials", rewarded: bool = True
) -> Trials:
    """Checks trials and puts them together.

    Args:
        trials: A list of trials: each something with ``observations`` (T, F), ``rewards`` (T,) and ``terminated``, such as
            :class:`mbrl_envs.conditioning.Trial` and :class:`OwnTrial`.
        num_features: How many features there have to be; None for any number.
        shortest: Least number of steps.
        name: What messages call them.
        rewarded: Whether rewards are asked for; without, trials may be arrays (T, F) as well.

    Raises:
        TypeError: It is no list of trials, or nothing says where their rewards are.
        ValueError: There is none; one is too short, has other features than the first, or numbers that are not finite.
    """
    if not isinstance(trials, Sequence | np.ndarray) or isinstance(trials, str | bytes) or is_one(trials):
        raise TypeError(f"{name} must be a list of trials, got {type(trials).__name__}")
    if len(trials) == 0:
        raise ValueError(f"{name} must be a list of at least one trial, got none")
    parts = [_parts(f"{name}[{i}]", trial, rewarded) for i, trial in enumerate(trials)]
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


def _parts(name: str, trial: Any, rewarded: bool) -> tuple[np.ndarray, np.ndarray, bool]:
    """Observations, rewards, and whether it is over for good."""
    observations = _numbers(name, getattr(trial, "observations", trial), 2)
    if not hasattr(trial, "observations"):
        if rewarded:
            raise TypeError(
                f"{name} is an array, of which nothing says which column is the reward: give rewards apart, or reward_column "
                "(to fit and rpe, or to mbrl_agents.value_rnn.make_trials)"
            )
        return observations, np.zeros(len(observations), np.float32), True
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
