"""Checks of R2D2's arguments at the door."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.r2d2.exploration import LADDER, SCHEDULE
from mbrl_envs.checks import boolean, integer_in, number_in, one_of

_MOST = 2**31 - 1
_SWITCHES = ("stored_state", "double_q", "value_rescaling", "prioritized")
_FRACTIONS = ("gamma", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps", "priority_eta")
_COUNTS = ("buffer_size", "batch_size", "target_update_interval", "stats_window_size")


def check(arguments: dict[str, Any]) -> None:
    """Checks numbers and switches by themselves.

    Args:
        arguments: The agent's constructor arguments by name.

    Raises:
        TypeError, ValueError: One is out of range; the message names it, what was given and what is allowed.
    """
    for name in _SWITCHES:
        boolean(name, arguments[name])
    for name in _FRACTIONS:
        number_in(name, arguments[name], 0, 1)
    for name in _COUNTS:
        integer_in(name, arguments[name], 1, _MOST)
    number_in("tau", arguments["tau"], 0, 1, open_low=True)
    integer_in("learning_starts", arguments["learning_starts"], 0, _MOST)
    integer_in("gradient_steps", arguments["gradient_steps"], -1, _MOST)
    train_freq = arguments["train_freq"]  # SB3 checks the unit
    integer_in("train_freq", train_freq[0] if isinstance(train_freq, tuple) and train_freq else train_freq, 1, _MOST)
    if arguments["seed"] is not None:
        integer_in("seed", arguments["seed"], 0, 2**32 - 1)
    if arguments["env"] is None and arguments["_init_setup_model"]:
        raise ValueError("env must be an environment or the id of one, got None")
    one_of("exploration", arguments["exploration"], (SCHEDULE, LADDER))
    number_in("ladder_base", arguments["ladder_base"], 0, 1, open_low=True)
    number_in("ladder_exponent", arguments["ladder_exponent"], 0)
    number_in("rescaling_epsilon", arguments["rescaling_epsilon"], 0)
    number_in("priority_exponent", arguments["priority_exponent"], 0)
    if arguments["max_grad_norm"] is not None:
        number_in("max_grad_norm", arguments["max_grad_norm"], 0, open_low=True, finite=False)
    for name in ("learning_rate", "importance_exponent"):
        if not callable(arguments[name]):
            number_in(name, arguments[name], 0)


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
