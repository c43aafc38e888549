"""The learner of OMD: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mbrl_agents.common import exploration, optimizer
from mbrl_agents.common.actions import ActionCodec
from mbrl_agents.common.exploration import Exploration
from mbrl_agents.common.networks import MLP, init_many, run_many
from mbrl_agents.common.observations import ObservationCodec
from mbrl_agents.common.optimizer import AdamHyperparameters
from mbrl_agents.common.replay import Batch
from mbrl_agents.common.schedules import Now
from mbrl_agents.omd import implicit, model_losses
from mbrl_agents.omd.dynamics_model import DynamicsModel, Prediction
from mbrl_agents.omd.linear_solvers import LinearSolver


class OMDHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32 scalars.

    Attributes:
        gamma: Discount factor.
        tau: Fraction of the way that the target networks go at each target update.
        model_learning_rate: Step size of the model.
        adam: Numbers of both optimisers.
    """

    gamma: Any
    tau: Any
    model_learning_rate: Any
    adam: AdamHyperparameters


class OMDState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the Q-networks, leaves with a leading axis of networks.
        target_params: Parameters of the target networks.
        optimizer: State of their optimiser.
        model: Parameters of the model.
        model_optimizer: State of its optimiser.
        value_networks: Fixed random value functions, if there is a use for them.
        fallbacks: Gradients of the model whose linear system had no finite solution, int32.
        hyper: Hyperparameters.
    """

    params: Any
    target_params: Any
    optimizer: Any
    model: Any
    model_optimizer: Any
    value_networks: Any
    fallbacks: jax.Array
    hyper: OMDHyperparameters


@dataclasses.dataclass(frozen=True)
class OMDLearner:
    """Optimal model design for discrete actions (arXiv 2106.03273); the fields are what shapes the program.

    Q-networks learn on what the model predicts, w ≈ argmin L_model(w, θ); the model learns so that these are good in the real
    transitions, min_θ L_true(w(θ)), with the gradient of :func:`~mbrl_agents.omd.implicit.implicit_gradient`. Both losses are
    squared errors (Q_w(s, a) − y)² with y = r + γ(1 − d) V⁻(s′), where r and s′ are the model's in L_model, the real ones in
    L_true, and V⁻ is the soft maximum of the least of the target networks. Which ends are final is taken from replay.

    Attributes:
        codec: Reads observations.
        num_actions: Number of actions.
        model: The model.
        model_loss: What the model learns for: ``"omd"``, ``"mle"``, ``"vep"`` or ``"vagram"``.
        hidden: Widths of the Q-networks' hidden layers.
        activation: Their activation function.
        num_networks: Number of Q-networks: the least counts in targets, the mean in acting.
        inner_steps: Gradient steps of the Q-networks for each of the model.
        carry_optimizer: Whether the Q-networks' optimiser goes on from update to update.
        solver: How the linear system of the implicit gradient is solved.
        num_value_networks: Value functions of ``"vep"``.
        inner_tolerance: Norm of the gradient at which the Q-networks' steps end early; 0 for all ``inner_steps``.
        warm_start: Whether these steps begin at the networks as they are, or at fresh ones.
        soft_targets: Whether targets take the soft maximum, or the maximum.
        learn_reward: Whether the model's rewards are learned and used, or those that really came.
    """

    codec: ObservationCodec
    num_actions: int
    model: DynamicsModel
    model_loss: str = "omd"
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "relu"
    num_networks: int = 2
    inner_steps: int = 1
    carry_optimizer: bool = False
    solver: LinearSolver = LinearSolver("identity")  # noqa: RUF009  # frozen
    num_value_networks: int = 5
    inner_tolerance: float = 0.0
    warm_start: bool = True
    soft_targets: bool = True
    learn_reward: bool = True

    def init(self, key: jax.Array, hyper: OMDHyperparameters) -> OMDState:
        """Fresh parameters; the target networks start as copies."""
        q_key, model_key, value_key = jax.random.split(key, 3)
        params = init_many(self._network(self.num_actions), self.codec.num_features, q_key, self.num_networks)
        if self.model_loss == "omd":
            self.solver.check_size(params)
        model = self.model.init(model_key)
        fixed = {}
        if self.model_loss == "vep":
            fixed = init_many(self._network(1), self.codec.num_features, value_key, self.num_value_networks)
        return OMDState(
            params,
            jax.tree.map(jnp.copy, params),
            optimizer.init(params),
            model,
            optimizer.init(model),
            fixed,
            jnp.int32(0),
            jax.tree.map(jnp.float32, hyper),
        )

    def _network(self, outputs: int) -> MLP:
        return MLP(self.hidden, outputs, self.activation, initializer="orthogonal")

    # ------------------------------------------------------------------ values and actions

    def values(self, params: Any, features: jax.Array) -> jax.Array:
        """Action values of each network, (networks, n, actions)."""
        return run_many(self._network(self.num_actions), params, features)

    def soft_value(self, params: Any, features: jax.Array, temperature: jax.Array) -> jax.Array:
        """α log Σ_a exp(min_i Q_i(s, a) / α), or what that becomes as α goes to 0, (n,)."""
        least = self.values(params, features).min(axis=0)
        if not self.soft_targets:
            return least.max(axis=-1)
        return temperature * jax.nn.logsumexp(least / temperature, axis=-1)

    def act(self, state: OMDState, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Actions ~ softmax(Q / α) of the mean of the networks, or with probability ε uniform; int32 (n,)."""
        values = self.values(state.params, self.codec.features(observation)).mean(axis=0)
        chance_key, uniform_key, soft_key = jax.random.split(key, 3)
        soft = exploration.select(values, soft_key, "softmax", explore)
        anything = ActionCodec(self.num_actions).uniform(uniform_key, values.shape[0])
        return jnp.where(jax.random.uniform(chance_key, soft.shape) < explore.epsilon, anything, soft)

    def act_greedily(self, state: OMDState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """The best actions by the mean of the networks, int32 (n,); the key is not used."""
        del key
        return exploration.greedy(self.values(state.params, self.codec.features(observation)).mean(axis=0))

    def q_values(self, state: OMDState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Action values, the mean of the networks', float32 (n, actions); the key is not used."""
        del key
        return self.values(state.params, self.codec.features(observation)).mean(axis=0)

    # ------------------------------------------------------------------ losses

    def loss(self, params: Any, batch: Batch, reward: jax.Array, following: jax.Array, bootstrap: Any) -> jax.Array:
        """Squared TD errors on given rewards and next observations, summed over networks.

        Args:
            params: Parameters of the Q-networks.
            batch: Real transitions, of which observation, action and discount are used.
            reward: (n,).
            following: Features of what comes next, (n, f).
            bootstrap: Function that gives the values of these.
        """
        target = reward + batch.discount * bootstrap(following)
        taken = jax.nn.one_hot(batch.action, self.num_actions, dtype=batch.reward.dtype)
        values = (self.values(params, batch.observation) * taken).sum(axis=-1)
        return jnp.square(values - target).mean(axis=-1).sum()

    def update(self, state: OMDState, batch: Batch, key: jax.Array, now: Now) -> tuple[OMDState, dict]:
        """One gradient step of the model and ``inner_steps`` of the Q-networks, on one batch.

        ``"omd"``: first the Q-networks, then the model, at what they have become. Others: first the model.
        """

        def bootstrap(features: jax.Array) -> jax.Array:
            return self.soft_value(state.target_params, features, now.explore.temperature)

        def on_model(params: Any, model: Any) -> jax.Array:
            prediction = self._predict(model, batch)
            return self.loss(params, batch, prediction.reward, prediction.draw(key), bootstrap)

        def on_data(params: Any, model: Any) -> jax.Array:
            del model
            return self.loss(params, batch, batch.reward, batch.next_observation, bootstrap)

        if self.model_loss == "omd":
            state, loss = self._learn_values(state, on_model, key, now)
            state, told = implicit.learn_model(state, state.params, on_data, on_model, self.solver)
            return state, told | {"loss": loss}
        model_loss, grads = jax.value_and_grad(self._direct_loss)(state.model, state, batch, key, bootstrap)
        state = optimizer.learn_model(state, grads, clip=False)
        state, loss = self._learn_values(state, on_model, key, now)
        return state, {"loss": loss, "model_loss": model_loss}

    def _predict(self, model: Any, batch: Batch) -> Prediction:
        """What the model says of a batch; of rewards it says what came, unless it learns them."""
        prediction = self.model.predict(model, batch.observation, batch.action)
        return prediction if self.learn_reward else prediction._replace(reward=batch.reward)

    def _direct_loss(self, model: Any, state: OMDState, batch: Batch, key: jax.Array, bootstrap: Any) -> jax.Array:
        """The model's loss if it is no implicit one."""
        prediction = self._predict(model, batch)
        if self.model_loss == "mle":
            return model_losses.likelihood(prediction, batch)
        if self.model_loss == "vagram":
            return model_losses.value_gradient(prediction, batch, key, bootstrap)

        def values(features: jax.Array) -> jax.Array:
            return run_many(self._network(1), state.value_networks, features)[..., 0]

        return model_losses.value_equivalence(prediction, batch, key, values)

    def _learn_values(self, state: OMDState, on_model: Any, key: jax.Array, now: Now) -> tuple[OMDState, jax.Array]:
        """Gradient steps of the Q-networks on the model's predictions, some or to convergence; the loss before the last."""
        first = state.params
        if not self.warm_start:
            first = init_many(self._network(self.num_actions), self.codec.num_features, key, self.num_networks)
        adam = state.optimizer if self.carry_optimizer else optimizer.init(first)

        def step(carry: _Descent) -> _Descent:
            loss, grads = jax.value_and_grad(on_model)(carry.params, state.model)
            params, adam = optimizer.apply(
                carry.params, grads, carry.optimizer, now.learning_rate, state.hyper.adam, clip=False
            )
            slope = optax.tree.norm(grads) if self.inner_tolerance > 0 else carry.slope
            return _Descent(params, adam, loss, slope, carry.steps + 1)

        def goes_on(carry: _Descent) -> jax.Array:
            return (carry.steps < self.inner_steps) & (carry.slope > self.inner_tolerance)

        zero = jnp.zeros_like(now.learning_rate)
        begin = _Descent(first, adam, zero, jnp.full_like(zero, jnp.inf), jnp.int32(0))
        end = step(begin) if self.inner_steps == 1 else lax.while_loop(goes_on, step, begin)
        return state._replace(params=end.params, optimizer=end.optimizer), end.loss

    def update_target(self, state: OMDState) -> OMDState:
        """Moves the target networks towards the networks by the fraction τ."""
        return state._replace(target_params=optimizer.move_towards(state.target_params, state.params, state.hyper.tau))


class _Descent(NamedTuple):
    params: Any
    optimizer: Any
    loss: jax.Array  # before the last step
    slope: jax.Array  # norm of the gradient there
    steps: jax.Array
