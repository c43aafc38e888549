"""Latent variables: how they are distributed, drawn, compared, and read by networks."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from mbrl_agents.common.networks import Codes, negative_exp

FEWEST = 0.1  # added to the encoder's standard deviation


class Latent(Protocol):
    """A kind of latent variable. Distributions are given by what a network says: ``output``, float32 (n, num_outputs)."""

    @property
    def num_outputs(self) -> int:
        """Numbers that a network has to say of a distribution."""

    @property
    def num_features(self) -> int:
        """Numbers, or values of codes, of a drawn variable."""

    @property
    def num_codes(self) -> int:
        """Number of codes of a drawn variable; 0 if it is numbers."""

    def draw(self, output: jax.Array, key: jax.Array, *, encoded: bool) -> jax.Array:
        """Draws variables for networks that need no gradient: numbers (n, f), or codes (n, num_codes)."""

    def draw_for_gradient(self, output: jax.Array, key: jax.Array) -> jax.Array | Codes:
        """Draws variables from the encoder's distribution, through which gradients flow."""

    def divergence(self, first: jax.Array, second: jax.Array, *, second_encoded: bool) -> jax.Array:
        """KL(first‖second), float32 (n,); the first is always the encoder's."""

    def prior_divergence(self, output: jax.Array) -> jax.Array:
        """KL of the encoder's distribution from a fixed one (standard normal, uniform), float32 (n,)."""


@dataclasses.dataclass(frozen=True)
class GaussianLatent:
    """Independent Gaussians. Their σ is 2·sigmoid(x/2), plus 0.1 where the encoder speaks.

    Attributes:
        num_units: Number of variables.
        squash: Whether networks read their tanh (which does not change divergences).
    """

    num_units: int = 32
    squash: bool = False
    num_codes = 0

    @property
    def num_outputs(self) -> int:
        return 2 * self.num_units

    @property
    def num_features(self) -> int:
        return self.num_units

    def moments(self, output: jax.Array, *, encoded: bool) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return mean, 2 * jax.nn.sigmoid(raw / 2) + (FEWEST if encoded else 0)

    def draw(self, output: jax.Array, key: jax.Array, *, encoded: bool) -> jax.Array:
        mean, std = self.moments(output, encoded=encoded)
        value = mean + std * jax.random.normal(key, mean.shape)
        return jnp.tanh(value) if self.squash else value

    def draw_for_gradient(self, output: jax.Array, key: jax.Array) -> jax.Array:
        return self.draw(output, key, encoded=True)

    def divergence(self, first: jax.Array, second: jax.Array, *, second_encoded: bool) -> jax.Array:
        mean, std = self.moments(first, encoded=True)
        other_mean, other_std = self.moments(second, encoded=second_encoded)
        # In case σ of the dynamics goes to 0: float32 has room down to 1e-19 for its square.
        other_std = jnp.maximum(other_std, 1e-6)
        parts = jnp.log(other_std / std) + (jnp.square(std) + jnp.square(mean - other_mean)) / (2 * jnp.square(other_std)) - 0.5
        return parts.sum(axis=-1)

    def prior_divergence(self, output: jax.Array) -> jax.Array:
        mean, std = self.moments(output, encoded=True)
        return (0.5 * (jnp.square(mean) + jnp.square(std) - 1) - jnp.log(std)).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class CategoricalLatent:
    """Independent categorical variables, read as one-hot vectors; gradients go straight through to the probabilities.

    Attributes:
        num_variables: Number of variables.
        num_classes: Number of values of each.
    """

    num_variables: int = 32
    num_classes: int = 32

    @property
    def num_outputs(self) -> int:
        return self.num_variables * self.num_classes

    @property
    def num_features(self) -> int:
        return self.num_variables * self.num_classes

    @property
    def num_codes(self) -> int:
        return self.num_variables

    def logits(self, output: jax.Array) -> jax.Array:
        """(n, classes, variables): computers work along the last axis at once, and all sums here are over the other."""
        return output.reshape(*output.shape[:-1], self.num_classes, self.num_variables)

    def draw_classes(self, output: jax.Array, key: jax.Array) -> jax.Array:
        """Classes, int32 (n, variables), by inverting the distribution function: one random number for each variable."""
        logits = self.logits(output)
        # Written out, maximum and running sums are loops over variables; as operations along an axis they take twice as long.
        most = functools.reduce(jnp.maximum, (logits[..., i, :] for i in range(self.num_classes)))
        mass = negative_exp(logits - most[..., None, :])
        *below, total = itertools.accumulate(mass[..., i, :] for i in range(self.num_classes))
        threshold = jax.random.uniform(key, total.shape) * total
        return functools.reduce(jnp.add, ((each <= threshold).astype(jnp.int32) for each in below))

    def draw(self, output: jax.Array, key: jax.Array, *, encoded: bool) -> jax.Array:
        del encoded
        return self.num_variables * self.draw_classes(output, key) + jnp.arange(self.num_variables)

    def draw_for_gradient(self, output: jax.Array, key: jax.Array) -> Codes:
        drawn = self.draw(jax.lax.stop_gradient(output), key, encoded=True)
        return Codes(drawn, jax.nn.softmax(self.logits(output), axis=-2).reshape(output.shape))

    def divergence(self, first: jax.Array, second: jax.Array, *, second_encoded: bool) -> jax.Array:
        del second_encoded
        own, other = (jax.nn.log_softmax(self.logits(each), axis=-2) for each in (first, second))
        return (jnp.exp(own) * (own - other)).sum(axis=(-2, -1))

    def prior_divergence(self, output: jax.Array) -> jax.Array:
        own = jax.nn.log_softmax(self.logits(output), axis=-2)
        return (jnp.exp(own) * (own + math.log(self.num_classes))).sum(axis=(-2, -1))


LATENTS: dict[str, Any] = {
    "categorical": CategoricalLatent(),
    "gaussian": GaussianLatent(),
    "tanh_gaussian": GaussianLatent(squash=True),
}
