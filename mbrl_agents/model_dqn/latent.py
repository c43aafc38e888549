"""Latent models: an encoder, a decoder of what was encoded, and dynamics, reward and end in the latent space."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core.networks import MLP, Codes
from mbrl_agents.core.replay import Batch
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.latents import Latent
from mbrl_agents.model_dqn.outcomes import OutcomeModel
from mbrl_agents.model_dqn.weights import ModelHyperparameters
from mbrl_agents.model_dqn.world_model import Outcome


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
    def num_inputs(self) -> int:
        """Values of the codes that networks read of a latent variable and an action; 0 if they read numbers."""
        return self.num_features + self.num_actions if self.num_codes else 0

    @property
    def dynamics(self) -> MLP:
        """p(z′|z, a)."""
        return MLP(self.hidden, self.latent.num_outputs, self.activation, self.num_inputs)

    @property
    def outcomes(self) -> OutcomeModel:
        """Reward and end."""
        return OutcomeModel(self.hidden, self.activation, self.continuing, self.num_inputs)

    def init(self, key: jax.Array) -> Any:
        encoder_key, decoder_key, dynamics_key, outcome_key = jax.random.split(key, 4)
        latent: Any = jnp.zeros((1, self.num_codes), jnp.int32) if self.num_codes else jnp.zeros((1, self.num_features))
        inputs = self._inputs(latent, jnp.zeros(1, jnp.int32))
        return {
            "encoder": self.encoder.init(encoder_key, jnp.zeros((1, self.emission.codec.num_features)))["params"],
            "decoder": self.decoder.init(decoder_key, latent)["params"],
            "dynamics": self.dynamics.init(dynamics_key, inputs)["params"],
            "outcomes": self.outcomes.init(outcome_key, inputs),
        }

    def encode(self, params: Any, features: jax.Array) -> jax.Array:
        """What the encoder says of observations."""
        return self.encoder.apply({"params": params["encoder"]}, features)  # type: ignore[return-value]

    def decode(self, params: Any, latent: jax.Array | Codes) -> jax.Array:
        """What the decoder says of latent variables."""
        return self.decoder.apply({"params": params["decoder"]}, latent)  # type: ignore[return-value]

    def _inputs(self, latent: jax.Array | Codes, action: jax.Array) -> Any:
        """Latent variables and an action as the input of a network; the action is one more code, or one-hot."""
        if not self.num_codes:
            return jnp.concatenate([latent, jax.nn.one_hot(action, self.num_actions, dtype=jnp.float32)], axis=-1)  # type: ignore[list-item]
        codes = latent if isinstance(latent, Codes) else Codes(latent)
        places = jnp.concatenate([codes.places, (self.num_features + action)[:, None]], axis=-1)
        return Codes(places, codes.through)

    def predict(self, params: Any, latent: jax.Array | Codes, action: jax.Array) -> jax.Array:
        """What is said of the next latent variables, after variables, numbers (n, f) or codes, and actions, int32 (n,)."""
        return self.dynamics.apply({"params": params["dynamics"]}, self._inputs(latent, action))  # type: ignore[return-value]

    def loss(
        self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Reconstruction, rewards, ends, and the balanced divergence of q(z′|o′) from p(z′|z, a), with z ~ q(z|o).

        L(θ) = w_o E[−log p(o|z)] + w_r E[−log p(r|z, a)] + w_d E[−log p(d|z, a)] + w_prior KL(q(z|o)‖p₀(z))
               + w_dynamics [a KL(sg(q′)‖p′) + b KL(q′‖sg(p′))],

        where sg stops gradients, and a (``dynamics_kl``, 0.8 as published), b (``encoder_kl``, 0.2) and w are of ``hyper``. The
        parts are without w.
        """
        weights, size = hyper.weights, len(batch.action)
        both = self.encode(params, jnp.concatenate([batch.observation, batch.next_observation]))
        encoded, next_encoded = both[:size], both[size:]
        latent = self.latent.draw_for_gradient(encoded, key, hyper.min_std)
        predicted = self.predict(params, latent, batch.action)
        towards_dynamics = self.latent.divergence(lax.stop_gradient(next_encoded), predicted, hyper.min_std)
        towards_encoder = self.latent.divergence(next_encoded, lax.stop_gradient(predicted), hyper.min_std)
        divergence = weights.dynamics_kl * towards_dynamics + weights.encoder_kl * towards_encoder
        counts = 1 - batch.terminated.astype(jnp.float32) if self.published_mask else 1.0
        inputs = self._inputs(latent, batch.action)
        parts = self.outcomes.losses(params["outcomes"], inputs, batch.reward, batch.terminated) | {
            "observation": (counts * self.emission.nll(self.decode(params, latent), batch.observation)).mean(),
            "dynamics": divergence.mean(),
            "prior": self.latent.prior_divergence(encoded, hyper.min_std).mean(),
        }
        return weights.total(parts), parts

    def start(self, params: Any, batch: Batch, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """Latent variables drawn from what the encoder says of the observations."""
        return self.latent.draw(self.encode(params, batch.observation), key, hyper.min_std)

    def perceive(self, params: Any, observation: jax.Array, key: jax.Array, hyper: ModelHyperparameters) -> jax.Array:
        """Latent variables drawn from what the encoder says of the observations."""
        return self.latent.draw(self.encode(params, observation), key, hyper.min_std)

    def read(self, state: jax.Array) -> jax.Array:
        """The latent variables."""
        return state

    def step(self, params: Any, state: jax.Array, action: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        """Latent variables drawn from what is said of them."""
        return self.latent.draw(self.predict(params, state, action), key), None

    def outcome(self, params: Any, features: jax.Array, action: jax.Array, known: None) -> Outcome:
        del known
        return self.outcomes.expect(params["outcomes"], self._inputs(features, action))
