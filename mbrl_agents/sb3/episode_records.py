"""Records of episodes that wrappers promise to keep, kept for them where the device loop plays in place of the environment."""

from __future__ import annotations

import time
from typing import Any

import gymnasium
from gymnasium.wrappers import RecordEpisodeStatistics
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor


def keep(env: VecEnv | None, index: int, episode: dict[str, Any], seconds: float) -> None:
    """Has an environment's monitors note an episode, as if it had ended in them.

    Those of Stable-Baselines3 append a row to their file, if they have one.

    Args:
        env: The environments; :func:`mbrl_envs.functional_task` allows those whose wrappers are known here.
        index: Which of them.
        episode: Its return ``"r"`` and length ``"l"``.
        seconds: How long it took.
    """
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecMonitor):
            env.episode_count += 1
            _write(env, episode)
        env = env.venv
    single = env.envs[index] if isinstance(env, DummyVecEnv) else None
    while isinstance(single, gymnasium.Wrapper):
        if isinstance(single, Monitor):
            single.episode_returns.append(episode["r"])
            single.episode_lengths.append(episode["l"])
            single.episode_times.append(time.time() - single.t_start)
            single.total_steps += episode["l"]
            _write(single, episode)
        elif isinstance(single, RecordEpisodeStatistics):
            single.return_queue.append(episode["r"])
            single.length_queue.append(episode["l"])
            single.time_queue.append(round(seconds, 6))
            single.episode_count += 1
        single = single.env


def _write(monitor: Monitor | VecMonitor, episode: dict[str, Any]) -> None:
    if monitor.results_writer is not None:
        seconds = round(time.time() - monitor.t_start, 6)
        monitor.results_writer.write_row({"r": round(episode["r"], 6), "l": episode["l"], "t": seconds})
