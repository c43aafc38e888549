"""Leases: a worker holds its batch as long as it gives signs of life.

Whether a worker is gone is judged by the watcher's own clock, so that clocks of machines need not agree: its sign of life has
not changed for a lease's time since the watcher first saw it. Two things are known sooner: a worker that has said good-bye, and
one whose process on this very machine has ended. See :mod:`tuning.register` for why a wrong judgement does no harm.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mbrl_agents.core.processes import process_identity, this_host
from tuning.register import Batch, Ledger, Register, WorkerInfo

LEASE_SECONDS = 60.0
BEATS = 4  # in a lease's time


class LeaseLostError(Exception):
    """Another worker has adopted a batch; what this one still does to it counts for nothing."""


class Watch:
    """Judges which workers are gone.

    Args:
        lease: Seconds of silence after which a worker counts as gone.
        clock: Seconds of a clock that only goes forward.
    """

    def __init__(self, lease: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease, self.clock = lease, clock
        self._seen: dict[str, tuple[Any, float]] = {}
        self._stirred: set[str] = set()

    def gone(self, info: WorkerInfo | None, beat: dict[str, Any] | None) -> bool:
        """Whether a worker is gone, as far as can be known by now."""
        if info is None or (beat is not None and beat.get("left")):
            return True
        if self.ended(info):
            return True
        now = self.clock()
        beat_before, since = self._seen.setdefault(info.worker, (beat, now))
        if beat_before != beat:
            self._seen[info.worker] = (beat, now)
            self._stirred.add(info.worker)
            return False
        return now - since >= self.lease

    def has_left(self, worker: str, ledger: Ledger, beats: Mapping[str, dict[str, Any]]) -> bool:
        """As :meth:`gone`, of a worker by its id."""
        return self.gone(ledger.workers.get(worker), beats.get(worker))

    def is_present(self, info: WorkerInfo) -> bool:
        """Whether a worker that is not gone has shown that it is alive: its process is here, or it has stirred."""
        return info.host == this_host() or info.worker in self._stirred

    @staticmethod
    def ended(info: WorkerInfo) -> bool:
        """Whether a worker's process on this machine has ended; False for those of other machines."""
        return info.host == this_host() and process_identity(info.pid) != info.process


class Lease:
    """A worker's signs of life, given by a thread while the worker trains. It is entered once.

    Args:
        register: The study's register.
        seconds: Silence after which others may take the worker for gone.
        clock: Wall clock, for people to read.
    """

    def __init__(self, register: Register, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.register, self.seconds, self.clock = register, seconds, clock
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.lost = threading.Event()
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._batches: tuple[Batch, ...] = ()
        self._interrupts = False
        self._thread = threading.Thread(target=self._keep_beating, name=f"mbrl-lease-{self.worker}", daemon=True)
        self._count = 0

    def __enter__(self) -> Lease:
        """Introduces the worker; if that fails, others need not wait for it either."""
        pid = os.getpid()
        self._thread.start()
        try:
            self.beat()
            self.register.append("worker", worker=self.worker, host=this_host(), pid=pid, process=process_identity(pid))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Says good-bye: others need not wait."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(Exception):  # the storage may be what went wrong
            self.beat(left=True)

    def beat(self, left: bool = False) -> None:
        """One sign of life."""
        self._count += 1
        self.register.beat(self.worker, {"count": self._count, "time": self.clock(), "left": left})

    @contextlib.contextmanager
    def held(self, batches: Sequence[Batch]) -> Iterator[None]:
        """While batches are trained. If one of them is lost, training in the main thread is stopped as if by Ctrl-C.

        Raises:
            LeaseLostError: A batch was lost; whatever else went wrong then is of no interest.
        """
        self.lost.clear()
        with self._lock:
            self._batches = tuple(batches)
            self._interrupts = threading.current_thread() is threading.main_thread()
        try:
            try:
                yield
            finally:
                with self._lock:
                    self._batches = ()
        except (Exception, KeyboardInterrupt) as error:
            if self.lost.is_set():
                raise LeaseLostError("another worker has adopted a batch") from error
            raise

    def check(self) -> None:
        """Looks whether a batch that is held has been lost."""
        batches = self._batches
        if not batches:
            return
        ledger = self.register.read()
        if all(ledger.holds(batch) for batch in batches):
            return
        with self._lock:
            if self._batches is batches and not self.lost.is_set():
                self.lost.set()
                if self._interrupts:
                    _thread.interrupt_main()

    def _keep_beating(self) -> None:
        while not self._ended.wait(self.seconds / BEATS):
            # A storage that is away for a while is no reason to stop; if it is away for too long, others take over.
            with contextlib.suppress(Exception):
                self.beat()
                self.check()
