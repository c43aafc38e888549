"""Soft actor-critic on real steps or on models that are trained for return, behind Stable-Baselines3's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.core import optimizer
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.omd.arguments import check_model, with_networks
from mbrl_agents.omd_sac import arguments as checks
from mbrl_agents.omd_sac.learner import OMDSACLearner, OMDSACState, SACHyperparameters
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor
from mbrl_agents.sb3 import settings, torch_copy
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs.dependencies import advice


class OMDSAC(JaxAgent):
    """Soft actor-critic for continuous actions, whose critics may learn from a model instead of from real steps.

    *Soft Actor-Critic Algorithms and Applications* (Haarnoja et al. 2018, arXiv 1812.05905) with the model of *Control-Oriented
    Model-Based Reinforcement Learning with Implicit Differentiation* (Nikishin et al. 2022, arXiv 2106.03273).
    ``model_loss`` says from what the critics learn:

    * ``"omd"``: from a model's predictions of next observation and reward of replayed steps. The model is trained so that
      critics that are right for the model are right for the real steps, by the implicit gradient (see :class:`OMD`).
    * ``"mle"``: the same, with a model trained on squared errors of next observation and reward.
    * ``"none"``: from the real steps. This is SAC, and does what Stable-Baselines3's SAC does, update by update.

    Defaults are those of Stable-Baselines3's SAC where it has the argument, and else ones that learn. The published settings
    are the presets ``omd-halfcheetah``, ``omd-halfcheetah-small-model`` and ``omd-halfcheetah-distractors``.

    Args:
        policy: ``"MlpPolicy"``.
        env: Gymnasium environment with actions in a bounded Box, its id, or a ``VecEnv``.
        model_loss: ``"omd"``, ``"mle"`` or ``"none"``.
        learning_rate: Step size of actor, critics and entropy coefficient, at least 0; a number or a schedule of the progress
            remaining (1 to 0).
        model_learning_rate: Step size of the model, at least 0.
        buffer_size: Transitions kept for replay, over all environments.
        learning_starts: Transitions collected with uniform actions before learning.
        batch_size: Transitions per update, drawn with replacement.
        tau: Fraction of the way the target critics go at every update, in [0, 1].
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, or ``(number, "step" | "episode")``.
        gradient_steps: Updates per training; −1 for as many as there were transitions.
        ent_coef: Entropy coefficient α: ``"auto"`` to learn it from 1 on, ``"auto_0.1"`` from another number on, or a number
            above 0 that it stays at.
        target_entropy: Entropy that α is learned for, in nats: a number, or ``"auto"`` for −|A| (published for OMD is −|A|/2).
        inner_steps: Inner steps in each update; None for 3 with ``"omd"`` and 1 with the others.
        inner_loop: What an inner step is: ``"critics"``: a step of the critics, and one of actor, target critics and α after
            them all; ``"all"``: a step of critics, target critics, actor and α (as published).
        carry_optimizer: Whether the critics' optimiser goes on from update to update, or begins anew in each.
        solver: What takes the place of the inverse Hessian in ``"omd"``: ``"gauss_newton"`` (the inverse of the Gauss–Newton
            matrix, exactly; see :mod:`mbrl_agents.omd_sac.gauss_newton`), ``"identity"`` (as published), or the Hessian with
            ``"cg"`` (conjugate gradients), ``"normal_cg"``, ``"gmres"`` or ``"direct"``. One that finds no finite solution
            falls back to the identity; how often it did is in ``learner_state.fallbacks`` and in the log.
        damping: Added to the diagonal of the matrix, at least 0; with ``"gauss_newton"`` as a fraction of its trace. Published
            for conjugate gradients is 1e-5.
        solver_tolerance: Relative residual at which iterations stop, above 0.
        solver_steps: Most iterations.
        model_net_arch: Hidden layers of the model: how much it can hold.
        model_activation_fn: Their activation function.
        stochastic_model: Whether the model predicts a diagonal Gaussian; else one observation. Only for real-valued ones.
        predict_change: Whether it predicts the difference to the observation before. Only for real-valued ones.
        model_trunk: ``"separate"``: a network for the next observation and one for the reward; ``"shared"``: one with two
            outputs (as published).
        initializer: First weights: ``"torch"``: of actor and critics those of Stable-Baselines3, of the model orthogonal;
            ``"orthogonal"``: orthogonal with gain √2 in all layers of all networks, biases 0 (as published).
        stats_window_size: Episodes over which reported statistics are averaged.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [256, 256], "activation_fn": "relu"}`` or a part of it, for actor and critics.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        device_loop: Whether to learn in the device loop; None where the environment allows it.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
        gymnasium.error.DependencyNotInstalled: MuJoCo is needed and not there; the message says how to get it.
    """

    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)
    learner: OMDSACLearner

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        model_loss: str = "omd",
        learning_rate: float | Schedule = 3e-4,
        model_learning_rate: float = 3e-4,
        buffer_size: int = 1_000_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        tau: float = 0.005,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        ent_coef: str | float = "auto",
        target_entropy: str | float = "auto",
        inner_steps: int | None = None,
        inner_loop: str = "critics",
        carry_optimizer: bool = True,
        solver: str = "gauss_newton",
        damping: float = 1e-4,
        solver_tolerance: float = 1e-5,
        solver_steps: int = 100,
        model_net_arch: Sequence[int] = (256, 256),
        model_activation_fn: Any = "relu",
        stochastic_model: bool = False,
        predict_change: bool = False,
        model_trunk: str = "separate",
        initializer: str = "torch",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
        device_loop: bool | None = None,
        _init_setup_model: bool = True,
    ) -> None:
        with advice():
            super().__init__(policy, env, settings.of_constructor(locals()), _init_setup_model)

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return checks.check(super()._check_arguments(with_networks(arguments, checks.NETWORK)))

    def _check_spaces(self) -> None:
        super()._check_spaces()
        check_model(self.arguments, self.observation_space)

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> OMDSACLearner:
        given = self.arguments
        hidden, activation = tuple(given["policy_kwargs"]["net_arch"]), given["policy_kwargs"]["activation_fn"]
        weights = checks.INITIALIZERS[given["initializer"]].policy
        return OMDSACLearner(
            codec,
            None if given["model_loss"] == "none" else checks.make_model(given, codec, actions.size),
            given["model_loss"],
            SquashedGaussianActor(actions.size, hidden, activation, weights),
            Critics(2, hidden, activation, weights),
            isinstance(given["ent_coef"], str),
            checks.num_inner_steps(given),
            given["carry_optimizer"],
            checks.make_solver(given),
            given["inner_loop"],
        )

    def to_torch(self) -> torch_copy.TorchActions:
        """A copy of the actor as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        network = torch_copy.mlp(self.learner_state.params.actor, self.arguments["policy_kwargs"]["activation_fn"])
        return torch_copy.TorchActions(self.replay.codec, network, self.actions)

    def _with_argument(self, name: str, state: OMDSACState) -> OMDSACState:
        if name != "ent_coef":
            return state
        # As of a new agent: the coefficient begins at what is given.
        log_ent_coef = jnp.log(state.hyper.ent_coef)
        return state._replace(
            params=state.params._replace(log_ent_coef=log_ent_coef),
            optimizer=state.optimizer._replace(log_ent_coef=optimizer.init(log_ent_coef)),
        )

    def _make_hyperparameters(self) -> SACHyperparameters:
        given, size = self.arguments, self.actions.size
        target_entropy = -size if given["target_entropy"] == "auto" else given["target_entropy"]
        return SACHyperparameters(
            given["gamma"],
            given["tau"],
            given["model_learning_rate"],
            target_entropy,
            checks.first_ent_coef(given["ent_coef"]),
            PLAIN_ADAM,
        )
