"""The protocol of algorithms: pure functions that know neither environment nor loop."""

from __future__ import annotations

from typing import Any, Protocol

import jax

from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.schedules import Now


class Learner(Protocol):
    """Functions of an algorithm that the loops call; hashable, as compiled programs are kept by it."""

    def __hash__(self) -> int:
        """Equal learners make the same program."""

    def init(self, key: jax.Array, hyper: Any) -> Any:
        """The state before any learning; ``hyper`` are numbers in which runs of one program may differ."""

    def act(self, state: Any, observation: jax.Array, key: jax.Array, explore: Exploration) -> jax.Array:
        """Exploring actions, as the :class:`~mbrl_agents.core.actions.ActionCodec` of the space has them."""

    def act_greedily(self, state: Any, observation: jax.Array, key: jax.Array) -> jax.Array:
        """Greedy actions."""

    def update(self, state: Any, batch: Any, key: jax.Array, now: Now) -> tuple[Any, dict]:
        """One gradient step on what the replay memory draws, mostly a :class:`~mbrl_agents.core.replay.Batch`."""

    def update_target(self, state: Any) -> Any:
        """One update of the target network."""
