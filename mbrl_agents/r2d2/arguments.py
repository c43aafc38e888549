"""Checks of R2D2's arguments at the door."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.common import schedules, settings
from mbrl_agents.r2d2.exploration import LADDER, SCHEDULE
from mbrl_envs.checks import boolean, number_in, one_of

_SWITCHES = ("stored_state", "value_rescaling", "prioritized")


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Checks numbers and switches by themselves.

    Args:
        arguments: The agent's constructor arguments by name.

    Returns:
        The arguments, those that other agents share in plain form.

    Raises:
        TypeError, ValueError: One is out of range; the message names it, what was given and what is allowed.
    """
    given = settings.check_shared(arguments)
    for name in _SWITCHES:
        boolean(name, given[name])
    if given["env"] is None and given["_init_setup_model"]:
        raise ValueError("env must be an environment or the id of one, got None")
    one_of("exploration", given["exploration"], (SCHEDULE, LADDER))
    number_in("exploration_fraction", given["exploration_fraction"], 0, 1)
    number_in("ladder_base", given["ladder_base"], 0, 1, open_low=True)
    number_in("priority_eta", given["priority_eta"], 0, 1)
    for name in ("ladder_exponent", "rescaling_epsilon", "priority_exponent"):
        number_in(name, given[name], 0)
    schedules.check("importance_exponent", given["importance_exponent"], 0)
    return given


def check_spaces(observation_space: spaces.Space, action_space: spaces.Space, policy: Any) -> None:
    """Checks that policy and spaces go together.

    Raises:
        ValueError: They do not.
    """
    if isinstance(action_space, spaces.Discrete) and action_space.start != 0:
        raise ValueError(f"actions must be counted from 0, got {action_space}")
    if isinstance(observation_space, spaces.Dict) and policy in ("MlpLstmPolicy", "CnnLstmPolicy"):
        raise ValueError(f"policy must be 'MultiInputLstmPolicy' for {observation_space}, got {policy!r}")


def check_burn_in(burn_in: int, env: VecEnv) -> None:
    """Checks that the burn-in is shorter than episodes may be.

    Raises:
        ValueError: It is not: no sequence would ever have one.
    """
    limit = _episode_limit(env)
    if limit is not None and burn_in >= limit:
        raise ValueError(f"burn_in must be below the environment's time limit of {limit} steps, got {burn_in}")


def _episode_limit(env: VecEnv) -> int | None:
    """The time limit of an environment, if it tells it."""
    task = getattr(env, "functional_task", None)
    if task is not None:
        return task.max_episode_steps
    for attribute in ("spec", "_max_episode_steps"):  # of the environment, or of a TimeLimit around one without an id
        try:
            found = env.get_attr(attribute)
        except AttributeError:
            continue
        limits = [getattr(each, "max_episode_steps", None) if attribute == "spec" else each for each in found]
        known = [limit for limit in limits if limit is not None]
        if known and len(known) == len(limits):
            return max(known)
    return None
