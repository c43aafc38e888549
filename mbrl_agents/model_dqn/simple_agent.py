"""Deep Q-learning from roll-outs of a learned model of observations."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.model_dqn.agent import ModelDQN
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.simple import SimpleModel
from mbrl_agents.sb3 import settings


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
        learning_starts: Transitions collected before learning.
        batch_size: Transitions on which the model takes a gradient step.
        tau: Fraction of the way the target network goes at a target update, in [0, 1]; 1 copies the network.
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, or ``(number, "step" | "episode")``.
        gradient_steps: Updates (each of model and Q-network) per training; −1 for as many as there were transitions.
        target_update_interval: Transitions between target updates.
        warmup: Actions before learning: ``"uniform"``, or ``"policy"``, the untrained agent's exploration (as published).
        model_learning_rate: Step size of the model, at least 0.
        rollout_length: Imagined steps from each start.
        rollout_batch_size: Starts of roll-outs; None for ``batch_size``. With more, the model learns from the first of them.
        separate_rollout_batch: Whether roll-outs start from transitions drawn afresh, not from those that the model has just
            learned from.
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
        adam_b1: Decay of AdamW's mean of gradients, in [0, 1).
        adam_b2: Decay of its mean of squared gradients, in [0, 1).
        adam_eps: Added to the root of the latter, above 0.
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
        warmup: str = "uniform",
        model_learning_rate: float = 2e-4,
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
        separate_rollout_batch: bool = False,
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

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> SimpleModel:
        given = self.arguments
        return SimpleModel(
            Emission(codec, given["learned_variance"], given["raw_logits"]),
            num_actions,
            tuple(given["policy_kwargs"]["net_arch"]),
            given["policy_kwargs"]["activation_fn"],
            self._continuing,
        )
