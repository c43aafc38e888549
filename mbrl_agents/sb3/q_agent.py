"""What the agents that learn by Q-learning on features have in common."""

from __future__ import annotations

from typing import Any

from mbrl_agents.core.optimizer import NO_CLIPPING, AdamHyperparameters
from mbrl_agents.core.q_learning import DQNHyperparameters, QLearning
from mbrl_agents.sb3 import torch_copy
from mbrl_agents.sb3.q_values import ActionValueAgent
from mbrl_envs.checks import number_in


class QAgent(ActionValueAgent):
    """Base of the DQNs: what their arguments make of network and Q-learning."""

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        for name in ("adam_b1", "adam_b2"):
            given[name] = number_in(name, given[name], 0, 1, open_high=True)
        given["adam_eps"] = number_in("adam_eps", given["adam_eps"], 0, open_low=True)
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
        )

    def _q_hyperparameters(self) -> DQNHyperparameters:
        """Its numbers, in which runs of one program may differ."""
        given = self.arguments
        clip = NO_CLIPPING if given["max_grad_norm"] is None else given["max_grad_norm"]
        adam = AdamHyperparameters(given["adam_b1"], given["adam_b2"], given["adam_eps"], given["weight_decay"], clip)
        return DQNHyperparameters(given["gamma"], given["tau"], adam)

    def to_torch(self) -> torch_copy.TorchValues:
        """A copy of the Q-network as a PyTorch module; see :meth:`mbrl_agents.sb3.jax_agent.JaxAgent.to_torch`."""
        network = torch_copy.mlp(self.learner_state.params, self.arguments["policy_kwargs"]["activation_fn"])
        return torch_copy.TorchValues(self.replay.codec, [network])
