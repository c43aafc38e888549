"""Latent models: an encoder, a decoder of what was encoded, and dynamics, reward and end in the latent space."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import stop_gradient

from mbrl_agents.common.networks import MLP, Codes
from mbrl_agents.common.replay import Batch
from mbrl_agents.model_dqn.heads import Emission, Heads, binary_cross_entropy, reward_nll
from mbrl_agents.model_dqn.latents import Latent
from mbrl_agents.model_dqn.weights import LossWeights
from mbrl_agents.model_dqn.world_model import Step

TOWARDS_DYNAMICS = 0.8  # the part of the divergence that moves the dynamics; the rest moves the encoder


@dataclasses.dataclass(frozen=True)
class LatentModel:
    """Encoder q(z|o), decoder p(o|z), dynamics p(z′|z, a); see :class:`~mbrl_agents.model_dqn.world_model.WorldModel`.

    Attributes:
        latent: The kind of latent variable.
        emission: How the observation is distributed, given the latent variable.
        num_actions: Number of actions.
        hidden: Widths of the hidden layers of each network.
        activation: Their activation function.
        continuing: Whether the task never ends: nothing is predicted about that, and the continuation is 1.
        published_mask: Whether observations of steps that end the episode are left out of the reconstruction, as in the
            published code; in ProcMaze these are the ones in which the goal has been reached.
    """

    latent: Latent
    emission: Emission
    num_actions: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "elu"
    continuing: bool = False
    published_mask: bool = False

    learns = True

    @property
    def num_features(self) -> int:
        return self.latent.num_features

    @property
    def num_codes(self) -> int:
        return self.latent.num_codes

    @property
    def encoder(self) -> MLP:
        """q(z|o)."""
        return MLP(self.hidden, self.latent.num_outputs, self.activation)

    @property
    def decoder(self) -> MLP:
        """p(o|z)."""
        return MLP(self.hidden, self.emission.num_outputs, self.activation, self.num_features if self.num_codes else 0)

    @property
    def dynamics(self) -> Heads:
        """Heads for p(z′|z, a), reward mean and, in episodic tasks, the logit of termination."""
        outputs = (self.latent.num_outputs, 1, *(() if self.continuing else (1,)))
        return Heads(self.hidden, outputs, self.activation, self.num_features + self.num_actions if self.num_codes else 0)

    def init(self, key: jax.Array) -> Any:
        encoder_key, decoder_key, dynamics_key = jax.random.split(key, 3)
        latent: Any = jnp.zeros((1, self.num_codes), jnp.int32) if self.num_codes else jnp.zeros((1, self.num_features))
        inputs = self._with_action(latent, jnp.zeros(1, jnp.int32))
        return {
            "encoder": self.encoder.init(encoder_key, jnp.zeros((1, self.emission.codec.num_features)))["params"],
            "decoder": self.decoder.init(decoder_key, latent)["params"],
            "dynamics": self.dynamics.init(dynamics_key, inputs)["params"],
        }

    def encode(self, params: Any, features: jax.Array) -> jax.Array:
        """What the encoder says of observations."""
        return self.encoder.apply({"params": params["encoder"]}, features)  # type: ignore[return-value]

    def decode(self, params: Any, latent: jax.Array | Codes) -> jax.Array:
        """What the decoder says of latent variables."""
        return self.decoder.apply({"params": params["decoder"]}, latent)  # type: ignore[return-value]

    def _with_action(self, latent: jax.Array | Codes, action: jax.Array) -> Any:
        """Latent variables and an action as the input of a network; the action is one more code, or one-hot."""
        if not self.num_codes:
            return jnp.concatenate([latent, jax.nn.one_hot(action, self.num_actions)], axis=-1)  # type: ignore[list-item]
        codes = latent if isinstance(latent, Codes) else Codes(latent)
        places = jnp.concatenate([codes.places, (self.num_features + action)[:, None]], axis=-1)
        return Codes(places, codes.through)

    def predict(self, params: Any, latent: jax.Array | Codes, action: jax.Array) -> tuple[jax.Array, ...]:
        """What is said of the next latent, reward mean (n,), logit of termination (n,) (in episodic tasks).

        Args:
            params: The parameters.
            latent: Latent variables, numbers (n, f) or codes.
            action: int32 (n,).
        """
        inputs = self._with_action(latent, action)
        said: tuple[jax.Array, ...] = self.dynamics.apply({"params": params["dynamics"]}, inputs)  # type: ignore[assignment]
        following, reward, *ends = said
        return following, reward[:, 0], *(end[:, 0] for end in ends)

    def loss(self, params: Any, batch: Batch, key: jax.Array, weights: LossWeights) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Reconstruction, rewards, ends, and the balanced divergence of q(z′|o′) from p(z′|z, a).

        The divergence is 0.8·KL(sg(q′)‖p′) + 0.2·KL(q′‖sg(p′)), sg stopping gradients.
        """
        size = len(batch.action)
        both = self.encode(params, jnp.concatenate([batch.observation, batch.next_observation]))
        seen, seen_next = both[:size], both[size:]
        latent = self.latent.draw_for_gradient(seen, key)
        expected, reward, *ends = self.predict(params, latent, batch.action)
        goes_on = 1 - batch.terminated.astype(jnp.float32)
        counts = goes_on if self.published_mask else 1.0
        for_dynamics = self.latent.divergence(stop_gradient(seen_next), expected, second_encoded=False)
        for_encoder = self.latent.divergence(seen_next, stop_gradient(expected), second_encoded=False)
        parts = {
            "reward": reward_nll(reward, batch.reward).mean(),
            "observation": (counts * self.emission.nll(self.decode(params, latent), batch.observation)).mean(),
            "dynamics": (TOWARDS_DYNAMICS * for_dynamics + (1 - TOWARDS_DYNAMICS) * for_encoder).mean(),
            "prior": self.latent.prior_divergence(seen).mean(),
        }
        if ends:
            parts["termination"] = binary_cross_entropy(ends[0], 1 - goes_on).mean()
        return weights.total(parts), parts

    def start(self, params: Any, batch: Batch, key: jax.Array) -> jax.Array:
        """Latent variables drawn from what the encoder says of the observations."""
        return self.latent.draw(self.encode(params, batch.observation), key, encoded=True)

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Latent variables drawn from what the encoder says of the observations."""
        return self.latent.draw(self.encode(params, observation), key, encoded=True)

    def read(self, state: jax.Array) -> jax.Array:
        """The latent variables."""
        return state

    def step(self, params: Any, state: jax.Array, action: jax.Array, key: jax.Array) -> Step:
        following, reward, *ends = self.predict(params, state, action)
        continuation = jax.nn.sigmoid(-ends[0]) if ends else jnp.ones_like(reward)
        return Step(self.latent.draw(following, key, encoded=False), reward, continuation)
