"""Drives a batch of lanes from Python: what the Gymnasium and the SB3 vector environments share."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from mbrl_envs import forks
from mbrl_envs.adapters.fresh import fresh
from mbrl_envs.adapters.gym_env import RENDER_MODES, seed_key
from mbrl_envs.adapters.options import informs, known_options
from mbrl_envs.batched import BatchedEnv, BatchState
from mbrl_envs.checks import integer_in, one_of, time_limit
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.functional_task import FunctionalTask
from mbrl_envs.registration import make_dynamics
from mbrl_envs.rendering import ansi, rgb_array

MAX_ENVS = 2**20


class _Compiled(forks.Programs):
    functions = ("init", "step", "restart", "reseed", "observe", "observe_states")

    def __init__(self, batched: BatchedEnv) -> None:
        super().__init__()
        self.batched = batched
        self.init = jax.jit(batched.init)
        self.step = jax.jit(batched.step, donate_argnums=0)
        self.restart = jax.jit(batched.restart, donate_argnums=0)
        self.reseed = jax.jit(batched.reseed, donate_argnums=0)
        self.observe = jax.jit(batched.observe)
        self.observe_states = jax.jit(batched.observe_states)


@functools.lru_cache(maxsize=64)
def _compiled(batched: BatchedEnv) -> _Compiled:
    return _Compiled(batched)


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    supported = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
    if mode not in (*supported, *(each.value for each in supported)):
        raise ValueError(f"autoreset_mode must be NEXT_STEP or SAME_STEP of gymnasium.vector.AutoresetMode, got {mode!r}")
    return AutoresetMode(mode)


class BatchDriver:
    """Holds the state of all lanes and exchanges fresh NumPy arrays with the outside.

    Args:
        dynamics: The dynamics, or the name of registered ones.
        num_envs: Number of environments, each of which is a lane; or A lanes, if it has A agents.
        max_episode_steps: Time limit; None or -1 for none.
        autoreset_mode: Gymnasium's ``NEXT_STEP`` or ``SAME_STEP``, as an enum or its value.
        render_mode: None, ``"rgb_array"`` or ``"ansi"``.
        **constants: The dynamics' constants, if ``dynamics`` is a name.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        dynamics: FunctionalEnv | str,
        num_envs: int,
        max_episode_steps: int | None,
        autoreset_mode: AutoresetMode | str,
        render_mode: str | None,
        **constants: Any,
    ) -> None:
        self.dynamics = make_dynamics(dynamics, **constants)
        self.num_envs = integer_in("num_envs", num_envs, 1, MAX_ENVS) * self.dynamics.num_agents  # lanes
        self.max_episode_steps = time_limit("max_episode_steps", max_episode_steps)
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.render_mode = one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self._state: BatchState | None = None
        self._compile()

    def _compile(self) -> None:
        self.informs = informs(self.dynamics)
        self._action_dtype = np.int32 if isinstance(self.dynamics.action_space, spaces.Discrete) else None
        task = FunctionalTask(self.dynamics, self.max_episode_steps)
        self._functions = _compiled(task.batched(self.num_envs, self.autoreset_mode))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled, for copies and pickles."""
        state = {name: value for name, value in self.__dict__.items() if name != "_functions"}
        return {**state, "_state": jax.tree.map(np.array, self._state)}  # not views: a step reuses the memory

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["_state"] is not None:
            forks.check()
        self.__dict__.update({**state, "_state": jax.tree.map(jnp.array, state["_state"])})
        self._compile()

    @property
    def started(self) -> bool:
        """Whether the lanes have been started."""
        return self._state is not None

    def reset(
        self,
        seeds: Sequence[int | None],
        mask: np.ndarray | None = None,
        options: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> Any:
        """Begins an episode in the lanes of ``mask`` (all, if None) and returns the observations of all lanes.

        A lane with a seed starts its random streams anew; one without goes on with its next episode. Options of a reset, one
        dictionary for each lane (that of its first lane counts for an environment), change the starts that were drawn.

        Raises:
            gymnasium.error.Error: A seed is not a non-negative integer.
            TypeError, ValueError: An option is unknown, of a wrong type or out of range.
            ValueError: The first reset has no seed for some lane.
            RuntimeError: This process was forked from one that had used JAX.
        """
        forks.check()
        known = [known_options(self.dynamics, each) for each in options or ()]
        mask = np.ones(self.num_envs, bool) if mask is None else mask
        seeded = mask & np.array([seed is not None for seed in seeds])
        keys = np.stack([seed_key(0 if seed is None else seed) for seed in seeds])
        if self._state is None:
            if not seeded.all():
                raise ValueError("the first reset needs a seed for every environment")
            self._state = self._functions.init(keys)
        else:
            if (mask & ~seeded).any():
                self._state = self._functions.restart(self._state, mask & ~seeded)
            if seeded.any():
                self._state = self._functions.reseed(self._state, keys, seeded)
        if any(known):
            self._start_with(known, mask)
        return fresh(self._functions.observe(self._state))

    def _start_with(self, options: list[dict[str, Any]], mask: np.ndarray) -> None:
        """Changes the starts of the environments of ``mask`` as their options say."""
        assert self._state is not None
        agents = self.dynamics.num_agents
        states = jax.tree.map(np.array, self._state.lanes.state)
        for i in np.flatnonzero(mask.reshape(-1, agents).any(axis=1)):
            if own := options[i * agents]:
                started = self.dynamics.start_with(jax.tree.map(lambda leaf, i=i: leaf[i], states), own)
                for leaf, value in zip(jax.tree.leaves(states), jax.tree.leaves(started), strict=True):
                    leaf[i] = value
        lanes = self._state.lanes._replace(state=jax.tree.map(jnp.array, states))
        self._state = self._state._replace(lanes=lanes)

    def info(self, states: Any = None) -> dict[str, np.ndarray]:
        """What the dynamics tell of states (by default the current ones) beside observations, int64 (environments,) by name."""
        if not self.informs:
            return {}
        if states is None:
            assert self._state is not None
            states = self._state.lanes.state
        told = self.dynamics.info(jax.tree.map(np.asarray, states))
        return {name: value.astype(np.int64) for name, value in told.items()}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        """Takes one step in every lane.

        Args:
            actions: An action for each lane, (lanes, …).

        Returns:
            Fresh arrays: observations (lanes, …) in the space's structure, rewards float32 (lanes,), terminated and truncated
            bool (lanes,); and the states before automatic resets, with an axis of environments.

        Raises:
            ValueError: The actions are not in the action space.
            gymnasium.error.ResetNeeded: The lanes were never reset.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before this")
        self._check_actions(actions)
        self._state, out = self._functions.step(self._state, np.asarray(actions, self._action_dtype))
        copies = (np.array(leaf) for leaf in (out.reward, out.terminated, out.truncated))
        return (fresh(out.observation), *copies, out.final_state)

    def observe(self, states: Any) -> Any:
        """Observations, (lanes, …), of states such as :meth:`step` returns."""
        return fresh(self._functions.observe_states(states))

    def render(self) -> tuple[Any, ...]:
        """A picture of each environment: uint8 (height, width, 3), or text.

        Raises:
            gymnasium.error.ResetNeeded: The lanes were never reset.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset() before this")
        states = jax.tree.map(np.asarray, self._state.lanes.state)
        draw = rgb_array if self.render_mode == "rgb_array" else ansi
        return tuple(
            draw(self.dynamics.picture(jax.tree.map(lambda leaf, i=i: leaf[i], states)), caption=f"environment {i}")
            for i in range(self.num_envs // self.dynamics.num_agents)
        )

    def _check_actions(self, actions: Any) -> None:
        space = self.dynamics.action_space
        array = np.asarray(actions)
        if array.shape != (self.num_envs, *(space.shape or ())):
            raise ValueError(f"actions must have shape {(self.num_envs, *(space.shape or ()))}, got {array.shape}")
        if isinstance(space, spaces.Discrete):
            if array.dtype.kind not in "iu":
                raise ValueError(f"actions must be integers, got dtype {array.dtype}")
            if array.min() < space.start or array.max() >= space.start + space.n:
                raise ValueError(f"every action must be in {space}, got values from {array.min()} to {array.max()}")
