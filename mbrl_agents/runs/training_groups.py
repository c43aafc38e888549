"""Runs in training, and the groups in which they go forward: a chunk of steps, an evaluation, a checkpoint at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl_agents.core.chunks import Chunk
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState, StepRecord
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.executor import Execution, Run, RunGroup
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from mbrl_agents.sb3 import device_training
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import functional_task

PAUSED = "paused"  # where it was to come to for now; its folder says interrupted


@dataclasses.dataclass
class RunInTraining:
    """A run that is being trained.

    Attributes:
        index: Its number, for the listener.
        folder: Its folder.
        program: Its program.
        goal: The timestep at which it ends, or pauses.
        timesteps: How far it is.
        score: Its latest score.
        seconds: Time spent on it.
        state: ``"running"``, ``"paused"``, ``"finished"`` or ``"diverged"``.
        agent: Its arguments, statistics and files, while it is in memory. Its arrays are in its group, if it is in one.
        env: Its environment.
    """

    index: int
    folder: RunFolder
    program: Program
    goal: int
    timesteps: int = 0
    score: float | None = None
    seconds: float = 0.0
    state: str = RUNNING
    agent: JaxAgent | None = None
    env: Any = None

    @property
    def trouble(self) -> str | None:
        """What went wrong, if it diverged."""
        return f"the loss was no longer finite at timestep {self.timesteps}" if self.state == DIVERGED else None

    def begin(self) -> None:
        """Makes or loads the agent."""
        config = self.folder.config
        self.env = config.environment.training_env(config.num_envs)
        agent, self.seconds, self.score, _, diverged_at = checkpoints.resume(self.folder, self.env)
        assert isinstance(agent, JaxAgent)
        self.agent, self.timesteps = agent, agent.num_timesteps
        if diverged_at is not None:
            self.state = DIVERGED
        self.program = device_training.begin(agent, functional_task(agent.env), config.steps)  # type: ignore[arg-type]
        self.write_status(RUNNING)

    def give(self) -> Run:
        """What is to be executed; the agent is without its run until that is put back."""
        assert self.agent is not None
        config, evaluation, run = self.folder.config, self.folder.config.evaluation, self.agent.run
        assert evaluation.steps is not None
        del self.agent.run
        schedules = self.agent.schedules
        return Run(run, self.program, schedules, config.steps, evaluation.episodes, evaluation.steps, config.seed)

    def take(self, state: RunState) -> JaxAgent:
        """Puts the run back; returns the agent."""
        assert self.agent is not None
        self.agent.run = state
        self.agent._update_current_progress_remaining(self.agent.num_timesteps, self.folder.config.steps)
        return self.agent

    def arrive(self) -> None:
        """Notes that it is where it was to come to."""
        if self.state == RUNNING and self.timesteps >= self.goal:
            self.state = FINISHED if self.timesteps >= self.folder.config.steps else PAUSED

    def write_status(self, state: str, error: str | None = None) -> None:
        """Writes where the run is."""
        self.folder.write_status(Status(state, self.timesteps, self.seconds, error))

    def save(self, state: RunState) -> None:
        """Saves a checkpoint, or the end, of the run as it is."""
        agent = self.take(state)
        if self.state in (RUNNING, PAUSED):
            checkpoints.save_unfinished(self.folder, agent)
            self.write_status(RUNNING if self.state == RUNNING else INTERRUPTED)
        else:
            checkpoints.save_finished(self.folder, agent)
            self.write_status(self.state, self.trouble)
        if self.state == RUNNING:
            del agent.run  # the group goes on with it
            return
        self.agent = None  # lets go of the arrays
        self.env.close()


class GroupInTraining:
    """Runs of one program that are equally far and go forward together; ``width`` is the number it had or could have had."""

    def __init__(self, runs: Sequence[RunInTraining], width: int, checkpoint_seconds: float) -> None:
        self.runs, self.width, self.clock = list(runs), width, checkpoints.CheckpointClock(checkpoint_seconds)
        self.group: RunGroup | None = None

    @property
    def live(self) -> list[RunInTraining]:
        """Runs that go on."""
        return [run for run in self.runs if run.state == RUNNING]

    @property
    def timesteps(self) -> int:
        """How far the runs are."""
        return min((run.timesteps for run in self.live), default=0)

    @property
    def is_open(self) -> bool:
        """Whether its runs are in memory."""
        return self.runs[0].agent is not None or self.group is not None

    def open(self, execution: Execution) -> None:
        """Brings the runs into memory."""
        for run in self.runs:
            if run.agent is None:
                run.begin()
        if len({(run.timesteps, run.state) for run in self.runs}) == 1:
            self.group = execution.group([run.give() for run in self.runs], self.width)

    def step(self) -> None:
        """One chunk: trains, evaluates if that is due, saves if that is due."""
        began = time.monotonic()
        assert self.group is not None
        if not self.live:
            self._save(began)
            return
        config, before = self.runs[0].folder.config, self.timesteps
        interval, program = config.evaluation.interval, self.runs[0].program
        assert program.envs is not None
        if before == 0 and self.live[0].score is None:
            self._score(None)
        if before >= self.live[0].goal:  # killed after the last evaluation, before the end was saved
            self._save(began)
            return
        due = min((before // interval + 1) * interval, config.steps)
        chunks = self._advance(min(-(-(due - before) // program.envs.num_envs), program.max_chunk))
        for run, chunk in zip(self.runs, chunks, strict=True):
            self._look(run, chunk, before)
        if self.live and self.timesteps >= due:
            self._score(chunks)
        self._save(began)

    def _advance(self, num: int) -> list[Chunk]:
        assert self.group is not None
        parts: list[list[Chunk]] = []
        done = 0
        while done < num:
            parts.append(self.group.advance(num - done))
            done += len(parts[-1][0].records.reward)
        return [_joined(own) for own in zip(*parts, strict=True)]

    def _look(self, run: RunInTraining, chunk: Chunk, before: int) -> None:
        """Notes how far a run has come, and whether it still makes sense."""
        if run.state != RUNNING or run.agent is None:
            return
        device_training.count_episodes(run.agent, chunk.records)
        run.timesteps = before + chunk.records.reward.size
        if not all(np.isfinite(values).all() for values in chunk.metrics.values()):
            run.state = DIVERGED
            run.folder.append_metrics(run.timesteps, {DIVERGENCE: 1.0})

    def _score(self, chunks: Sequence[Chunk] | None) -> None:
        """Evaluates, and writes what is known."""
        assert self.group is not None
        for i, (run, measured) in enumerate(zip(self.runs, self.group.evaluate(), strict=True)):
            if run.state == RUNNING:
                run.score = measured[SCORE]
                run.folder.append_metrics(run.timesteps, measured | (chunk_metrics(chunks[i]) if chunks else {}))
                run.arrive()

    def _save(self, began: float) -> None:
        """Saves the runs that have ended; the others when it is time."""
        now = time.monotonic()
        share = (now - began) / len(self.runs)
        for run in self.runs:
            run.seconds += share if run.agent is not None else 0.0
            run.arrive()
        time_to_save = self.clock.is_due(now)
        self.save([run for run in self.runs if run.agent is not None and (run.state != RUNNING or time_to_save)])
        if time_to_save:
            self.clock.note_saved(now)

    def save(self, runs: Sequence[RunInTraining]) -> None:
        """Saves some of the runs."""
        for run, state in zip(runs, self.states(runs), strict=True):
            run.save(state)

    def states(self, runs: Sequence[RunInTraining]) -> list[RunState]:
        """Some of the runs as they are."""
        if not runs or self.group is None:
            return []
        return self.group.states([self.runs.index(run) for run in runs])


def chunk_metrics(chunk: Chunk) -> dict[str, float]:
    """What training looked like over a chunk: means of rewards, of episodes that ended, and of what the learner tells."""
    records = chunk.records
    done = np.asarray(records.terminated) | np.asarray(records.truncated)
    values = {"rollout/reward_per_step": float(np.mean(records.reward, dtype=np.float64))}
    if done.any():
        values["rollout/ep_rew_mean"] = float(np.mean(records.episode_return[done], dtype=np.float64))
        values["rollout/ep_len_mean"] = float(np.mean(records.episode_length[done], dtype=np.float64))
    for name, each in chunk.metrics.items():
        if len(each):
            values[f"train/{name}"] = float(np.mean(each, dtype=np.float64))
    return values


def _joined(parts: Sequence[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    records = StepRecord(*(np.concatenate(each) for each in zip(*(part.records for part in parts), strict=True)))
    names = dict.fromkeys(name for part in parts for name in part.metrics)
    return Chunk(
        records, {name: np.concatenate([part.metrics[name] for part in parts if name in part.metrics]) for name in names}
    )
