"""Taking turns: what is to be done once, by one worker, while others wait. A register of one slot, with leases.

See :mod:`tuning.register` for why two workers never both believe that it is theirs to finish.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from optuna.storages import BaseStorage

from tuning.leases import LEASE_SECONDS, Lease, LeaseLostError, Watch
from tuning.register import Batch, Ledger, Register


@contextlib.contextmanager
def turn(
    storage: BaseStorage,
    name: str,
    *,
    lease_seconds: float = LEASE_SECONDS,
    poll_seconds: float = 2.0,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[int | None]:
    """Waits until it is this process's turn to do something, or it has been done. It has, once the block has ended well.

    Args:
        storage: Where the study is.
        name: What is to be done.
        lease_seconds: Silence after which the one whose turn it is counts as gone.
        poll_seconds: How often to look.
        say: Is told that it has to wait.

    Yields:
        How many have had the turn, this process included; or None if it has been done.

    Raises:
        LeaseLostError: This process was silent for too long, and it is somebody else's turn.
    """
    register, watch, waits = Register(storage, name), Watch(lease_seconds), False
    with Lease(register, lease_seconds) as lease:
        while True:
            ledger = _taken(register, lease.worker, watch)
            (batch,) = (each for each in ledger.batches.values() if each.slots)
            if ledger.is_over(batch):
                yield None
                return
            if batch.worker == lease.worker:
                with _noticing_loss(register, batch), lease.held([batch]):
                    yield batch.epoch
                register.report([batch], 1, {0: {"value": None}})
                return
            if not waits:
                say(f"waits for {batch.worker}")
                waits = True
            time.sleep(poll_seconds)


@contextlib.contextmanager
def _noticing_loss(register: Register, batch: Batch) -> Iterator[None]:
    """Whatever goes wrong when somebody else has taken over, and perhaps taken files away, is of no interest."""
    try:
        yield
    except Exception as error:
        if isinstance(error, LeaseLostError) or register.read().holds(batch):
            raise
        raise LeaseLostError("another worker has taken over") from error


def _taken(register: Register, worker: str, watch: Watch) -> Ledger:
    """What the log says when somebody has the turn: this worker, if nobody had it, or whoever had it is gone."""
    ledger = register.read()
    if not ledger.batches:
        ledger = register.open(worker, [0])
    (batch,) = (each for each in ledger.batches.values() if each.slots)
    if ledger.is_over(batch) or batch.worker == worker:
        return ledger
    return register.adopt(batch, worker) if watch.has_left(batch.worker, ledger, register.beats()) else ledger
