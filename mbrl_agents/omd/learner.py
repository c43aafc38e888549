"""The learner of OMD: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax

from mbrl_agents.core import evaluation, exploration, optimizer
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import AdamHyperparameters, Optimizer
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.omd import implicit, losses
from mbrl_agents.omd.arguments import EVALUATIONS
from mbrl_agents.omd.dynamics_model import DynamicsModel, Prediction
from mbrl_agents.omd.networks import Networks
from mbrl_agents.omd.solvers import Identity, LinearSolver
from mbrl_envs import FunctionalEnv


class OMDHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32 scalars.

    Attributes:
        gamma: Discount factor.
        tau: Fraction of the way that the target networks go after each gradient step of the Q-networks.
        model_learning_rate: Learning rate of the model.
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
class OMDLearner(Learner):
    """Optimal model design for discrete actions (arXiv 2106.03273); the fields are what shapes the program.

    Q-networks learn on what the model predicts, w ≈ argmin L_model(w, θ); the model learns so that these are good in the real
    transitions, min_θ L_true(w(θ)), with the gradient of :func:`~mbrl_agents.omd.implicit.implicit_gradient`. Both losses are
    squared errors (Q_w(s, a) − y)² with y = r + γ(1 − d) V⁻(s′), where r and s′ are the model's in L_model, the real ones in
    L_true, and V⁻ is the soft maximum of the least of the target networks. Which ends are final is taken from replay.
    The target networks move after each gradient step of the Q-networks; L_true and the implicit gradient use the moved ones.

    Attributes:
        codec: Reads observations.
        num_actions: Number of actions.
        model: The model.
        model_loss: What the model learns for: ``"omd"``, ``"mle"``, ``"vep"`` or ``"vagram"``.
        hidden: Widths of the Q-networks' hidden layers.
        activation: Their activation function.
        num_networks: Number of Q-networks: the least counts in targets, the mean in acting.
        inner_steps: Gradient steps of the Q-networks for each of the model.
        carry_optimizer: Whether the Q-networks' optimiser goes on from update to update; None for ``model_loss != "omd"``.
        solver: How the linear system of the implicit gradient is solved.
        num_value_networks: Value functions of ``"vep"``.
        inner_tolerance: Norm of the gradient at which the Q-networks' steps end early; 0 for all ``inner_steps``.
        warm_start: Whether these steps begin at the networks and target networks as they are, or at fresh ones.
        soft_targets: Whether targets take the soft maximum, or the maximum.
        learn_reward: Whether the model's rewards are learned and used, or those that really came.
        evaluation: Which policy is scored: ``"greedy"`` or ``"sample"``.
        encoder: What the Q-networks read features with; None for nothing.
        layer_norm: Whether there is a layer normalisation in each of their hidden layers.
        optimizer: How they follow their gradients.
    """

    codec: ObservationCodec
    num_actions: int
    model: DynamicsModel
    model_loss: str = "omd"
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "relu"
    num_networks: int = 2
    inner_steps: int = 1
    carry_optimizer: bool | None = None
    solver: LinearSolver = Identity()  # noqa: RUF009  # frozen
    num_value_networks: int = 5
    inner_tolerance: float = 0.0
    warm_start: bool = True
    soft_targets: bool = True
    learn_reward: bool = True
    evaluation: str = "greedy"
    encoder: nn.Module | None = None
    layer_norm: bool = False
    optimizer: Optimizer = Optimizer()  # noqa: RUF009  # frozen

    @property
    def num_batches(self) -> int:
        """Batches that an update needs: ``"omd"`` one; others one for the model and another one for the Q-networks."""
        return 1 if self.model_loss == "omd" else 2

    @property
    def carries_optimizer(self) -> bool:
        """Whether the Q-networks' optimiser goes on from update to update."""
        return self.model_loss != "omd" if self.carry_optimizer is None else self.carry_optimizer

    @property
    def networks(self) -> Networks:
        """The Q-networks."""
        sizes = self.codec.num_features, self.num_actions, self.num_networks
        return Networks(*sizes, self.hidden, self.activation, self.soft_targets, self.encoder, self.layer_norm)

    @property
    def value_networks(self) -> Networks:
        """The fixed value functions of ``"vep"``."""
        return Networks(self.codec.num_features, 1, self.num_value_networks, self.hidden, self.activation)

    def init(self, key: jax.Array, hyper: OMDHyperparameters) -> OMDState:
        """Fresh parameters; the target networks start as copies."""
        q_key, model_key, value_key = jax.random.split(key, 3)
        params = self.networks.init(q_key)
        if self.model_loss == "omd":
            self.solver.check_size(params)
        model = self.model.init(model_key)
        return OMDState(
            params,
            jax.tree.map(jnp.copy, params),
            self.optimizer.init(params),
            model,
            optimizer.init(model),
            self.value_networks.init(value_key) if self.model_loss == "vep" else {},
            jnp.int32(0),
            jax.tree.map(jnp.float32, hyper),
        )

    # ------------------------------------------------------------------ actions

    def q_values(self, state: OMDState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Action values, the mean of the networks', float32 (n, actions); the key is not used."""
        del key
        return self.networks.values(state.params, self.codec.features(observation)).mean(axis=0)

    def act(self, state: OMDState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None) -> Acted:
        """Actions, int32 (n,), by the mean of the networks: ~ softmax(Q / α), or with probability ε uniform; or the best."""
        if explore is None:
            return Acted(exploration.greedy(self.q_values(state, observation, key)), carry)
        chance_key, uniform_key, soft_key = jax.random.split(key, 3)
        soft = self.act_softly(state, observation, soft_key, explore)
        anything = ActionCodec(self.num_actions).uniform(uniform_key, soft.shape[0])
        return Acted(jnp.where(jax.random.uniform(chance_key, soft.shape) < explore.epsilon, anything, soft), carry)

    def act_softly(self, state: OMDState, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Actions ~ softmax(Q / α) of the mean of the networks, int32 (n,)."""
        return exploration.select(self.q_values(state, observation, key), key, "softmax", explore)

    def evaluate(
        self, env: FunctionalEnv, state: OMDState, key: jax.Array, explore: Exploration, num_episodes: int, num_steps: int
    ) -> dict[str, jax.Array]:
        """Scores of the greedy policy and of softmax(Q / α), in the same episodes.

        ``"score"`` is that of :attr:`evaluation`; both are there by their names, ``"score/greedy"`` and ``"score/sample"``.
        """

        def greedy(carry: Any, observation: jax.Array, step_key: jax.Array) -> Acted:
            return self.act(state, carry, observation, step_key, None)

        def soft(carry: Any, observation: jax.Array, step_key: jax.Array) -> Acted:
            return Acted(self.act_softly(state, observation, step_key, explore), carry)

        by_name = {
            name: evaluation.scores_of_policy(act, env, key, num_episodes, num_steps)
            for name, act in zip(EVALUATIONS, (greedy, soft), strict=True)
        }
        return {"score": by_name[self.evaluation]} | {f"score/{name}": scores for name, scores in by_name.items()}

    # ------------------------------------------------------------------ learning

    def update(self, state: OMDState, batch: Batch, key: jax.Array, now: Now) -> Updated:
        """One gradient step of the model and ``inner_steps`` of the Q-networks and of their targets.

        ``"omd"``: first the Q-networks, then the model, at what these and the target networks have become. Others: first the
        model, on the first half of the batch, then the Q-networks, on the second half.

        Args:
            state: The state.
            batch: :attr:`num_batches` times so many transitions as an update is on.
            key: Raw key.
            now: Learning rate of the Q-networks, and temperature.
        """
        if self.model_loss == "omd":
            state, loss = self._learn_values(state, batch, key, now)
            state, metrics = self._learn_model_implicitly(state, batch, key, now)
            return Updated(state, metrics | {"loss": loss})
        half = batch.reward.shape[0] // 2
        for_model, for_values = (jax.tree.map(operator.itemgetter(part), batch) for part in (slice(half), slice(half, None)))
        state, model_loss = self._learn_model_directly(state, for_model, key, now)
        state, loss = self._learn_values(state, for_values, key, now)
        return Updated(state, {"loss": loss, "model_loss": model_loss})

    def predict(self, model: Any, batch: Batch) -> Prediction:
        """A model's prediction for a batch, with the real rewards unless it learns rewards."""
        prediction = self.model.predict(model, batch.observation, batch.action)
        return prediction if self.learn_reward else prediction._replace(reward=batch.reward)

    def _learn_model_implicitly(self, state: OMDState, batch: Batch, key: jax.Array, now: Now) -> tuple[OMDState, dict]:
        """A step along dL_true(w(θ))/dθ, by the derivatives of both losses at w and the target networks as they are."""

        def td_loss(params: Any, batch: Batch) -> jax.Array:
            return losses.td_loss(params, state.target_params, batch, now.explore.temperature, self.networks)

        def true_loss(params: Any, model: Any) -> jax.Array:
            del model
            return td_loss(params, batch)

        def loss_on_model(params: Any, model: Any) -> jax.Array:
            return td_loss(params, self.predict(model, batch).transitions(batch, key))

        optimality = implicit.inner_gradient(loss_on_model)
        found = implicit.implicit_gradient(true_loss, optimality, state.params, state.model, self.solver)
        return implicit.learn_model(state, found)

    def _learn_model_directly(self, state: OMDState, batch: Batch, key: jax.Array, now: Now) -> tuple[OMDState, jax.Array]:
        """A step along the gradient of a loss that is a function of the model alone; that loss."""

        def values(features: jax.Array) -> jax.Array:
            if self.model_loss == "vep":
                return self.value_networks.values(state.value_networks, features)[..., 0]
            return self.networks.state_value(state.target_params, features, now.explore.temperature)

        loss = functools.partial(losses.model_loss, predict=self.predict, kind=self.model_loss, values=values)
        value, grads = jax.value_and_grad(loss)(state.model, batch, key)
        return optimizer.learn_model(state, grads, clip=False), value

    def _learn_values(self, state: OMDState, batch: Batch, key: jax.Array, now: Now) -> tuple[OMDState, jax.Array]:
        """Gradient steps of the Q-networks on the model's predictions, some or to convergence; the loss before the last."""
        params, target_params = state.params, state.target_params
        if not self.warm_start:
            params = target_params = self.networks.init(jax.random.fold_in(key, 0))
        adam = state.optimizer if self.carries_optimizer else self.optimizer.init(params)
        predicted = self.predict(state.model, batch).transitions(batch, key)

        def step(carry: _Descent) -> _Descent:
            loss, grads = jax.value_and_grad(losses.td_loss)(
                carry.params, carry.target_params, predicted, now.explore.temperature, self.networks
            )
            params, adam = self.optimizer.apply(
                carry.params, grads, carry.optimizer, now.learning_rate, state.hyper.adam, clip=False
            )
            target_params = optimizer.move_towards(carry.target_params, params, state.hyper.tau)
            slope = optax.tree.norm(grads) if self.inner_tolerance > 0 else carry.slope
            return _Descent(params, target_params, adam, loss, slope, carry.steps + 1)

        def unsolved(carry: _Descent) -> jax.Array:
            return (carry.steps < self.inner_steps) & (carry.slope > self.inner_tolerance)

        zero = jnp.zeros_like(now.learning_rate)
        begin = _Descent(params, target_params, adam, zero, jnp.full_like(zero, jnp.inf), jnp.int32(0))
        end = step(begin) if self.inner_steps == 1 else lax.while_loop(unsolved, step, begin)
        return state._replace(params=end.params, target_params=end.target_params, optimizer=end.optimizer), end.loss


class _Descent(NamedTuple):
    params: Any
    target_params: Any
    optimizer: Any
    loss: jax.Array  # before the last step
    slope: jax.Array  # norm of the gradient there
    steps: jax.Array
