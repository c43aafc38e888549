"""The work register of a study: who does what, so that nothing is lost, done twice or told twice.

A study has a fixed number of *slots* (the points of its grid, or the trials that were asked for). Workers take some slots at
once, as a *batch*, train them, and tell. Workers are killed, freeze and thaw; the register decides what counts.

**The log.** The register is a second Optuna study, ``NAME.register``, on the same storage, to which entries are only ever
appended: each is a finished trial, made whole by ``create_new_trial`` in one step. Every storage of Optuna's numbers the trials
of a study one after the other (databases: in one transaction, the study's row being locked; journal: by their order in the
file; proxy: whichever of the two is behind it) and never changes a finished one. So all workers see the same entries in the
same order, and *appending is compare-and-set*: an entry names what it takes for granted, and :func:`fold`, the same for all,
ignores it where an earlier entry says otherwise. Whether its own entry counts a worker learns by reading the log again.

=========  ================  ==================================================================================================
entry      says              counts if
=========  ================  ==================================================================================================
``study``  spec              it is the first
``trials`` number            always; the last one holds
``worker`` id, place         always
``open``   worker, slots     for the slots that no earlier ``open`` has; they are batch number *n*, the entry's number, epoch 1
``adopt``  worker, batch, e  the batch is not done and its epoch is e − 1; its epoch is e from then on
``done``   batch, e, results the batch is not done and its epoch is e
=========  ================  ==================================================================================================

**Trials.** A slot's trial is made whole in one step, too: running, with its parameters, and with its slot as an attribute. If
two workers make one for the same slot (a frozen one thaws in between), the lower number is *the* trial of the slot, for good,
and the other one fails. Outcomes are told to Optuna only from the ``done`` entry that counts, by whoever comes first; Optuna's
storages refuse a second one.

**Why this is right.** (1) A slot belongs to one batch: the first ``open`` that has it. (2) A batch has at most one ``done``
that counts: once there is one, none counts any more. (3) A worker whose batch was adopted cannot bring it to an end: its
``done`` has an old epoch, and it is the order in the log that decides, not what the worker believes when it writes; it may have
been frozen between looking and writing. (4) So the slot's trial is told one outcome, whoever tells it and however often.
(5) Nothing is lost: every slot below the number of trials is opened by somebody; a batch that is not done is adopted once its
worker is gone; a batch that is done but not told is told by the next worker that looks. Clocks matter to (5) alone: an adoption
too early costs work, but does no harm.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

SUFFIX = ".register"
_ENTRY, _BEAT = "entry", "beat:"


class WorkerInfo(NamedTuple):
    """A worker as it has introduced itself.

    Attributes:
        worker: Its id.
        order: The number of its entry.
        host: The machine (with its space of process numbers).
        pid: Its process.
        started: When the process began, by its machine's clock.
    """

    worker: str
    order: int
    host: str
    pid: int
    started: float


class Batch(NamedTuple):
    """Slots that one worker trains together.

    Attributes:
        number: The number of the entry that opened it.
        slots: Its slots.
        epoch: How many workers have had it.
        worker: The last of them.
        results: For each slot what came out; None as long as it is not done.
    """

    number: int
    slots: tuple[int, ...]
    epoch: int
    worker: str
    results: dict[str, Any] | None = None


class Ledger(NamedTuple):
    """What the log says.

    Attributes:
        spec: The study's description, or None.
        trials: How many slots there are.
        workers: All workers there have been.
        batches: All batches, in order.
        length: Number of entries.
    """

    spec: dict[str, Any] | None
    trials: int
    workers: dict[str, WorkerInfo]
    batches: dict[int, Batch]
    length: int

    @property
    def taken(self) -> set[int]:
        """Slots that belong to a batch."""
        return {slot for batch in self.batches.values() for slot in batch.slots}

    @property
    def open(self) -> list[Batch]:
        """Batches that are not done."""
        return [batch for batch in self.batches.values() if batch.results is None and batch.slots]

    @property
    def done(self) -> list[Batch]:
        """Batches that are done."""
        return [batch for batch in self.batches.values() if batch.results is not None]

    @property
    def free(self) -> list[int]:
        """Slots that nobody has taken."""
        return sorted(set(range(self.trials)) - self.taken)

    def holds(self, batch: Batch) -> bool:
        """Whether a batch is still what it was: its worker may go on with it."""
        return self.batches[batch.number] == batch


def fold(entries: Iterable[dict[str, Any]]) -> Ledger:
    """What entries say together; see the head of this file."""
    ledger = Ledger(None, 0, {}, {}, 0)
    for number, entry in enumerate(entries):
        ledger = _with_entry(ledger, number, entry)._replace(length=number + 1)
    return ledger


def _with_entry(ledger: Ledger, number: int, entry: dict[str, Any]) -> Ledger:
    kind = entry["kind"]
    if kind == "study" and ledger.spec is None:
        return ledger._replace(spec=entry["spec"])
    if kind == "trials":
        return ledger._replace(trials=entry["number"])
    if kind == "worker":
        info = WorkerInfo(entry["worker"], number, entry["host"], entry["pid"], entry["started"])
        ledger.workers[info.worker] = info
    if kind == "open":
        taken = ledger.taken
        slots = tuple(slot for slot in entry["slots"] if slot not in taken)
        ledger.batches[number] = Batch(number, slots, 1, entry["worker"])
    if kind in ("adopt", "done"):
        batch = ledger.batches[entry["batch"]]
        if kind == "adopt" and batch.results is None and batch.epoch == entry["epoch"] - 1:
            ledger.batches[batch.number] = batch._replace(epoch=entry["epoch"], worker=entry["worker"])
        if kind == "done" and batch.results is None and batch.epoch == entry["epoch"]:
            ledger.batches[batch.number] = batch._replace(results=entry["results"])
    return ledger


class Register:
    """The register of a study, on the study's own storage.

    Args:
        storage: The storage.
        name: The study's name.
    """

    def __init__(self, storage: BaseStorage, name: str) -> None:
        self.study = optuna.create_study(storage=storage, study_name=name + SUFFIX, load_if_exists=True)

    def read(self) -> Ledger:
        """What the log says now."""
        return fold(entry for entry in self._entries())

    def append(self, kind: str, **content: Any) -> tuple[int, Ledger]:
        """Appends an entry; returns its number, and what the log says with it."""
        mark = uuid.uuid4().hex
        entry = {"kind": kind, "mark": mark, **content}
        self.study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs={_ENTRY: entry}))
        entries = self._entries()
        number = next(i for i, each in enumerate(entries) if each["mark"] == mark)
        return number, fold(entries)

    # ------------------------------------------------------------------ entries

    def open(self, worker: str, slots: Sequence[int]) -> Batch | None:
        """Takes slots; the batch has those that nobody had taken. None if there are none, or if it was adopted at once."""
        number, ledger = self.append("open", worker=worker, slots=list(slots))
        batch = ledger.batches[number]
        return batch if batch.slots and batch.worker == worker else None

    def adopt(self, batch: Batch, worker: str) -> Batch | None:
        """Takes over a batch; None if somebody else was quicker."""
        _, ledger = self.append("adopt", worker=worker, batch=batch.number, epoch=batch.epoch + 1)
        now = ledger.batches[batch.number]
        return now if now.results is None and (now.worker, now.epoch) == (worker, batch.epoch + 1) else None

    def finish(self, batch: Batch, results: dict[str, Any]) -> Batch | None:
        """Brings a batch to its end; None if it belongs to somebody else by now."""
        before = self.read()
        if not before.holds(batch):  # not needed, but it keeps the log short
            return None
        _, ledger = self.append("done", batch=batch.number, epoch=batch.epoch, worker=batch.worker, results=results)
        now = ledger.batches[batch.number]
        return now if now.epoch == batch.epoch and now.worker == batch.worker else None

    # ------------------------------------------------------------------ beats

    def beat(self, worker: str, beat: dict[str, Any]) -> None:
        """Writes a sign of life; each worker writes only its own, so these need no order."""
        self.study.set_user_attr(_BEAT + worker, beat)

    def beats(self) -> dict[str, dict[str, Any]]:
        """The latest sign of life of every worker."""
        return {name.removeprefix(_BEAT): beat for name, beat in self.study.user_attrs.items() if name.startswith(_BEAT)}

    def _entries(self) -> list[dict[str, Any]]:
        trials = sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        return [trial.user_attrs[_ENTRY] for trial in trials]
