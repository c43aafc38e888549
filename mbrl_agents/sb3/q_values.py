"""Action values of observations, for users of agents that have such."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mbrl_agents.core import keys
from mbrl_agents.core.compilation import jit
from mbrl_agents.sb3.agent_base import LearnerT
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.policy import as_batch


class ActionValueAgent(JaxAgent[LearnerT]):
    """Base of agents whose learners have ``q_values(state, observations, key)``."""

    def q_values(self, observation: Any) -> np.ndarray:
        """Action values: of several networks their mean, of latent models for what they draw of an observation.

        Args:
            observation: One observation, of the observation space's shape and dtype, or n of them, (n, …).

        Returns:
            float32 (actions,), or (n, actions).

        Raises:
            ValueError: The observation is not of the observation space's shape.
        """
        given, vectorized = as_batch(observation, self.observation_space)
        batch = self.replay.codec.from_host(given)
        with self.arrays_lock:
            key = keys.fold_in(self.run.keys.predict, self.run.clock.predictions)
            values = np.array(_compiled(self.learner)(self.learner_state, batch, key))
        return values if vectorized else values[0]


@functools.lru_cache(maxsize=32)
def _compiled(learner: Any) -> Any:
    return jit(learner.q_values)
