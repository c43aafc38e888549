"""Checks of R2D2's arguments at the door."""

from __future__ import annotations

from collections import deque
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.r2d2.recurrent_algorithm import RecurrentOffPolicyAlgorithm
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import Rule


def _policy_kwargs(name: str, value: Any) -> Any:
    settings.dictionary(name, value, {"lstm_hidden_size": 256})
    return value


POLICY_KWARGS = Rule(_policy_kwargs, "Keywords of the policy.")

# Arguments that shaped what has been made of them: networks, sequences, the priorities in the buffer.
_FIXED = {
    *("policy_kwargs", "buffer_size", "n_steps", "burn_in", "sequence_length", "overlap", "stored_state", "prioritized"),
    *("priority_exponent", "device"),
}


def set_later(agent: RecurrentOffPolicyAlgorithm, name: str, value: Any) -> None:
    """Sets an argument of an agent that has been made: it acts from then on and is saved.

    Raises:
        TypeError, ValueError: It is out of range.
        AttributeError: Networks or replay buffer would have to be other ones.
    """
    if name in _FIXED:
        raise AttributeError(f"{name} cannot be set on an agent that has been made: networks and replay buffer depend on it")
    own, number = vars(agent), agent.declared[name].rule.check(name, value)
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
