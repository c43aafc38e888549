"""Deep Q-learning from roll-outs of a learned model in a latent space."""

from __future__ import annotations

from typing import Any, NoReturn

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.model_dqn.agent import ModelDQN
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.latents import make_latent
from mbrl_agents.sb3 import settings


class LatentModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of a learned model in a latent space, which the Q-network reads.

    As :class:`~mbrl_agents.SimpleModelDQN`, with a model that encodes observations into latent variables, reconstructs them
    from these, and predicts the next latent variables, the reward and the end. Acting draws from the encoder; Q-learning does
    not change it.

    Args:
        policy: ``"MlpPolicy"``.
        env: Gymnasium environment with Discrete actions, its id, or a ``VecEnv``.
        latent: ``"categorical"``, ``"gaussian"`` or ``"tanh_gaussian"`` (whose tanh networks read).
        learning_rate: Step size of the Q-network, at least 0; a number or a schedule of the progress remaining (1 to 0).
        buffer_size: Transitions kept for replay, over all environments, at least 1.
        learning_starts: Transitions collected before learning, at least 0.
        batch_size: Transitions on which the model takes a gradient step, at least 1.
        tau: Fraction of the way the target network goes at a target update, in [0, 1]; 1 copies the network.
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, at least 1, or ``(number, "step" | "episode")``.
        gradient_steps: Updates (each of model and Q-network) per training; −1 for as many as there were transitions.
        target_update_interval: Transitions between target updates, at least 1.
        warmup: Actions before learning: ``"uniform"``, or ``"policy"``, the untrained agent's exploration (as published).
        model_learning_rate: Step size of the model, at least 0.
        rollout_length: Imagined steps from each start, at least 1.
        rollout_batch_size: Starts of roll-outs, at least 1; None for ``batch_size``. With more, the model learns from the first
            of them.
        separate_rollout_batch: Whether roll-outs start from transitions drawn afresh, not from those that the model has just
            learned from.
        reward_weight: Weight of the model's loss of rewards, at least 0.
        termination_weight: Weight of its loss of ends, at least 0.
        observation_weight: Weight of its loss of reconstructed observations, at least 0.
        latent_variables: Number of categorical variables, at least 1.
        latent_classes: Number of values of each, at least 2.
        latent_units: Number of Gaussian variables, at least 1.
        latent_min_std: Added to the standard deviation σ of Gaussian variables where the encoder speaks, at least 0. (The σ of
            the dynamics has no floor, as published.)
        latent_std_activation: What makes an output x a σ: ``"sigmoid"``, 2·sigmoid(x/2), as published, or ``"softplus"``,
            log(1 + exp(x)).
        dynamics_weight: Weight of the divergence between what is encoded, q′, and what was predicted, p′, at least 0: of the
            sum of its two parts.
        dynamics_kl_weight: Weight of KL(q′‖p′) that moves the dynamics alone, at least 0.
        encoder_kl_weight: Weight of KL(q′‖p′) that moves the encoder alone, at least 0.
        prior_weight: Weight of the divergence of what is encoded from a fixed distribution (uniform, standard normal), at
            least 0.
        continuing: Whether the task never ends, so that nothing is predicted about that; None to ask the dynamics (tasks
            without functional dynamics then count as episodic).
        learned_variance: Whether the decoder says how certain it is of real-valued observations.
        published_mask: Whether observations of steps that end the episode are left out of the reconstruction, as in the
            published code.
        exploration: ``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``; in imagination as well.
        temperature: Of the softmax, above 0; a number or a schedule.
        exploration_fraction: Part of the training over which ε falls, in (0, 1].
        exploration_initial_eps: ε at the start, in [0, 1].
        exploration_final_eps: ε at the end, in [0, 1].
        double_q: Whether the network chooses the action that the target network values (arXiv 1509.06461).
        adam_b1: Decay of AdamW's mean of gradients, in [0, 1).
        adam_b2: Decay of its mean of squared gradients, in [0, 1).
        adam_eps: Added to the root of the latter, above 0.
        weight_decay: Fraction of each weight (of all networks) taken away per gradient step, in [0, 1], whatever the step size.
        max_grad_norm: Largest norm of a gradient, above 0; None for no clipping.
        stats_window_size: Episodes over which reported statistics are averaged, at least 1.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [200, 200, 200], "activation_fn": "elu"}`` or a part of it; for all networks.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments, from 0 to 2³² − 1; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        device_loop: Whether to learn in the device loop; None where the environment allows it.

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
        warmup: str = "uniform",
        model_learning_rate: float = 2e-4,
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
        separate_rollout_batch: bool = False,
        reward_weight: float = 1.0,
        termination_weight: float = 1.0,
        observation_weight: float = 1.0,
        latent_variables: int = 32,
        latent_classes: int = 32,
        latent_units: int = 32,
        latent_min_std: float = 0.1,
        latent_std_activation: str = "sigmoid",
        dynamics_weight: float = 1.0,
        dynamics_kl_weight: float = 0.8,
        encoder_kl_weight: float = 0.2,
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
        adam_b1: float = 0.9,
        adam_b2: float = 0.99,
        adam_eps: float = 1e-5,
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

    def to_torch(self) -> NoReturn:
        """Not possible.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{type(self).__name__} acts on what it draws from a latent distribution, not by one network")

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> LatentModel:
        given = self.arguments
        latent = make_latent(
            given["latent"],
            num_variables=given["latent_variables"],
            num_classes=given["latent_classes"],
            num_units=given["latent_units"],
            std_activation=given["latent_std_activation"],
        )
        return LatentModel(
            latent,
            Emission(codec, given["learned_variance"]),
            num_actions,
            tuple(given["policy_kwargs"]["net_arch"]),
            given["policy_kwargs"]["activation_fn"],
            self._continuing,
            given["published_mask"],
        )
