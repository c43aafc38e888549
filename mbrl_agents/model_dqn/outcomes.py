"""What learned models say of rewards and ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mbrl_agents.model_dqn.heads import Heads, binary_cross_entropy, reward_nll
from mbrl_agents.model_dqn.world_model import Outcome


@dataclasses.dataclass(frozen=True)
class OutcomeModel:
    """Reward mean and, in episodic tasks, the logit of termination, of a state and an action.

    Attributes:
        hidden: Widths of the hidden layers of each.
        activation: Their activation function.
        continuing: Whether the task never ends: nothing is predicted about that, and the continuation is 1.
        num_values: If not 0, inputs are codes; see :class:`~mbrl_agents.core.networks.MLP`.
    """

    hidden: tuple[int, ...]
    activation: str
    continuing: bool
    num_values: int = 0

    @property
    def network(self) -> Heads:
        """One head for each."""
        return Heads(self.hidden, (1,) if self.continuing else (1, 1), self.activation, self.num_values)

    def init(self, key: jax.Array, inputs: Any) -> Any:
        """Fresh parameters, given an example of the input."""
        return self.network.init(key, inputs)["params"]

    def _said(self, params: Any, inputs: Any) -> list[jax.Array]:
        said: tuple[jax.Array, ...] = self.network.apply({"params": params}, inputs)  # type: ignore[assignment]
        return [each[:, 0] for each in said]

    def losses(self, params: Any, inputs: Any, reward: jax.Array, terminated: jax.Array) -> dict[str, jax.Array]:
        """Mean negative log-likelihoods of what happened, rewards float32 (n,), ends bool (n,)."""
        mean, *ends = self._said(params, inputs)
        parts = {"reward": reward_nll(mean, reward).mean()}
        if ends:
            parts["termination"] = binary_cross_entropy(ends[0], terminated.astype(jnp.float32)).mean()
        return parts

    def expect(self, params: Any, inputs: Any) -> Outcome:
        """What will happen, n outcomes."""
        mean, *ends = self._said(params, inputs)
        return Outcome(mean, jax.nn.sigmoid(-ends[0]) if ends else jnp.ones_like(mean))
