"""What is saved of a run in training, so that it can go on as if it had never been stopped."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from mbrl_agents.common.jax_agent import JaxAgent
from mbrl_agents.experiments.run_folder import RunFolder
from mbrl_agents.experiments.saved_agents import load_agent, save_agent

_TIMES = 20  # what a run's checkpoint took is a twentieth of the time to its next one, at most


def restore(folder: RunFolder, env: Any) -> tuple[BaseAlgorithm, float]:
    """A run's agent, fresh or as it was saved, and the seconds spent on it so far (0 if fresh)."""
    config, file, status = folder.config, folder.agent_path, folder.status()
    if not file.is_file():
        return config.kind.make(env, config.arguments, config.seed), 0.0
    agent = load_agent(config.kind, file, env, config.arguments, config.seed)
    if isinstance(agent, JaxAgent):
        replays = (folder.replay_path(agent.num_timesteps), folder.replay_path())
        if (replay := next((file for file in replays if file.is_file()), None)) is not None:
            agent.load_replay_buffer(replay)
    elif not config.kind.ours:
        agent.num_timesteps = status.timesteps
    return agent, max(status.seconds, 1e-3)


def is_due(seconds: float, wanted: float, last: float) -> bool:
    """Whether it is time for a checkpoint: large memories, which take long to write, are written less often.

    Args:
        seconds: Time since the last one.
        wanted: Time between two that somebody wants.
        last: What the last one took.
    """
    return seconds >= (max(wanted, _TIMES * last) if wanted > 0 else 0)


def save_unfinished(folder: RunFolder, agent: BaseAlgorithm) -> None:
    """Saves what is needed to go on. The replay memory comes first: an agent never lies beside that of another moment."""
    if isinstance(agent, JaxAgent):
        agent.save_replay_buffer(folder.replay_path(agent.num_timesteps))
    save_agent(agent, folder.agent_path)
    _forget_replays(folder, but=folder.replay_path(agent.num_timesteps))


def save_finished(folder: RunFolder, agent: BaseAlgorithm) -> None:
    """Saves the agent, and its replay memory if that was asked for."""
    if folder.config.save_replay:
        assert isinstance(agent, OffPolicyAlgorithm)
        agent.save_replay_buffer(folder.replay_path())
    save_agent(agent, folder.agent_path)
    _forget_replays(folder)


def _forget_replays(folder: RunFolder, but: Any = None) -> None:
    for file in folder.unfinished_replays():
        if file != but:
            file.unlink(missing_ok=True)
