"""Trains many runs, each in its folder: which go forward next, what is measured, saved and told in between.

A run goes forward in chunks of at most 1000 steps that end where an evaluation is due. Everything that is measured or saved
falls on the end of a chunk, and where these are depends on the run's configuration alone. So a run that was stopped or killed
at any moment goes on from its last checkpoint to the very numbers it would have had.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import time
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl_agents.common.device_loop import DeviceLoop, StepRecord
from mbrl_agents.common.interrupt import PendingInterrupt
from mbrl_agents.common.jax_agent import JaxAgent
from mbrl_agents.experiments import checkpoints
from mbrl_agents.experiments.config import RunConfig
from mbrl_agents.experiments.metrics import SCORE
from mbrl_agents.experiments.run_folder import DIVERGED, FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder, Status
from mbrl_agents.experiments.sweeps.execution import Chunk, Execution, Member, Unit
from mbrl_agents.experiments.sweeps.memory import NO_RUNS, MemoryPlan, agent_program, plan_memory
from mbrl_agents.experiments.workers import Listener
from mbrl_envs import functional_task

CHECKPOINT_SECONDS = 60.0
DIVERGENCE = "diverged"  # the metric of a run whose loss is no longer finite; its value is 1
PAUSED = "paused"  # where it was to come to for now; its folder says interrupted
_POLL_SECONDS = 0.2


@dataclasses.dataclass
class _Run:
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
        agent, self.seconds = checkpoints.restore(self.folder, self.env)
        assert isinstance(agent, JaxAgent)
        self.folder.drop_metrics_after(agent.num_timesteps if self.seconds else -1)
        scores = self.folder.scores()
        self.score = float(scores.iloc[-1]) if len(scores) else None
        self.timesteps = agent.num_timesteps
        if (self.folder.metrics()["metric"] == DIVERGENCE).any():
            self.state = DIVERGED  # killed after the end was saved, before that was written down
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


class _UnitInTraining:
    """Runs of one program that are equally far and go forward together; ``width`` is the number it had or could have had."""

    def __init__(self, runs: Sequence[_Run], width: int, checkpoint_seconds: float) -> None:
        self.runs, self.width, self.checkpoint_seconds = list(runs), width, checkpoint_seconds
        self.unit: Unit | None = None
        self.saved_at = time.monotonic()

    @property
    def live(self) -> list[_Run]:
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
        interval, num_envs = config.evaluation.interval, config.num_envs
        if before == 0 and self.live[0].score is None:
            self._score(None)
        if before >= self.live[0].goal:  # killed after the last evaluation, before the end was saved
            self._save(began)
            return
        due = min((before // interval + 1) * interval, config.steps)
        chunks = self._advance(min(-(-(due - before) // num_envs), self.runs[0].loop.max_chunk))
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

    def _look(self, run: _Run, chunk: Chunk, before: int) -> None:
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
        for i, (run, score) in enumerate(zip(self.runs, self.unit.evaluate(), strict=True)):
            if run.state == RUNNING:
                run.score = score
                run.folder.append_metrics(run.timesteps, {SCORE: score} | (chunk_metrics(chunks[i]) if chunks else {}))
                run.arrive()

    def _save(self, began: float) -> None:
        """Saves the runs that have ended; the others when it is time."""
        now = time.monotonic()
        share = (now - began) / len(self.runs)
        for run in self.runs:
            run.seconds += share if run.member is not None else 0.0
            run.arrive()
        time_to_save = now - self.saved_at >= self.checkpoint_seconds
        self.save([run for run in self.runs if run.member is not None and (run.state != RUNNING or time_to_save)])
        if time_to_save:
            self.saved_at = time.monotonic()

    def save(self, runs: Sequence[_Run]) -> None:
        """Saves some of the runs."""
        if runs and self.unit is not None:
            self.unit.hand_over([self.runs.index(run) for run in runs])
        for run in runs:
            run.save()


class Driver:
    """Trains runs until all have ended or somebody stops them.

    Args:
        folders: The runs' folders; those that have something in them are gone on with.
        listener: Is told how far they come (from this thread).
        execution: How to execute them.
        pending: Whether Ctrl-C was pressed.
        checkpoint_seconds: Seconds between checkpoints of a run.
        max_parallel_runs: Runs in memory at once; None for as many as fit.
        ended: Runs that belong to these and have come to their end. Nothing is done to them, but the others go on in units of
            the size that they had, so that they round as before.
        until: The timestep of an evaluation at which to pause the runs; None to train them to their end.

    Raises:
        MemoryError: The runs do not fit; nothing has been done.
    """

    def __init__(
        self,
        folders: Sequence[RunFolder],
        listener: Listener,
        execution: Execution,
        pending: PendingInterrupt,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        max_parallel_runs: int | None = None,
        ended: Sequence[RunFolder] = (),
        until: int | None = None,
    ) -> None:
        self.listener, self.execution, self.pending = listener, execution, pending
        self.errors: list[Exception] = []
        programs, runs = Programs(), []
        for i, folder in enumerate(folders):
            try:
                goal = min(until or folder.config.steps, folder.config.steps)
                runs.append(_Run(i, folder, programs.of(folder.config), goal, folder.status().timesteps))
            except (TypeError, ValueError) as error:  # arguments that do not go together: no reason to lose the other runs
                self.errors.append(error)
                self._tell_failure(i, folder, error)
        numbers = collections.Counter([run.loop for run in runs] + [programs.of(folder.config) for folder in ended])
        try:
            self.memory = programs.plan(sum(numbers.values()), execution, max_parallel_runs)
        except MemoryError:
            _let_go(runs)
            raise
        most = self.memory.parallel if execution.together else 1
        self.waiting = [
            _UnitInTraining(group, min(numbers[group[0].loop], most), checkpoint_seconds) for group in _groups(runs, most)
        ]
        self.open: list[_UnitInTraining] = []
        self.stopped = False

    def run(self, *, keep_going: bool = False) -> bool:
        """Trains.

        Args:
            keep_going: Whether to go on with the other runs when one fails.

        Returns:
            Whether all runs have come to an end; False if stopped.

        Raises:
            Exception: What went wrong in a run, unless ``keep_going``.
        """
        busy: dict[concurrent.futures.Future[None], _UnitInTraining] = {}
        pool = concurrent.futures.ThreadPoolExecutor(self.execution.workers, thread_name_prefix="mbrl-run")
        try:
            while True:
                if self.pending.pressed and not self.stopped:
                    self.stopped = True
                    self.listener.stopping()
                if not self.stopped and not (self.errors and not keep_going):
                    self._hand_out(pool, busy)
                if not busy:
                    break
                ready, _ = concurrent.futures.wait(busy, _POLL_SECONDS, concurrent.futures.FIRST_COMPLETED)
                for future in ready:
                    self._heard(busy.pop(future), future)
                if not ready:
                    self.listener.waiting()
            self._close()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if self.errors and not keep_going:
            raise self.errors[0]
        return not self.stopped

    def _hand_out(self, pool: concurrent.futures.Executor, busy: dict[Any, _UnitInTraining]) -> None:
        """Gives free workers the runs that are furthest behind."""
        while len(busy) < self.execution.workers:
            in_memory = sum(unit.width for unit in self.open)
            if self.waiting and in_memory + self.waiting[0].width <= max(self.memory.parallel, self.waiting[0].width):
                unit = self.waiting.pop(0)
                self.open.append(unit)
            else:
                idle = [unit for unit in self.open if unit not in busy.values()]
                if not idle:
                    return
                unit = min(idle, key=lambda each: each.timesteps)
            busy[pool.submit(self._work, unit)] = unit

    def _work(self, unit: _UnitInTraining) -> None:
        """In a worker's thread: one step forward."""
        if unit.unit is None:
            unit.open(self.execution)
        if unit.unit is not None:
            unit.step()

    def _heard(self, unit: _UnitInTraining, future: concurrent.futures.Future[None]) -> None:
        if (error := future.exception()) is not None:
            self._failed(unit, error)
            return
        if unit.unit is None:  # its runs are not equally far
            self._take_apart(unit)
            return
        for run in unit.runs:
            if run.state == RUNNING:
                self.listener.progress(run.index, run.timesteps, run.score)
            elif run.member is None and run.env is not None:
                run.env = None
                self.listener.progress(run.index, run.timesteps, run.score)
                self.listener.ended(run.index, INTERRUPTED if run.state == PAUSED else run.state, run.trouble)
        if not unit.live:
            self.open.remove(unit)
        elif self.execution.together:
            self._join(unit)

    def _take_apart(self, unit: _UnitInTraining) -> None:
        """Makes units of runs that are equally far; they become one again when those behind have caught up."""
        self.open.remove(unit)
        for where in sorted({(run.timesteps, run.state) for run in unit.runs}):
            part = [run for run in unit.runs if (run.timesteps, run.state) == where]
            self.open.append(_UnitInTraining(part, unit.width, unit.checkpoint_seconds))

    def _join(self, unit: _UnitInTraining) -> None:
        """Makes one unit of those that are equally far and have the same program."""
        others = [
            each
            for each in self.open
            if each is not unit and each.timesteps == unit.timesteps and each.runs[0].loop == unit.runs[0].loop and each.is_open
        ]
        if not others:
            return
        together = [unit, *others]
        for each in together:
            if each.unit is not None:
                each.unit.hand_over([each.runs.index(run) for run in each.live])
            self.open.remove(each)
        live = [run for each in together for run in each.live]
        self.open.append(_UnitInTraining(live, unit.width, unit.checkpoint_seconds))

    def _failed(self, unit: _UnitInTraining, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        self.errors.append(error)
        self.open.remove(unit)
        for run in unit.runs:
            if run.state != RUNNING and run.member is None:
                continue  # its end has been saved
            self._tell_failure(run.index, run.folder, error)

    def _tell_failure(self, index: int, folder: RunFolder, error: Exception) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        details = "".join(traceback.format_exception(error))
        with contextlib.suppress(OSError):  # a full disk, say: the first error is the one to tell
            folder.write_status(folder.status()._replace(state=FAILED, error=text, details=details))
        self.listener.ended(index, FAILED, text)

    def _close(self) -> None:
        """Saves what has not come to its end."""
        for unit in self.open:
            if unit.unit is not None:
                unit.save(unit.live)
            for run in unit.live:
                if run.member is not None:
                    run.write_status(INTERRUPTED)
                self.listener.ended(run.index, INTERRUPTED, None)
        _let_go([run for unit in self.waiting for run in unit.runs])


class Programs:
    """The programs of runs, each with one of its agents; runs that differ only in the seed are looked at once."""

    def __init__(self) -> None:
        self.agents: dict[DeviceLoop, JaxAgent] = {}
        self._known: dict[str, DeviceLoop] = {}

    def of(self, config: RunConfig) -> DeviceLoop:
        """The program of a run."""
        key = repr({name: value for name, value in config.settings.items() if name not in ("seed", "label")})
        if key not in self._known:
            env = config.environment.training_env(config.num_envs)
            agent = config.kind.make(env, config.arguments, config.seed, _init_setup_model=False)
            assert isinstance(agent, JaxAgent)
            loop = agent_program(agent, functional_task(agent.env))
            self.agents.setdefault(loop, agent)
            self._known[key] = loop
        return self._known[key]

    def plan(self, num_runs: int, execution: Execution, max_parallel_runs: int | None) -> MemoryPlan:
        """How many runs are in memory at once."""
        if not self.agents:
            return NO_RUNS
        # Runs that are mapped over all compute at once; those called one by one, as many as there are workers.
        active = None if execution.together else execution.workers
        return plan_memory(self.agents, num_runs, max_parallel_runs, active, copies=2 if execution.together else 1)


def _groups(runs: Sequence[_Run], most: int) -> list[list[_Run]]:
    """Runs that begin as one unit: of one program, at most so many."""
    if most == 1:
        return [[run] for run in runs]
    by_program: dict[DeviceLoop, list[_Run]] = {}
    for run in runs:
        by_program.setdefault(run.loop, []).append(run)
    return [same[i : i + most] for same in by_program.values() for i in range(0, len(same), most)]


def _let_go(runs: Sequence[_Run]) -> None:
    """Says of runs that were not begun that nobody is at work on them; a new folder says so in advance."""
    for run in runs:
        if (status := run.folder.status()).state == RUNNING:
            run.folder.write_status(status._replace(state=INTERRUPTED))


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
