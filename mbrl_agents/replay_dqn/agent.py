"""Replay DQN behind Stable-Baselines3's interface."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.q_learning import DQNHyperparameters
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.replay_dqn.learner import DQNLearner
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.q_agent import QAgent


class ReplayDQN(QAgent):
    """Deep Q-learning from uniform experience replay.

    The model-free agent of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222), with its settings as
    defaults: softmax exploration, squared TD error ``(r + γ·max_a Q⁻(s′, a) − Q(s, a))²``, AdamW whose decay is not multiplied
    by the step size, three hidden layers of 200 ELUs. Truncated episodes bootstrap from their last observation, terminated ones
    do not.

    On functional environments (``mbrl/…``) ``learn()`` runs as one compiled program, on all others in SB3's own loop.

    Args:
        policy: ``"MlpPolicy"``.
        env: Gymnasium environment with Discrete actions, its id, or a ``VecEnv``.
        learning_rate: Step size of Adam, at least 0; a number or a schedule of the progress remaining (1 to 0).
        buffer_size: Transitions kept for replay, over all environments.
        learning_starts: Transitions collected before learning.
        batch_size: Transitions per gradient step, drawn with replacement.
        tau: Fraction of the way the target network goes at a target update, in [0, 1]; 1 copies the network.
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, or ``(number, "step" | "episode")``.
        gradient_steps: Gradient steps per training; −1 for as many as there were transitions.
        n_steps: Steps of a return before it bootstraps.
        target_update_interval: Transitions between target updates.
        warmup: Actions before learning: ``"uniform"``, or ``"policy"``, the untrained agent's exploration (as published).
        exploration: ``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``.
        temperature: Of the softmax, above 0; a number or a schedule.
        exploration_fraction: Part of the training over which ε falls.
        exploration_initial_eps: ε at the start, in [0, 1].
        exploration_final_eps: ε at the end, in [0, 1].
        double_q: Whether the network chooses the action that the target network values (arXiv 1509.06461).
        adam_b1: Decay of AdamW's mean of gradients, in [0, 1).
        adam_b2: Decay of its mean of squared gradients, in [0, 1).
        adam_eps: Added to the root of the latter, above 0.
        weight_decay: Fraction of each weight taken away per gradient step, whatever the step size.
        max_grad_norm: Largest norm of the gradient; None for no clipping.
        stats_window_size: Episodes over which reported statistics are averaged.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [200, 200, 200], "activation_fn": "elu"}`` or a part of it.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        device_loop: Whether to learn in the device loop; None where the environment allows it.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    learner: DQNLearner

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1000,
        batch_size: int = 320,
        tau: float = 1.0,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        n_steps: int = 1,
        target_update_interval: int = 100,
        warmup: str = "uniform",
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

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> DQNLearner:
        return DQNLearner(codec, self._q_learning(codec.num_features, actions.num_actions))

    def _make_hyperparameters(self) -> DQNHyperparameters:
        return self._q_hyperparameters()
