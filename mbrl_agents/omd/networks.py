"""Q-networks side by side, of which the least counts in targets."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax

from mbrl_agents.core import returns
from mbrl_agents.core.networks import MLP, init_many, run_many

INITIALIZER = "orthogonal_small_output"
"""Initial kernels of Q-networks, model and value functions, as published."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """Networks of equal shape on the same features; their parameters have a leading axis.

    Attributes:
        num_features: Number of features.
        outputs: Outputs of each: the number of actions of Q-networks, 1 of value functions.
        number: How many there are.
        hidden: Widths of the hidden layers.
        activation: Activation function.
        soft: Whether the value of a state is the soft maximum of its action values, or the maximum.
        encoder: What reads the features first, in each of them; None for nothing.
        layer_norm: Whether there is a layer normalisation in each hidden layer.
    """

    num_features: int
    outputs: int
    number: int
    hidden: tuple[int, ...]
    activation: str
    soft: bool = True
    encoder: nn.Module | None = None
    layer_norm: bool = False

    @property
    def _network(self) -> MLP:
        return MLP(
            self.hidden,
            self.outputs,
            self.activation,
            initializer=INITIALIZER,
            encoder=self.encoder,
            layer_norm=self.layer_norm,
        )

    def init(self, key: jax.Array) -> Any:
        """Fresh parameters."""
        return init_many(self._network, self.num_features, key, self.number)

    def values(self, params: Any, features: jax.Array) -> jax.Array:
        """Outputs of each network, (number, n, outputs), of features (n, f)."""
        return run_many(self._network, params, features)

    def state_value(self, params: Any, features: jax.Array, temperature: jax.Array) -> jax.Array:
        """V(s) = α log Σ_a exp(min_i Q_i(s, a) / α), or what that becomes as α goes to 0, (n,), of features (n, f)."""
        least = self.values(params, features).min(axis=0)
        return returns.soft_value(least, temperature) if self.soft else returns.greedy_value(least)
