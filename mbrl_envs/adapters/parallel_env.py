"""Any functional environment with several agents behind PettingZoo's interfaces, parallel and agent by agent (AEC)."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from mbrl_envs.adapters.gym_env import RENDER_FPS, RENDER_MODES, compiled, seed_key
from mbrl_envs.adapters.options import known_options
from mbrl_envs.checks import one_of, time_limit
from mbrl_envs.lane import Lane
from mbrl_envs.multi_agent.protocol import MultiAgentEnv
from mbrl_envs.registration import make_constants
from mbrl_envs.rendering import ansi, rgb_array
from mbrl_envs.window import Window

try:
    from pettingzoo import AECEnv, ParallelEnv
    from pettingzoo.utils import parallel_to_aec, wrappers
except ImportError as error:
    raise ImportError('environments with several agents need PettingZoo: pip install "mbrl-lab[multi]"') from error

_Step: TypeAlias = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]
DEFAULT_MAX_CYCLES = MultiAgentEnv.max_episode_steps
_RENDER_MODES = (*RENDER_MODES, "human")


class FunctionalParallelEnv(ParallelEnv[str, np.ndarray, int]):
    """A PettingZoo ``ParallelEnv`` around functional dynamics.

    All agents act at the same time, one compiled call per step. Their episodes begin and end together; with ``reset(seed=s)``
    they are the same as in lane 0 of any other adapter seeded with ``s``. Observations are fresh NumPy arrays.

    Args:
        dynamics: The dynamics.
        max_cycles: Steps after which the episode is truncated, for all agents; None or -1 for none.
        render_mode: None, ``"rgb_array"``, ``"ansi"`` or ``"human"`` (a window; needs pygame).

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
        ImportError: ``"human"`` without pygame.
    """

    def __init__(
        self, dynamics: MultiAgentEnv, max_cycles: int | None = DEFAULT_MAX_CYCLES, render_mode: str | None = None
    ) -> None:
        self.dynamics = dynamics
        self.max_cycles = time_limit("max_cycles", max_cycles)
        self.render_mode = one_of("render_mode", render_mode, (None, *_RENDER_MODES))
        self.metadata = {
            "name": dynamics.env_id,
            "render_modes": list(_RENDER_MODES),
            "render_fps": RENDER_FPS,
            "is_parallelizable": True,
        }
        self.possible_agents = list(dynamics.agent_names)
        self.agents: list[str] = []
        # Each has its own, as spaces are seeded one by one.
        self._observation_spaces = {agent: copy.deepcopy(dynamics.observation_space) for agent in self.possible_agents}
        self._action_spaces = {agent: copy.deepcopy(dynamics.action_space) for agent in self.possible_agents}
        if dynamics.state_space is not None:  # PettingZoo has no such attribute where there is no state()
            self.state_space = dynamics.state_space
        self._rng = np.random.default_rng()
        self._packed: jax.Array | None = None
        self._last: tuple[list[int], np.ndarray] | None = None  # actions and rewards, for the caption of a picture
        self._open()

    def _open(self) -> None:
        """Makes what copies and pickles leave out."""
        self._window = Window(self.dynamics.env_id, RENDER_FPS) if self.render_mode == "human" else None

    def _compile(self) -> None:
        """Not before the first reset: a process may fork until then."""
        self._functions = compiled(self.dynamics, (self.dynamics.num_agents,))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled and the window's pixels, for copies and pickles."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_functions", "_window")}
        return {**state, "_packed": None if self._packed is None else np.array(self._packed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._packed is not None:
            self._compile()
            self._packed = jnp.asarray(self._packed)
        self._open()

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The observation space of an agent: the same object in every call, equal for all agents.

        Raises:
            KeyError: There is no such agent.
        """
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The action space of an agent: the same object in every call, equal for all agents.

        Raises:
            KeyError: There is no such agent.
        """
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begins an episode with all agents. With a seed, episodes and events start anew from it.

        Args:
            seed: A non-negative integer, or None to go on with the next episode.
            options: What the start shall be; see :meth:`FunctionalEnv.start_with`. None, or empty: as it is drawn. Names that
                the dynamics do not know are ignored, as PettingZoo's tests demand.

        Returns:
            Observations and empty infos of each agent, by its name.

        Raises:
            gymnasium.error.Error: The seed is not a non-negative integer.
            TypeError, ValueError: An option is of a wrong type or out of range.
            RuntimeError: This process was forked from one that had used JAX.
        """
        options = known_options(self.dynamics, options, others=True)
        key = None if seed is None else seed_key(seed)
        if self._packed is None:
            self._compile()
        if key is not None or self._packed is None:
            packed, observation = self._functions.begin(seed_key(int(self._rng.integers(2**31))) if key is None else key)
        else:
            packed, observation = self._functions.reset(self._packed)
        if options:
            drawn = self._functions.packing.view(np.array(packed)).lane.state
            packed, observation = self._functions.place(packed, self.dynamics.start_with(drawn, options))
        self._packed = packed
        self.agents, self._last = list(self.possible_agents), None
        self._show()
        return self._by_agent(np.array(observation)), {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, int]) -> _Step:
        """Takes one step; ``actions`` has an action for each agent. After an episode's end there are no agents any more.

        Returns:
            Observations, rewards, terminated, truncated and empty infos of each agent, by its name.

        Raises:
            gymnasium.error.ResetNeeded: The environment was never reset, or the episode is over.
            ValueError: An agent's action is missing or not in its action space, or an agent is unknown.
        """
        checked = self._checked(actions)
        assert self._packed is not None
        self._packed, observation = self._functions.step(self._packed, np.array(checked, np.int32))
        outcome = self._functions.packing.view(np.asarray(self._packed))
        rewards, terminated = np.array(outcome.reward), bool(outcome.terminated)
        truncated = self.max_cycles is not None and int(outcome.lane.elapsed) >= self.max_cycles
        self._last, agents = (checked, rewards), self.agents
        if terminated or truncated:
            self.agents = []
        self._show()
        return (
            self._by_agent(np.array(observation)),
            dict(zip(agents, rewards.tolist(), strict=True)),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            {agent: {} for agent in agents},
        )

    def state(self) -> np.ndarray:
        """All that there is to see, whoever sees it: a fresh array in ``state_space``; see :meth:`MultiAgentEnv.global_state`.

        Raises:
            gymnasium.error.ResetNeeded: The environment was never reset.
            NotImplementedError: The dynamics have no global state.
        """
        return self.dynamics.global_state(self._lane().state)

    def render(self) -> Any:
        """Draws the state: uint8 (height, width, 3) or text; in mode ``"human"`` into the window, and returns None.

        Raises:
            gymnasium.error.ResetNeeded: The environment was never reset.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs a render_mode, for example parallel_env(render_mode='rgb_array')")
            return None
        lane = self._lane()
        picture, caption = self.dynamics.picture(lane.state), self._caption(int(lane.elapsed))
        if self.render_mode == "ansi":
            return ansi(picture, caption=caption)
        frame = rgb_array(picture, caption=caption)
        if self._window is None:
            return frame
        self._window.show(frame)
        return None

    def _show(self) -> None:
        """A window is kept up to date without being asked, as PettingZoo's own environments do it."""
        if self.render_mode == "human":
            self.render()

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._window is not None:
            self._window.close()

    def _by_agent(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(self.possible_agents, rows, strict=True))

    def _lane(self) -> Lane:
        packed = np.asarray(self._require_reset())
        return self._functions.packing.view(packed).lane

    def _require_reset(self) -> jax.Array:
        if self._packed is None:
            raise gymnasium.error.ResetNeeded("call reset() before this")
        return self._packed

    def _checked(self, actions: Mapping[str, int]) -> list[int]:
        """The agents' actions in order, if they are what they must be."""
        self._require_reset()
        if not isinstance(actions, Mapping):
            raise ValueError(f"actions must be a dictionary from agents to actions, got {type(actions).__name__}")
        if unknown := [agent for agent in actions if agent not in self.possible_agents]:
            raise ValueError(f"actions must be for {', '.join(self.possible_agents)}; got one for {unknown[0]!r}")
        if not self.agents:  # they all finish at once
            finished = f"{', '.join(map(str, actions))} finished" if actions else "all agents have finished"
            raise gymnasium.error.ResetNeeded(f"the episode is over ({finished}): call reset() before the next step")
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise ValueError(f"actions must have one for each of {', '.join(self.agents)}; {', '.join(missing)} missing")
        return [self._checked_action(agent, actions[agent]) for agent in self.agents]

    def _checked_action(self, agent: str, action: Any) -> int:
        space = self._action_spaces[agent]
        try:
            index = operator.index(action)
        except TypeError:
            index = -1
        if isinstance(action, (bool, np.bool_)) or not space.contains(index):
            raise ValueError(f"the action of {agent} must be in {space}, got {action!r}")
        return index

    def _caption(self, elapsed: int) -> str:
        if self._last is None:
            return f"step {elapsed}"
        names, (actions, rewards) = self.dynamics.action_names, self._last
        shown = "reward " + " ".join(f"{reward:g}" for reward in (rewards[:1] if np.ptp(rewards) == 0 else rewards))
        return f"step {elapsed}   {', '.join(names[action] for action in actions)}   {shown}"


def makers(kind: type[MultiAgentEnv]) -> tuple[Callable[..., FunctionalParallelEnv], Callable[..., AECEnv]]:
    """The functions ``parallel_env`` and ``env`` of a PettingZoo environment, for dynamics of the given class."""

    def parallel_env(
        *, max_cycles: int | None = DEFAULT_MAX_CYCLES, render_mode: str | None = None, **constants: Any
    ) -> FunctionalParallelEnv:
        return FunctionalParallelEnv(make_constants(kind, kind.__name__, constants), max_cycles, render_mode)

    def env(*, max_cycles: int | None = DEFAULT_MAX_CYCLES, render_mode: str | None = None, **constants: Any) -> AECEnv:
        made = parallel_env(max_cycles=max_cycles, render_mode=render_mode, **constants)
        return wrappers.OrderEnforcingWrapper(parallel_to_aec(made))

    arguments = f"""

    Args:
        max_cycles: Steps after which the episode is truncated; None or -1 for none.
        render_mode: None, ``"rgb_array"``, ``"ansi"`` or ``"human"`` (a window; needs pygame).
        **constants: Those of :class:`~mbrl_envs.multi_agent.{kind.__name__}`.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range.
        ImportError: ``"human"`` without pygame.
    """
    parallel_env.__doc__ = f"Makes a PettingZoo ``ParallelEnv``, in which all agents act at the same time.{arguments}"
    env.__doc__ = f"Makes a PettingZoo ``AECEnv``, in which the agents act in turn; the last one's action moves all.{arguments}"
    return parallel_env, env
