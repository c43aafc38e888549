"""Which sequences an episode is cut into.

A sequence is a window of ``burn_in + length + n_steps`` consecutive observations of one episode, laid over it at every
``stride``-th step::

    step in the window   0 … burn_in−1      burn_in … burn_in+length−1     … burn_in+length+n_steps−1
                         burn-in            trained on                     only looked at: what n-step targets bootstrap from

In the burn-in the recurrent state is brought up to date with the current weights and nothing is learned (Kapturowski et al.
2019, section 3). A window at the very start of an episode needs no burn-in, since the state there is known to be 0: all its
steps are trained on. So every step of every episode is trained on, however short the episode.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mbrl_envs.checks import integer_in

_MOST = 2**20


@dataclasses.dataclass(frozen=True)
class SequenceLayout:
    """Lengths of sequences.

    Attributes:
        burn_in: Steps before those that are trained on, at least 0.
        length: Steps trained on, at least ``n_steps``.
        overlap: Steps that are trained on in two neighbouring sequences, from 0 to ``length`` − 1.
        n_steps: Steps of a return before it bootstraps, at least 1.

    Raises:
        TypeError, ValueError: A number is no integer or out of range.
    """

    burn_in: int
    length: int
    overlap: int
    n_steps: int

    def __post_init__(self) -> None:
        integer_in("burn_in", self.burn_in, 0, _MOST)
        integer_in("n_steps", self.n_steps, 1, _MOST)
        integer_in("sequence_length", self.length, 1, _MOST)
        if self.length < self.n_steps:
            raise ValueError(f"sequence_length must be at least n_steps={self.n_steps}, got {self.length}")
        integer_in("overlap", self.overlap, 0, self.length - 1)

    @property
    def stride(self) -> int:
        """Steps from the start of one sequence to that of the next."""
        return self.length - self.overlap

    @property
    def window(self) -> int:
        """Observations in a sequence."""
        return self.burn_in + self.length + self.n_steps

    @property
    def trainable(self) -> int:
        """Steps of a window that may be trained on: all but the last ``n_steps``."""
        return self.burn_in + self.length

    def begins(self, step: np.ndarray) -> np.ndarray:
        """Whether a sequence begins at a step (counted from 0) of an episode."""
        return step % self.stride == 0

    def completed_at(self, step: np.ndarray) -> np.ndarray:
        """Whether the observation of a step (counted from 0) completes a sequence: the one ``window`` − 1 steps before."""
        return (step >= self.window - 1) & ((step - self.window + 1) % self.stride == 0)

    def left_at_end(self, num_steps: int) -> np.ndarray:
        """First steps of the sequences that the end of an episode completes.

        A sequence later than the first is kept only if it trains on a step that the one before did not reach.

        Args:
            num_steps: Length of the episode in transitions, at least 1.

        Returns:
            Steps, int (k,), ascending. Sequences that were complete before are not among them.
        """
        first = max(0, -(-(num_steps - self.window + 1) // self.stride)) * self.stride
        return np.arange(first, max(num_steps - self.burn_in - self.overlap, 1), self.stride)
