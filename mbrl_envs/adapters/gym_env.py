"""Any functional environment as a :class:`gymnasium.Env`."""

from __future__ import annotations

import functools
import operator
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs import draws, forks
from mbrl_envs import lane as lanes
from mbrl_envs.adapters.fresh import fresh
from mbrl_envs.adapters.options import informs, known_options
from mbrl_envs.adapters.packing import Packing
from mbrl_envs.checks import checked_seed, one_of
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.functional_task import FunctionalTask
from mbrl_envs.lane import Lane
from mbrl_envs.multi_agent.protocol import require_one_agent
from mbrl_envs.registration import make_dynamics
from mbrl_envs.rendering import ansi, rgb_array

RENDER_MODES, RENDER_FPS = ("rgb_array", "ansi"), 4  # of all adapters


class _Outcome(NamedTuple):
    """What a step leaves behind, packed: reward and terminated are its first words."""

    reward: jax.Array
    terminated: jax.Array
    lane: Lane


class Compiled(forks.Programs):
    """The compiled functions of one environment, shared by all its instances: to a packed outcome and an observation.

    Args:
        env: The dynamics.
        rewards: Shape of a step's reward: that of one agent, or of several.
    """

    functions = ("begin", "step", "reset", "place")

    def __init__(self, env: FunctionalEnv, rewards: tuple[int, ...] = ()) -> None:
        super().__init__()
        nothing = np.zeros(rewards, np.float32)

        def outcome(lane: Lane, reward: Any = nothing, terminated: Any = False) -> tuple[jax.Array, jax.Array]:
            return Packing.pack(_Outcome(jnp.float32(reward), jnp.bool_(terminated), lane)), env.observe(lane.state)

        def begin(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            return outcome(lanes.start(env, key))

        def step(packed: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
            lane, transition = lanes.advance(env, self.packing.unpack(packed).lane, action)
            return outcome(lane, transition.reward, transition.terminated)

        def reset(packed: jax.Array) -> tuple[jax.Array, jax.Array]:
            lane = self.packing.unpack(packed).lane
            return outcome(lanes.restart(lane, lanes.next_start(env, lane)))

        def place(packed: jax.Array, state: Any) -> tuple[jax.Array, jax.Array]:
            return outcome(self.packing.unpack(packed).lane._replace(state=state))

        def example(key: jax.Array) -> _Outcome:
            return _Outcome(jnp.float32(nothing), jnp.bool_(False), lanes.start(env, key))

        self.packing = Packing(jax.eval_shape(example, jax.ShapeDtypeStruct((2,), jnp.uint32)))
        self.begin, self.step, self.reset, self.place = jax.jit(begin), jax.jit(step), jax.jit(reset), jax.jit(place)


@functools.lru_cache(maxsize=64)
def compiled(env: FunctionalEnv, rewards: tuple[int, ...] = ()) -> Compiled:
    """The compiled functions of an environment; arguments as for :class:`Compiled`.

    Raises:
        RuntimeError: This process was forked from one that had used JAX.
    """
    forks.check()
    return Compiled(env, rewards)


def seed_key(seed: Any) -> np.ndarray:
    """The raw key of a seed that a user gave, uint32 (2,); errors as in :func:`checked_seed`."""
    return draws.raw_key(checked_seed(seed))


class FunctionalGymEnv(gymnasium.Env[np.ndarray, Any]):
    """A :class:`gymnasium.Env` around functional dynamics.

    One step is one compiled call; the state goes in and comes out as one packed vector. Observations are fresh NumPy arrays.
    Time limits are left to Gymnasium's ``TimeLimit``, which ``gymnasium.make`` applies.

    Args:
        dynamics: The environment's dynamics, or the name of one that is registered (such as ``"ProcMaze"``).
        render_mode: None, ``"rgb_array"`` or ``"ansi"``; ``gymnasium.make`` turns ``"human"`` into a window showing the former.
        **constants: The dynamics' constants, if ``dynamics`` is a name.

    Raises:
        TypeError: A constant is unknown or of a wrong type, or the dynamics are those of several agents.
        ValueError: The name or the render mode is unknown, or a constant is out of range.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(RENDER_MODES), "render_fps": RENDER_FPS}  # type: ignore[misc]

    def __init__(self, dynamics: FunctionalEnv | str, render_mode: str | None = None, **constants: Any) -> None:
        self.dynamics = make_dynamics(dynamics, **constants)
        require_one_agent(self.dynamics, instead="PettingZoo's parallel_env(), or FunctionalVecEnv for Stable-Baselines3")
        self.observation_space = self.dynamics.observation_space
        self.action_space = self.dynamics.action_space
        self.render_mode = one_of("render_mode", render_mode, (None, *RENDER_MODES))
        self._packed: jax.Array | None = None
        self._last: tuple[Any, float] | None = None  # action and reward, for the caption of a picture
        self._total_reward = 0.0

    def _compile(self) -> None:
        """Not before the first reset: a process may fork until then."""
        self._functions, self._informs = compiled(self.dynamics), informs(self.dynamics)
        # A device array handed in again costs nothing to convert; Discrete actions are few.
        self._device_actions: list[jax.Array] = []
        self._first_action = 0
        if isinstance(self.action_space, spaces.Discrete):
            self._first_action = int(self.action_space.start)
            self._device_actions = [jnp.int32(self._first_action + a) for a in range(int(self.action_space.n))]

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled, for copies and pickles."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_functions", "_device_actions")}
        return {**state, "_packed": None if self._packed is None else np.array(self._packed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._packed is not None:
            self._compile()
            self._packed = jnp.asarray(self._packed)

    @property
    def functional_task(self) -> FunctionalTask:
        """The dynamics; time limits are wrappers, which have a say in :func:`mbrl_envs.functional_task`."""
        return FunctionalTask(self.dynamics, None)

    @property
    def state(self) -> Any:
        """The dynamics' state as NumPy arrays (views, not to be written to).

        Raises:
            gymnasium.error.ResetNeeded: The environment was never reset.
        """
        return self._lane().state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode; see :meth:`gymnasium.Env.reset`. With a seed, episodes and events start anew from it.

        Args:
            seed: A non-negative integer, or None to go on with the next episode.
            options: What the start shall be; see :meth:`FunctionalEnv.start_with`. None, or empty: as it is drawn.

        Returns:
            The first observation, and what there is to know beside it; see :meth:`FunctionalEnv.info`.

        Raises:
            gymnasium.error.Error: The seed is not a non-negative integer.
            TypeError, ValueError: An option is unknown, of a wrong type or out of range.
            RuntimeError: This process was forked from one that had used JAX.
        """
        seed = None if seed is None else checked_seed(seed)
        options = known_options(self.dynamics, options)
        super().reset(seed=seed)
        if self._packed is None:
            self._compile()
        if seed is not None or self._packed is None:
            seed = int(self.np_random.integers(2**31)) if seed is None else seed
            packed, observation = self._functions.begin(draws.raw_key(seed))
        else:
            packed, observation = self._functions.reset(self._packed)
        if options:
            drawn = self._functions.packing.view(np.array(packed)).lane.state
            packed, observation = self._functions.place(packed, self.dynamics.start_with(drawn, options))
        self._packed, self._last, self._total_reward = packed, None, 0.0
        return fresh(observation), self._info() if self._informs else {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes one step; see :meth:`gymnasium.Env.step`. Never truncates: that is ``TimeLimit``'s part.

        Raises:
            ValueError: The action is not in the action space.
            gymnasium.error.ResetNeeded: The environment was never reset.
        """
        packed = self._require_state()
        self._packed, observation = self._functions.step(packed, self._device_action(action))
        outcome = np.asarray(self._packed)
        reward = outcome.view(np.float32).item(0)
        self._last = (action, reward)
        self._total_reward += reward
        info = self._info() if self._informs else {}
        return fresh(observation), reward, outcome.item(1) != 0, False, info

    def render(self) -> Any:
        """Draws the current state: uint8 (height, width, 3) in mode ``"rgb_array"``, text in mode ``"ansi"``, None without.

        Raises:
            gymnasium.error.ResetNeeded: The environment was never reset.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode, for example gymnasium.make(..., render_mode='rgb_array')")
            return None
        elapsed = int(self._lane().elapsed)
        caption = f"step {elapsed}"
        if self._last is not None:
            caption += f"   {self._action_name(self._last[0])}   reward {self._last[1]:g}   total {self._total_reward:g}"
        draw = rgb_array if self.render_mode == "rgb_array" else ansi
        return draw(self.dynamics.picture(self.state), caption=caption)

    def _info(self) -> dict[str, Any]:
        return {name: value.item() for name, value in self.dynamics.info(self.state).items()}

    def _lane(self) -> Lane:
        packed = np.asarray(self._require_state())
        return self._functions.packing.view(packed).lane

    def _require_state(self) -> jax.Array:
        if self._packed is None:
            raise gymnasium.error.ResetNeeded("call reset() before this")
        return self._packed

    def _device_action(self, action: Any) -> jax.Array | np.ndarray:
        try:
            index = operator.index(action) - self._first_action
            if 0 <= index < len(self._device_actions):
                return self._device_actions[index]
        except TypeError:  # not an integer
            pass
        if self._device_actions or not self.action_space.contains(action):
            raise ValueError(f"action must be in {self.action_space}, got {action!r}")
        return np.asarray(action)

    def _action_name(self, action: Any) -> str:
        names = getattr(self.dynamics, "action_names", None)
        return names[int(action)] if names else f"action {action}"
