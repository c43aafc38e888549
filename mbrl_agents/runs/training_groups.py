"""Runs in training, and the units in which they go forward: a chunk of steps, an evaluation, a checkpoint at a time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl_agents.core.device_loop import DeviceLoop, StepRecord
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from mbrl_agents.runs.executor import Chunk, Execution, Member, Unit
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import functional_task

PAUSED = "paused"  # where it was to come to for now; its folder says interrupted


@dataclasses.dataclass
class Run:
    """A run that is being trained.

    Attributes:
        index: Its number, for the listener.
        folder: Its folder.
        loop: Its program.
        goal: The timestep at which it ends, or pauses.
        timesteps: How far it is.
        score: Its latest score.
        seconds: Time spent on it.
        state: ``"running"``, ``"paused"``, ``"finished"`` or ``"diverged"``.
        member: What the execution needs, once it has begun.
        env: Its environment.
    """

    index: int
    folder: RunFolder
    loop: DeviceLoop
    goal: int
    timesteps: int = 0
    score: float | None = None
    seconds: float = 0.0
    state: str = RUNNING
    member: Member | None = None
    env: Any = None

    @property
    def agent(self) -> JaxAgent:
        """Its agent."""
        assert self.member is not None
        return self.member.agent

    @property
    def trouble(self) -> str | None:
        """What went wrong, if it diverged."""
        return f"the loss was no longer finite at timestep {self.timesteps}" if self.state == DIVERGED else None

    def begin(self) -> None:
        """Makes or loads the agent."""
        config, evaluation = self.folder.config, self.folder.config.evaluation
        self.env = config.environment.training_env(config.num_envs)
        agent, self.seconds, self.score, _, diverged_at = checkpoints.resume(self.folder, self.env)
        assert isinstance(agent, JaxAgent)
        self.timesteps = agent.num_timesteps
        if diverged_at is not None:
            self.state = DIVERGED
        loop = agent.begin(functional_task(agent.env), config.steps)  # type: ignore[arg-type]
        assert evaluation.steps is not None
        self.member = Member(agent, loop, config.steps, evaluation.episodes, evaluation.steps, config.seed)
        self.write_status(RUNNING)

    def arrive(self) -> None:
        """Notes that it is where it was to come to."""
        if self.state == RUNNING and self.timesteps >= self.goal:
            self.state = FINISHED if self.timesteps >= self.folder.config.steps else PAUSED

    def write_status(self, state: str, error: str | None = None) -> None:
        """Writes where the run is."""
        self.folder.write_status(Status(state, self.timesteps, self.seconds, error))

    def save(self) -> None:
        """Saves a checkpoint, or the end; the agent has its arrays."""
        if self.state in (RUNNING, PAUSED):
            checkpoints.save_unfinished(self.folder, self.agent)
            self.write_status(RUNNING if self.state == RUNNING else INTERRUPTED)
        else:
            checkpoints.save_finished(self.folder, self.agent)
            self.write_status(self.state, self.trouble)
        if self.state == RUNNING:
            return
        self.member = None  # lets go of the arrays
        self.env.close()


class UnitInTraining:
    """Runs of one program that are equally far and go forward together; ``width`` is the number it had or could have had."""

    def __init__(self, runs: Sequence[Run], width: int, checkpoint_seconds: float) -> None:
        self.runs, self.width, self.clock = list(runs), width, checkpoints.CheckpointClock(checkpoint_seconds)
        self.unit: Unit | None = None

    @property
    def live(self) -> list[Run]:
        """Runs that go on."""
        return [run for run in self.runs if run.state == RUNNING]

    @property
    def timesteps(self) -> int:
        """How far the runs are."""
        return min((run.timesteps for run in self.live), default=0)

    @property
    def is_open(self) -> bool:
        """Whether its runs are in memory."""
        return self.runs[0].member is not None or self.unit is not None

    def open(self, execution: Execution) -> None:
        """Brings the runs into memory."""
        for run in self.runs:
            if run.member is None:
                run.begin()
        if len({(run.timesteps, run.state) for run in self.runs}) == 1:
            self.unit = execution.unit([run.member for run in self.runs if run.member is not None], self.width)

    def step(self) -> None:
        """One chunk: trains, evaluates if that is due, saves if that is due."""
        began = time.monotonic()
        assert self.unit is not None
        if not self.live:
            self._save(began)
            return
        config, before = self.runs[0].folder.config, self.timesteps
        interval, loop = config.evaluation.interval, self.runs[0].loop
        if before == 0 and self.live[0].score is None:
            self._score(None)
        if before >= self.live[0].goal:  # killed after the last evaluation, before the end was saved
            self._save(began)
            return
        due = min((before // interval + 1) * interval, config.steps)
        chunks = self._advance(min(-(-(due - before) // loop.envs.num_envs), loop.max_chunk))
        for run, chunk in zip(self.runs, chunks, strict=True):
            self._look(run, chunk, before)
        if self.live and self.timesteps >= due:
            self._score(chunks)
        self._save(began)

    def _advance(self, num: int) -> list[Chunk]:
        assert self.unit is not None
        parts: list[list[Chunk]] = []
        done = 0
        while done < num:
            parts.append(self.unit.advance(num - done))
            done += len(parts[-1][0].records.reward)
        return [_joined(own) for own in zip(*parts, strict=True)]

    def _look(self, run: Run, chunk: Chunk, before: int) -> None:
        """Notes how far a run has come, and whether it still makes sense."""
        if run.state != RUNNING:
            return
        run.timesteps = before + chunk.records.reward.size
        if not all(np.isfinite(values).all() for values in chunk.metrics.values()):
            run.state = DIVERGED
            run.folder.append_metrics(run.timesteps, {DIVERGENCE: 1.0})

    def _score(self, chunks: Sequence[Chunk] | None) -> None:
        """Evaluates, and writes what is known."""
        assert self.unit is not None
        for i, (run, measured) in enumerate(zip(self.runs, self.unit.evaluate(), strict=True)):
            if run.state == RUNNING:
                run.score = measured[SCORE]
                run.folder.append_metrics(run.timesteps, measured | (chunk_metrics(chunks[i]) if chunks else {}))
                run.arrive()

    def _save(self, began: float) -> None:
        """Saves the runs that have ended; the others when it is time."""
        now = time.monotonic()
        share = (now - began) / len(self.runs)
        for run in self.runs:
            run.seconds += share if run.member is not None else 0.0
            run.arrive()
        time_to_save = self.clock.is_due(now)
        self.save([run for run in self.runs if run.member is not None and (run.state != RUNNING or time_to_save)])
        if time_to_save:
            self.clock.note_saved(now)

    def save(self, runs: Sequence[Run]) -> None:
        """Saves some of the runs."""
        if runs and self.unit is not None:
            self.unit.hand_over([self.runs.index(run) for run in runs])
        for run in runs:
            run.save()


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
