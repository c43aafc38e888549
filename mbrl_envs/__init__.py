"""Environments of *The Benefits of Model-Based Generalization in RL* and others, in JAX, for Gymnasium and its friends.

Importing this package registers the ids ``mbrl/…`` with Gymnasium::

    import gymnasium, mbrl_envs
    env = gymnasium.make("mbrl/ProcMaze-v0", grid_size=6)
    envs = gymnasium.make_vec("mbrl/ProcMaze-v0", num_envs=1024)
    vec_env = mbrl_envs.FunctionalVecEnv("mbrl/ProcMaze-v0", num_envs=8)   # for Stable-Baselines3
    dynamics = mbrl_envs.ProcMaze(grid_size=6)                             # pure functions, for jit and vmap
"""

from typing import TYPE_CHECKING, Any

from mbrl_envs import forks as forks  # so that it knows of every fork
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
from mbrl_envs.functional import FunctionalEnv, Transition
from mbrl_envs.functional_task import FunctionalTask, functional, functional_task
from mbrl_envs.mountain_car import MountainCar
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.proc_maze import ProcMaze
from mbrl_envs.random_walk_2d import RandomWalk2D
from mbrl_envs.registration import make_dynamics, register

if TYPE_CHECKING:
    from mbrl_envs.adapters.gym_env import FunctionalGymEnv
    from mbrl_envs.adapters.sb3_vec_env import FunctionalVecEnv
    from mbrl_envs.adapters.vector_env import FunctionalVectorEnv
    from mbrl_envs.wrappers import Distractors

__all__ = [
    "Babayan",
    "BatchedEnv",
    "ButtonGrid",
    "CartPole",
    "Contingency",
    "CueRecall",
    "CueReward",
    "Distractors",
    "FunctionalEnv",
    "FunctionalGymEnv",
    "FunctionalTask",
    "FunctionalVecEnv",
    "FunctionalVectorEnv",
    "MountainCar",
    "OpenGrid",
    "PanFlute",
    "ProcMaze",
    "RandomWalk2D",
    "Starkweather",
    "Transition",
    "VariableMagnitude",
    "VariableProbability",
    "functional",
    "functional_task",
    "make_dynamics",
    "register",
]

# Adapters are imported when first asked for: Stable-Baselines3's brings torch along, which takes seconds.
_LAZY = {
    "Distractors": "mbrl_envs.wrappers",
    "FunctionalGymEnv": "mbrl_envs.adapters.gym_env",
    "FunctionalVecEnv": "mbrl_envs.adapters.sb3_vec_env",
    "FunctionalVectorEnv": "mbrl_envs.adapters.vector_env",
}

register()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
