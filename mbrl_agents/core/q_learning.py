"""Q-learning on features: what replay DQN and the model-based agents have in common.

Mnih et al. 2015 (arXiv 1312.5602) with the choices of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222):
softmax exploration, squared TD error, AdamW. Double Q-learning: van Hasselt, Guez & Silver 2016 (arXiv 1509.06461).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core import exploration, optimizer, returns
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.networks import MLP
from mbrl_agents.core.optimizer import Optimizer

StateT = TypeVar("StateT", bound=Any)  # a NamedTuple with fields params, target_params, optimizer, hyper


class Experience(NamedTuple):
    """What a gradient step learns from: N transitions.

    Attributes:
        features: What the network reads before the step, (N, …).
        action: int32 (N,).
        reward: float32 (N,).
        next_features: What it reads after the step, (N, …).
        discount: What multiplies the value of the latter, float32 (N,).
        weight: Weight of the squared error, float32 (N,); None for 1.
        products: What :meth:`QLearning.act_with_aux` computed of the features with the present parameters, each (N, …), which
            saves a forward pass; None if it did not.
    """

    features: jax.Array
    action: jax.Array
    reward: jax.Array
    next_features: jax.Array
    discount: jax.Array
    weight: jax.Array | None = None
    products: list[jax.Array] | None = None


@dataclasses.dataclass(frozen=True)
class QLearning:
    """Functions of a Q-network; the fields are what shapes the program.

    States are NamedTuples with (at least) the fields ``params``, ``target_params``, ``optimizer`` and ``hyper``.

    Attributes:
        num_features: Number of features, or of values of all codes together.
        num_actions: Number of actions.
        hidden: Widths of the hidden layers.
        activation: Activation function.
        double_q: Whether the network chooses the action that the target network values.
        explore: ``"softmax"`` or ``"epsilon_greedy"``.
        clip: Whether gradients are clipped.
        num_codes: Features are codes, int32 (…, num_codes) (see :class:`~mbrl_agents.core.networks.CodeDense`); 0 if they are
            numbers, float32 (…, num_features).
        encoder: What reads the features first; None for nothing.
        layer_norm: Whether there is a layer normalisation in each hidden layer.
        optimizer: How the network follows its gradients.
    """

    num_features: int
    num_actions: int
    hidden: tuple[int, ...] = (200, 200, 200)
    activation: str = "elu"
    double_q: bool = False
    explore: str = "softmax"
    clip: bool = False
    num_codes: int = 0
    encoder: nn.Module | None = None
    layer_norm: bool = False
    optimizer: Optimizer = Optimizer()  # noqa: RUF009  # frozen

    @property
    def network(self) -> MLP:
        """The Q-network."""
        num_values = self.num_features if self.num_codes else 0
        return MLP(self.hidden, self.num_actions, self.activation, num_values, encoder=self.encoder, layer_norm=self.layer_norm)

    def init(self, key: jax.Array) -> Any:
        """Fresh parameters."""
        example = jnp.zeros((1, self.num_codes), jnp.int32) if self.num_codes else jnp.zeros((1, self.num_features))
        return self.network.init(key, example)["params"]

    def values(self, params: Any, features: jax.Array) -> jax.Array:
        """Action values (…, actions) of features."""
        return self.network.apply({"params": params}, features)  # type: ignore[return-value]

    def values_with_aux(self, params: Any, features: jax.Array, products: Any = None) -> tuple[jax.Array, list[jax.Array]]:
        """Action values, and the products of the network's layers, which are not computed again where they are given."""
        return self.network.apply({"params": params}, features, products, method="run")  # type: ignore[return-value]

    def act(self, params: Any, features: jax.Array, key: jax.Array, explore: Exploration | None) -> jax.Array:
        """Actions, int32 (n,), greedy if ``explore`` is None."""
        return self.act_with_aux(params, features, key, explore)[0]

    def act_with_aux(
        self, params: Any, features: jax.Array, key: jax.Array, explore: Exploration | None
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Actions, and the network's products, from which an update of the same parameters can go on."""
        values, products = self.values_with_aux(params, features)
        return exploration.select(values, key, self.explore, explore), products

    def update(self, state: StateT, batch: Experience, learning_rate: jax.Array) -> tuple[StateT, dict[str, jax.Array]]:
        """One gradient step on :func:`q_loss`.

        Returns:
            New state, and ``{"loss", "q_mean"}``, float32 scalars.
        """
        (loss, metrics), grads = jax.value_and_grad(q_loss, has_aux=True)(state.params, state.target_params, batch, self)
        params, optimizer_state = self.optimizer.apply(
            state.params, grads, state.optimizer, learning_rate, state.hyper.adam, clip=self.clip
        )
        return state._replace(params=params, optimizer=optimizer_state), {"loss": loss} | metrics

    def update_target(self, state: StateT) -> StateT:
        """Moves the target network towards the network by the fraction τ."""
        return state._replace(target_params=optimizer.move_towards(state.target_params, state.params, state.hyper.tau))


def q_loss(params: Any, target_params: Any, batch: Experience, q: QLearning) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of Q-learning, the mean (weighted) squared TD error of N transitions.

        L(w) = 1/N Σ_i c_i (Q_w(s_i, a_i) − y_i)²,     y = r + γ max_a Q⁻(s′, a),

    or y = r + γ Q⁻(s′, argmax_a Q_w(s′, a)) with double Q-learning. No gradient goes through y.

    Args:
        params: Parameters w of the network.
        target_params: Those of the target network Q⁻.
        batch: The transitions.
        q: The network, and whether learning is double.

    Returns:
        The loss, and the metric ``{"q_mean"}``.
    """
    next_values = q.values(target_params, batch.next_features)
    if q.double_q:
        next_value = returns.double_q_value(next_values, q.values(lax.stop_gradient(params), batch.next_features))
    else:
        next_value = returns.greedy_value(next_values)
    target = returns.td_target(batch.reward, batch.discount, next_value)
    values, _ = q.values_with_aux(params, batch.features, batch.products)
    value = (values * jax.nn.one_hot(batch.action, q.num_actions, dtype=values.dtype)).sum(axis=-1)
    error = jnp.square(value - target)
    return (error if batch.weight is None else batch.weight * error).mean(), {"q_mean": value.mean()}
