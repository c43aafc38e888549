"""What the agents that learn by Q-learning on features have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core.observations import ALL_KINDS
from mbrl_agents.core.optimizer import NO_CLIPPING, AdamHyperparameters
from mbrl_agents.core.q_learning import QLearning
from mbrl_agents.core.schedules import Schedule
from mbrl_agents.sb3 import network_arguments, settings, torch_copy
from mbrl_agents.sb3.agent_base import LearnerT
from mbrl_agents.sb3.arguments import Given, argument
from mbrl_agents.sb3.policy import POLICIES
from mbrl_agents.sb3.q_values import ActionValueAgent

_ADAM = ("adam_b1", "adam_b2", "adam_eps", "weight_decay")


class QAgent(ActionValueAgent[LearnerT]):
    """Base of the DQNs: their arguments, and what these make of network and Q-learning."""

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY)
    env: Given[GymEnv | str | None, VecEnv | None] = argument(settings.ENV)
    learning_rate: float | Schedule = argument(settings.LEARNING_RATE, default=1e-4)
    buffer_size: int = argument(settings.BUFFER_SIZE, default=100_000)
    learning_starts: int = argument(settings.LEARNING_STARTS, default=1000)
    batch_size: int = argument(settings.BATCH_SIZE, default=32)
    tau: float = argument(settings.TAU, default=1.0)
    gamma: float = argument(settings.GAMMA, default=0.9)
    train_freq: int | tuple[int, str] = argument(settings.TRAIN_FREQ, default=1)
    gradient_steps: int = argument(settings.GRADIENT_STEPS, default=1)
    target_update_interval: int = argument(settings.TARGET_UPDATE_INTERVAL, default=100)
    warmup: str = argument(settings.WARMUP, default="uniform")
    exploration: str = argument(settings.EXPLORATION, default="softmax")
    temperature: float | Schedule = argument(settings.TEMPERATURE, default=0.1)
    exploration_fraction: float = argument(settings.EXPLORATION_FRACTION, default=0.1)
    exploration_initial_eps: float = argument(settings.EXPLORATION_INITIAL_EPS, default=1.0)
    exploration_final_eps: float = argument(settings.EXPLORATION_FINAL_EPS, default=0.05)
    double_q: bool = argument(settings.DOUBLE_Q, default=False)
    adam_b1: float = argument(settings.ADAM_B1, default=0.9)
    adam_b2: float = argument(settings.ADAM_B2, default=0.99)
    adam_eps: float = argument(settings.ADAM_EPS, default=1e-5)
    weight_decay: float = argument(settings.WEIGHT_DECAY, default=1e-6)
    max_grad_norm: float | None = argument(settings.MAX_GRAD_NORM, default=None)
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(
        network_arguments.policy_kwargs([200, 200, 200], "elu", "all networks"),
        default=None,
        kw_only=True,
        after="tensorboard_log",
    )

    observation_kinds: ClassVar[tuple[str, ...]] = ALL_KINDS
    policy_aliases = POLICIES

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        of_adam = {name: given[name] for name in _ADAM if given[name] != self.declared[name].default}
        if of_adam and {"optimizer_class", "optimizer_kwargs"} & set(given["policy_kwargs"]):
            raise ValueError(
                f"{', '.join(of_adam)} must be as by default where policy_kwargs has another optimizer_class, got {of_adam}: "
                "optimizer_kwargs has its numbers"
            )
        return given

    def _q_learning(self, num_features: int, num_actions: int, num_codes: int = 0) -> QLearning:
        """The Q-network and its learning, as the arguments have them."""
        given = self.arguments
        return QLearning(
            num_features,
            num_actions,
            hidden=tuple(given["policy_kwargs"]["net_arch"]),
            activation=given["policy_kwargs"]["activation_fn"],
            double_q=bool(given["double_q"]),
            explore=given["exploration"],
            clip=given["max_grad_norm"] is not None,
            num_codes=num_codes,
            encoder=self._encoder(),
            layer_norm=given["policy_kwargs"].get("layer_norm", False),
            optimizer=network_arguments.make_optimizer(given["policy_kwargs"]),
        )

    def _numbers(self) -> dict[str, Any]:
        numbers = super()._numbers()
        *given, clip = (numbers.pop(name) for name in (*_ADAM, "max_grad_norm"))
        adam = AdamHyperparameters(*given)._replace(max_grad_norm=NO_CLIPPING if clip is None else clip)
        return numbers | {"adam": adam}

    def to_torch(self) -> torch_copy.TorchValues:
        """A copy of the Q-network as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        kwargs = self.arguments["policy_kwargs"]
        network = torch_copy.mlp(self.learner_state.params, kwargs["activation_fn"], self._encoder())
        return torch_copy.TorchValues(self.replay.codec, [network])
