"""The model-based agents behind Stable-Baselines3's interface."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.common import settings
from mbrl_agents.common.actions import ActionCodec
from mbrl_agents.common.checks import number_in
from mbrl_agents.common.device_loop import TrainingPlan
from mbrl_agents.common.observations import ObservationCodec
from mbrl_agents.common.q_agent import QAgent
from mbrl_agents.common.schedules import Schedule
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.latents import LATENTS
from mbrl_agents.model_dqn.learner import ModelDQNHyperparameters, ModelDQNLearner, ModelDQNState
from mbrl_agents.model_dqn.perfect import PerfectModel
from mbrl_agents.model_dqn.simple import SimpleModel
from mbrl_agents.model_dqn.weights import LossWeights
from mbrl_agents.model_dqn.world_model import WorldModel
from mbrl_envs import FunctionalEnv, functional_task
from mbrl_envs.checks import boolean, integer_in, one_of
from mbrl_envs.multi_agent import MultiAgentEnv

_MANY = 2**20
_WEIGHTS = {f"{name}_weight": name for name in LossWeights._fields}


class ModelDQN(QAgent):
    """Base of the agents that learn from what a world model imagines; see :class:`SimpleModelDQN` for the arguments."""

    learner: ModelDQNLearner
    learner_state: ModelDQNState

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        for name in ("rollout_length", "rollout_batch_size"):
            if given[name] is not None:
                given[name] = integer_in(name, given[name], 1, _MANY)
        for name in ("model_learning_rate", *_WEIGHTS):
            if name in given:
                given[name] = number_in(name, given[name], 0)
        for name in ("learned_variance", "raw_logits", "published_mask"):
            if name in given:
                boolean(name, given[name])
        if "model_learning_rate" in given and not given["policy_kwargs"]["net_arch"]:
            raise ValueError("policy_kwargs: net_arch must have at least one hidden layer for a learned model, got []")
        if given.get("continuing") is not None:
            boolean("continuing", given["continuing"])
        if "latent" in given:
            one_of("latent", given["latent"], LATENTS)
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
        )

    def _make_hyperparameters(self) -> ModelDQNHyperparameters:
        given, q = self.arguments, self._q_hyperparameters()
        weights = LossWeights(**{name: given[argument] for argument, name in _WEIGHTS.items() if argument in given})
        return ModelDQNHyperparameters(q.gamma, q.tau, q.adam, given.get("model_learning_rate", 0.0), weights)

    @property
    def _rollout_batch_size(self) -> int:
        given = self.arguments["rollout_batch_size"]
        return self.batch_size if given is None else given

    @property
    def plan(self) -> TrainingPlan:
        """When and on how much to learn; as many transitions are drawn as model or roll-outs need."""
        usual = super().plan
        return TrainingPlan(
            max(self.batch_size, self._rollout_batch_size), usual.learning_starts, usual.train_freq, usual.gradient_steps
        )

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


class PerfectModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of the true environment, from states that were visited.

    The upper bound of what a learned model can bring: as :class:`SimpleModelDQN`, with the environment's own dynamics as the
    model. Only on functional environments, in the device loop, where the environment's states can be stored. Arguments as for
    :class:`SimpleModelDQN`, less those of the model's learning.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment has no functional dynamics.
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        target_update_interval: int = 100,
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
        exploration: str = "softmax",
        temperature: float | Schedule = 0.1,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        double_q: bool = False,
        weight_decay: float = 1e-6,
        max_grad_norm: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(policy, env, settings.of_constructor(locals()), _init_setup_model)
        self.device_loop = True

    def _check_spaces(self) -> None:
        super()._check_spaces()
        task = functional_task(self.env)
        if task is None or isinstance(task.env, MultiAgentEnv):
            raise ValueError(
                "PerfectModelDQN rolls out the environment itself, so it needs functional dynamics (one of the mbrl/ "
                "environments, without wrappers) of a single agent, "
                f"got {self.env}: SimpleModelDQN and LatentModelDQN learn a model anywhere"
            )

    def _dynamics(self) -> FunctionalEnv | None:
        task = functional_task(self.env) if self.env is not None else None
        return None if task is None else task.env

    def _stored_dynamics(self) -> FunctionalEnv | None:
        return self._dynamics()

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> PerfectModel:
        del num_actions
        return PerfectModel(self._dynamics(), codec)


class SimpleModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of a learned model of observations.

    The agent of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222), with its settings as defaults. After a
    step it draws transitions from replay, takes a gradient step of the model on them, rolls the model out from where they began
    with its own policy, and takes a Q-learning step on all imagined transitions, with targets r + γ·c·max_a Q⁻(s′, a) and
    weights Π c of the steps before, c being the predicted probability that the episode goes on (1 in continuing tasks).

    Args:
        policy: ``"MlpPolicy"``.
        env: Gymnasium environment with Discrete actions, its id, or a ``VecEnv``.
        learning_rate: Step size of the Q-network, at least 0; a number or a schedule of the progress remaining (1 to 0).
        buffer_size: Transitions kept for replay, over all environments.
        learning_starts: Transitions collected with uniform actions before learning.
        batch_size: Transitions on which the model takes a gradient step.
        tau: Fraction of the way the target network goes at a target update, in (0, 1]; 1 copies the network.
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, or ``(number, "step" | "episode")``.
        gradient_steps: Updates (each of model and Q-network) per training; −1 for as many as there were transitions.
        target_update_interval: Transitions between target updates.
        model_learning_rate: Step size of the model, at least 0.
        rollout_length: Imagined steps from each start.
        rollout_batch_size: Starts of roll-outs; None for ``batch_size``. With more, the model learns from the first of them.
        reward_weight: Weight of the model's loss of rewards.
        termination_weight: Of ends.
        observation_weight: Of observations.
        continuing: Whether the task never ends, so that nothing is predicted about that; None to ask the dynamics (tasks
            without functional dynamics then count as episodic).
        learned_variance: Whether the model says how certain it is of real-valued observations; else their variance counts as 1,
            and imagination takes the mean.
        raw_logits: Whether imagined bits are drawn with their logit in place of their probability, as in the published code,
            with which the published step sizes were tuned.
        exploration: ``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``; in imagination as well.
        temperature: Of the softmax, above 0; a number or a schedule.
        exploration_fraction: Part of the training over which ε falls.
        exploration_initial_eps: ε at the start, in [0, 1].
        exploration_final_eps: ε at the end, in [0, 1].
        double_q: Whether the network chooses the action that the target network values (arXiv 1509.06461).
        weight_decay: Fraction of each weight (of both networks) taken away per gradient step, whatever the step size.
        max_grad_norm: Largest norm of a gradient; None for no clipping.
        stats_window_size: Episodes over which reported statistics are averaged.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [200, 200, 200], "activation_fn": "elu"}`` or a part of it; for all networks.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        device_loop: Whether to learn in the device loop; None where the environment allows it.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        target_update_interval: int = 100,
        model_learning_rate: float = 2e-4,
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
        reward_weight: float = 1.0,
        termination_weight: float = 1.0,
        observation_weight: float = 1.0,
        continuing: bool | None = None,
        learned_variance: bool = False,
        raw_logits: bool = False,
        exploration: str = "softmax",
        temperature: float | Schedule = 0.1,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        double_q: bool = False,
        weight_decay: float = 1e-6,
        max_grad_norm: float | None = None,
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

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> SimpleModel:
        given = self.arguments
        return SimpleModel(
            Emission(codec, given["learned_variance"], given["raw_logits"]),
            num_actions,
            tuple(given["policy_kwargs"]["net_arch"]),
            given["policy_kwargs"]["activation_fn"],
            self._continuing,
        )


class LatentModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of a learned model in a latent space, which the Q-network reads.

    As :class:`SimpleModelDQN`, with a model that encodes observations into latent variables, reconstructs them from these, and
    predicts the next latent variables, the reward and the end. Acting draws from the encoder; Q-learning does not change it.

    Args:
        policy: As all arguments that are not named here: see :class:`SimpleModelDQN`.
        env: Environment.
        latent: ``"categorical"`` (32 variables of 32 classes), ``"gaussian"`` (32) or ``"tanh_gaussian"`` (32).
        learning_rate: Step size of the Q-network.
        buffer_size: Transitions kept.
        learning_starts: Transitions before learning.
        batch_size: Transitions on which the model takes a gradient step.
        tau: Of target updates.
        gamma: Discount factor.
        train_freq: Steps between trainings.
        gradient_steps: Updates per training.
        target_update_interval: Transitions between target updates.
        model_learning_rate: Step size of the model.
        rollout_length: Imagined steps from each start.
        rollout_batch_size: Starts of roll-outs.
        reward_weight: Weight of the model's loss of rewards.
        termination_weight: Of ends.
        observation_weight: Of reconstructed observations.
        dynamics_weight: Of the divergence between what is encoded and what was predicted.
        prior_weight: Of the divergence of what is encoded from a fixed distribution (uniform, standard normal).
        continuing: Whether the task never ends.
        learned_variance: Whether the decoder says how certain it is of real-valued observations.
        published_mask: Whether observations of steps that end the episode are left out of the reconstruction, as in the
            published code.
        exploration: Kind of exploration.
        temperature: Of the softmax.
        exploration_fraction: Part of the training over which ε falls.
        exploration_initial_eps: ε at the start.
        exploration_final_eps: ε at the end.
        double_q: Double Q-learning.
        weight_decay: Of all networks.
        max_grad_norm: Largest norm of a gradient.
        stats_window_size: Episodes in statistics.
        tensorboard_log: Folder for TensorBoard.
        policy_kwargs: Networks.
        verbose: How much to report.
        seed: Seed.
        device: Device.
        device_loop: Whether to learn in the device loop.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        latent: str = "categorical",
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 32,
        tau: float = 1.0,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        target_update_interval: int = 100,
        model_learning_rate: float = 2e-4,
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
        reward_weight: float = 1.0,
        termination_weight: float = 1.0,
        observation_weight: float = 1.0,
        dynamics_weight: float = 1.0,
        prior_weight: float = 0.0,
        continuing: bool | None = None,
        learned_variance: bool = False,
        published_mask: bool = False,
        exploration: str = "softmax",
        temperature: float | Schedule = 0.1,
        exploration_fraction: float = 0.1,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        double_q: bool = False,
        weight_decay: float = 1e-6,
        max_grad_norm: float | None = None,
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

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> LatentModel:
        given = self.arguments
        return LatentModel(
            LATENTS[given["latent"]],
            Emission(codec, given["learned_variance"]),
            num_actions,
            tuple(given["policy_kwargs"]["net_arch"]),
            given["policy_kwargs"]["activation_fn"],
            self._continuing,
            given["published_mask"],
        )
