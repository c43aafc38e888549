"""Optimal model design for discrete actions, behind Stable-Baselines3's interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, PolicyPredictor

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.program import TrainingPlan
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.omd import arguments as checks
from mbrl_agents.omd.learner import OMDHyperparameters, OMDLearner
from mbrl_agents.omd.networks import INITIALIZER
from mbrl_agents.sb3 import settings, torch_copy
from mbrl_agents.sb3.policy import JaxPolicy
from mbrl_agents.sb3.q_values import ActionValueAgent


class OMD(ActionValueAgent):
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

    Args:
        policy: ``"MlpPolicy"``.
        env: Gymnasium environment with Discrete actions, its id, or a ``VecEnv``.
        model_loss: ``"omd"``, ``"mle"``, ``"vep"`` or ``"vagram"``.
        learning_rate: Step size of the Q-networks, at least 0; a number or a schedule of the progress remaining (1 to 0).
        model_learning_rate: Step size of the model, at least 0.
        buffer_size: Transitions kept for replay, over all environments.
        learning_starts: Transitions collected with uniform actions before learning.
        batch_size: Transitions per update, drawn with replacement. Under all losses but ``"omd"`` the model learns from so
            many, and the Q-networks from as many of their own (published for ``"mle"`` and ``"vep"``, our choice for
            ``"vagram"``).
        tau: Fraction of the way the target networks go after each gradient step of the Q-networks, in [0, 1].
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, or ``(number, "step" | "episode")``.
        gradient_steps: Updates (each of model and Q-networks) per training; −1 for as many as there were transitions.
        inner_steps: Gradient steps of the Q-networks in each update, at most.
        inner_tolerance: Norm of their gradient at which these end early, at least 0; 0 for all of them.
        warm_start: Whether these steps begin at the networks and target networks as they are, or at fresh ones (which needs
            many steps).
        carry_optimizer: Whether their optimiser goes on from update to update, or begins anew in each. None: it begins anew
            under ``"omd"`` and goes on under the others, as published for ``"omd"``, ``"mle"`` and ``"vep"`` (``"vagram"`` is
            not from that study: our choice).
        solver: What takes the place of the inverse Hessian: ``"identity"`` (as published), ``"cg"`` (conjugate gradients),
            ``"normal_cg"``, ``"gmres"`` or ``"direct"``. One that finds no finite solution falls back to the identity; how
            often it did is in ``learner_state.fallbacks`` and in the log (``train/fallbacks``).
        damping: Added to the Hessian's diagonal, at least 0.
        solver_tolerance: Relative residual at which iterations stop, above 0.
        solver_steps: Most iterations.
        model_net_arch: Hidden layers of the model's two networks: how much it can hold.
        model_activation_fn: Their activation function.
        stochastic_model: Whether the model predicts a diagonal Gaussian; else one observation. Only for real-valued ones.
        predict_change: Whether it predicts the difference to the observation before. Only for real-valued ones.
        twin: Whether there are two Q-networks, of which the lesser counts in targets.
        soft_targets: Whether targets take the soft maximum of the values of actions, or the maximum.
        learn_reward: Whether the model learns rewards as well, or those that really came are used.
        num_value_networks: Random value functions of ``"vep"``.
        evaluation: Policy that evaluations score: ``"greedy"``, or ``"sample"`` (as published): softmax(Q/α), without the
            uniform actions of training. On functional environments both are logged, as ``score/greedy`` and
            ``score/sample``. ``predict(deterministic=True)`` is greedy in any case.
        temperature: α of the soft maximum and of the policy softmax(Q/α), above 0; a number or a schedule.
        exploration_fraction: Part of the training over which the probability of a uniform action changes.
        exploration_initial_eps: This probability at the start, in [0, 1].
        exploration_final_eps: At the end, in [0, 1].
        stats_window_size: Episodes over which reported statistics are averaged.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [32, 32], "activation_fn": "relu"}`` or a part of it, for the Q-networks.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        device_loop: Whether to learn in the device loop; None where the environment allows it.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    learner: OMDLearner

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        model_loss: str = "omd",
        learning_rate: float | Schedule = 3e-4,
        model_learning_rate: float = 1e-3,
        buffer_size: int = 200_000,
        learning_starts: int = 1000,
        batch_size: int = 256,
        tau: float = 0.01,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        inner_steps: int = 1,
        inner_tolerance: float = 0.0,
        warm_start: bool = True,
        carry_optimizer: bool | None = None,
        solver: str = "identity",
        damping: float = 1e-5,
        solver_tolerance: float = 1e-5,
        solver_steps: int = 100,
        model_net_arch: Sequence[int] = (32, 32),
        model_activation_fn: Any = "relu",
        stochastic_model: bool = False,
        predict_change: bool = False,
        twin: bool = True,
        soft_targets: bool = True,
        learn_reward: bool = True,
        num_value_networks: int = 5,
        evaluation: str = "greedy",
        temperature: float | Schedule = 0.01,
        exploration_fraction: float = 1.0,
        exploration_initial_eps: float = 0.1,
        exploration_final_eps: float = 0.1,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
        device_loop: bool | None = None,
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(policy, env, settings.of_constructor(locals()), _init_setup_model)

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return checks.check(super()._check_arguments(checks.with_networks(arguments)))

    def _check_spaces(self) -> None:
        super()._check_spaces()
        checks.check_model(self.arguments, self.observation_space)

    def to_torch(self) -> torch_copy.TorchValues:
        """A copy of the networks' mean as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        params, activation = jax.device_get(self.learner_state.params), self.arguments["policy_kwargs"]["activation_fn"]
        each = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(self.learner.num_networks)]
        return torch_copy.TorchValues(self.replay.codec, [torch_copy.mlp(own, activation) for own in each])

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
        return JaxPolicy(self.observation_space, self.action_space, self._act_softly, self.actions, self.save)

    def _act_softly(self, observations: np.ndarray, deterministic: bool) -> np.ndarray:
        del deterministic
        observations, explore = self.replay.codec.from_host(observations), self.exploration_at()._replace(epsilon=np.float32(0))
        with self.arrays_lock:
            key = self._predict_key(drawn=True)
            return np.array(self._functions.act(self.learner_state, observations, key, explore))

    def _make_hyperparameters(self) -> OMDHyperparameters:
        given = self.arguments
        return OMDHyperparameters(given["gamma"], given["tau"], given["model_learning_rate"], PLAIN_ADAM)
