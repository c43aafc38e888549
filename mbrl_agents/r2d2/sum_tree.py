"""A sum tree: draws indices in proportion to priorities that change all the time."""

from __future__ import annotations

import numpy as np

_MOST_PENDING = 64  # changes collected before the sums above them are brought up to date


class SumTree:
    """A binary tree over priorities whose inner nodes hold the sum of their two children (Schaul et al. 2016, appendix B).

    The tree lies in one array: node 1 is the root, node k has the children 2k and 2k + 1, and the leaves follow the inner
    nodes. All functions take arrays and loop over the tree's levels only. Sums above changed leaves are recomputed from their
    children (not corrected by differences, whose rounding errors would pile up), and only when they are needed.

    Args:
        size: Number of leaves, at least 1.

    Attributes:
        size: Number of leaves.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._depth = max(size - 1, 1).bit_length()
        self._first = 1 << self._depth  # node of leaf 0
        self._nodes = np.zeros(2 * self._first)
        self._pending: list[np.ndarray] = []

    @property
    def leaves(self) -> np.ndarray:
        """Priorities of all leaves, float64 (size,). A view; change it through :meth:`update`."""
        return self._nodes[self._first : self._first + self.size]

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        self._sum_up()
        return float(self._nodes[1])

    def update(self, indices: np.ndarray, priorities: np.ndarray | float) -> None:
        """Sets priorities; of an index that comes twice, the last one counts.

        Args:
            indices: Leaves, int (n,), each in [0, size).
            priorities: Finite and at least 0: one for each index, or one for all.
        """
        nodes = indices + self._first
        self._nodes[nodes] = priorities
        self._pending.append(nodes)
        if len(self._pending) >= _MOST_PENDING:
            self._sum_up()

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draws leaves with replacement, each with probability priority / total; none of priority 0 is ever drawn.

        The draws are stratified: one from each of ``count`` equal parts of the total, which keeps every leaf's expected
        number and makes it vary less.

        Args:
            count: Number of draws.
            rng: Source of randomness.

        Returns:
            Leaves, int64 (count,).

        Raises:
            ValueError: All priorities are 0.
        """
        if not self.total > 0:
            raise ValueError("a sum tree can be sampled only when a priority is above 0; all of them are 0")
        return self.find((np.arange(count) + rng.random(count)) * (self._nodes[1] / count))

    def find(self, heights: np.ndarray) -> np.ndarray:
        """The leaves at which the running sum of priorities first exceeds the given heights.

        Args:
            heights: float (n,), each in [0, total). Beyond it by a rounding error, the last leaf above 0 is returned.

        Returns:
            Leaves, int64 (n,), all of them with priorities above 0.
        """
        self._sum_up()
        rest, nodes = np.array(heights), np.ones(len(heights), np.int64)
        for _ in range(self._depth):
            nodes *= 2
            left = self._nodes[nodes]
            # Into an empty right half goes nothing, though rounding may leave a rest.
            right = (rest >= left) & (self._nodes[nodes + 1] > 0)
            rest -= left * right
            nodes += right
        return nodes - self._first

    def _sum_up(self) -> None:
        """Brings the sums above changed leaves up to date."""
        if not self._pending:
            return
        nodes = np.concatenate(self._pending)
        self._pending.clear()
        for _ in range(self._depth):
            nodes = nodes >> 1
            children = 2 * nodes
            self._nodes[nodes] = self._nodes[children] + self._nodes[children + 1]
