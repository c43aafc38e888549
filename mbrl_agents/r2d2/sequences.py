"""Which sequences an episode is cut into, step by step in NumPy."""

from __future__ import annotations

import numpy as np

from mbrl_agents.core import sequence_replay


class SequenceLayout(sequence_replay.SequenceLayout):
    """Lengths of sequences, and where they begin and end; see :class:`mbrl_agents.core.sequence_replay.SequenceLayout`."""

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
