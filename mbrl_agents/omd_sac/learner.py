"""The learner of OMDSAC: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.common import optimizer
from mbrl_agents.common.exploration import Exploration
from mbrl_agents.common.observations import ObservationCodec
from mbrl_agents.common.optimizer import AdamHyperparameters
from mbrl_agents.common.replay import Batch
from mbrl_agents.common.schedules import Now
from mbrl_agents.omd import implicit, model_losses
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.linear_solvers import LinearSolver
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor

MODEL_LOSSES = ("omd", "mle", "none")
Bootstrap = Callable[[jax.Array], jax.Array]


class SACHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32 scalars.

    Attributes:
        gamma: Discount factor.
        tau: Fraction of the way that the target critics go at each update.
        model_learning_rate: Step size of the model.
        target_entropy: Entropy that the entropy coefficient is learned for.
        ent_coef: Entropy coefficient α at the start, or for good.
        adam: Numbers of all optimisers.
    """

    gamma: Any
    tau: Any
    model_learning_rate: Any
    target_entropy: Any
    ent_coef: Any
    adam: AdamHyperparameters


class SACParams(NamedTuple):
    """What is learned of actor, critics and log α; also the states of their optimisers."""

    actor: Any
    critics: Any
    log_ent_coef: Any


class OMDSACState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of actor and critics (leaves of the latter with a leading axis of critics), and log α.
        target_params: Parameters of the target critics.
        optimizer: States of their optimisers.
        model: Parameters of the model; nothing if there is none.
        model_optimizer: State of its optimiser.
        fallbacks: Gradients of the model whose linear system had no finite solution, int32.
        hyper: Hyperparameters.
    """

    params: SACParams
    target_params: Any
    optimizer: SACParams
    model: Any
    model_optimizer: Any
    fallbacks: jax.Array
    hyper: SACHyperparameters


class Noise(NamedTuple):
    """What is drawn for one update: ε of the actor at s and at s′ (n, a), and a raw key for draws of a Gaussian model."""

    now: jax.Array
    following: jax.Array
    model: jax.Array


@dataclasses.dataclass(frozen=True)
class OMDSACLearner:
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905) on real steps, or on what a model says of them.

    The critics' loss is half the sum of their mean squared errors (Q_w(s, a) − y)², with
    ``y = r + γ(1 − d) (min_i Q⁻_i(s′, a′) − α log π(a′ | s′))``, a′ ~ π(s′). In L_true r and s′ are the real ones; in L_model
    they are the model's, and the critics learn from those. With ``"omd"`` the model learns by the implicit gradient of L_true
    at the critics that L_model leads to (arXiv 2106.03273), through s′ in actor and target critics; noise and everything
    else is the same in both losses. Which ends are final is taken from replay. An update is: α, critics, actor, target critics
    (the order of Stable-Baselines3), with the model before the critics (``"mle"``) or after them (``"omd"``).

    Attributes:
        codec: Reads observations.
        model: The model; None for none.
        model_loss: What the model learns for: ``"omd"``, ``"mle"``, or ``"none"``: the critics learn from real steps.
        actor: The actor.
        critics: The critics.
        learn_ent_coef: Whether α is learned.
        inner_steps: Gradient steps of the critics in each update.
        carry_optimizer: Whether the critics' optimiser goes on from update to update.
        solver: How the linear system of the implicit gradient is solved.
    """

    codec: ObservationCodec
    model: DynamicsModel | None
    model_loss: str
    actor: SquashedGaussianActor
    critics: Critics = Critics()  # noqa: RUF009  # frozen
    learn_ent_coef: bool = True
    inner_steps: int = 1
    carry_optimizer: bool = True
    solver: LinearSolver = LinearSolver("identity")  # noqa: RUF009  # frozen

    def init(self, key: jax.Array, hyper: SACHyperparameters) -> OMDSACState:
        """Fresh parameters; the target critics start as copies."""
        actor_key, critics_key, model_key = jax.random.split(key, 3)
        features = self.codec.num_features
        critics = self.critics.init(critics_key, features, self.actor.num_actions)
        if self.model_loss == "omd":
            self.solver.check_size(critics)
        log_ent_coef = jnp.log(jnp.float32(hyper.ent_coef))
        params = SACParams(self.actor.init(actor_key, features), critics, log_ent_coef)
        model = {} if self.model is None else self.model.init(model_key)
        return OMDSACState(
            params,
            jax.tree.map(jnp.copy, critics),
            SACParams(*(optimizer.init(each) for each in params)),
            model,
            optimizer.init(model) if model else {},
            jnp.int32(0),
            jax.tree.map(jnp.float32, hyper),
        )

    # ------------------------------------------------------------------ acting

    def act(self, state: OMDSACState, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Actions of the policy, float32 (n, a) in (−1, 1)."""
        del explore
        noise = jax.random.normal(key, (observation.shape[0], self.actor.num_actions))
        return self.actor.sample(state.params.actor, self.codec.features(observation), noise)[0]

    def act_greedily(self, state: OMDSACState, observation: jax.Array, key: jax.Array) -> jax.Array:
        """The tanh of the policy's mean, float32 (n, a); the key is not used."""
        del key
        return self.actor.best(state.params.actor, self.codec.features(observation))

    # ------------------------------------------------------------------ learning

    def noise(self, key: jax.Array, number: int) -> Noise:
        """What is drawn for an update on so many transitions."""
        noise_key, model_key = jax.random.split(key)
        now, following = jax.random.normal(noise_key, (2, number, self.actor.num_actions))
        return Noise(now, following, model_key)

    def update(self, state: OMDSACState, batch: Batch, key: jax.Array, now: Now) -> tuple[OMDSACState, dict]:
        """One gradient step of α, model, actor and target critics, and ``inner_steps`` of the critics, on one batch."""
        noise = self.noise(key, batch.observation.shape[0])
        alpha = jnp.exp(state.params.log_ent_coef)

        def bootstrap(features: jax.Array) -> jax.Array:
            action, log_prob = self.actor.sample(state.params.actor, features, noise.following)
            return self.critics.values(state.target_params, features, action).min(axis=0) - alpha * log_prob

        (action, log_prob), back = jax.vjp(
            lambda actor: self.actor.sample(actor, batch.observation, noise.now), state.params.actor
        )
        after, told = self._learn_ent_coef(state, log_prob, now) if self.learn_ent_coef else (state, {})
        after, of_values = self._learn_values(after, batch, bootstrap, noise.model, now)

        def least(chosen: jax.Array) -> jax.Array:
            return self.critics.values(after.params.critics, batch.observation, chosen).min(axis=0).mean()

        value, slope = jax.value_and_grad(least)(action)
        (grads,) = back((-slope, jnp.full_like(log_prob, alpha / log_prob.size)))
        after = _learned(after, "actor", grads, now)
        told |= of_values | {"actor_loss": alpha * log_prob.mean() - value, "ent_coef": alpha}
        return self._move_targets(after), told

    def update_target(self, state: OMDSACState) -> OMDSACState:
        """Nothing: target critics move at every update."""
        return state

    def _move_targets(self, state: OMDSACState) -> OMDSACState:
        moved = optimizer.move_towards(state.target_params, state.params.critics, state.hyper.tau)
        return state._replace(target_params=moved)

    def _learn_ent_coef(self, state: OMDSACState, log_prob: jax.Array, now: Now) -> tuple[OMDSACState, dict]:
        """A step of log α along −log α · mean(log π + target entropy), as Stable-Baselines3 has it."""
        slope = -(log_prob + state.hyper.target_entropy).mean()
        return _learned(state, "log_ent_coef", slope, now), {"ent_coef_loss": state.params.log_ent_coef * slope}

    def critic_loss(
        self, critics: Any, batch: Batch, reward: jax.Array, following: jax.Array, bootstrap: Bootstrap
    ) -> jax.Array:
        """Half the mean squared TD errors on given rewards and next observations, summed over critics.

        Args:
            critics: Their parameters.
            batch: Real transitions, of which observation, action and discount are used.
            reward: (n,).
            following: Features of what comes next, (n, f).
            bootstrap: Function that gives the values of these.
        """
        target = reward + batch.discount * bootstrap(following)
        values = self.critics.values(critics, batch.observation, batch.action)
        return 0.5 * jnp.square(values - target).mean(axis=-1).sum()

    def _learn_values(
        self, state: OMDSACState, batch: Batch, bootstrap: Bootstrap, key: jax.Array, now: Now
    ) -> tuple[OMDSACState, dict]:
        """Learns critics and model."""

        def on_data(critics: Any, model: Any) -> jax.Array:
            del model
            return self.critic_loss(critics, batch, batch.reward, batch.next_observation, bootstrap)

        if self.model is None:
            state, loss = self._learn_critics(state, on_data, now)
            return state, {"critic_loss": loss}
        dynamics = self.model

        def on_model(critics: Any, model: Any) -> jax.Array:
            prediction = dynamics.predict(model, batch.observation, batch.action)
            return self.critic_loss(critics, batch, prediction.reward, prediction.draw(key), bootstrap)

        def likelihood(model: Any) -> jax.Array:
            return model_losses.likelihood(dynamics.predict(model, batch.observation, batch.action), batch)

        told: dict[str, jax.Array] = {}
        if self.model_loss == "mle":
            told["model_loss"], grads = jax.value_and_grad(likelihood)(state.model)
            state = optimizer.learn_model(state, grads, clip=False)
        state, told["critic_loss"] = self._learn_critics(state, on_model, now)
        if self.model_loss == "omd":
            state, of_model = implicit.learn_model(state, state.params.critics, on_data, on_model, self.solver)
            told |= of_model
        return state, told

    def _learn_critics(
        self, state: OMDSACState, loss: Callable[[Any, Any], jax.Array], now: Now
    ) -> tuple[OMDSACState, jax.Array]:
        """Gradient steps of the critics; the loss before the last."""
        adam = state.optimizer.critics if self.carry_optimizer else optimizer.init(state.params.critics)
        state = state._replace(optimizer=state.optimizer._replace(critics=adam))

        def step(_: Any, carry: tuple[OMDSACState, jax.Array]) -> tuple[OMDSACState, jax.Array]:
            value, grads = jax.value_and_grad(loss)(carry[0].params.critics, state.model)
            return _learned(carry[0], "critics", grads, now), value

        begin = (state, jnp.zeros_like(state.params.log_ent_coef))
        return step(0, begin) if self.inner_steps == 1 else lax.fori_loop(0, self.inner_steps, step, begin)


def _learned(state: OMDSACState, part: str, grads: Any, now: Now) -> OMDSACState:
    """One step of Adam of a part of the parameters."""
    params, adam = optimizer.apply(
        getattr(state.params, part), grads, getattr(state.optimizer, part), now.learning_rate, state.hyper.adam, clip=False
    )
    return state._replace(params=state.params._replace(**{part: params}), optimizer=state.optimizer._replace(**{part: adam}))
