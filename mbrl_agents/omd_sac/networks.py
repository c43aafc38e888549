"""The networks of soft actor-critic: a squashed Gaussian actor, and critics side by side."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mbrl_agents.core.networks import ACTIVATIONS, MLP, init_many, run_many

LOG_STD = (-20.0, 2.0)  # bounds of what the actor says of its deviations
_SMALL = 1e-6  # keeps the logarithm of the squashing's slope finite, as Stable-Baselines3 does


@dataclasses.dataclass(frozen=True)
class SquashedGaussianActor:
    """Actions tanh(μ(s) + σ(s) ε), ε ~ N(0, 1), each component in (−1, 1) (Haarnoja et al. 2018, arXiv 1812.05905, appendix C).

    Attributes:
        num_actions: Number of components of an action, a.
        hidden: Widths of the hidden layers.
        activation: Activation function.
        initializer: How weights are drawn at first, a key of ``INITIALIZERS``.
        encoder: What reads the features first; None for nothing.
        layer_norm: Whether there is a layer normalisation in each hidden layer.
    """

    num_actions: int
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    initializer: str = "torch"
    encoder: nn.Module | None = None
    layer_norm: bool = False

    @property
    def _network(self) -> MLP:
        return MLP(
            self.hidden,
            2 * self.num_actions,
            self.activation,
            initializer=self.initializer,
            encoder=self.encoder,
            layer_norm=self.layer_norm,
        )

    def init(self, key: jax.Array, num_features: int) -> Any:
        """Fresh parameters."""
        return self._network.init(key, jnp.zeros((1, num_features)))["params"]

    def moments(self, params: Any, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """μ and log σ before squashing, (n, a) each, of features (n, f)."""
        outputs: Any = self._network.apply({"params": params}, features)
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD)

    def sample(self, params: Any, features: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Actions (n, a) for given noise ε (n, a), and log π of them, (n,); both differentiable."""
        mean, log_std = self.moments(params, features)
        noise = noise.astype(mean.dtype)
        unbounded = mean + jnp.exp(log_std) * noise
        gaussian = -0.5 * jnp.square(noise) - log_std - 0.5 * math.log(2 * math.pi)
        return jnp.tanh(unbounded), (gaussian - jnp.log(_slope_of_tanh(unbounded) + _SMALL)).sum(axis=-1)

    def best(self, params: Any, features: jax.Array) -> jax.Array:
        """tanh(μ), (n, a)."""
        return jnp.tanh(self.moments(params, features)[0])


def _slope_of_tanh(x: jax.Array) -> jax.Array:
    """1 − tanh²(x), in full precision.

    Compiled in single precision tanh is off by 3e-7, a third of what keeps the logarithm finite: taken from it, log π would be
    too high by .04 where |x| is 7 to 8 and by .2 beyond, and its pull back from there gone.
    """
    e = jnp.exp(-2 * jnp.abs(x))
    return 4 * e / jnp.square(1 + e)


@dataclasses.dataclass(frozen=True)
class Critics:
    """Networks of observation and action, each of which says one action value; their parameters have a leading axis.

    With an encoder, which all of them share as Stable-Baselines3's do, parameters are ``{"encoder": …, "critics": …}``.

    Attributes:
        number: How many there are.
        hidden: Widths of the hidden layers.
        activation: Activation function.
        initializer: How weights are drawn at first, a key of ``INITIALIZERS``.
        encoder: What reads the features first; None for nothing.
        layer_norm: Whether there is a layer normalisation in each hidden layer.
    """

    number: int = 2
    hidden: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    initializer: str = "torch"
    encoder: nn.Module | None = None
    layer_norm: bool = False

    @property
    def _network(self) -> MLP:
        return MLP(self.hidden, 1, self.activation, initializer=self.initializer, layer_norm=self.layer_norm)

    def init(self, key: jax.Array, num_features: int, num_actions: int) -> Any:
        """Fresh parameters."""
        if self.encoder is None:
            return init_many(self._network, num_features + num_actions, key, self.number)
        encoder_key, critics_key = jax.random.split(key)
        encoded, variables = self.encoder.init_with_output(encoder_key, jnp.zeros((1, num_features)))
        critics = init_many(self._network, encoded.shape[-1] + num_actions, critics_key, self.number)
        return {"encoder": variables.get("params", {}), "critics": critics}

    def values(self, params: Any, features: jax.Array, action: jax.Array) -> jax.Array:
        """Q of each critic, (number, n), of features (n, f) and actions (n, a)."""
        if self.encoder is not None:
            encoder, params = params["encoder"], params["critics"]
            features = self.encoder.apply({"params": encoder}, features)  # type: ignore[assignment]
        return run_many(self._network, params, jnp.concatenate([features, action], axis=-1))[..., 0]

    def tangent_kernel(self, params: Any, features: jax.Array, action: jax.Array) -> jax.Array:
        """Inner products of the derivatives of values in a critic's weights, K_ij = ⟨∂Q(s_i, a_i)/∂w, ∂Q(s_j, a_j)/∂w⟩.

        Args:
            params: Parameters of all critics.
            features: Float (n, f).
            action: Float (n, a).

        Returns:
            The kernels, float (number, n, n).
        """
        begin, widths = jnp.concatenate([features, action], axis=-1), (*self.hidden, 1)

        def run(params: Any, added: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
            """The sum of a critic's values, with something added to each layer's outputs; and each layer's inputs."""
            x, inputs = begin, []
            for i, addend in enumerate(added):
                inputs.append(x)
                x = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"] + addend
                x = x if i == len(self.hidden) else ACTIVATIONS[self.activation](x)
            return x.sum(), inputs

        def kernel(params: Any) -> jax.Array:
            zeros = [jnp.zeros((len(begin), width), begin.dtype) for width in widths]
            slopes, inputs = jax.grad(run, argnums=1, has_aux=True)(params, zeros)
            return sum(((x @ x.T + 1) * (slope @ slope.T) for x, slope in zip(inputs, slopes, strict=True)), jnp.zeros(()))

        return jax.vmap(kernel)(params)
