"""Deep Q-learning from roll-outs of the true environment."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.model_dqn.agent import ModelDQN
from mbrl_agents.model_dqn.perfect import PerfectModel
from mbrl_agents.sb3 import settings
from mbrl_envs import FunctionalEnv, functional_task
from mbrl_envs.multi_agent import MultiAgentEnv


class PerfectModelDQN(ModelDQN):
    """Deep Q-learning from roll-outs of the true environment, from states that were visited.

    The upper bound of what a learned model can bring: as :class:`~mbrl_agents.SimpleModelDQN`, with the environment's own
    dynamics as the model. Only on functional environments, in the device loop, where the environment's states can be stored.

    Args:
        policy: ``"MlpPolicy"``.
        env: Functional environment with Discrete actions, its id, or a ``VecEnv`` of such.
        learning_rate: Step size of the Q-network, at least 0; a number or a schedule of the progress remaining (1 to 0).
        buffer_size: Transitions kept for replay, over all environments, at least 1.
        learning_starts: Transitions collected before learning, at least 0.
        batch_size: Stored states per update, from which roll-outs start, at least 1.
        tau: Fraction of the way the target network goes at a target update, in [0, 1]; 1 copies the network.
        gamma: Discount factor, in [0, 1].
        train_freq: Steps between trainings, at least 1, or ``(number, "step" | "episode")``.
        gradient_steps: Updates per training; −1 for as many as there were transitions.
        target_update_interval: Transitions between target updates, at least 1.
        warmup: Actions before learning: ``"uniform"``, or ``"policy"``, the untrained agent's exploration (as published).
        rollout_length: Steps from each start, at least 1.
        rollout_batch_size: Starts of roll-outs, at least 1; None for ``batch_size``.
        exploration: ``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``; in imagination as well.
        temperature: Of the softmax, above 0; a number or a schedule.
        exploration_fraction: Part of the training over which ε falls, in (0, 1].
        exploration_initial_eps: ε at the start, in [0, 1].
        exploration_final_eps: ε at the end, in [0, 1].
        double_q: Whether the network chooses the action that the target network values (arXiv 1509.06461).
        adam_b1: Decay of AdamW's mean of gradients, in [0, 1).
        adam_b2: Decay of its mean of squared gradients, in [0, 1).
        adam_eps: Added to the root of the latter, above 0.
        weight_decay: Fraction of each weight (of the network) taken away per gradient step, in [0, 1], whatever the step size.
        max_grad_norm: Largest norm of a gradient, above 0; None for no clipping.
        stats_window_size: Episodes over which reported statistics are averaged, at least 1.
        tensorboard_log: Folder for TensorBoard, or None.
        policy_kwargs: ``{"net_arch": [200, 200, 200], "activation_fn": "elu"}`` or a part of it; for the Q-network.
        verbose: 0 silent, 1 reports, 2 debug messages.
        seed: Seed of everything random in the agent and its environments, from 0 to 2³² − 1; None draws one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

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
        warmup: str = "uniform",
        rollout_length: int = 10,
        rollout_batch_size: int | None = None,
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
        task = functional_task(self.env)
        return None if task is None else task.env

    def _stored_dynamics(self) -> FunctionalEnv | None:
        return self._dynamics()

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> PerfectModel:
        del num_actions
        return PerfectModel(self._dynamics(), codec)
