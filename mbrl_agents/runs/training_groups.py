"""Runs in training, and the groups in which they go forward: a chunk of steps, an evaluation, a checkpoint at a time.

Evaluations, checkpoints and the question whether a run has diverged come at steps that follow from its configuration alone.
How many steps a call takes on the way there follows the clock, so that Ctrl-C need not wait.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import configure_logger

from mbrl_agents.core.chunks import Chunk, Pace
from mbrl_agents.core.program import Program
from mbrl_agents.core.run import RunState
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.executor import Execution, Run, RunGroup
from mbrl_agents.runs.metrics import DIVERGENCE, SCORE
from mbrl_agents.runs.run_folder import DIVERGED, FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from mbrl_agents.runs.running_means import RunningMeans
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.run_record import RunRecord

PAUSED = "paused"  # where it was to come to for now; its folder says interrupted


@dataclasses.dataclass
class RunInTraining:
    """A run that is being trained.

    Attributes:
        index: Its number, for the listener.
        folder: Its folder.
        program: Its program.
        like: An agent without networks that has its arguments, but for the seed.
        goal: The timestep at which it ends, or pauses.
        metrics: A user's function, evaluated with it.
        timesteps: How far it is.
        score: Its latest score.
        seconds: Time spent on it.
        state: ``"running"``, ``"paused"``, ``"finished"`` or ``"diverged"``.
        record: The run and what is counted beside it, while it is in memory. Its arrays are in its group, if it is in one.
        told: Whether the listener has been told of its end.
        updates: Gradient steps so far.
        means: What training has brought since the last evaluation.
        logger: TensorBoard's, if the agent's ``tensorboard_log`` asks for it.
    """

    index: int
    folder: RunFolder
    program: Program
    like: JaxAgent
    goal: int
    metrics: UserMetrics | None = None
    timesteps: int = 0
    score: float | None = None
    seconds: float = 0.0
    state: str = RUNNING
    record: RunRecord | None = None
    told: bool = False
    updates: int = 0
    means: RunningMeans = dataclasses.field(default_factory=RunningMeans)
    logger: Logger | None = None

    @property
    def trouble(self) -> str | None:
        """What went wrong, if it diverged."""
        return f"the loss was no longer finite at timestep {self.timesteps}" if self.state == DIVERGED else None

    def begin(self) -> None:
        """Makes or loads the run."""
        config = self.folder.config
        task = config.environment.task()
        assert task is not None
        self.record = RunRecord(self.like, task, config.seed, config.total_timesteps)
        if self.folder.agent_path.is_file():
            agent, self.seconds = checkpoints.restore(self.folder, config.environment.training_env(config.n_envs))
            assert isinstance(agent, JaxAgent)
            self.record.take_over(agent, task)
            self.timesteps, self.updates = agent.num_timesteps, agent._n_updates
        else:
            self.record.begin()
            self.timesteps = 0
        before = checkpoints.measured_before(self.folder, self.timesteps if self.seconds else None)
        self.score, self.means = before.score, before.means
        if before.diverged_at is not None:
            self.state = DIVERGED
        if self.like.tensorboard_log:
            self.logger = configure_logger(0, self.like.tensorboard_log, config.label, self.timesteps == 0)
        self.write_status(RUNNING)

    def give(self) -> Run:
        """Gives the run to an executor, which owns its arrays until :meth:`take` puts them back."""
        assert self.record is not None
        assert self.record.run is not None
        run, self.record.run = self.record.run, None
        config, evaluation = self.folder.config, self.folder.config.evaluation
        assert evaluation.steps is not None
        sizes = config.total_timesteps, evaluation.episodes, evaluation.steps
        return Run(run, self.program, self.like.schedules, *sizes, config.seed, self.metrics)

    def take(self, state: RunState) -> RunRecord:
        """Puts the arrays back."""
        assert self.record is not None
        self.record.run = state
        return self.record

    def count(self, chunk: Chunk) -> None:
        """Counts a chunk of steps."""
        assert self.record is not None
        self.record.count(chunk.records)
        self.timesteps += chunk.records.reward.size
        self.updates += chunk.trainings * self.program.plan.gradient_steps
        self.means.add(chunk)

    def check(self) -> None:
        """Notes whether its losses are no longer finite."""
        if not self.means.finite:
            self.state = DIVERGED
            self.folder.append_metrics(self.timesteps, {DIVERGENCE: 1.0})

    def write_row(self, measured: dict[str, float]) -> None:
        """Writes an evaluation, and what training has brought since the last one."""
        self.score = measured[SCORE]
        values = dict(measured)
        if self.timesteps:
            scheduled = self.like.scheduled(max(1 - self.timesteps / self.folder.config.total_timesteps, 0.0))
            # A learner that changes its learning rate itself tells it.
            values |= dict(sorted((scheduled | {"train/n_updates": float(self.updates)} | self.means.means()).items()))
        self.folder.append_metrics(self.timesteps, values)
        self.folder.append_time(self.timesteps, self.seconds)
        self.means.clear()
        if self.logger is not None:
            for name, value in values.items():
                self.logger.record(name, value)
            self.logger.dump(self.timesteps)

    def arrive(self) -> None:
        """Notes that it is where it was to come to."""
        if self.state == RUNNING and self.timesteps >= self.goal:
            self.state = FINISHED if self.timesteps >= self.folder.config.total_timesteps else PAUSED

    def write_status(self, state: str, error: str | None = None) -> None:
        """Writes where the run is."""
        self.folder.write_status(Status(state, self.timesteps, self.seconds, error))

    def save(self, state: RunState) -> None:
        """Saves a checkpoint, or the end, of the run as it is."""
        record = self.take(state)
        if self.state in (RUNNING, PAUSED):
            checkpoints.save_unfinished(self.folder, record, self.means)
            self.write_status(RUNNING if self.state == RUNNING else INTERRUPTED)
        else:
            checkpoints.save_finished(self.folder, record)
            self.write_status(self.state, self.trouble)
        if self.state == RUNNING:
            record.run = None  # the group goes on with it
            return
        self.record = None  # lets go of the arrays
        if self.logger is not None:
            self.logger.close()


class GroupInTraining:
    """Runs of one program that are equally far and go forward together; ``width`` is the number it had or could have had."""

    def __init__(self, runs: Sequence[RunInTraining], width: int, checkpoint_seconds: float) -> None:
        self.runs, self.width, self.clock = list(runs), width, checkpoints.CheckpointClock(checkpoint_seconds)
        self.group: RunGroup | None = None
        self.pace = Pace()
        self._counted_at = 0.0  # up to when the runs' seconds are counted

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
        return self.runs[0].record is not None or self.group is not None

    def open(self, execution: Execution) -> None:
        """Brings the runs into memory."""
        for run in self.runs:
            if run.record is None:
                run.begin()
        if len({(run.timesteps, run.state) for run in self.runs}) == 1:
            self.group = execution.group([run.give() for run in self.runs], self.width)

    def step(self) -> None:
        """A chunk of steps; and if that ends where they are due, an evaluation and what is to be saved."""
        self._counted_at = time.monotonic()
        assert self.group is not None
        if not self.live or self.timesteps >= self.live[0].goal:  # killed after the last evaluation, before the end was saved
            self._save()
            return
        if self.timesteps == 0 and self.live[0].score is None:
            self._score()
        due, stop = self._next_stops()
        before, began = self._vector_steps, time.monotonic()
        chunks = self.group.advance(stop - before, self.pace.steps)
        done = len(chunks[0].records.reward)
        self.pace.note(done, time.monotonic() - began)
        for run, chunk in zip(self.runs, chunks, strict=True):
            if run.state == RUNNING:
                run.count(chunk)
        if before + done < stop:
            self._count_seconds()
            return
        for run in self.live:
            run.check()
        if self.live and stop == due:
            self._score()
        self._save()

    @property
    def _vector_steps(self) -> int:
        return self.timesteps // self._num_envs

    @property
    def _num_envs(self) -> int:
        envs = self.runs[0].program.envs
        assert envs is not None
        return envs.num_envs

    def _next_stops(self) -> tuple[int, int]:
        """The vector steps of the next evaluation and of the next stop, at most ``max_chunk`` steps from the one before it."""
        config, most = self.runs[0].folder.config, self.runs[0].program.max_chunk
        number = self.timesteps // config.evaluation.interval
        # An evaluation comes with the first step that reaches its timestep.
        last = -(-number * config.evaluation.interval // self._num_envs)
        due = -(-min((number + 1) * config.evaluation.interval, config.total_timesteps) // self._num_envs)
        return due, min(due, last + ((self._vector_steps - last) // most + 1) * most)

    def _score(self) -> None:
        """Evaluates, and writes what is known."""
        assert self.group is not None
        evaluated = self.group.evaluate()
        self._count_seconds()
        for run, measured in zip(self.runs, evaluated, strict=True):
            if run.state == RUNNING:
                run.write_row(measured)
                run.arrive()

    def _count_seconds(self) -> None:
        """Shares the seconds since this was last called among the runs in memory."""
        now = time.monotonic()
        for run in self.runs:
            run.seconds += (now - self._counted_at) / len(self.runs) if run.record is not None else 0.0
        self._counted_at = now

    def _save(self) -> None:
        """Saves the runs that have ended; the others when it is time."""
        self._count_seconds()
        now = time.monotonic()
        for run in self.runs:
            run.arrive()
        time_to_save = self.clock.is_due(now)
        self.save([run for run in self.runs if run.record is not None and (run.state != RUNNING or time_to_save)])
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
