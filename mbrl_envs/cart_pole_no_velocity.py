"""CartPole without velocities: a task of control that needs memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control import CartPoleEnv

from mbrl_envs.checks import checked_seed

SEEN = (0, 2)  # position and angle


class CartPoleNoVelocity(CartPoleEnv):
    """Gymnasium's CartPole, of which only the cart's position and the pole's angle are seen.

    Which way pole and cart are moving shows in two observations in a row, not in one: without memory the pole stays up for
    about 50 of the 500 steps. (Gymnasium's wrappers select entries of dictionaries only.) Observations are float32 (2,):
    position in m and angle in rad, 0 being upright.

    Args:
        **kwargs: As for ``CartPole-v1``: ``render_mode``, ``sutton_barto_reward``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        whole = self.observation_space
        assert isinstance(whole, spaces.Box)
        self.observation_space = spaces.Box(whole.low[list(SEEN)], whole.high[list(SEEN)], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see :meth:`gymnasium.Env.reset`."""
        seed = None if seed is None else checked_seed(seed)
        observation, info = super().reset(seed=seed, options=options)
        return observation[list(SEEN)], info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one step; see :meth:`gymnasium.Env.step`."""
        observation, *rest = super().step(action)
        return observation[list(SEEN)], *rest
