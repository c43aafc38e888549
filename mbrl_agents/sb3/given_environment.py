"""Check of the environment given to an agent; everything else raises an error that says what to do with it."""

from __future__ import annotations

from typing import Any

import gymnasium
from stable_baselines3.common.vec_env import VecEnv

from mbrl_envs import FunctionalEnv


def checked(env: Any) -> Any:
    """Returns what was given as an environment, if it is one environment, its Gymnasium id, a ``VecEnv``, or None.

    Raises:
        TypeError: It is something else; the message says what to make of it.
        gymnasium.error.Error: There is no environment of that id.
    """
    if isinstance(env, str):
        if env not in gymnasium.registry:
            _check_id(env)
    elif isinstance(env, FunctionalEnv):
        raise TypeError(
            f"env must be an environment, its id, or a VecEnv, got the dynamics {env!r}: wrap them, as "
            "mbrl_envs.FunctionalGymEnv(dynamics) or mbrl_envs.FunctionalVecEnv(dynamics, num_envs)"
        )
    elif isinstance(env, gymnasium.vector.VectorEnv):
        name = getattr(env.spec, "id", "the id")
        raise TypeError(
            f"env must be an environment, its id, or a VecEnv of Stable-Baselines3, got {env}, one of Gymnasium's vector "
            f"environments: use stable_baselines3.common.env_util.make_vec_env({name!r}, n_envs={env.num_envs}), or for "
            "functional environments mbrl_envs.FunctionalVecEnv"
        )
    elif hasattr(env, "possible_agents"):
        raise TypeError(
            f"env must be an environment, its id, or a VecEnv, got the PettingZoo environment {env}: "
            "mbrl_envs.FunctionalVecEnv has each agent of this package's as an environment of its own, SuperSuit of others'"
        )
    elif env is not None and not isinstance(env, (gymnasium.Env, VecEnv)) and not hasattr(env, "step"):
        raise TypeError(f"env must be an environment, its Gymnasium id, or a VecEnv, got {env!r} of type {type(env).__name__}")
    return env


def _check_id(name: str) -> None:
    """Checks an id that is not registered as it stands: ``module:id``, or one without a version.

    Raises:
        ModuleNotFoundError: There is no such module.
        gymnasium.error.Error: There is no environment of that id.
    """
    try:
        gymnasium.make(name).close()
    except gymnasium.error.UnregisteredEnv as error:
        if ":" in name:
            raise
        raise type(error)(
            f"{error} Ids are known once the module that registers them is imported: import it first, or write 'module:{name}'"
        ) from error
