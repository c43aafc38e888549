"""Gymnasium ids, and the dynamics that a name or an id stands for."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import gymnasium

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
    if "mbrl/Distracted-v0" not in gymnasium.registry:
        gymnasium.register(id="mbrl/Distracted-v0", entry_point="mbrl_envs.wrappers:make_distracted")


def make_dynamics(dynamics: FunctionalEnv | str, **constants: Any) -> FunctionalEnv:
    """The dynamics of a registered name or Gymnasium id with the given constants, or the given dynamics themselves.

    Raises:
        TypeError: A constant is unknown or of a wrong type, or constants come with ready-made dynamics.
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
        TypeError: A constant is unknown or of a wrong type.
        ValueError: A constant is out of range.
    """
    allowed = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    unknown = sorted(set(constants) - set(allowed))
    if unknown:
        raise TypeError(f"{name} has no argument {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, allowed))}")
    return cls(**constants)
