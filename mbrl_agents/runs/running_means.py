"""Training metrics of a run since the last row of its ``metrics.csv``."""

from __future__ import annotations

import json
import math
import os
import pathlib

import numpy as np

from mbrl_agents.core.chunks import Chunk
from mbrl_agents.core.files import write_atomically

TRAINING = "train/"  # what the names of learners' own metrics begin with


class RunningMeans:
    """Means of rewards, of episodes that ended, and of what each training tells.

    Values are added one by one, in order, as float64: so the means are the same to the bit in whatever chunks the values come,
    and if the run was killed in between.
    """

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, chunk: Chunk) -> None:
        """Adds a chunk of steps."""
        records = chunk.records
        ended = np.asarray(records.terminated) | np.asarray(records.truncated)
        self._add("rollout/reward_per_step", records.reward)
        self._add("rollout/ep_rew_mean", records.episode_return[ended])
        self._add("rollout/ep_len_mean", records.episode_length[ended])
        for name, values in chunk.metrics.items():
            self._add(TRAINING + name, values)

    def _add(self, name: str, values: np.ndarray) -> None:
        if np.size(values):
            total, count = self._sums.get(name, (0.0, 0))
            # Partial sums, so NumPy adds one value after the other.
            sums = np.add.accumulate(np.concatenate([[total], np.ravel(values).astype(np.float64)]))
            self._sums[name] = float(sums[-1]), count + np.size(values)

    @property
    def finite(self) -> bool:
        """Whether all that trainings told are numbers."""
        return all(math.isfinite(total) for name, (total, _) in self._sums.items() if name.startswith(TRAINING))

    def means(self) -> dict[str, float]:
        """The means by name, in alphabetical order."""
        return {name: total / count for name, (total, count) in sorted(self._sums.items())}

    def clear(self) -> None:
        """Forgets everything, after a row was written."""
        self._sums = {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the sums to a JSON file, whole or not at all.

        Raises:
            OSError: Writing failed.
        """
        write_atomically(path, json.dumps(self._sums).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunningMeans:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError, ValueError: There is no such file, or it is damaged.
        """
        loaded = cls()
        try:
            data = json.loads(pathlib.Path(path).read_bytes())
            loaded._sums = {str(name): (float(total), int(count)) for name, (total, count) in data.items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        return loaded
