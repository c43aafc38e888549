"""The learner of OMDSAC: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mbrl_agents.core import optimizer
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec, num_observations
from mbrl_agents.core.optimizer import AdamHyperparameters, Optimizer
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now
from mbrl_agents.omd import implicit
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.implicit import ImplicitGradient
from mbrl_agents.omd.losses import likelihood
from mbrl_agents.omd.solvers import Identity, LinearSolver
from mbrl_agents.omd_sac import losses
from mbrl_agents.omd_sac.gauss_newton import GaussNewton
from mbrl_agents.omd_sac.losses import Noise
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor

MODEL_LOSSES = ("omd", "mle", "none")
INNER_LOOPS = ("critics", "all")


class SACHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32 scalars.

    Attributes:
        gamma: Discount factor.
        tau: Fraction of the way that the target critics go at each update.
        model_learning_rate: Learning rate of the model.
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


@dataclasses.dataclass(frozen=True)
class OMDSACLearner(Learner):
    """Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905) on real steps, or on what a model says of them.

    The critics' loss is half the sum of their mean squared errors (Q_w(s, a) − y)², with
    ``y = r + γ(1 − d) (min_i Q⁻_i(s′, a′) − α log π(a′ | s′))``, a′ ~ π(s′). In L_true r and s′ are the real ones; in L_model
    they are the model's, and the critics learn from those. Which ends are final is taken from replay.

    An inner step is: α, critics, actor, target critics (the order of Stable-Baselines3). With ``"mle"`` the model learns
    before the inner steps. With ``"omd"`` it learns after them, by the implicit gradient of L_true at the critics that L_model
    leads to (arXiv 2106.03273). Both losses then have the actor, the target critics and α that the inner steps have left, and
    the same fresh noise. The gradient goes through the s′ that the target critics see, not through the one that the actor sees.

    Attributes:
        codec: Reads observations.
        model: The model; None for none.
        model_loss: What the model learns for: ``"omd"``, ``"mle"``, or ``"none"``: the critics learn from real steps.
        actor: The actor.
        critics: The critics.
        learn_ent_coef: Whether α is learned.
        inner_steps: Inner steps in each update.
        carry_optimizer: Whether the critics' optimiser goes on from update to update.
        solver: How the linear system of the implicit gradient is solved.
        inner_loop: What is done so often: ``"critics"``: steps of the critics; ``"all"``: of everything but the model.
        optimizer: How actor and critics follow their gradients.
    """

    codec: ObservationCodec
    model: DynamicsModel | None
    model_loss: str
    actor: SquashedGaussianActor
    critics: Critics = Critics()  # noqa: RUF009  # frozen
    learn_ent_coef: bool = True
    inner_steps: int = 1
    carry_optimizer: bool = True
    solver: LinearSolver | GaussNewton = Identity()  # noqa: RUF009  # frozen
    inner_loop: str = "critics"
    optimizer: Optimizer = Optimizer()  # noqa: RUF009  # frozen

    def _optimizer(self, part: str) -> Optimizer:
        """That of a part of the parameters; the entropy coefficient has Adam, as in Stable-Baselines3."""
        return Optimizer() if part == "log_ent_coef" else self.optimizer

    def init(self, key: jax.Array, hyper: SACHyperparameters) -> OMDSACState:
        """Fresh parameters; the target critics start as copies."""
        actor_key, critics_key, model_key = jax.random.split(key, 3)
        features = self.codec.num_features
        critics = self.critics.init(critics_key, features, self.actor.num_actions)
        if self.model_loss == "omd" and isinstance(self.solver, LinearSolver):
            self.solver.check_size(critics)
        log_ent_coef = jnp.log(jnp.float32(hyper.ent_coef))
        params = SACParams(self.actor.init(actor_key, features), critics, log_ent_coef)
        model = {} if self.model is None else self.model.init(model_key)
        return OMDSACState(
            params,
            jax.tree.map(jnp.copy, critics),
            SACParams(*(self._optimizer(part).init(each) for part, each in params._asdict().items())),
            model,
            optimizer.init(model) if model else {},
            jnp.int32(0),
            jax.tree.map(jnp.float32, hyper),
        )

    # ------------------------------------------------------------------ acting

    def act(self, state: OMDSACState, carry: Any, observation: Any, key: jax.Array, explore: Exploration | None) -> Acted:
        """Actions drawn from the policy, or the tanh of its mean; float32 (n, a) in (−1, 1)."""
        features = self.codec.features(observation)
        if explore is None:
            return Acted(self.actor.best(state.params.actor, features), carry)
        noise = jax.random.normal(key, (num_observations(observation), self.actor.num_actions), jnp.float32)
        return Acted(self.actor.sample(state.params.actor, features, noise)[0], carry)

    # ------------------------------------------------------------------ learning

    def keys(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Keys of the inner steps' noise, (steps, …), and of the noise in the outer loss, by the key of an update.

        The first inner step has the key itself. Numbers folded in begin at 2, as ``split(key)`` folds in 0 and 1.
        """
        others = [jax.random.fold_in(key, 2 + i) for i in range(self._rounds[0])]
        return jnp.stack([key, *others[1:]]), others[0]

    def noise(self, key: jax.Array, number: int) -> Noise:
        """Noise of an inner step, or of the outer loss, on so many transitions."""
        noise_key, model_key = jax.random.split(key)
        action, next_action = jax.random.normal(noise_key, (2, number, self.actor.num_actions))
        return Noise(action, next_action, model_key)

    def update(self, state: OMDSACState, batch: Batch, key: jax.Array, now: Now) -> Updated:
        """The inner steps, on one batch, with a gradient step of the model before (``"mle"``) or after them (``"omd"``)."""
        inner, outer = self.keys(key)
        metrics: dict[str, jax.Array] = {}
        if self.model_loss == "mle":
            metrics["model_loss"], grads = jax.value_and_grad(self._likelihood)(state.model, batch)
            state = optimizer.learn_model(state, grads, clip=False)
        if not self.carry_optimizer:
            begun = self.optimizer.init(state.params.critics)
            state = state._replace(optimizer=state.optimizer._replace(critics=begun))
        state, of_steps = self._inner_loop(state, batch, inner, now)
        if self.model_loss == "omd":
            state, of_model = self._learn_model(state, batch, self.noise(outer, batch.reward.shape[0]))
            metrics |= of_model
        return Updated(state, metrics | of_steps)

    # ------------------------------------------------------------------ soft actor-critic

    @property
    def _rounds(self) -> tuple[int, int]:
        """How often everything is learned in an update, and how often the critics are in each of these."""
        return (self.inner_steps, 1) if self.inner_loop == "all" else (1, self.inner_steps)

    def _inner_loop(self, state: OMDSACState, batch: Batch, keys: jax.Array, now: Now) -> tuple[OMDSACState, dict]:
        """The inner steps; metrics are those of the last."""

        def step(state: OMDSACState, key: jax.Array) -> tuple[OMDSACState, dict]:
            return self._learn_actor_and_critics(state, batch, self.noise(key, batch.reward.shape[0]), now)

        if len(keys) == 1:
            return step(state, keys[0])
        state, metrics = lax.scan(step, state, keys)
        return state, jax.tree.map(lambda each: each[-1], metrics)

    def _learn_actor_and_critics(self, state: OMDSACState, batch: Batch, noise: Noise, now: Now) -> tuple[OMDSACState, dict]:
        """A step of α, steps of the critics, a step of the actor, and the target critics; all with the α before its step."""
        actor, ent_coef = state.params.actor, jnp.exp(state.params.log_ent_coef)
        targets = self._targets(state, self._transitions(state.model, batch, noise), noise)
        metrics = {"ent_coef": ent_coef}
        if self.learn_ent_coef:
            _, log_prob = self.actor.sample(actor, batch.observation, noise.action)
            state, metrics["ent_coef_loss"] = self._step(
                state, "log_ent_coef", losses.ent_coef_loss, now, log_prob, state.hyper.target_entropy
            )
        state, metrics["critic_loss"] = self._learn_critics(state, batch, targets, now)
        networks = self.actor, self.critics
        state, metrics["actor_loss"] = self._step(
            state, "actor", losses.actor_loss, now, state.params.critics, ent_coef, batch, noise.action, *networks
        )
        moved = optimizer.move_towards(state.target_params, state.params.critics, state.hyper.tau)
        return state._replace(target_params=moved), metrics

    def _learn_critics(self, state: OMDSACState, batch: Batch, targets: jax.Array, now: Now) -> tuple[OMDSACState, jax.Array]:
        """Gradient steps of the critics on fixed targets; the loss before the last."""

        def step(_: Any, carry: tuple[OMDSACState, jax.Array]) -> tuple[OMDSACState, jax.Array]:
            return self._step(carry[0], "critics", losses.critic_loss, now, batch, targets, self.critics)

        begin, number = (state, jnp.zeros_like(state.params.log_ent_coef)), self._rounds[1]
        return step(0, begin) if number == 1 else lax.fori_loop(0, number, step, begin)

    def _targets(self, state: OMDSACState, batch: Batch, noise: Noise) -> jax.Array:
        """The critics' targets on real or predicted transitions, (n,)."""
        params = state.params
        return losses.critic_targets(
            state.target_params, params.actor, jnp.exp(params.log_ent_coef), batch, noise.next_action, self.actor, self.critics
        )

    def _step(
        self, state: OMDSACState, part: str, loss: Callable[..., jax.Array], now: Now, *given: Any
    ) -> tuple[OMDSACState, jax.Array]:
        """One step of a part of the parameters on loss(part, *given); the loss before it."""
        before = getattr(state.params, part)
        value, grads = jax.value_and_grad(loss)(before, *given)
        params, of_part = self._optimizer(part).apply(
            before, grads, getattr(state.optimizer, part), now.learning_rate, state.hyper.adam, clip=False
        )
        params, optimizers = state.params._replace(**{part: params}), state.optimizer._replace(**{part: of_part})
        return state._replace(params=params, optimizer=optimizers), value

    # ------------------------------------------------------------------ the model

    def _transitions(self, model: Any, batch: Batch, noise: Noise) -> Batch:
        """Transitions predicted by a model for a batch; the batch itself if there is no model (``{}``)."""
        if not model:
            return batch
        assert self.model is not None
        return self.model.predict(model, batch.observation, batch.action).transitions(batch, noise.model)

    def _likelihood(self, model: Any, batch: Batch) -> jax.Array:
        assert self.model is not None
        return likelihood(self.model.predict(model, batch.observation, batch.action), batch)

    def _learn_model(self, state: OMDSACState, batch: Batch, noise: Noise) -> tuple[OMDSACState, dict]:
        """A step of the model along the implicit gradient of L_true, at what has been learned."""
        targets = self._targets(state, batch, noise)

        def model_targets(model: Any) -> jax.Array:
            return self._targets(state, self._transitions(model, batch, noise), noise)

        def true_loss(critics: Any, model: Any) -> jax.Array:
            del model
            return losses.critic_loss(critics, batch, targets, self.critics)

        def loss_on_model(critics: Any, model: Any) -> jax.Array:
            return losses.critic_loss(critics, batch, model_targets(model), self.critics)

        critics = state.params.critics
        if isinstance(self.solver, LinearSolver):
            optimality = implicit.inner_gradient(loss_on_model)
            found = implicit.implicit_gradient(true_loss, optimality, critics, state.model, self.solver)
            return implicit.learn_model(state, found)
        errors = self.critics.values(critics, batch.observation, batch.action) - targets
        kernel = self.critics.tangent_kernel(critics, batch.observation, batch.action)
        projected = self.solver.project(kernel, errors)
        gradient = jax.grad(lambda model: projected.value.sum(axis=0) @ model_targets(model) / targets.size)(state.model)
        loss = true_loss(critics, state.model)
        return implicit.learn_model(state, ImplicitGradient(loss, gradient, projected.residual, projected.fell_back))
