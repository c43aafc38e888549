"""Trains many runs, each in its folder: which go forward next, what is measured, saved and told in between.

A run goes forward in chunks of steps, which may be as short as the clock wants them. Everything that is measured falls on steps
that follow from the run's configuration alone, and training metrics are summed over all steps in between. So a run that was
stopped or killed at any moment goes on from its last checkpoint to the very numbers it would have had.
"""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Sequence
from typing import Any

from mbrl_agents.core.compilation import KEPT_PROGRAMS
from mbrl_agents.core.interrupt import PendingInterrupt
from mbrl_agents.core.program import Program
from mbrl_agents.core.user_metrics import UserMetrics
from mbrl_agents.runs.checkpoints import CHECKPOINT_SECONDS
from mbrl_agents.runs.executor import Execution
from mbrl_agents.runs.programs import Programs
from mbrl_agents.runs.progress import Listener
from mbrl_agents.runs.run_folder import FAILED, INTERRUPTED, RUNNING, RunFolder
from mbrl_agents.runs.training_groups import PAUSED, GroupInTraining, RunInTraining

_POLL_SECONDS = 0.2


class Scheduler:
    """Trains runs until all have ended or somebody stops them.

    Args:
        folders: The runs' folders; those that have something in them are gone on with.
        listener: Is told how far they come (from this thread).
        execution: How to execute them.
        pending: Whether Ctrl-C was pressed.
        checkpoint_seconds: Seconds between checkpoints of a run.
        max_parallel_runs: Runs in memory at once; None for as many as fit.
        ended: Runs that belong to these and have come to their end. Nothing is done to them, but the others go on in groups of
            the size that they had, so that they round as before.
        until: The timestep of an evaluation at which to pause the runs; None to train them to their end.
        metrics: A user's function, evaluated with the runs.
        programs: Programs of the runs, as far as they are known.

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
        metrics: UserMetrics | None = None,
        programs: Programs | None = None,
    ) -> None:
        self.listener, self.execution, self.pending = listener, execution, pending
        self.errors: list[Exception] = []
        programs, runs = programs or Programs(), []
        for i, folder in enumerate(folders):
            try:
                goal = min(until or folder.config.total_timesteps, folder.config.total_timesteps)
                program, like = programs.of(folder.config), programs.agent_like(folder.config)
                runs.append(RunInTraining(i, folder, program, like, goal, metrics, folder.status().timesteps))
            except (TypeError, ValueError) as error:  # arguments that do not go together: no reason to lose the other runs
                self.errors.append(error)
                listener.ended(i, FAILED, folder.write_failure(error))
        numbers = collections.Counter([run.program for run in runs] + [programs.of(folder.config) for folder in ended])
        try:
            self.memory = programs.plan(sum(numbers.values()), execution, max_parallel_runs)
        except MemoryError:
            _let_go(runs)
            raise
        most = self.memory.parallel if execution.together else 1
        self.waiting = [
            GroupInTraining(group, min(numbers[group[0].program], most), checkpoint_seconds) for group in _groups(runs, most)
        ]
        self.open: list[GroupInTraining] = []
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
        busy: dict[concurrent.futures.Future[None], GroupInTraining] = {}
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

    def _hand_out(self, pool: concurrent.futures.Executor, busy: dict[Any, GroupInTraining]) -> None:
        """Gives free workers the runs that are furthest behind."""
        while len(busy) < self.execution.workers:
            if self._may_open():
                group = self.waiting.pop(0)
                self.open.append(group)
            else:
                idle = [group for group in self.open if group not in busy.values()]
                if not idle:
                    return
                group = min(idle, key=lambda each: each.timesteps)
            busy[pool.submit(self._work, group)] = group

    def _may_open(self) -> bool:
        """Whether there is room for the next one that waits: in memory, and among the programs that are gone round."""
        if not self.waiting:
            return False
        group = self.waiting[0]  # those of a program wait together: if this is none of the open ones, no other is
        if sum(each.width for each in self.open) + group.width > max(self.memory.parallel, group.width):
            return False
        programs = {each.runs[0].program for each in self.open}
        return len(programs) < KEPT_PROGRAMS or group.runs[0].program in programs

    def _work(self, group: GroupInTraining) -> None:
        """In a worker's thread: one step forward."""
        if group.group is None:
            group.open(self.execution)
        if group.group is not None:
            group.step()

    def _heard(self, group: GroupInTraining, future: concurrent.futures.Future[None]) -> None:
        if (error := future.exception()) is not None:
            self._failed(group, error)
            return
        if group.group is None:  # its runs are not equally far
            self._take_apart(group)
            return
        for run in group.runs:
            if run.state == RUNNING:
                self.listener.progress(run.index, run.timesteps, run.score)
            elif run.record is None and not run.told:
                run.told = True
                self.listener.progress(run.index, run.timesteps, run.score)
                self.listener.ended(run.index, INTERRUPTED if run.state == PAUSED else run.state, run.trouble)
        if not group.live:
            self.open.remove(group)
        elif self.execution.together:
            self._join(group)

    def _take_apart(self, group: GroupInTraining) -> None:
        """Makes groups of runs that are equally far; they become one again when those behind have caught up."""
        self.open.remove(group)
        for where in sorted({(run.timesteps, run.state) for run in group.runs}):
            part = [run for run in group.runs if (run.timesteps, run.state) == where]
            self.open.append(GroupInTraining(part, group.width, group.clock.seconds))

    def _join(self, group: GroupInTraining) -> None:
        """Makes one group of those that are equally far and have the same program."""
        others = [
            each
            for each in self.open
            if each is not group
            and each.timesteps == group.timesteps
            and each.runs[0].program == group.runs[0].program
            and each.is_open
        ]
        if not others:
            return
        together = [group, *others]
        for each in together:
            for run, state in zip(each.live, each.states(each.live), strict=each.group is not None):
                run.take(state)
            self.open.remove(each)
        live = [run for each in together for run in each.live]
        self.open.append(GroupInTraining(live, group.width, group.clock.seconds))

    def _failed(self, group: GroupInTraining, error: BaseException) -> None:
        if not isinstance(error, Exception):
            raise error
        self.errors.append(error)
        self.open.remove(group)
        for run in group.runs:
            if run.state != RUNNING and run.record is None:
                continue  # its end has been saved
            self.listener.ended(run.index, FAILED, run.folder.write_failure(error))

    def _close(self) -> None:
        """Saves what has not come to its end."""
        for group in self.open:
            if group.group is not None:
                group.save(group.live)
            for run in group.live:
                if run.record is not None:
                    run.write_status(INTERRUPTED)
                self.listener.ended(run.index, INTERRUPTED, None)
        _let_go([run for group in self.waiting for run in group.runs])


def _groups(runs: Sequence[RunInTraining], most: int) -> list[list[RunInTraining]]:
    """Runs that begin as one group: of one program, at most so many; program after program."""
    by_program: dict[Program, list[RunInTraining]] = {}
    for run in runs:
        by_program.setdefault(run.program, []).append(run)
    return [same[i : i + most] for same in by_program.values() for i in range(0, len(same), most)]


def _let_go(runs: Sequence[RunInTraining]) -> None:
    """Says of runs that were not begun that nobody is at work on them; a new folder says so in advance."""
    for run in runs:
        if (status := run.folder.status()).state == RUNNING:
            run.folder.write_status(status._replace(state=INTERRUPTED))
