"""The work register of a study: who does what, so that nothing is lost, done twice or told twice.

A study has a fixed number of *slots* (the points of its grid, or the trials that were asked for). Workers take some slots at
once, as a *batch*, train them, and tell. Workers are killed, freeze and thaw; the register decides what counts.

**The log.** The register is a second Optuna study, ``NAME.register``, on the same storage, to which entries are only ever
appended: each is a finished trial, made whole by ``create_new_trial`` in one step. Every storage of Optuna's numbers the trials
of a study one after the other (databases: in one transaction, the study's row being locked; journal: by their order in the
file; proxy: whichever of the two is behind it) and never changes a finished one. So all workers see the same entries in the
same order, and *appending is compare-and-set*: an entry names what it takes for granted, and :func:`fold`, the same for all,
ignores it where an earlier entry says otherwise. Whether its own entry counts a worker learns by reading the log again.

=========  ==================  ===========================================================================================
entry      says                counts if
=========  ==================  ===========================================================================================
``study``  spec, ladder        it is the first
``trials`` number              always; the last one holds
``worker`` id, place           always
``open``   worker, slots       for the slots that no earlier ``open`` has: batch number *n*, the entry's number, epoch 1
``adopt``  worker, batch, e    the batch is not over and its epoch is e − 1; its epoch is e from then on
``report`` {batch: e}, t,      for each slot of a batch whose epoch is e, if the slot has not ended and not come to t before
           outcomes
=========  ==================  ===========================================================================================

A *report* says what trials are worth at a rung (:mod:`tuning.pruning`) of the study's ladder. A trial ends there if it is the
last rung, if a run of it has diverged, or if others are better (all are that have not diverged): that is decided by what the
log says up to and including the report, so all workers know it as soon as it is written. A batch is over when all its slots
have ended.

**Trials.** A slot's trial is made whole in one step, too: running, with its parameters, and with its slot as an attribute. If
two workers make one for the same slot (a frozen one thaws in between), the lower number is *the* trial of the slot, for good,
and the other one fails. Outcomes are told to Optuna only from the report by which a slot has ended, by whoever comes first;
Optuna's storages refuse a second one.

**Why this is right.** (1) A slot belongs to one batch: the first ``open`` that has it. (2) A slot ends by one report, and no
later one counts. (3) A worker whose batch was adopted cannot report on it any more: its report has an old epoch, and it is the
order in the log that decides, not what the worker believes when it writes; it may have been frozen between looking and
writing. (4) So the slot's trial is told one outcome, whoever tells it and however often. (5) Nothing is lost: every slot below
the number of trials is opened by somebody; a batch that is not over is adopted once its worker is gone; a slot that has ended
but was not told is told by the next worker that looks. Clocks matter to (5) alone: an adoption too early costs work, but does
no harm.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState, create_trial

from tuning.pruning import Ladder

SUFFIX = ".register"
ENTRY, _BEAT = "entry", "beat:"
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "study": {"spec": dict, "ladder": dict},
    "trials": {"number": int},
    "worker": {"worker": str, "host": str, "pid": int},
    "open": {"worker": str, "slots": list},
    "adopt": {"worker": str, "batch": int, "epoch": int},
    "report": {"epochs": dict, "timestep": int, "outcomes": dict},
}


class WorkerInfo(NamedTuple):
    """A worker as it has introduced itself.

    Attributes:
        worker: Its id.
        order: The number of its entry.
        host: The machine (with its space of process numbers).
        pid: Its process.
        process: What tells it from later ones of that number, see :func:`~mbrl_agents.core.processes.process_identity`.
    """

    worker: str
    order: int
    host: str
    pid: int
    process: str


class Batch(NamedTuple):
    """Slots that one worker trains together.

    Attributes:
        number: The number of the entry that opened it.
        slots: Its slots.
        epoch: How many workers have had it.
        worker: The last of them.
    """

    number: int
    slots: tuple[int, ...]
    epoch: int
    worker: str


class Progress(NamedTuple):
    """How far a slot's trial is.

    Attributes:
        reports: What it was worth, by timestep, in the order of the reports.
        ended: Whether it has come to its end.
        pruned: Whether that was before the end of its runs.
    """

    reports: dict[int, dict[str, Any]]
    ended: bool = False
    pruned: bool = False

    @property
    def timestep(self) -> int:
        """The rung it has come to; 0 before the first one."""
        return max(self.reports, default=0)

    @property
    def outcome(self) -> dict[str, Any]:
        """The latest report."""
        return self.reports[self.timestep]


class Ledger(NamedTuple):
    """What the log says.

    Attributes:
        spec: The study's description, or None.
        ladder: Its rungs.
        trials: How many slots there are.
        workers: All workers there have been.
        batches: All batches, in order.
        slots: Slots that there is a report of.
        length: Number of entries.
        study: The study's id, the mark of its description; None if it has none.
    """

    spec: dict[str, Any] | None
    ladder: Ladder
    trials: int
    workers: dict[str, WorkerInfo]
    batches: dict[int, Batch]
    slots: dict[int, Progress]
    length: int
    study: str | None = None

    def progress(self, slot: int) -> Progress:
        """How far a slot is."""
        return self.slots.get(slot, _NOTHING)

    def is_over(self, batch: Batch) -> bool:
        """Whether all slots of a batch have ended."""
        return all(self.progress(slot).ended for slot in batch.slots)

    @property
    def taken(self) -> set[int]:
        """Slots that belong to a batch."""
        return {slot for batch in self.batches.values() for slot in batch.slots}

    @property
    def open(self) -> list[Batch]:
        """Batches that are not over."""
        return [batch for batch in self.batches.values() if not self.is_over(batch)]

    @property
    def ended(self) -> dict[int, Progress]:
        """Slots that have ended."""
        return {slot: progress for slot, progress in self.slots.items() if progress.ended}

    @property
    def free(self) -> list[int]:
        """Slots that nobody has taken."""
        return sorted(set(range(self.trials)) - self.taken)

    def holds(self, batch: Batch) -> bool:
        """Whether a batch is still what it was: its worker may go on with it."""
        return self.batches[batch.number] == batch

    def holder(self, slot: int) -> str | None:
        """The worker whose batch a slot belongs to; None if it belongs to none."""
        return next((batch.worker for batch in self.batches.values() if slot in batch.slots), None)


_NOTHING = Progress({})


def fold(entries: Iterable[dict[str, Any]]) -> Ledger:
    """What entries say together; see the head of this file."""
    ledger = Ledger(None, Ladder(()), 0, {}, {}, {}, 0)
    for number, entry in enumerate(entries):
        ledger = _with_entry(ledger, number, entry)._replace(length=number + 1)
    return ledger


def _with_entry(ledger: Ledger, number: int, entry: dict[str, Any]) -> Ledger:
    kind = entry["kind"]
    if kind == "study" and ledger.spec is None:
        return ledger._replace(spec=entry["spec"], ladder=Ladder.from_dict(entry["ladder"]), study=entry.get("mark"))
    if kind == "trials":
        return ledger._replace(trials=entry["number"])
    if kind == "worker":
        # The first logs said when the process began; their workers have ended.
        info = WorkerInfo(entry["worker"], number, entry["host"], entry["pid"], entry.get("process", ""))
        ledger.workers[info.worker] = info
    if kind == "open":
        taken = ledger.taken
        slots = tuple(slot for slot in entry["slots"] if slot not in taken)
        ledger.batches[number] = Batch(number, slots, 1, entry["worker"])
    if kind == "adopt":
        batch = ledger.batches[entry["batch"]]
        if not ledger.is_over(batch) and batch.epoch == entry["epoch"] - 1:
            ledger.batches[batch.number] = batch._replace(epoch=entry["epoch"], worker=entry["worker"])
    if kind == "report":
        _report(ledger, entry)
    return ledger


def _report(ledger: Ledger, entry: dict[str, Any]) -> None:
    """Enters what counts of a report, and then who ends by it."""
    held = {batch for batch in ledger.batches.values() if entry["epochs"].get(str(batch.number)) == batch.epoch}
    own = {slot for batch in held for slot in batch.slots}
    timestep, came = entry["timestep"], []
    for text, outcome in entry["outcomes"].items():
        before = ledger.progress(slot := int(text))
        if slot in own and not before.ended and timestep > before.timestep:
            ledger.slots[slot] = Progress({**before.reports, timestep: outcome})
            came.append(slot)
    values = [_rank(each.reports[timestep]) for each in ledger.slots.values() if timestep in each.reports]
    is_end = ledger.ladder.is_end(timestep)
    for slot in came:
        if is_end or not ledger.ladder.goes_on(_rank(ledger.slots[slot].outcome), values):
            ledger.slots[slot] = ledger.slots[slot]._replace(ended=True, pruned=not is_end)


def _rank(outcome: dict[str, Any]) -> float | None:
    """What a trial is worth in comparison with others; None, which is less than any number, if a run diverged."""
    return None if outcome.get("diverged") else outcome["value"]


def entry_damage(entry: Any) -> str | None:
    """Why a value is no entry of a register, in words; None if it is one. Entries of other kinds say nothing."""
    if not isinstance(entry, dict) or not {"kind", "mark"} <= entry.keys():
        return "it is none of ours"
    for name, kind in _FIELDS.get(str(entry["kind"]), {}).items():
        if not isinstance(entry.get(name), kind):
            return f"it is of kind {entry['kind']!r} and has no {name}"
    return None


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
        self.study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.0, user_attrs={ENTRY: entry}))
        entries = self._entries()
        number = next(i for i, each in enumerate(entries) if each["mark"] == mark)
        return number, fold(entries)

    # ------------------------------------------------------------------ entries

    def open(self, worker: str, slots: Sequence[int]) -> Ledger:
        """Takes slots, as a batch: those that nobody had taken. Returns what the log says with it."""
        return self.append("open", worker=worker, slots=list(slots))[1]

    def adopt(self, batch: Batch, worker: str) -> Ledger:
        """Takes over a batch, unless somebody else was quicker. Returns what the log says with it."""
        return self.append("adopt", worker=worker, batch=batch.number, epoch=batch.epoch + 1)[1]

    def report(self, batches: Sequence[Batch], timestep: int, outcomes: Mapping[int, dict[str, Any]]) -> Ledger:
        """Reports what trials of some batches are worth at a rung; returns what the log says with it.

        What is said of a batch that belongs to somebody else by now does not count.
        """
        epochs = {str(batch.number): batch.epoch for batch in batches}
        by_slot = {str(slot): outcome for slot, outcome in outcomes.items()}
        return self.append("report", epochs=epochs, timestep=timestep, outcomes=by_slot)[1]

    # ------------------------------------------------------------------ beats

    def beat(self, worker: str, beat: dict[str, Any]) -> None:
        """Writes a sign of life; each worker writes only its own, so these need no order."""
        self.study.set_user_attr(_BEAT + worker, beat)

    def beats(self) -> dict[str, dict[str, Any]]:
        """The latest sign of life of every worker."""
        return {name.removeprefix(_BEAT): beat for name, beat in self.study.user_attrs.items() if name.startswith(_BEAT)}

    def _entries(self) -> list[dict[str, Any]]:
        trials = sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)
        entries = [trial.user_attrs.get(ENTRY) for trial in trials]
        for number, entry in enumerate(entries):
            if why := entry_damage(entry):
                raise ValueError(f"the register of the study, {self.study.study_name!r}, is damaged: entry {number}, {why}")
        return cast("list[dict[str, Any]]", entries)
