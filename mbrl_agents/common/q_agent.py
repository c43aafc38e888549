"""What the agents that learn by Q-learning on features have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from mbrl_agents.common import q_values, torch_copy
from mbrl_agents.common.jax_agent import JaxAgent
from mbrl_agents.common.optimizer import AdamHyperparameters
from mbrl_agents.common.q_learning import DQNHyperparameters, QLearning


class QAgent(JaxAgent):
    """Base of the DQNs: what their arguments make of network and Q-learning."""

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
        )

    def _q_hyperparameters(self) -> DQNHyperparameters:
        """Its numbers, in which runs of one program may differ."""
        given = self.arguments
        clip = float("inf") if given["max_grad_norm"] is None else given["max_grad_norm"]
        adam = AdamHyperparameters(weight_decay=given["weight_decay"], max_grad_norm=clip)
        return DQNHyperparameters(given["gamma"], given["tau"], adam)

    def q_values(self, observation: Any) -> np.ndarray:
        """Action values; of latent models, for what they draw of an observation.

        Args:
            observation: One observation, or n of them, (n, …).

        Returns:
            float32 (actions,), or (n, actions).

        Raises:
            ValueError: The observation is not of the observation space's shape.
        """
        return q_values.of_agent(self, observation)

    def to_torch(self) -> torch_copy.TorchValues:
        """A copy of the Q-network as a PyTorch module; see :meth:`mbrl_agents.common.saved_agent.SavedAgent.to_torch`."""
        network = torch_copy.mlp(self.learner_state.params, self.arguments["policy_kwargs"]["activation_fn"])
        return torch_copy.TorchValues(self.replay.codec, [network])
