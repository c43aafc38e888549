"""Recurrent states at the starts of sequences."""

from __future__ import annotations

import numpy as np


class StateStore:
    """A ring of recurrent states for each environment; the oldest is overwritten.

    Args:
        shapes: (layers, hidden) of each array of the recurrent state.
        n_envs: Number of environments.
        per_env: States kept for each environment.
    """

    def __init__(self, shapes: tuple[tuple[int, int], ...], n_envs: int, per_env: int) -> None:
        self.shapes, self._per_env = shapes, per_env
        self._stored = tuple(np.zeros((layers, n_envs * per_env, hidden), np.float32) for layers, hidden in shapes)
        self._count = np.zeros(n_envs, np.int64)

    def put(self, envs: np.ndarray, states: tuple[np.ndarray, ...]) -> np.ndarray:
        """Stores the states of some environments.

        Args:
            envs: Which ones, int (n,), each once.
            states: States of all environments, (layers, n_envs, hidden) each.

        Returns:
            Where they are, int (n,), for :meth:`get`.

        Raises:
            ValueError: The states have other shapes.
        """
        wanted = tuple((layers, len(self._count), hidden) for layers, hidden in self.shapes)
        if (given := tuple(state.shape for state in states)) != wanted:
            raise ValueError(f"states must be arrays of shapes {wanted} (layers, environments, hidden), got {given}")
        rows = envs * self._per_env + self._count[envs] % self._per_env
        for stored, state in zip(self._stored, states, strict=True):
            stored[:, rows] = state[:, envs]
        self._count[envs] += 1
        return rows

    def get(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Copies of states, float32 (layers, n, hidden) each."""
        return tuple(stored[:, rows] for stored in self._stored)
