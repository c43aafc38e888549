"""Any functional environment as a :class:`gymnasium.vector.VectorEnv`, one compiled call per step of all lanes."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from mbrl_envs.adapters.driver import BatchDriver
from mbrl_envs.adapters.gym_env import FunctionalGymEnv
from mbrl_envs.checks import checked_seed
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.functional_task import FunctionalTask
from mbrl_envs.multi_agent.protocol import require_one_agent
from mbrl_envs.registration import make_dynamics


class FunctionalVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch of equal environments with automatic resets and the time limit inside.

    Lane ``i`` of ``reset(seed=s)`` does the same, bit for bit, as a single environment seeded with ``s + i``. In mode
    ``NEXT_STEP`` the step after an episode's end ignores the action and returns the new episode's first observation with reward
    0; in mode ``SAME_STEP`` the last step already returns it, and ``info["final_obs"]`` holds the last observation.

    Args:
        dynamics: The dynamics, or the name of registered ones.
        num_envs: Number of environments.
        max_episode_steps: Time limit; None or -1 for none.
        autoreset_mode: ``NEXT_STEP`` or ``SAME_STEP``.
        render_mode: None, ``"rgb_array"`` or ``"ansi"``.
        **constants: The dynamics' constants, if ``dynamics`` is a name.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        dynamics: FunctionalEnv | str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **constants: Any,
    ) -> None:
        made = make_dynamics(dynamics, **constants)
        require_one_agent(made, instead="FunctionalVecEnv, or PettingZoo")
        self._driver = BatchDriver(made, num_envs, max_episode_steps, autoreset_mode, render_mode)
        self.num_envs = self._driver.num_envs
        self.render_mode = render_mode
        self.metadata = {**FunctionalGymEnv.metadata, "autoreset_mode": self._driver.autoreset_mode}
        self.single_observation_space = self._driver.dynamics.observation_space
        self.single_action_space = self._driver.dynamics.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def functional_task(self) -> FunctionalTask:
        """Dynamics and time limit."""
        return FunctionalTask(self._driver.dynamics, self._driver.max_episode_steps)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins episodes.

        Args:
            seed: A seed, of which lane ``i`` gets ``seed + i``; a list with a seed for each lane, None for no new one; or None.
                A lane without a seed goes on with its next episode; before the first reset it is seeded at random.
            options: ``{"reset_mask": bool array (num_envs,)}`` restricts it to some lanes, as in Gymnasium. All others are the
                dynamics' own, see :meth:`FunctionalEnv.start_with`, and count for each of these lanes.

        Returns:
            Observations of all lanes, (num_envs, …), and what there is to know beside them; see :meth:`FunctionalEnv.info`.

        Raises:
            gymnasium.error.Error: A seed is not a non-negative integer.
            TypeError, ValueError: An option is unknown, of a wrong type or out of range.
            ValueError: There is not one seed for each lane, or the mask is no such array or has no True in it.
            RuntimeError: This process was forked from one that had used JAX.
        """
        seeds = self._seeds(seed)
        own = {name: value for name, value in (options or {}).items() if name != "reset_mask"}
        mask = self._reset_mask(options)
        super().reset(seed=seeds[0] if isinstance(seed, numbers.Integral) else None)
        if not self._driver.started:
            fresh = self.np_random.integers(2**31, size=self.num_envs)
            seeds = [int(new) if given is None else given for given, new in zip(seeds, fresh, strict=True)]
            mask = None
        observations = self._driver.reset(seeds, mask, [own] * self.num_envs if own else None)
        return observations, self._info(mask)

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Takes one step in every environment; see :meth:`gymnasium.vector.VectorEnv.step`.

        Args:
            actions: An action for each lane, (num_envs, …).

        Returns:
            Observations (num_envs, …), rewards float32 (num_envs,), terminated and truncated bool (num_envs,), and in mode
            ``SAME_STEP`` the last observations of episodes that have ended, ``info["final_obs"]``.

        Raises:
            ValueError: The actions are not in the action space.
            gymnasium.error.ResetNeeded: The environments were never reset.
        """
        observation, reward, terminated, truncated, final_state = self._driver.step(actions)
        info = self._info()
        if self._driver.autoreset_mode == AutoresetMode.SAME_STEP and (ended := terminated | truncated).any():
            final, told = self._driver.observe(final_state), self._driver.info(final_state)
            for i in np.flatnonzero(ended):
                last = {name: values[i] for name, values in told.items()}
                info = self._add_info(info, {"final_obs": final[i], "final_info": last}, int(i))
        return observation, reward, terminated, truncated, info

    def _info(self, mask: np.ndarray | None = None) -> dict[str, Any]:
        """What the dynamics tell of current states, as Gymnasium has it: arrays, and masks of who has a value (None: all)."""
        told: dict[str, Any] = {}
        for name, values in self._driver.info().items():
            here = np.ones(self.num_envs, bool) if mask is None else mask.copy()
            told |= {name: np.where(here, values, 0), f"_{name}": here}
        return told

    def _seeds(self, seed: Any) -> list[int | None]:
        """A seed for each lane, or None where there is none."""
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (bool, numbers.Integral)):
            return [checked_seed(seed) + i for i in range(self.num_envs)]
        if not isinstance(seed, (Sequence, np.ndarray)) or isinstance(seed, str):
            raise gymnasium.error.Error(f"seed must be None, a non-negative integer, or one for each environment, got {seed!r}")
        if len(seed) != self.num_envs:
            raise ValueError(f"seed must have one entry for each of the {self.num_envs} environments, got {len(seed)}")
        return [None if each is None else checked_seed(each) for each in seed]

    def render(self) -> tuple[Any, ...] | None:
        """A picture of each environment, uint8 (height, width, 3) or text, or None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: The environments were never reset.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode, for example gymnasium.make_vec(..., render_mode='rgb_array')")
            return None
        return self._driver.render()

    def _reset_mask(self, options: dict[str, Any] | None) -> np.ndarray | None:
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return None
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must be a bool array of shape ({self.num_envs},) with a True in it, got {mask!r}"
            )
        return mask
