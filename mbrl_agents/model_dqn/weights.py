"""Weights of the parts of a world model's loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax


class LossWeights(NamedTuple):
    """Weights of a model's losses, float32 scalars; runs of one program may differ in them.

    Attributes:
        reward: Of the negative log-likelihood of rewards.
        termination: Of the cross-entropy of ends.
        observation: Of the negative log-likelihood of observations.
        dynamics: Of the divergence between what was seen and what was expected (latent models).
        prior: Of the divergence of what is seen from a fixed distribution (latent models).
    """

    reward: Any = 1.0
    termination: Any = 1.0
    observation: Any = 1.0
    dynamics: Any = 1.0
    prior: Any = 0.0

    def total(self, parts: dict[str, jax.Array]) -> jax.Array:
        """The weighted sum of the parts, which have the names of the weights."""
        named = self._asdict()
        return sum(named[name] * part for name, part in parts.items())
