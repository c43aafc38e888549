"""The way from anything that names an environment to its dynamics and its time limit."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from mbrl_envs.batched import BatchedEnv
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.multi_agent.lanes import AgentLanes
from mbrl_envs.multi_agent.protocol import MultiAgentEnv


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
            or gets hide the dynamics: the result is then None. So do subclasses of wrappers and environments, which may change
            anything, and monitors that copy from infos.

    Raises:
        gymnasium.error.Error: There is no such id.
    """
    if isinstance(env, FunctionalEnv):
        return FunctionalTask(env, None)
    if isinstance(env, str):
        return functional_task(gymnasium.make(env))
    if isinstance(env, gymnasium.Env):
        return _task_of_env(env)
    # Wrappers first: they pass on questions about attributes to what they wrap.
    if isinstance(env, gymnasium.vector.VectorWrapper):
        return functional_task(env.env) if _is_transparent(env) else None
    if (inner := getattr(env, "venv", None)) is not None:  # an SB3 VecEnvWrapper
        return functional_task(inner) if _is_transparent(env) else None
    if (own := _own_task(env)) is not None:
        return own
    if _class_name(env) == "stable_baselines3.common.vec_env.dummy_vec_env.DummyVecEnv":
        tasks = [_task_of_env(single) for single in env.envs]
        return tasks[0] if all(task == tasks[0] for task in tasks) else None
    return None


def functional(env: Any) -> FunctionalEnv:
    """The functional dynamics behind ``env``; see :func:`functional_task`.

    Raises:
        ValueError: There are none.
        gymnasium.error.Error: There is no such id.
    """
    return required_task(env).env


def required_task(env: Any) -> FunctionalTask:
    """As :func:`functional_task`, of an environment that must have functional dynamics.

    Raises:
        ValueError: There are none.
        gymnasium.error.Error: There is no such id.
    """
    task = functional_task(env)
    if task is None:
        raise ValueError(f"env must have functional dynamics (one of the mbrl/ environments, without wrappers), got {env}")
    return task


# Wrappers that leave observations, actions, rewards and ends of episodes as they are (TimeLimit is read, not skipped). By the
# whole name, so that no subclass passes for one and Stable-Baselines3 need not be imported.
_TRANSPARENT = {
    "gymnasium.wrappers.common.OrderEnforcing",
    "gymnasium.wrappers.common.PassiveEnvChecker",
    "gymnasium.wrappers.common.RecordEpisodeStatistics",
    "gymnasium.wrappers.vector.common.RecordEpisodeStatistics",
    "stable_baselines3.common.monitor.Monitor",
    "stable_baselines3.common.vec_env.vec_monitor.VecMonitor",
}


_TIME_LIMITS = {"gymnasium.wrappers.common.TimeLimit", "rl_zoo3.gym_patches.PatchedTimeLimit"}


def _class_name(env: Any) -> str:
    return f"{type(env).__module__}.{type(env).__qualname__}"


def _is_transparent(env: Any) -> bool:
    copies = getattr(env, "info_keywords", ()) or getattr(env, "reset_keywords", ())  # a monitor's, of what only infos hold
    return _class_name(env) in _TRANSPARENT and not copies


def _own_task(env: Any) -> FunctionalTask | None:
    """What an environment says of itself: its very class, as one that inherits the answer may have changed anything else."""
    return env.functional_task if "functional_task" in vars(type(env)) else None


def _task_of_env(env: gymnasium.Env) -> FunctionalTask | None:
    limit: int | None = None
    while isinstance(env, gymnasium.Wrapper):
        if _class_name(env) in _TIME_LIMITS:
            own_limit = env._max_episode_steps  # type: ignore[attr-defined]
            limit = own_limit if limit is None else min(limit, own_limit)
        elif not _is_transparent(env):
            return None
        env = env.env
    own = _own_task(env)
    return None if own is None else FunctionalTask(own.env, limit)
