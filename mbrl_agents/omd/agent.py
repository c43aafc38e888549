"""Optimal model design for discrete actions, behind Stable-Baselines3's interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PolicyPredictor
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.program import TrainingPlan
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.omd import arguments as checks
from mbrl_agents.omd.learner import OMDHyperparameters, OMDLearner
from mbrl_agents.omd.losses import MODEL_LOSSES
from mbrl_agents.omd.networks import INITIALIZER
from mbrl_agents.omd.solvers import SOLVERS
from mbrl_agents.sb3 import network_arguments, settings, torch_copy
from mbrl_agents.sb3.arguments import Given, Kind, argument, boolean, choice, integer, number
from mbrl_agents.sb3.policy import POLICIES, JaxPolicy
from mbrl_agents.sb3.q_values import ActionValueAgent


class OMD(ActionValueAgent[OMDLearner]):
    """Q-learning on a model that is trained for the return it leads to, or for something else.

    *Control-Oriented Model-Based Reinforcement Learning with Implicit Differentiation* (Nikishin et al. 2022, arXiv
    2106.03273). The study's setting for CartPole, complete, is the preset ``omd-cartpole``. Defaults are the same, as OMD
    learns with it (CartPole: a return of 359 after 40 000 steps, mean of five seeds), but evaluations are greedy by default.

    Two Q-networks learn by soft Q-learning from what a model says of the next observation and the reward of replayed steps.
    The model learns by the gradient of

    ``L_true(w*(θ))``, ``dL/dθ = −(∂L_true/∂w) (∂²L_model/∂w²)⁻¹ (∂²L_model/∂w∂θ)``,

    so that Q-networks that are right for the model are right for the real steps; what a small model can hold goes where it
    matters. ``model_loss`` puts another loss in its place: ``"mle"`` (likelihood), ``"vep"`` (value equivalence for random
    functions, arXiv 2011.03506), ``"vagram"`` (errors weighted by the gradient of the value, arXiv 2204.01464).

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    policy_aliases = POLICIES

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY)
    env: Given[GymEnv | str | None, VecEnv | None] = argument(settings.ENV)
    model_loss: str = argument(choice(MODEL_LOSSES), default="omd", doc='``"omd"``, ``"mle"``, ``"vep"`` or ``"vagram"``.')
    learning_rate: float | Schedule = argument(
        settings.LEARNING_RATE,
        default=3e-4,
        doc="Step size of the Q-networks, at least 0; a number or a schedule of the progress remaining (1 to 0).",
    )
    model_learning_rate: float = argument(checks.MODEL_LEARNING_RATE, default=1e-3)
    buffer_size: int = argument(settings.BUFFER_SIZE, default=200_000)
    learning_starts: int = argument(checks.LEARNING_STARTS, default=1000)
    batch_size: int = argument(
        settings.BATCH_SIZE,
        default=256,
        doc='Transitions per update, drawn with replacement. Under all losses but ``"omd"`` the model learns from so many, and '
        'the Q-networks from as many of their own (published for ``"mle"`` and ``"vep"``, our choice for ``"vagram"``).',
    )
    tau: float = argument(
        settings.TAU,
        default=0.01,
        doc="Fraction of the way the target networks go after each gradient step of the Q-networks, in [0, 1].",
    )
    gamma: float = argument(settings.GAMMA, default=0.99)
    train_freq: int | tuple[int, str] = argument(settings.TRAIN_FREQ, default=1)
    gradient_steps: int = argument(
        settings.GRADIENT_STEPS,
        default=1,
        doc="Updates (each of model and Q-networks) per training; −1 for as many as there were transitions.",
    )
    inner_steps: int = argument(
        checks.INNER_STEPS, default=1, doc="Gradient steps of the Q-networks in each update, at most; at least 1."
    )
    inner_tolerance: float = argument(
        number(0, kind=Kind.PROGRAM),
        default=0.0,
        doc="Norm of their gradient at which these end early, at least 0; 0 for all of them.",
    )
    warm_start: bool = argument(
        boolean(),
        default=True,
        doc="Whether these steps begin at the networks and target networks as they are, or at fresh ones (which takes many).",
    )
    carry_optimizer: bool | None = argument(
        boolean() | None,
        default=None,
        doc="Whether their optimiser goes on from update to update, or begins anew in each. None: it begins anew under "
        '``"omd"`` and goes on under the others, as published for ``"omd"``, ``"mle"`` and ``"vep"`` (``"vagram"`` is not from '
        "that study: our choice).",
    )
    solver: str = argument(
        choice(SOLVERS),
        default="identity",
        doc='What takes the place of the inverse Hessian: ``"identity"`` (as published), ``"cg"`` (conjugate gradients), '
        '``"normal_cg"``, ``"gmres"`` or ``"direct"``. One that finds no finite solution falls back to the identity; how often '
        "it did is in ``learner_state.fallbacks`` and in the log (``train/fallbacks``).",
    )
    damping: float = argument(checks.DAMPING, default=1e-5)
    solver_tolerance: float = argument(checks.SOLVER_TOLERANCE, default=1e-5)
    solver_steps: int = argument(checks.SOLVER_STEPS, default=100)
    model_net_arch: Sequence[int] = argument(checks.MODEL_NET_ARCH, default=(32, 32))
    model_activation_fn: Any = argument(checks.MODEL_ACTIVATION_FN, default="relu")
    stochastic_model: bool = argument(checks.STOCHASTIC_MODEL, default=False)
    predict_change: bool = argument(checks.PREDICT_CHANGE, default=False)
    twin: bool = argument(
        boolean(), default=True, doc="Whether there are two Q-networks, of which the lesser counts in targets."
    )
    soft_targets: bool = argument(
        boolean(), default=True, doc="Whether targets take the soft maximum of the values of actions, or the maximum."
    )
    learn_reward: bool = argument(
        boolean(), default=True, doc="Whether the model learns rewards as well, or those that really came are used."
    )
    num_value_networks: int = argument(
        integer(1, checks.MANY), default=5, doc='Random value functions of ``"vep"``, at least 1.'
    )
    evaluation: str = argument(
        choice(checks.EVALUATIONS),
        default="greedy",
        doc='Policy that evaluations score: ``"greedy"``, or ``"sample"`` (as published): softmax(Q/α), without the uniform '
        "actions of training. On functional environments both are logged, as ``score/greedy`` and ``score/sample``. "
        "``predict(deterministic=True)`` is greedy in any case.",
    )
    temperature: float | Schedule = argument(
        settings.TEMPERATURE,
        default=0.01,
        doc="α of the soft maximum and of the policy softmax(Q/α), above 0; a number or a schedule.",
    )
    exploration_fraction: float = argument(
        settings.EXPLORATION_FRACTION,
        default=1.0,
        doc="Part of the training over which the probability of a uniform action changes, in (0, 1].",
    )
    exploration_initial_eps: float = argument(
        settings.EXPLORATION_INITIAL_EPS, default=0.1, doc="This probability at the start, in [0, 1]."
    )
    exploration_final_eps: float = argument(settings.EXPLORATION_FINAL_EPS, default=0.1, doc="At the end, in [0, 1].")
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(
        network_arguments.policy_kwargs([32, 32], "relu", "the Q-networks"), default=None, kw_only=True, after="tensorboard_log"
    )

    def _check_spaces(self) -> None:
        super()._check_spaces()
        checks.check_model(self.arguments, self.observation_space)

    def to_torch(self) -> torch_copy.TorchValues:
        """A copy of the networks' mean as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        params, activation = jax.device_get(self.learner_state.params), self.arguments["policy_kwargs"]["activation_fn"]
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(self.learner.num_networks)]
        networks = [torch_copy.mlp(own, activation, self._encoder()) for own in each]
        return torch_copy.TorchValues(self.replay.codec, networks)

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> OMDLearner:
        given = self.arguments
        return OMDLearner(
            codec,
            actions.num_actions,
            checks.make_model(given, codec, actions.num_actions, INITIALIZER),
            given["model_loss"],
            tuple(given["policy_kwargs"]["net_arch"]),
            given["policy_kwargs"]["activation_fn"],
            2 if given["twin"] else 1,
            given["inner_steps"],
            given["carry_optimizer"],
            checks.make_solver(given),
            given["num_value_networks"],
            given["inner_tolerance"],
            given["warm_start"],
            given["soft_targets"],
            given["learn_reward"],
            given["evaluation"],
            self._encoder(),
            given["policy_kwargs"].get("layer_norm", False),
            network_arguments.make_optimizer(given["policy_kwargs"]),
        )

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn; an update draws as many batches as its learner needs."""
        plan = super().plan
        return dataclasses.replace(plan, batch_size=plan.batch_size * self.learner.num_batches)

    def _of_batch_size(self, batch_size: int) -> tuple[OMDLearner, TrainingPlan]:
        return self.learner, dataclasses.replace(self.plan, batch_size=batch_size * self.learner.num_batches)

    @property
    def evaluation_policy(self) -> PolicyPredictor:
        """The policy that evaluations score, with SB3's ``predict``."""
        if self.arguments["evaluation"] == "greedy":
            return self
        act, initial_carry = self._act_softly, self.learner.initial_carry
        return JaxPolicy(self.observation_space, self.action_space, act, self.actions, initial_carry, self.save)

    def _act_softly(self, observations: Any, carry: Any, deterministic: bool) -> tuple[np.ndarray, Any]:
        del deterministic
        observations, explore = self.replay.codec.from_host(observations), self.exploration_at()._replace(epsilon=np.float32(0))
        with self.arrays_lock:
            key = self._predict_key(drawn=True)
            return np.array(self._functions.act(self.learner_state, carry, observations, key, explore).action), carry

    def _make_hyperparameters(self) -> OMDHyperparameters:
        return OMDHyperparameters(**self._numbers(), adam=PLAIN_ADAM)
