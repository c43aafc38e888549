"""Latent variables: how they are distributed, drawn, compared, and read by networks."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from mbrl_agents.core.networks import Codes, negative_exp

# From what a network says to a standard deviation.
STD_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": lambda x: 2 * jax.nn.sigmoid(x / 2),
    "softplus": jax.nn.softplus,
}


class Latent(Protocol):
    """A kind of latent variable. Distributions are given by what a network says: ``output``, float32 (n, num_outputs).

    ``min_std`` is added to a standard deviation, float32 scalar: 0 where the dynamics speak. Categorical variables have none.
    """

    @property
    def num_outputs(self) -> int:
        """Numbers that a network has to say of a distribution."""

    @property
    def num_features(self) -> int:
        """Numbers, or values of codes, of a drawn variable."""

    @property
    def num_codes(self) -> int:
        """Number of codes of a drawn variable; 0 if it is numbers."""

    def draw(self, output: jax.Array, key: jax.Array, min_std: Any = 0.0) -> jax.Array:
        """Draws variables for networks that need no gradient: numbers (n, f), or codes (n, num_codes)."""

    def draw_for_gradient(self, output: jax.Array, key: jax.Array, min_std: Any) -> jax.Array | Codes:
        """Draws variables from the encoder's distribution, through which gradients flow."""

    def divergence(self, first: jax.Array, second: jax.Array, min_std: Any) -> jax.Array:
        """KL(first‖second), float32 (n,), of the encoder's distribution from the dynamics'; ``min_std`` is the former's."""

    def prior_divergence(self, output: jax.Array, min_std: Any) -> jax.Array:
        """KL of the encoder's distribution from a fixed one (standard normal, uniform), float32 (n,)."""


@dataclasses.dataclass(frozen=True)
class GaussianLatent:
    """Independent Gaussians.

    Attributes:
        num_units: Number of variables.
        squash: Whether networks read their tanh (which does not change divergences).
        std_activation: What makes an output a standard deviation, before ``min_std`` is added; a key of ``STD_ACTIVATIONS``.
    """

    num_units: int = 32
    squash: bool = False
    std_activation: str = "sigmoid"
    num_codes = 0

    @property
    def num_outputs(self) -> int:
        return 2 * self.num_units

    @property
    def num_features(self) -> int:
        return self.num_units

    def moments(self, output: jax.Array, min_std: Any = 0.0) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation."""
        mean, raw = jnp.split(output, 2, axis=-1)
        return mean, STD_ACTIVATIONS[self.std_activation](raw) + min_std

    def draw(self, output: jax.Array, key: jax.Array, min_std: Any = 0.0) -> jax.Array:
        mean, std = self.moments(output, min_std)
        value = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
        return jnp.tanh(value) if self.squash else value

    def draw_for_gradient(self, output: jax.Array, key: jax.Array, min_std: Any) -> jax.Array:
        return self.draw(output, key, min_std)

    def divergence(self, first: jax.Array, second: jax.Array, min_std: Any) -> jax.Array:
        mean, std = self.moments(first, min_std)
        other_mean, other_std = self.moments(second)
        # In case σ of the dynamics goes to 0: float32 has room down to 1e-19 for its square.
        other_std = jnp.maximum(other_std, 1e-6)
        parts = jnp.log(other_std / std) + (jnp.square(std) + jnp.square(mean - other_mean)) / (2 * jnp.square(other_std)) - 0.5
        return parts.sum(axis=-1)

    def prior_divergence(self, output: jax.Array, min_std: Any) -> jax.Array:
        mean, std = self.moments(output, min_std)
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
        threshold = jax.random.uniform(key, total.shape, total.dtype) * total
        return functools.reduce(jnp.add, ((each <= threshold).astype(jnp.int32) for each in below))

    def draw(self, output: jax.Array, key: jax.Array, min_std: Any = 0.0) -> jax.Array:
        del min_std
        return self.num_variables * self.draw_classes(output, key) + jnp.arange(self.num_variables, dtype=jnp.int32)

    def draw_for_gradient(self, output: jax.Array, key: jax.Array, min_std: Any) -> Codes:
        drawn = self.draw(jax.lax.stop_gradient(output), key, min_std)
        return Codes(drawn, jax.nn.softmax(self.logits(output), axis=-2).reshape(output.shape))

    def divergence(self, first: jax.Array, second: jax.Array, min_std: Any) -> jax.Array:
        del min_std
        own, other = (jax.nn.log_softmax(self.logits(each), axis=-2) for each in (first, second))
        return (jnp.exp(own) * (own - other)).sum(axis=(-2, -1))

    def prior_divergence(self, output: jax.Array, min_std: Any) -> jax.Array:
        del min_std
        own = jax.nn.log_softmax(self.logits(output), axis=-2)
        return (jnp.exp(own) * (own + math.log(self.num_classes))).sum(axis=(-2, -1))


LATENTS = ("categorical", "gaussian", "tanh_gaussian")


def make_latent(
    kind: str, *, num_variables: int = 32, num_classes: int = 32, num_units: int = 32, std_activation: str = "sigmoid"
) -> Latent:
    """The latent variables of a kind.

    Args:
        kind: One of ``LATENTS``.
        num_variables: Number of categorical variables.
        num_classes: Number of values of each.
        num_units: Number of Gaussian variables.
        std_activation: Of Gaussian variables, see :class:`GaussianLatent`.
    """
    if kind == "categorical":
        return CategoricalLatent(num_variables, num_classes)
    return GaussianLatent(num_units, kind == "tanh_gaussian", std_activation)
