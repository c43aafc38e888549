"""Any functional environment as a Stable-Baselines3 ``VecEnv``."""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from mbrl_envs.adapters.driver import BatchDriver
from mbrl_envs.adapters.gym_env import FunctionalGymEnv
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.functional_task import FunctionalTask
from mbrl_envs.registration import make_dynamics


class FunctionalVecEnv(VecEnv):
    """A batch of equal environments for SB3's agents, one compiled call per step of all of them.

    As SB3 has it, an ended episode is reset on the same step; its ``info`` holds ``terminal_observation``,
    ``TimeLimit.truncated``, and ``episode`` (return ``r``, length ``l``, seconds ``t``) as a ``Monitor`` would write.

    Dynamics with A agents (:mod:`mbrl_envs.multi_agent`) take A lanes for each environment, ``self.num_envs`` being the number
    of lanes: lane ``e * A + a`` is agent ``a`` of environment ``e``. One policy then acts for all agents.

    Args:
        dynamics: The dynamics, the name of registered ones, or a Gymnasium id of this package.
        num_envs: Number of environments.
        max_episode_steps: Time limit; None or -1 for none, ``"registered"`` for that of the registered id.
        render_mode: None, ``"rgb_array"`` or ``"ansi"``.
        **constants: The dynamics' constants, if ``dynamics`` is a name or an id.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        dynamics: FunctionalEnv | str,
        num_envs: int = 1,
        max_episode_steps: int | Literal["registered"] | None = "registered",
        render_mode: str | None = None,
        **constants: Any,
    ) -> None:
        made = make_dynamics(dynamics, **constants)
        limit = made.max_episode_steps if max_episode_steps == "registered" else max_episode_steps
        self._driver = BatchDriver(made, num_envs, limit, AutoresetMode.SAME_STEP, render_mode)
        self.spec = gymnasium.registry.get(made.env_id)
        super().__init__(self._driver.num_envs, made.observation_space, made.action_space)
        self.metadata = dict(FunctionalGymEnv.metadata)
        self._actions: np.ndarray | None = None
        self._clear_statistics()

    @property
    def functional_task(self) -> FunctionalTask:
        """Dynamics and time limit."""
        return FunctionalTask(self._driver.dynamics, self._driver.max_episode_steps)

    def reset(self) -> VecEnvObs:
        """Begins an episode in every environment, with what :meth:`seed` and :meth:`set_options` have set, if anything.

        What there is to know beside observations is in ``reset_infos``; see :meth:`FunctionalEnv.info`.

        Returns:
            Observations of all lanes, (num_envs, …).

        Raises:
            gymnasium.error.Error: A seed is not a non-negative integer.
            TypeError, ValueError: An option is unknown, of a wrong type or out of range.
            RuntimeError: This process was forked from one that had used JAX.
        """
        if not self._driver.started and None in self._seeds:
            self.seed()
        observation = self._driver.reset(self._seeds, options=self._options)
        self.reset_infos = self._told(self._driver.info())
        self._reset_seeds()
        self._reset_options()
        self._clear_statistics()
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions, (num_envs, …), for :meth:`step_wait`."""
        self._actions = np.asarray(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Takes one step in every lane.

        Returns:
            Observations (num_envs, …), rewards float32 (num_envs,), whether episodes have ended, bool (num_envs,), and infos.

        Raises:
            ValueError: The actions are not in the action space.
            gymnasium.error.ResetNeeded: The environments were never reset.
        """
        observation, reward, terminated, truncated, final_state = self._driver.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": False} for _ in range(self.num_envs)]
        if self._driver.informs:
            for info, told in zip(infos, self._told(self._driver.info(final_state)), strict=True):
                info.update(told)
        if done.any():
            final = self._driver.observe(final_state)
            seconds = round(time.time() - self._start_time, 6)
            for i in np.flatnonzero(done):
                infos[i] |= {
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                    "terminal_observation": jax.tree.map(operator.itemgetter(i), final),
                    "episode": {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds},
                }
            if self._driver.informs:
                begun = self._told(self._driver.info())
                self.reset_infos = [new if over else old for new, old, over in zip(begun, self.reset_infos, done, strict=True)]
            self._returns[done], self._lengths[done] = 0, 0
        return observation, reward, done, infos

    def close(self) -> None:
        """Nothing is held open."""

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A picture of each environment, uint8 (height, width, 3); Nones unless the render mode is ``"rgb_array"``.

        Raises:
            gymnasium.error.ResetNeeded: The environments were never reset.
        """
        return self._driver.render() if self.render_mode == "rgb_array" else [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """An attribute of each environment: one of the dynamics, or ``render_mode``, ``spec``, ``dynamics``.

        Raises:
            AttributeError: There is no such attribute.
        """
        own = {"render_mode": self._driver.render_mode, "spec": self.spec, "dynamics": self._driver.dynamics}
        value = own[attr_name] if attr_name in own else getattr(self._driver.dynamics, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Always fails: dynamics are constants of a compiled program.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"{attr_name!r} cannot be set: make a new {type(self).__name__} with other constants")

    def env_method(self, method_name: str, *args: Any, indices: int | Iterable[int] | None = None, **kwargs: Any) -> list[Any]:
        """Calls ``render`` (a picture or text of each environment); there are no other methods to call.

        Raises:
            AttributeError: Another method was asked for.
            gymnasium.error.ResetNeeded: The environments were never reset.
        """
        if method_name != "render":
            raise AttributeError(f"method_name must be 'render', got {method_name!r}")
        pictures = self._driver.render()
        return [pictures[i // self._driver.dynamics.num_agents] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: int | Iterable[int] | None = None) -> list[bool]:
        """True for SB3's ``Monitor``, whose records are part of this class; False for all others."""
        return [wrapper_class.__name__ == "Monitor" for _ in self._get_indices(indices)]

    def _told(self, told: dict[str, np.ndarray]) -> list[dict[str, Any]]:
        """What the dynamics tell of each environment's state, for each lane."""
        agents = self._driver.dynamics.num_agents
        return [{name: int(values[i // agents]) for name, values in told.items()} for i in range(self.num_envs)]

    def _clear_statistics(self) -> None:
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, int)
        self._start_time = time.time()
