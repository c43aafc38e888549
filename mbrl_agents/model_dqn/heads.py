"""Networks with several outputs, and the losses of what they predict."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mbrl_agents.core.networks import ACTIVATIONS, CodeDense, truncated_normal
from mbrl_agents.core.observations import ObservationCodec

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Heads(nn.Module):
    """Multi-layer perceptrons of equal hidden layers on the same input, which is read once for all of them.

    Kernels start as :func:`~mbrl_agents.core.networks.truncated_normal` draws them, biases at zero.

    Attributes:
        hidden: Widths of the hidden layers of each, at least one.
        outputs: Width of the output of each.
        activation: Key of ``ACTIVATIONS``.
        num_values: If not 0, inputs are codes; see :class:`~mbrl_agents.core.networks.MLP`.
    """

    hidden: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str = "elu"
    num_values: int = 0

    @nn.compact
    def __call__(self, x: Any) -> tuple[jax.Array, ...]:
        """Maps features (n, f), or codes, to outputs (n, outputs[i])."""
        activate, (width, *widths) = ACTIVATIONS[self.activation], self.hidden
        total = width * len(self.outputs)

        def dense(outputs: int) -> nn.Dense:
            return nn.Dense(outputs, kernel_init=truncated_normal)

        together = CodeDense(total, self.num_values)(x) if self.num_values else dense(total)(x)
        said = []
        for i, output in enumerate(self.outputs):
            # One product after the other: as a batch of products they take one and a half times as long on a CPU.
            layer = activate(together[..., i * width : (i + 1) * width])
            for each in widths:
                layer = activate(dense(each)(layer))
            said.append(dense(output)(layer))
        return tuple(said)


@dataclasses.dataclass(frozen=True)
class Emission:
    """How the features of an observation are distributed, given what a network says.

    Bits are independent Bernoulli variables, an index is categorical, numbers are Gaussian.

    Attributes:
        codec: What the features are of.
        learned_variance: Whether the variance of numbers is learned, rather than 1.
        raw_logits: Whether a bit is drawn with its logit in place of its probability, as the published code does.
    """

    codec: ObservationCodec
    learned_variance: bool = False
    raw_logits: bool = False

    @property
    def is_bits(self) -> bool:
        """Whether features are bits."""
        return self.codec.kind == "bits"

    @property
    def num_outputs(self) -> int:
        """Numbers that the network has to say."""
        learned = self.learned_variance and self.codec.kind in ("float", "bytes")
        return self.codec.num_features * (2 if learned else 1)

    def nll(self, output: jax.Array, features: jax.Array) -> jax.Array:
        """Negative log-likelihood of features, float32 (n,)."""
        if self.is_bits:
            return binary_cross_entropy(output, features).sum(axis=-1)
        if self.codec.kind == "index":
            return -(jax.nn.log_softmax(output) * features).sum(axis=-1)
        mean, log_std = self._split(output)
        return (0.5 * jnp.square((features - mean) * jnp.exp(-log_std)) + log_std + _HALF_LOG_TWO_PI).sum(axis=-1)

    def mean(self, output: jax.Array) -> jax.Array:
        """Expected features."""
        if self.is_bits:
            return jax.nn.sigmoid(output)
        if self.codec.kind == "index":
            return jax.nn.softmax(output)
        return self._split(output)[0]

    def drawn_mean(self, output: jax.Array) -> jax.Array:
        """Expected features of what :meth:`sample` draws."""
        return jnp.clip(output, 0, 1) if self.is_bits and self.raw_logits else self.mean(output)

    def sample(self, output: jax.Array, key: jax.Array) -> jax.Array:
        """Features drawn from the distribution; with the fixed variance of 1, which is no claim about noise, the mean."""
        if self.is_bits:
            probability = output if self.raw_logits else jax.nn.sigmoid(output)
            return (jax.random.uniform(key, output.shape) < probability).astype(jnp.float32)
        if self.codec.kind == "index":
            return jax.nn.one_hot(jax.random.categorical(key, output), self.codec.num_features, dtype=output.dtype)
        mean, log_std = self._split(output)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype) if self.learned_variance else mean

    def _split(self, output: jax.Array) -> tuple[jax.Array, jax.Array]:
        if not self.learned_variance:
            return output, jnp.zeros_like(output)
        mean, log_std = jnp.split(output, 2, axis=-1)
        return mean, 5 * jnp.tanh(log_std / 5)  # between exp(-5) and exp(5)


def binary_cross_entropy(logit: jax.Array, label: jax.Array) -> jax.Array:
    """−log p(label) of Bernoulli variables with the given logits."""
    return jax.nn.softplus(logit) - logit * label


def reward_nll(mean: jax.Array, reward: jax.Array) -> jax.Array:
    """−log p(reward) of a Gaussian with σ = 1."""
    return 0.5 * jnp.square(reward - mean) + _HALF_LOG_TWO_PI
