"""What the agents that learn from imagination have in common: what their arguments make of a model and of Q-learning."""

from __future__ import annotations

import dataclasses
from typing import Any

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.program import TrainingPlan
from mbrl_agents.model_dqn.latents import LATENTS, STD_ACTIVATIONS
from mbrl_agents.model_dqn.learner import ModelDQNHyperparameters, ModelDQNLearner
from mbrl_agents.model_dqn.weights import LossWeights, ModelHyperparameters
from mbrl_agents.model_dqn.world_model import WorldModel
from mbrl_agents.sb3.q_agent import QAgent
from mbrl_envs import functional_task
from mbrl_envs.checks import boolean, integer_in, number_in, one_of

_MANY = 2**20
_SIZES = {"latent_variables": 1, "latent_classes": 2, "latent_units": 1}  # the fewest
_MAX_SIZE = 1024
_WEIGHTS = {f"{name}_weight": name for name in LossWeights._fields}


class ModelDQN(QAgent):
    """Base of the agents that learn from what a world model imagines; their arguments: :class:`~mbrl_agents.SimpleModelDQN`."""

    learner: ModelDQNLearner

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        for name in ("rollout_length", "rollout_batch_size"):
            if given[name] is not None:
                given[name] = integer_in(name, given[name], 1, _MANY)
        for name in ("model_learning_rate", "latent_min_std", *_WEIGHTS):
            if name in given:
                given[name] = number_in(name, given[name], 0)
        for name in ("learned_variance", "raw_logits", "published_mask", "separate_rollout_batch"):
            if name in given:
                boolean(name, given[name])
        if "model_learning_rate" in given and not given["policy_kwargs"]["net_arch"]:
            raise ValueError("policy_kwargs: net_arch must have at least one hidden layer for a learned model, got []")
        if given.get("continuing") is not None:
            boolean("continuing", given["continuing"])
        if "latent" in given:
            one_of("latent", given["latent"], LATENTS)
            one_of("latent_std_activation", given["latent_std_activation"], STD_ACTIVATIONS)
            for name, fewest in _SIZES.items():
                given[name] = integer_in(name, given[name], fewest, _MAX_SIZE)
        return given

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> WorldModel:
        """The world model that the arguments ask for."""
        raise NotImplementedError

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> ModelDQNLearner:
        model = self._world_model(codec, actions.num_actions)
        return ModelDQNLearner(
            codec,
            self._q_learning(model.num_features, actions.num_actions, model.num_codes),
            model,
            self.arguments["rollout_length"],
            self.batch_size,
            self._rollout_batch_size,
            self._separate_rollout_batch,
        )

    def _make_hyperparameters(self) -> ModelDQNHyperparameters:
        given, q = self.arguments, self._q_hyperparameters()
        weights = LossWeights(**{name: given[argument] for argument, name in _WEIGHTS.items() if argument in given})
        model = ModelHyperparameters(weights, given.get("latent_min_std", 0.0))
        return ModelDQNHyperparameters(q.gamma, q.tau, q.adam, given.get("model_learning_rate", 0.0), model)

    @property
    def _rollout_batch_size(self) -> int:
        given = self.arguments["rollout_batch_size"]
        return self.batch_size if given is None else given

    @property
    def _separate_rollout_batch(self) -> bool:
        return bool(self.arguments.get("separate_rollout_batch", False))

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn; as many transitions are drawn as model or roll-outs need."""
        return dataclasses.replace(super().plan, batch_size=self.learner.num_drawn)

    def _of_batch_size(self, batch_size: int) -> tuple[ModelDQNLearner, TrainingPlan]:
        rollouts = self.arguments["rollout_batch_size"] or batch_size
        learner = dataclasses.replace(self.learner, batch_size=batch_size, rollout_batch_size=rollouts)
        return learner, dataclasses.replace(self.plan, batch_size=learner.num_drawn)

    def _check_spaces(self) -> None:
        super()._check_spaces()
        # Known from here on, so that the agent can be loaded without an environment.
        if "continuing" in self.arguments and self.arguments["continuing"] is None:
            task = functional_task(self.env)
            self.arguments["continuing"] = task is not None and task.env.continuing

    @property
    def _continuing(self) -> bool:
        """Whether the task never ends."""
        return bool(self.arguments["continuing"])
