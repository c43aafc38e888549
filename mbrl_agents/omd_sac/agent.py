"""Soft actor-critic on real steps or on models that are trained for return, behind Stable-Baselines3's interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import optimizer
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ALL_KINDS, KINDS, ObservationCodec
from mbrl_agents.core.optimizer import PLAIN_ADAM
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.omd import arguments as of_omd
from mbrl_agents.omd.dynamics_model import TRUNKS
from mbrl_agents.omd.solvers import SOLVERS
from mbrl_agents.omd_sac import arguments as checks
from mbrl_agents.omd_sac.learner import INNER_LOOPS, MODEL_LOSSES, OMDSACLearner, OMDSACState, SACHyperparameters
from mbrl_agents.omd_sac.networks import Critics, SquashedGaussianActor
from mbrl_agents.sb3 import network_arguments, settings, torch_copy
from mbrl_agents.sb3.arguments import Given, argument, boolean, choice
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.policy import POLICIES
from mbrl_envs.dependencies import advice


class OMDSAC(JaxAgent[OMDSACLearner]):
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

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
        gymnasium.error.DependencyNotInstalled: MuJoCo is needed and not there; the message says how to get it.
    """

    policy_aliases = POLICIES
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY)
    env: Given[GymEnv | str | None, VecEnv | None] = argument(settings.ENV)
    model_loss: str = argument(choice(MODEL_LOSSES), default="omd", doc='``"omd"``, ``"mle"`` or ``"none"``.')
    learning_rate: float | Schedule = argument(
        settings.LEARNING_RATE,
        default=3e-4,
        doc="Step size of actor, critics and entropy coefficient, at least 0; a number or a schedule of the progress remaining "
        "(1 to 0).",
    )
    model_learning_rate: float = argument(of_omd.MODEL_LEARNING_RATE, default=3e-4)
    buffer_size: int = argument(settings.BUFFER_SIZE, default=1_000_000)
    learning_starts: int = argument(of_omd.LEARNING_STARTS, default=100)
    batch_size: int = argument(
        settings.BATCH_SIZE, default=256, doc="Transitions per update, drawn with replacement, at least 1."
    )
    tau: float = argument(
        settings.TAU, default=0.005, doc="Fraction of the way the target critics go at every update, in [0, 1]."
    )
    gamma: float = argument(settings.GAMMA, default=0.99)
    train_freq: int | tuple[int, str] = argument(settings.TRAIN_FREQ, default=1)
    gradient_steps: int = argument(
        settings.GRADIENT_STEPS, default=1, doc="Updates per training; −1 for as many as there were transitions."
    )
    ent_coef: str | float = argument(
        checks.ENT_COEF,
        default="auto",
        doc='Entropy coefficient α: ``"auto"`` to learn it from 1 on, ``"auto_0.1"`` from another number on, or a number '
        "above 0 that it stays at.",
    )
    target_entropy: str | float = argument(
        checks.TARGET_ENTROPY,
        default="auto",
        doc='Entropy that α is learned for, in nats: a number, or ``"auto"`` for −|A| (published for OMD is −|A|/2).',
    )
    inner_steps: int | None = argument(
        of_omd.INNER_STEPS | None,
        default=None,
        doc='Inner steps in each update, at least 1; None for 3 with ``"omd"`` and 1 with the others.',
    )
    inner_loop: str = argument(
        choice(INNER_LOOPS),
        default="critics",
        doc='What an inner step is: ``"critics"``: a step of the critics, and one of actor, target critics and α after them '
        'all; ``"all"``: a step of critics, target critics, actor and α (as published).',
    )
    carry_optimizer: bool = argument(
        boolean(), default=True, doc="Whether the critics' optimiser goes on from update to update, or begins anew in each."
    )
    solver: str = argument(
        choice((checks.GAUSS_NEWTON, *SOLVERS)),
        default="gauss_newton",
        doc='What takes the place of the inverse Hessian in ``"omd"``: ``"gauss_newton"`` (the inverse of the Gauss–Newton '
        'matrix, exactly; see :mod:`mbrl_agents.omd_sac.gauss_newton`), ``"identity"`` (as published), or the Hessian with '
        '``"cg"`` (conjugate gradients), ``"normal_cg"``, ``"gmres"`` or ``"direct"``. One that finds no finite solution falls '
        "back to the identity; how often it did is in ``learner_state.fallbacks`` and in the log.",
    )
    damping: float = argument(
        of_omd.DAMPING,
        default=1e-4,
        doc='Added to the diagonal of the matrix, at least 0; with ``"gauss_newton"`` as a fraction of its trace. Published '
        "for conjugate gradients is 1e-5.",
    )
    solver_tolerance: float = argument(of_omd.SOLVER_TOLERANCE, default=1e-5)
    solver_steps: int = argument(of_omd.SOLVER_STEPS, default=100)
    model_net_arch: Sequence[int] = argument(of_omd.MODEL_NET_ARCH, default=(256, 256))
    model_activation_fn: Any = argument(of_omd.MODEL_ACTIVATION_FN, default="relu")
    stochastic_model: bool = argument(of_omd.STOCHASTIC_MODEL, default=False)
    predict_change: bool = argument(of_omd.PREDICT_CHANGE, default=False)
    model_trunk: str = argument(
        choice(TRUNKS),
        default="separate",
        doc='``"separate"``: a network for the next observation and one for the reward; ``"shared"``: one with two outputs (as '
        "published).",
    )
    initializer: str = argument(
        choice(checks.INITIALIZERS),
        default="torch",
        doc='First weights: ``"torch"``: of actor and critics those of Stable-Baselines3, of the model orthogonal; '
        '``"orthogonal"``: orthogonal with gain √2 in all layers of all networks, biases 0 (as published).',
    )
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(
        network_arguments.policy_kwargs([256, 256], "relu", "actor and critics"),
        default=None,
        kw_only=True,
        after="tensorboard_log",
    )

    def _construct(self, policy: str | type[BasePolicy], env: GymEnv | str | None, given: dict[str, Any], setup: bool) -> None:
        with advice():
            super()._construct(policy, env, given, setup)

    @property
    def observation_kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """All kinds; with a model those that it predicts."""
        return ALL_KINDS if self.arguments["model_loss"] == "none" else KINDS

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        exact = given["model_loss"] == "omd" and given["solver"] == checks.GAUSS_NEWTON
        if exact and given["policy_kwargs"].get("layer_norm"):
            raise ValueError(
                f"policy_kwargs: layer_norm must be False with solver={checks.GAUSS_NEWTON!r}: take another solver"
            )
        return given

    def _check_spaces(self) -> None:
        super()._check_spaces()
        given = self.arguments
        if given["model_loss"] == "omd" and given["solver"] == checks.GAUSS_NEWTON and self._encoder() is not None:
            raise ValueError(
                f"solver must not be {checks.GAUSS_NEWTON!r} where networks have a features extractor: take another"
            )
        of_omd.check_model(self.arguments, self.observation_space)

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> OMDSACLearner:
        given = self.arguments
        hidden, activation = tuple(given["policy_kwargs"]["net_arch"]), given["policy_kwargs"]["activation_fn"]
        weights = checks.INITIALIZERS[given["initializer"]].policy
        more = {"encoder": self._encoder(), "layer_norm": given["policy_kwargs"].get("layer_norm", False)}
        return OMDSACLearner(
            codec,
            None if given["model_loss"] == "none" else checks.make_model(given, codec, actions.size),
            given["model_loss"],
            SquashedGaussianActor(actions.size, hidden, activation, weights, **more),
            Critics(2, hidden, activation, weights, **more),
            isinstance(given["ent_coef"], str),
            checks.num_inner_steps(given),
            given["carry_optimizer"],
            checks.make_solver(given),
            given["inner_loop"],
            network_arguments.make_optimizer(given["policy_kwargs"]),
        )

    def to_torch(self) -> torch_copy.TorchActions:
        """A copy of the actor as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        activation = self.arguments["policy_kwargs"]["activation_fn"]
        network = torch_copy.mlp(self.learner_state.params.actor, activation, self._encoder())
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
        target = self.target_entropy
        own = {
            "target_entropy": -self.actions.size if target == "auto" else target,
            "ent_coef": checks.first_ent_coef(self.ent_coef),
        }
        return SACHyperparameters(**(self._numbers() | own), adam=PLAIN_ADAM)
