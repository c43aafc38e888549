"""Gymnasium ids, and the way from anything that names an environment to its dynamics."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import gymnasium
from gymnasium.vector import AutoresetMode

from mbrl_envs.batched import BatchedEnv
from mbrl_envs.button_grid import ButtonGrid
from mbrl_envs.cart_pole import CartPole
from mbrl_envs.conditioning import (
    Babayan,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
)
from mbrl_envs.cue_recall import CueRecall
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.mountain_car import MountainCar
from mbrl_envs.multi_agent.lanes import AgentLanes
from mbrl_envs.multi_agent.protocol import MultiAgentEnv
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.proc_maze import ProcMaze
from mbrl_envs.random_walk_2d import RandomWalk2D

EnvT = TypeVar("EnvT", bound=FunctionalEnv)

_DECISIONS = (ProcMaze, OpenGrid, ButtonGrid, PanFlute, CueRecall, CartPole, MountainCar, RandomWalk2D)
_PREDICTIONS = (CueReward, Starkweather, Babayan, Contingency, VariableMagnitude, VariableProbability)
DYNAMICS: dict[str, type[FunctionalEnv]] = {cls.__name__: cls for cls in (*_DECISIONS, *_PREDICTIONS)}
CART_POLE_SOLVED = 475.0  # as CartPole-v1's


def register() -> None:
    """Registers all environments with Gymnasium (done by ``import mbrl_envs``; harmless when repeated)."""
    for name, dynamics in DYNAMICS.items():
        if dynamics.env_id not in gymnasium.registry:
            gymnasium.register(
                id=dynamics.env_id,
                entry_point="mbrl_envs.adapters.gym_env:FunctionalGymEnv",
                vector_entry_point="mbrl_envs.adapters.vector_env:FunctionalVectorEnv",
                max_episode_steps=dynamics.max_episode_steps,
                kwargs={"dynamics": name},
            )
    if "mbrl/CartPoleNoVelocity-v0" not in gymnasium.registry:
        gymnasium.register(
            id="mbrl/CartPoleNoVelocity-v0",
            entry_point="mbrl_envs.cart_pole_no_velocity:CartPoleNoVelocity",
            max_episode_steps=CartPole.max_episode_steps,
            reward_threshold=CART_POLE_SOLVED,
        )


def make_dynamics(dynamics: FunctionalEnv | str, **constants: Any) -> FunctionalEnv:
    """The dynamics of a registered name or Gymnasium id with the given constants, or the given dynamics themselves.

    Raises:
        TypeError: A constant is unknown, or constants come with ready-made dynamics.
        ValueError: The name is unknown, or a constant is out of range.
    """
    if isinstance(dynamics, FunctionalEnv):
        if constants:
            raise TypeError(f"constants {sorted(constants)} cannot be given along with ready-made dynamics {dynamics}")
        return dynamics
    by_id = {cls.env_id: cls for cls in DYNAMICS.values()}
    if dynamics not in DYNAMICS and dynamics not in by_id:
        raise ValueError(f"dynamics must be one of {', '.join(map(repr, [*DYNAMICS, *by_id]))}; got {dynamics!r}")
    cls = DYNAMICS.get(dynamics) or by_id[dynamics]
    return make_constants(cls, dynamics, constants)


def make_constants(cls: type[EnvT], name: str, constants: dict[str, Any]) -> EnvT:
    """The dynamics of a class with the given constants; ``name`` is what an error calls it.

    Raises:
        TypeError: A constant is unknown.
        ValueError: A constant is out of range.
    """
    allowed = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(constants) - set(allowed))
    if unknown:
        raise TypeError(f"{name} has no argument {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, allowed))}")
    return cls(**constants)


@dataclasses.dataclass(frozen=True)
class FunctionalTask:
    """Dynamics together with a time limit.

    Attributes:
        env: The dynamics.
        max_episode_steps: Steps after which an episode is truncated; None for no limit.
    """

    env: FunctionalEnv
    max_episode_steps: int | None

    def batched(self, num_lanes: int, autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP) -> BatchedEnv:
        """Many of it as lanes: a lane for each environment, or for each agent of each where there are several agents.

        Raises:
            ValueError: ``num_lanes`` or the mode does not suit several agents; see :class:`~mbrl_envs.multi_agent.AgentLanes`.
        """
        kind = AgentLanes if isinstance(self.env, MultiAgentEnv) else BatchedEnv
        return kind(self.env, num_lanes, self.max_episode_steps, autoreset_mode)  # type: ignore[arg-type]  # it suits the kind


def functional_task(env: Any) -> FunctionalTask | None:
    """Finds functional dynamics and time limit behind ``env``, or returns None where there are none.

    Args:
        env: A Gymnasium id, a :class:`FunctionalEnv` (no time limit), a Gymnasium environment, one of this package's vector
            environments, or an SB3 ``DummyVecEnv`` of one or more equal environments. Wrappers that change what an agent sees
            or gets hide the dynamics: the result is then None.
    """
    if isinstance(env, FunctionalEnv):
        return FunctionalTask(env, None)
    if isinstance(env, str):
        return functional_task(gymnasium.make(env))
    if isinstance(env, gymnasium.Env):
        return _task_of_env(env)
    # Wrappers first: they pass on questions about attributes to what they wrap.
    if isinstance(env, gymnasium.vector.VectorWrapper):
        return functional_task(env.env) if type(env).__name__ in _TRANSPARENT else None
    if (inner := getattr(env, "venv", None)) is not None:  # an SB3 VecEnvWrapper
        return functional_task(inner) if type(env).__name__ == "VecMonitor" else None
    if (own := getattr(env, "functional_task", None)) is not None:  # our own VecEnv and VectorEnv say it themselves
        return own
    if type(env).__name__ == "DummyVecEnv":
        tasks = [_task_of_env(single) for single in env.envs]
        return tasks[0] if all(task == tasks[0] for task in tasks) else None
    return None


def functional(env: Any) -> FunctionalEnv:
    """The functional dynamics behind ``env``; see :func:`functional_task`.

    Raises:
        ValueError: There are none.
    """
    task = functional_task(env)
    if task is None:
        raise ValueError(f"env must have functional dynamics (one of the mbrl/ environments, without wrappers), got {env}")
    return task.env


# Wrappers that leave observations, actions, rewards and ends of episodes as they are (TimeLimit is read, not skipped).
_TRANSPARENT = {"OrderEnforcing", "PassiveEnvChecker", "Monitor", "RecordEpisodeStatistics"}


def _task_of_env(env: gymnasium.Env) -> FunctionalTask | None:
    from mbrl_envs.adapters.gym_env import FunctionalGymEnv

    limit: int | None = None
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, gymnasium.wrappers.TimeLimit):
            own_limit = env._max_episode_steps
            limit = own_limit if limit is None else min(limit, own_limit)
        elif type(env).__name__ not in _TRANSPARENT:
            return None
        env = env.env
    return FunctionalTask(env.dynamics, limit) if isinstance(env, FunctionalGymEnv) else None
