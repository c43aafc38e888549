"""Runs side by side in processes of their own, each on one thread.

A worker trains one run after the other, so that it imports and compiles once. It hears from us through a pipe alone: the next
run, or to stop. If we are gone the pipe is closed, which means the same. Ctrl-C in a terminal reaches every process; workers
ignore it and are told by us instead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import tempfile
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from mbrl_agents.core.interrupt import PendingInterrupt, deferred, handled
from mbrl_agents.runs import training
from mbrl_agents.runs.config import RunConfig
from mbrl_agents.runs.progress import Listener
from mbrl_agents.runs.run_folder import FAILED, INTERRUPTED, RunFolder, in_a_line, is_run

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Several processes share a GPU only if the first does not take all of its memory.
SHARED_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
# What one worker has compiled, the others need not.
SHARED_PROGRAMS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
_STOP = "stop"
_POLL_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to be trained.

    Attributes:
        index: Its number.
        config: What it is.
        path: Its folder; one that exists is gone on with.
        restart: Whether a folder that exists is replaced instead.
    """

    index: int
    config: RunConfig
    path: pathlib.Path
    restart: bool = False


def execute(job: Job, report: training.Report) -> tuple[str, str | None]:
    """Trains a run; how it ended, and what went wrong."""
    try:
        status = training.train(folder_of(job), report)
        return status.state, status.error
    except Exception as error:  # one run's failure is no reason to lose the others
        return FAILED, in_a_line(error)


def folder_of(job: Job) -> RunFolder:
    """A run's folder, to go on with or new."""
    if is_run(job.path) and not job.restart:
        return RunFolder(job.path, job.config)
    return RunFolder.create(job.path, job.config, force=job.restart)


def run_jobs(jobs: Sequence[Job], listener: Listener, num_workers: int) -> bool:
    """Trains runs, in this process if one worker is enough, else in processes of their own.

    Ctrl-C stops all of them at a consistent point, Ctrl-C again at once.

    Returns:
        Whether all were tried; False if stopped.
    """
    num_workers = min(num_workers, len(jobs))
    with deferred() as pending:
        try:
            if num_workers <= 1:
                return _run_here(jobs, listener, pending)
            with tempfile.TemporaryDirectory(prefix="mbrl-programs-", ignore_cleanup_errors=True) as cache:
                environment = ONE_THREAD | SHARED_GPU | SHARED_PROGRAMS | {"JAX_COMPILATION_CACHE_DIR": cache}
                return _Pool(jobs, listener, num_workers, pending, environment).run()
        finally:
            pending.pressed = False  # our answer says it


def _run_here(jobs: Sequence[Job], listener: Listener, pending: PendingInterrupt) -> bool:
    for job in jobs:

        def report(timesteps: int, score: float | None, index: int = job.index) -> bool:
            listener.progress(index, timesteps, score)
            return not pending.pressed

        state, error = execute(job, report)
        listener.ended(job.index, state, error)
        if state == INTERRUPTED or pending.pressed:
            listener.stopping()
            return False
    return True


class _Worker(NamedTuple):
    process: Any
    pipe: Connection


class _Pool:
    def __init__(
        self,
        jobs: Sequence[Job],
        listener: Listener,
        num_workers: int,
        pending: PendingInterrupt,
        environment: dict[str, str],
    ) -> None:
        self.todo, self.listener, self.pending = list(jobs), listener, pending
        self.workers: list[_Worker] = []
        self.busy: dict[Connection, Job] = {}
        self.stopped = False
        self.num_workers, self.environment = num_workers, environment

    def run(self) -> bool:
        """Hands out jobs until there are none, or until stopped."""
        try:
            for _ in range(self.num_workers):
                self._start_worker()
            while self.busy:
                if self.pending.pressed and not self.stopped:
                    self._stop()
                ready = wait(list(self.busy), timeout=_POLL_SECONDS)
                for pipe in ready:
                    self._hear(pipe)  # type: ignore[arg-type]
                if not ready:
                    self.listener.waiting()
            return not self.stopped
        finally:
            self._close()

    def _start_worker(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs,), daemon=True)
        # A process started now ignores Ctrl-C from its first moment; one pressed meanwhile, within milliseconds, is lost.
        with handled(signal.SIGINT, signal.SIG_IGN), _environment(self.environment):
            process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))
        self._hand_out(ours)

    def _hand_out(self, pipe: Connection) -> None:
        if self.todo and not self.stopped:
            job = self.todo.pop(0)
            self.busy[pipe] = job
            # A worker that is gone is noticed when we next listen.
            with contextlib.suppress(OSError):
                pipe.send(job)

    def _hear(self, pipe: Connection) -> None:
        job = self.busy[pipe]
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            self._mourn(pipe, job)
            return
        if isinstance(message, tuple) and message[0] == "progress":
            self.listener.progress(job.index, *message[1:])
        else:
            del self.busy[pipe]
            self.listener.ended(job.index, *message[1:])
            self._hand_out(pipe)

    def _mourn(self, pipe: Connection, job: Job) -> None:
        """A worker has died: its run has failed, another worker does the rest."""
        del self.busy[pipe]
        process = next(worker.process for worker in self.workers if worker.pipe is pipe)
        process.join()
        reason = f"its process ended with exit code {process.exitcode}"
        if process.exitcode == -signal.SIGKILL:
            reason = "its process was killed (out of memory?)"
        self.listener.ended(job.index, FAILED, reason)
        if self.todo and not self.stopped:
            self._start_worker()

    def _stop(self) -> None:
        self.stopped = True
        self.listener.stopping()
        for pipe in self.busy:
            with contextlib.suppress(OSError):
                pipe.send(_STOP)

    def _close(self) -> None:
        """Ends all workers: idle ones when their pipe closes, busy ones (after a second Ctrl-C, or an error here) at once."""
        for worker in self.workers:
            if worker.pipe in self.busy:
                worker.process.kill()
            worker.pipe.close()
        for worker in self.workers:
            worker.process.join(10)
            worker.process.kill()


def _work(pipe: Connection) -> None:
    """A worker's life."""
    import torch

    if hasattr(signal, "pthread_sigmask"):  # agents set handlers of their own, which must not hear Ctrl-C either
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    torch.set_num_threads(1)

    def report(timesteps: int, score: float | None) -> bool:
        try:
            pipe.send(("progress", timesteps, score))
            return not pipe.poll()  # while a run is trained, there is nothing to be told but to stop
        except (EOFError, OSError):
            return False

    with contextlib.suppress(EOFError, OSError):
        while (job := pipe.recv()) != _STOP:
            pipe.send(("ended", *execute(job, report)))


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes started now; those that the user has set stay as they are."""
    added = {name: value for name, value in changes.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
