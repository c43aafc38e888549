"""Which trials of a worker go forward together: a *generation*, one program up to the next rung.

A worker has a number of lanes, its batch size. Without pruning a generation is a batch, from beginning to end. With it, the
trials of a batch that have gone on from a rung wait there until those of later batches have come to the same rung and there
are enough of them: lanes that pruning has emptied are filled again, and all lanes of a program are always at the same
timestep. Only at the end of a study, when there are no trials left to begin with, do fewer go forward.

What comes next follows from the log alone, so that a study that was killed goes on with what it would have done.
"""

from __future__ import annotations

from typing import NamedTuple

from tuning.register import Batch, Ledger


class Generation(NamedTuple):
    """Trials that go forward together.

    Attributes:
        until: The rung they are trained up to.
        slots: Which ones, ascending.
        batches: The batches that they belong to.
    """

    until: int
    slots: tuple[int, ...]
    batches: tuple[Batch, ...]


def full_generation(ledger: Ledger, worker: str, lanes: int) -> Generation | None:
    """The generation that is furthest forward among those that fill all lanes; None if there is none."""
    at = _by_timestep(ledger, worker)
    full = [timestep for timestep, slots in at.items() if len(slots) >= lanes]
    return _generation(ledger, max(full), at[max(full)][:lanes]) if full else None


def last_generation(ledger: Ledger, worker: str, lanes: int) -> Generation | None:
    """The trials that are furthest behind, however few; None if the worker has none."""
    at = _by_timestep(ledger, worker)
    return _generation(ledger, min(at), at[min(at)][:lanes]) if at else None


def empty_lanes(ledger: Ledger, worker: str, lanes: int) -> int:
    """How many trials are missing for a full generation at the beginning."""
    return lanes - len(_by_timestep(ledger, worker).get(0, []))


def _by_timestep(ledger: Ledger, worker: str) -> dict[int, list[int]]:
    """The unfinished trials of a worker's batches, by the rung that they have come to."""
    at: dict[int, list[int]] = {}
    for batch in ledger.open:
        if batch.worker == worker:
            for slot in batch.slots:
                if not ledger.progress(slot).ended:
                    at.setdefault(ledger.progress(slot).timestep, []).append(slot)
    return {timestep: sorted(slots) for timestep, slots in at.items()}


def _generation(ledger: Ledger, timestep: int, slots: list[int]) -> Generation:
    batches = tuple(batch for batch in ledger.open if set(batch.slots) & set(slots))
    return Generation(ledger.ladder.after(timestep), tuple(slots), batches)
