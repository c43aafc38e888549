"""Checks of R2D2's arguments at the door."""

from __future__ import annotations

import functools
import inspect
from collections import deque
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import schedules
from mbrl_agents.r2d2.exploration import LADDER, SCHEDULE
from mbrl_agents.r2d2.recurrent_algorithm import RecurrentOffPolicyAlgorithm
from mbrl_agents.sb3 import settings
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
    settings.dictionary("policy_kwargs", given["policy_kwargs"])
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


# Arguments that shaped what has been made of them: networks, sequences, the priorities in the buffer.
_FIXED = {
    *("policy_kwargs", "buffer_size", "n_steps", "burn_in", "sequence_length", "overlap", "stored_state", "prioritized"),
    *("priority_exponent", "device"),
}


@functools.cache
def names(cls: type[RecurrentOffPolicyAlgorithm]) -> frozenset[str]:
    """Names of the constructor's arguments."""
    return frozenset(inspect.signature(cls).parameters) - {"self", "policy", "env", "_init_setup_model"}


def set_later(agent: RecurrentOffPolicyAlgorithm, name: str, value: Any) -> None:
    """Sets an argument of an agent that has been made: it acts from then on and is saved.

    Raises:
        TypeError, ValueError: It is out of range.
        AttributeError: Networks or replay buffer would have to be other ones.
    """
    if name in _FIXED:
        raise AttributeError(f"{name} cannot be set on an agent that has been made: networks and replay buffer depend on it")
    own = vars(agent)
    present = {each: own[each] for each in names(type(agent)) if each in own}
    given = check(
        present | {"env": None, "_init_setup_model": False, "stats_window_size": agent._stats_window_size, name: value}
    )
    number = given[name]
    if name == "train_freq":
        frequency, unit = number if isinstance(number, tuple) else (number, "step")
        number = TrainFreq(frequency, TrainFrequencyUnit(unit))
    own["_stats_window_size" if name == "stats_window_size" else name] = number
    if name == "stats_window_size":
        for buffer in ("ep_info_buffer", "ep_success_buffer"):
            own[buffer] = None if own[buffer] is None else deque(own[buffer], maxlen=number)
    elif name == "learning_rate":
        agent._setup_lr_schedule()
    elif name == "seed" and number is not None:
        agent.set_random_seed(number)
    agent._make_schedules()


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
