"""What the agents that learn from imagination have in common: what their arguments make of a model and of Q-learning."""

from __future__ import annotations

import dataclasses
from typing import Any

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import KINDS, ObservationCodec
from mbrl_agents.core.program import TrainingPlan
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.model_dqn.learner import ModelDQNLearner
from mbrl_agents.model_dqn.weights import LossWeights, ModelHyperparameters
from mbrl_agents.model_dqn.world_model import WorldModel
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import argument, boolean, integer, number
from mbrl_agents.sb3.q_agent import QAgent
from mbrl_envs import functional_task

_MANY = 2**20
_WEIGHTS = {f"{name}_weight": name for name in LossWeights._fields}


class ModelDQN(QAgent[ModelDQNLearner]):
    """Base of the agents that learn from what a world model imagines; their arguments: :class:`~mbrl_agents.SimpleModelDQN`."""

    learning_rate: float | Schedule = argument(
        settings.LEARNING_RATE,
        default=1e-4,
        doc="Step size of the Q-network, at least 0; a number or a schedule of the progress remaining (1 to 0).",
    )
    gradient_steps: int = argument(
        settings.GRADIENT_STEPS,
        default=1,
        doc="Updates (each of the model, if it learns, and of the Q-network) per training; −1 for as many as there were "
        "transitions.",
    )
    rollout_length: int = argument(
        integer(1, _MANY), default=10, after="warmup", doc="Imagined steps from each start, at least 1."
    )
    rollout_batch_size: int | None = argument(
        integer(1, _MANY) | None,
        default=None,
        doc="Starts of roll-outs, at least 1; None for ``batch_size``. With more, a learned model learns from the first.",
    )
    exploration: str = argument(
        settings.EXPLORATION,
        default="softmax",
        doc='``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``; in imagination as well.',
    )

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> WorldModel:
        """The world model that the arguments ask for."""
        raise NotImplementedError

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> ModelDQNLearner:
        model = self._world_model(codec, actions.num_actions)
        return ModelDQNLearner(
            codec,
            self._q_learning(model.num_features, actions.num_actions, model.num_codes),
            model,
            self.rollout_length,
            self.batch_size,
            self._rollout_batch_size,
            self.arguments.get("separate_rollout_batch", False),
        )

    def _numbers(self) -> dict[str, Any]:
        numbers = super()._numbers()
        weights = LossWeights(**{name: numbers.pop(given) for given, name in _WEIGHTS.items() if given in numbers})
        return numbers | {"model": ModelHyperparameters(weights, numbers.pop("latent_min_std", 0.0))}

    @property
    def _rollout_batch_size(self) -> int:
        return self.batch_size if self.rollout_batch_size is None else self.rollout_batch_size

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn; as many transitions are drawn as model or roll-outs need."""
        return dataclasses.replace(super().plan, batch_size=self.learner.num_drawn)

    def _of_batch_size(self, batch_size: int) -> tuple[ModelDQNLearner, TrainingPlan]:
        rollouts = self.rollout_batch_size or batch_size
        learner = dataclasses.replace(self.learner, batch_size=batch_size, rollout_batch_size=rollouts)
        return learner, dataclasses.replace(self.plan, batch_size=learner.num_drawn)


class LearnedModelDQN(ModelDQN):
    """Base of those whose model is learned."""

    observation_kinds = KINDS

    batch_size: int = argument(
        settings.BATCH_SIZE, default=32, doc="Transitions on which the model takes a gradient step, at least 1."
    )
    model_learning_rate: float = argument(number(0), default=2e-4, after="warmup", doc="Step size of the model, at least 0.")
    separate_rollout_batch: bool = argument(
        boolean(),
        default=False,
        after="rollout_batch_size",
        doc="Whether roll-outs start from transitions drawn afresh, not from those that the model has just learned from.",
    )
    reward_weight: float = argument(number(0), default=1.0, doc="Weight of the model's loss of rewards, at least 0.")
    termination_weight: float = argument(number(0), default=1.0, doc="Weight of its loss of ends, at least 0.")
    observation_weight: float = argument(number(0), default=1.0, doc="Weight of its loss of observations, at least 0.")
    continuing: bool | None = argument(
        boolean() | None,
        default=None,
        doc="Whether the task never ends, so that nothing is predicted about that; None to ask the dynamics (tasks without "
        "functional dynamics then count as episodic).",
    )
    learned_variance: bool = argument(
        boolean(),
        default=False,
        doc="Whether the model says how certain it is of real-valued observations; else their variance counts as 1, and "
        "imagination takes the mean.",
    )

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        if not given["policy_kwargs"]["net_arch"]:
            raise ValueError("policy_kwargs: net_arch must have at least one hidden layer for a learned model, got []")
        return given

    def _check_spaces(self) -> None:
        super()._check_spaces()
        if self.arguments["continuing"] is None:  # known from here on, so that the agent can be loaded without an environment
            task = functional_task(self.env)
            self.arguments["continuing"] = task is not None and task.env.continuing
