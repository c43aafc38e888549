"""Numbers of a world model in which runs may differ: weights of the parts of its loss, and a floor."""

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
        dynamics_kl: Of the part of ``dynamics`` that moves the dynamics alone.
        encoder_kl: Of the part of ``dynamics`` that moves the encoder alone.
    """

    reward: Any = 1.0
    termination: Any = 1.0
    observation: Any = 1.0
    dynamics: Any = 1.0
    prior: Any = 0.0
    dynamics_kl: Any = 0.8
    encoder_kl: Any = 0.2

    def total(self, parts: dict[str, jax.Array]) -> jax.Array:
        """The weighted sum of the parts, which have names of weights."""
        named = self._asdict()
        return sum(named[name] * part for name, part in parts.items())


class ModelHyperparameters(NamedTuple):
    """Numbers of a model, float32 scalars; runs of one program may differ in them.

    Attributes:
        weights: Weights of its losses.
        min_std: Added to the encoder's standard deviation (latent models with Gaussian variables).
    """

    weights: LossWeights = LossWeights()
    min_std: Any = 0.1
