"""A learned model of observations and rewards, differentiable in what it predicts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core.networks import MLP
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch

TRUNKS = ("shared", "separate")
_LOG_STD = (-10.0, 2.0)  # bounds of what a Gaussian model says of its uncertainty


class Prediction(NamedTuple):
    """What a model says of n steps.

    Attributes:
        mean: Features of the next observations, float32 (n, f).
        log_std: Logarithm of their standard deviations, float32 (n, f); None of a deterministic model.
        reward: float32 (n,).
        log_on: Where features are 0 or 1, logarithm of the probability of 1, float32 (n, f); else None.
        log_off: The same of 0; None also where exactly one of the features is 1.
    """

    mean: jax.Array
    log_std: jax.Array | None
    reward: jax.Array
    log_on: jax.Array | None = None
    log_off: jax.Array | None = None

    def draw(self, key: jax.Array) -> jax.Array:
        """Next observations: drawn (and differentiable in mean and deviation), or the mean of a deterministic model."""
        if self.log_std is None:
            return self.mean
        return self.mean + jnp.exp(self.log_std) * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def transitions(self, batch: Batch, key: jax.Array) -> Batch:
        """The transitions of a batch, with the predicted rewards and next observations in place of the real ones."""
        return batch._replace(reward=self.reward, next_observation=self.draw(key))


@dataclasses.dataclass(frozen=True)
class DynamicsModel:
    """Networks of (features, action) for the next observation and for the reward: one for each, or one for both.

    Bits and the values of a Discrete observation are predicted as probabilities, bytes as numbers from 0 to 1. Q-networks read
    these as they are: drawn bits would have no derivative.

    Attributes:
        codec: Reads observations.
        num_actions: Number of actions, or of an action's components if these are real numbers.
        hidden: Widths of the hidden layers: how much the model can hold.
        activation: Activation function.
        stochastic: Whether a diagonal Gaussian is predicted; else one observation.
        predicts_change: Whether the network gives the difference to the observation before.
        trunk: ``"separate"``: two networks; ``"shared"``: one, which has outputs for both.
        initializer: How weights are drawn at first, a key of ``INITIALIZERS``.
    """

    codec: ObservationCodec
    num_actions: int
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "relu"
    stochastic: bool = False
    predicts_change: bool = False
    trunk: str = "separate"
    initializer: str = "orthogonal"

    @property
    def _networks(self) -> dict[str, MLP]:
        outputs = self.codec.num_features * (2 if self.stochastic else 1)
        widths = {"both": outputs + 1} if self.trunk == "shared" else {"observation": outputs, "reward": 1}
        return {name: MLP(self.hidden, width, self.activation, initializer=self.initializer) for name, width in widths.items()}

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh parameters, by network."""
        example = jnp.zeros((1, self.codec.num_features + self.num_actions))
        keys = jax.random.split(key, 2)[: len(self._networks)]
        return {
            name: network.init(each, example)["params"]
            for (name, network), each in zip(self._networks.items(), keys, strict=True)
        }

    def predict(self, params: dict[str, Any], features: jax.Array, action: jax.Array) -> Prediction:
        """Predictions of steps.

        Args:
            params: The parameters.
            features: Float32 (n, f).
            action: int32 (n,), or float32 (n, num_actions).
        """
        chosen = (
            jax.nn.one_hot(action, self.num_actions, dtype=features.dtype)
            if jnp.issubdtype(action.dtype, jnp.integer)
            else action
        )
        inputs = jnp.concatenate([features, chosen], axis=-1)
        said: dict[str, Any] = {
            name: network.apply({"params": params[name]}, inputs) for name, network in self._networks.items()
        }
        if self.trunk == "shared":
            outputs, reward = said["both"][..., :-1], said["both"][..., -1:]
        else:
            outputs, reward = said["observation"], said["reward"]
        log_std = None
        if self.stochastic:
            outputs, log_std = jnp.split(outputs, 2, axis=-1)
            log_std = jnp.clip(log_std, *_LOG_STD)
        reward = reward[..., 0]
        match self.codec.kind:
            case "index":
                return Prediction(jax.nn.softmax(outputs, axis=-1), None, reward, jax.nn.log_softmax(outputs, axis=-1))
            case "bits":
                mean, on, off = jax.nn.sigmoid(outputs), jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
                return Prediction(mean, None, reward, on, off)
            case "bytes":
                return Prediction(jax.nn.sigmoid(outputs), None, reward)
        return Prediction(features + outputs if self.predicts_change else outputs, log_std, reward)
