"""What is saved of a run in training, and when, so that it can go on as if it had never been stopped."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from mbrl_agents.runs import replay_files
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.running_means import RunningMeans
from mbrl_agents.runs.saved_agents import load_agent, save_agent
from mbrl_agents.sb3 import agent_file
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.run_record import RunRecord

CHECKPOINT_SECONDS = 60.0
_TIMES = 20  # what a run's checkpoint took is a twentieth of the time to its next one, at most


class Measured(NamedTuple):
    """Measurements of a run up to where it goes on.

    Attributes:
        score: Its latest score; None if there is none.
        evaluated_at: The timestep of that; -1 if there is none.
        diverged_at: The timestep at which it diverged, if it was killed after its end was saved and before that was written
            down; else None.
        means: What training has brought since its last evaluation.
    """

    score: float | None
    evaluated_at: int
    diverged_at: int | None
    means: RunningMeans


def measured_before(folder: RunFolder, timesteps: int | None) -> Measured:
    """Reads what was measured of a run up to where it goes on, None for its start; what was measured later is forgotten."""
    folder.drop_after(-1 if timesteps is None else timesteps)
    metrics = folder.metrics()
    scores, ends = (metrics[metrics["metric"] == name] for name in (SCORE, DIVERGENCE))
    means = None if timesteps is None else folder.means_path(timesteps)
    return Measured(
        score=float(scores["value"].iloc[-1]) if len(scores) else None,
        evaluated_at=int(scores["timestep"].iloc[-1]) if len(scores) else -1,
        diverged_at=int(ends["timestep"].iloc[0]) if len(ends) else None,
        means=RunningMeans.load(means) if means is not None and means.is_file() else RunningMeans(),
    )


def restore(folder: RunFolder, env: Any) -> tuple[BaseAlgorithm, float]:
    """A run's agent, fresh or as it was saved, and the seconds spent on it so far (0 if fresh)."""
    config, file, status = folder.config, folder.agent_path, folder.status()
    if not file.is_file():
        return config.kind.make(env, config.arguments, config.seed), 0.0
    agent = load_agent(config.kind, file, env, config.arguments, config.seed)
    if isinstance(agent, JaxAgent):
        unfinished, whole = folder.replay_path(agent.num_timesteps), folder.replay_path()
        memory = replay_files.load(unfinished, agent.replay) if unfinished.is_file() else None
        if memory is not None:
            agent.change_run(memory=agent._put(memory))
        elif unfinished.is_file() or whole.is_file():
            agent.load_replay_buffer(unfinished if unfinished.is_file() else whole)
    else:
        agent.num_timesteps = status.timesteps
    return agent, max(status.seconds, 1e-3)


class CheckpointClock:
    """Tells when it is time for a checkpoint: large memories, which take long to write, are written less often.

    Args:
        seconds: Time between two that somebody wants; 0 for one at every occasion.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._saved_at, self._last = time.monotonic(), 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time for one; ``now`` is of ``time.monotonic``."""
        return now - self._saved_at >= (max(self.seconds, _TIMES * self._last) if self.seconds > 0 else 0)

    def note_saved(self, began: float) -> None:
        """Notes that one has been written, which began at that time."""
        self._saved_at = time.monotonic()
        self._last = self._saved_at - began


def save_unfinished(folder: RunFolder, agent: BaseAlgorithm | RunRecord, means: RunningMeans | None = None) -> None:
    """Saves what is needed to go on. The agent comes last: it never lies beside the memory or the means of another moment."""
    kept: list[pathlib.Path] = []
    if isinstance(agent, (JaxAgent, RunRecord)):
        assert agent.run is not None
        file, before = folder.replay_path(agent.num_timesteps), _replay_of_saved_agent(folder)
        kept += [file, *replay_files.save(file, before, agent.program.replay, agent.run)]
    if means is not None:
        kept.append(folder.means_path(agent.num_timesteps))
        means.save(kept[-1])
    save_agent(agent, folder.agent_path)
    _forget(folder, kept)


def _replay_of_saved_agent(folder: RunFolder) -> pathlib.Path | None:
    """The replay memory that goes with the agent in the folder; None if there is no agent yet."""
    if not folder.agent_path.is_file():
        return None
    counters = agent_file.read_data(folder.agent_path).get("counters", {})
    return folder.replay_path(counters.get("num_timesteps", 0))


def save_finished(folder: RunFolder, agent: BaseAlgorithm | RunRecord) -> None:
    """Saves the agent, and its replay memory if that was asked for."""
    if folder.config.save_replay:
        assert isinstance(agent, (OffPolicyAlgorithm, RunRecord))
        agent.save_replay_buffer(folder.replay_path())
    save_agent(agent, folder.agent_path)
    _forget(folder)


def _forget(folder: RunFolder, kept: Sequence[pathlib.Path] = ()) -> None:
    """Deletes what unfinished runs are gone on from, but for some files."""
    for file in (*folder.unfinished_replays(), *folder.replay_rows(), *folder.unfinished_means()):
        if file not in kept:
            file.unlink(missing_ok=True)
