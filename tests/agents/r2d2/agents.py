"""Small agents for the tests."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from torch import nn

from mbrl_agents.r2d2 import R2D2
from mbrl_agents.r2d2.samples import SequenceSamples

TINY: dict[str, Any] = {
    "learning_rate": 1e-3,
    "buffer_size": 600,
    "learning_starts": 60,
    "batch_size": 8,
    "train_freq": 5,
    "n_steps": 2,
    "burn_in": 3,
    "sequence_length": 6,
    "overlap": 2,
    "target_update_interval": 40,
    "seed": 1,
    "device": "cpu",
}
SMALL_NET: dict[str, Any] = {"lstm_hidden_size": 8, "net_arch": [8], "pre_net_arch": []}
NETWORKS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "lstm", "n_lstm_layers": 2, "previous_reward": True, "pre_net_arch": [5], "activation_fn": nn.Tanh},
    {"cell": "gru", "n_lstm_layers": 3, "previous_reward": True, "dueling": False, "net_arch": []},
    {"cell": "gru", "previous_action": False, "activation_fn": nn.ELU},
]


def shown(space: Any, t: int) -> Any:
    """What :class:`Counting` shows of a space at a step."""
    if isinstance(space, spaces.Discrete):
        return np.int64(t % int(space.n))
    if not np.issubdtype(space.dtype, np.integer):
        return np.full(space.shape, t / 10, space.dtype)
    if isinstance(space, spaces.MultiDiscrete):
        num = space.nvec
    else:
        num = 2 if isinstance(space, spaces.MultiBinary) else space.high.astype(np.int64) + 1
    return np.broadcast_to(t % num, space.shape).astype(space.dtype)


class Counting(gymnasium.Env):
    """Shows its space filled with step number / 10, integers with the step number (from 0 again where the space ends), whatever
    the actions; reward is the step number.

    Args:
        observation_space: Any space.
        length: Steps until the end.
        terminates: Whether that is a termination, or (under a ``TimeLimit``) goes on for ever.
    """

    def __init__(self, observation_space: spaces.Space, length: int = 7, terminates: bool = True) -> None:
        self.observation_space, self.action_space = observation_space, spaces.Discrete(3)
        self.length, self.terminates, self.t = length, terminates, 0

    def _filled(self, space: Any) -> Any:
        if isinstance(space, spaces.Dict):
            return spaces.Dict, {key: self._filled(part) for key, part in space.items()}
        return shown(space, self.t)

    def _observation(self) -> Any:
        filled = self._filled(self.observation_space)
        return filled[1] if isinstance(filled, tuple) else filled

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._observation(), float(self.t), self.terminates and self.t == self.length, False, {}


def agent(env: Any = "CartPole-v1", policy: str = "MlpLstmPolicy", **changes: Any) -> R2D2:
    """A small agent; keywords of the policy among the changes go there."""
    keywords = {"cell", "lstm_hidden_size", "n_lstm_layers", "net_arch", "pre_net_arch", "dueling"}
    keywords |= {"previous_action", "previous_reward", "activation_fn", "forget_bias", "optimizer_class", "optimizer_kwargs"}
    network = SMALL_NET | {name: changes.pop(name) for name in list(changes) if name in keywords}
    return R2D2(policy, env, policy_kwargs=network, **(TINY | changes))


def batch_of(learner: R2D2) -> SequenceSamples:
    """All sequences of an agent that has learned, with priorities that differ."""
    learner.learn(300)
    buffer = learner.replay_buffer
    buffer.update_priorities(buffer.sequences, np.linspace(0.2, 3, len(buffer.sequences)))
    return buffer._get_samples(buffer.sequences, None, 0.5)
