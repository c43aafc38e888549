"""What the replay buffer hands to the learner."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch as th


class SequenceSamples(NamedTuple):
    """A batch of B sequences of T observations, time first; those that begin with their episode come before all others.

    What lies beyond an episode's end repeats its last observation; ``trained`` leaves it out.

    Attributes:
        observations: Tensor (T, B, …), or a dictionary of such.
        previous_actions: int64 (T, B): action before each observation; ``num_actions`` at the start of an episode.
        previous_rewards: float32 (T, B): reward that came with each observation; 0 at the start of an episode.
        states: Recurrent states before the first observation, float32 (layers, B, hidden) each.
        num_from_start: How many sequences begin with their episode.
        trained: float32 (T − n_steps, B): 1 for steps to train on, 0 for burn-in and padding.
        last: int64 (B,): the last observation of each sequence that is real.
        terminated: bool (B,): whether that one is terminal, so that nothing follows.
        weights: float32 (B,): importance weights, the largest being 1.
        indices: int64 (B,): where the sequences are, for :meth:`SequenceReplayBuffer.update_priorities`.
    """

    observations: th.Tensor | dict[str, th.Tensor]
    previous_actions: th.Tensor
    previous_rewards: th.Tensor
    states: tuple[th.Tensor, ...]
    num_from_start: int
    trained: th.Tensor
    last: np.ndarray
    terminated: np.ndarray
    weights: th.Tensor
    indices: np.ndarray
