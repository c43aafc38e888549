"""Drawing in proportion to priorities: a sum tree as pure functions on arrays that stay on the device.

Schaul, Quan, Antonoglou & Silver 2016 (arXiv 1511.05952) draw from a binary tree. Here a node has many children, because a
compiled program pays for each level, and hardly for the width of one.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

Sums = tuple[jax.Array, ...]
_NOWHERE = 2**30  # a place that no tree has: writing there does nothing


@dataclasses.dataclass(frozen=True)
class SumTree:
    """A tree whose leaves are priorities, and whose inner nodes are the sums of their children.

    Attributes:
        num_leaves: Number of leaves.
        fan_out: Children of a node.
    """

    num_leaves: int
    fan_out: int = 64

    def init(self) -> Sums:
        """A tree of zeros: leaves first, each level float32 (nodes of the level above, children)."""
        levels, width = [], self.num_leaves
        while True:
            width = -(-width // self.fan_out)
            levels.append(jnp.zeros((width, self.fan_out), jnp.float32))
            if width == 1:
                return tuple(levels)

    def leaves(self, sums: Sums) -> jax.Array:
        """All priorities, float32 (num_leaves,)."""
        return sums[0].ravel()[: self.num_leaves]

    def total(self, sums: Sums) -> jax.Array:
        """The sum of all priorities."""
        return sums[-1].sum()

    def get(self, sums: Sums, places: jax.Array) -> jax.Array:
        """Priorities at leaves, float32 of the places' shape."""
        return sums[0][places // self.fan_out, places % self.fan_out]

    def set(self, sums: Sums, places: jax.Array, priorities: jax.Array, where: jax.Array) -> Sums:
        """The tree with other priorities at some leaves.

        Args:
            sums: The tree.
            places: Leaves, int32 (n,). Of one that comes several times with different priorities, any one counts.
            priorities: At least 0, (n,).
            where: Which of these are set, bool (n,).
        """
        levels = list(sums)
        for level, _ in enumerate(levels):
            if level:  # what the children add up to now
                priorities, places = (
                    levels[level - 1][jnp.where(where, places, 0) // self.fan_out].sum(-1),
                    places // self.fan_out,
                )
            row = jnp.where(where, places // self.fan_out, _NOWHERE)
            levels[level] = levels[level].at[row, places % self.fan_out].set(priorities, mode="drop")
        return tuple(levels)

    def sample(self, sums: Sums, key: jax.Array, number: int) -> jax.Array:
        """Leaves drawn with replacement, each with probability priority / total.

        At each level a child is drawn by what it has of the sum of its siblings, so that rounding never adds up over levels.
        Draws are stratified at the first: one from each of ``number`` equal parts of the total, which keeps expected numbers
        and makes them vary less. No leaf of priority 0 is drawn, as long as there is another.

        Args:
            sums: The tree.
            key: Random key, uint32 (2,).
            number: How many.

        Returns:
            int32 (number,).
        """
        heights = jax.random.uniform(key, (len(sums), number), jnp.float32)
        heights = heights.at[0].set((jnp.arange(number) + heights[0]) / number)
        place = jnp.zeros(number, jnp.int32)
        for height, level in zip(heights, reversed(sums), strict=True):
            children = level[place]
            upto = jnp.cumsum(children, axis=-1)
            child = (upto <= (height * upto[:, -1])[:, None]).sum(-1)
            last = self.fan_out - 1 - jnp.argmax(children[:, ::-1] > 0, axis=-1)  # rounding may point beyond it
            place = place * self.fan_out + jnp.minimum(child, last).astype(jnp.int32)
        return jnp.minimum(place, self.num_leaves - 1)
