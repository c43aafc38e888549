"""``Study``: what is searched, over Optuna's own objects, which stay within reach."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import optuna
import pandas as pd
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mbrl_agents.experiments.sweeps.specification import setting_label
from mbrl_envs.checks import integer_in
from tuning import enqueued
from tuning.curves import Curves
from tuning.enqueued import QueueingStudy
from tuning.folders import claim_folder
from tuning.proposals import DIVERGED, SLOT, Proposer
from tuning.register import SUFFIX, Ledger, Progress, Register, fold
from tuning.specification import StudySpec

SCORES = "scores"  # an attribute of Optuna's trials
MOST_TRIALS = 100_000
_WITH_VALUE = (TrialState.COMPLETE, TrialState.PRUNED)


class BestTrial(NamedTuple):
    """The best trial of a study.

    Attributes:
        slot: Which one it is.
        number: Its number in Optuna's study.
        setting: Its parameters.
        value: Its number.
        scores: The number of each of its runs.
    """

    slot: int
    number: int
    setting: dict[str, Any]
    value: float
    scores: tuple[float, ...]


class Study:
    """A study that exists; see :mod:`tuning.opening`.

    Attributes:
        name: Its name.
        spec: What it is.
        storage: Optuna's storage.
        optuna: Optuna's study.
        register: Who does what.
        folder: Where curves, artifacts and the sweeps of unfinished batches are.
        curves: The learning curves.
    """

    def __init__(self, name: str, spec: StudySpec, storage: BaseStorage, register: Register, folder: pathlib.Path) -> None:
        self.name, self.spec, self.storage, self.register, self.folder = name, spec, storage, register, folder
        with quiet():
            self.optuna = QueueingStudy(name, spec, storage)
        self.curves = Curves(folder)

    @contextlib.contextmanager
    def deletion_named(self) -> Iterator[None]:
        """Says that the study was deleted, in the dashboard say, where Optuna says that there is no such record.

        Raises:
            ValueError: It was.
        """
        try:
            yield
        except KeyError as error:
            check_kept(self.storage, self.name, self.register)
            if {self.name, self.name + SUFFIX} <= set(optuna.get_all_study_names(self.storage)):
                raise
            raise ValueError(f"study {self.name!r} has been deleted") from error

    def claim_folder(self) -> None:
        """Marks the folder as this study's, before anything is written into it.

        Raises:
            ValueError: It is another study's.
        """
        claim_folder(self.folder, str(self.register.read().study), self.name)

    # ------------------------------------------------------------------ trials

    def trials(self) -> dict[int, FrozenTrial]:
        """The trial of each slot that has one."""
        return self._by_slot()[0]

    def _by_slot(self) -> tuple[dict[int, FrozenTrial], list[FrozenTrial]]:
        """The trial of each slot, and those that came too late: the lowest number is the slot's, for good."""
        found: dict[int, FrozenTrial] = {}
        late = []
        for trial in sorted(self.optuna.get_trials(deepcopy=False), key=lambda each: each.number):
            if (slot := trial.user_attrs.get(SLOT)) is not None and found.setdefault(slot, trial) is not trial:
                late.append(trial)
        return found, late

    def ask(self, slots: tuple[int, ...]) -> dict[int, FrozenTrial]:
        """The trials of some slots; those that have none get one. Each is made in one step, with its parameters.

        Settings that wait in Optuna's queue come first; see :mod:`tuning.enqueued`.
        """
        found = self.trials()
        if missing := [slot for slot in slots if slot not in found]:
            trials = self.optuna.get_trials(deepcopy=False)
            proposer, queue = Proposer(self.spec, trials), enqueued.refuse_others(self.optuna, trials)
            for slot, first in itertools.zip_longest(missing, queue[: len(missing)]):
                self.optuna.add_trial(self._proposed(proposer, slot, first))
            found = self.trials()
        return {slot: found[slot] for slot in slots}

    def _proposed(self, proposer: Proposer, slot: int, first: FrozenTrial | None) -> FrozenTrial:
        if first is None:
            return proposer.propose(slot)
        attributes = {**first.user_attrs, enqueued.ENQUEUED: first.number}
        return proposer.propose(slot, enqueued.wanted(first), attributes)

    def settle(self, trial: FrozenTrial, slot: int, progress: Progress) -> None:
        """Tells Optuna how a slot's trial has ended; that somebody else has told it already is no error.

        A trial in which a run diverged is told as a pruned one: Optuna and its dashboard never call that the best.
        """
        self._describe(trial, slot, progress)
        value = progress.outcome["value"]
        if value is None:
            self._tell(trial, TrialState.FAIL)
        elif progress.pruned or progress.outcome["diverged"]:
            self._tell(trial, TrialState.PRUNED)  # Optuna takes the last value that was reported
        else:
            self._tell(trial, TrialState.COMPLETE, value)

    def drop_late(self) -> dict[int, FrozenTrial]:
        """Fails trials that came too late, of a worker that was frozen while it asked; returns the slots' trials.

        Enqueued trials that a slot has taken have done their part, and fail, too.
        """
        found, late = self._by_slot()
        for trial in late:
            if not trial.state.is_finished():
                self._tell(trial, TrialState.FAIL)
        enqueued.finish_taken(self.optuna, found)
        return found

    def _describe(self, trial: FrozenTrial, slot: int, progress: Progress) -> None:
        outcome = progress.outcome
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            # Without pruning they say nothing that the value does not.
            if len(progress.reports) > 1 or progress.pruned or outcome["diverged"]:
                for timestep, each in progress.reports.items():
                    if each["value"] is not None:
                        self.storage.set_trial_intermediate_value(trial._trial_id, timestep, each["value"])
            self.storage.set_trial_user_attr(trial._trial_id, SCORES, outcome["scores"])
            if outcome["diverged"]:
                self.storage.set_trial_user_attr(trial._trial_id, DIVERGED, outcome["diverged"])
            self.curves.attach(self.storage, trial, slot, setting_label(trial.params))

    def _tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """Tells an outcome; that somebody else has told it already is no error."""
        try:
            with quiet():
                self.optuna.tell(trial.number, value, state=state, skip_if_finished=True)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass
        except RuntimeError:
            # At the end of its grid, Optuna's sampler stops study.optimize, and complains when there is none to stop. What was
            # told has been saved by then.
            if not self.storage.get_trial(trial._trial_id).state.is_finished():
                raise

    # ------------------------------------------------------------------ results

    def set_trials(self, number: int | None) -> int:
        """Sets how many trials there are to be; None leaves it as it is. A grid has as many as it has points, or fewer.

        Raises:
            ValueError: Nobody has ever said how many.
        """
        size, known = self.spec.space.size if self.spec.sampler == "grid" else None, self.register.read().trials
        wanted = number if number is not None else known or size
        if wanted is None:
            raise ValueError(f"say how many trials the study is to have: {self.spec.sampler} goes on for ever")
        wanted = min(integer_in("trials", wanted, 1, MOST_TRIALS), size or MOST_TRIALS)
        if wanted != known:
            self.register.append("trials", number=wanted)
        return wanted

    def table(self) -> pd.DataFrame:
        """A row for each trial: ``slot, number``, the parameters, ``state, value, diverged``, and a score for each seed.

        States are Optuna's in small letters, and ``diverged`` for a trial in which a run diverged.
        """
        rows = []
        for slot, trial in sorted(self.trials().items()):
            diverged = trial.user_attrs.get(DIVERGED, 0)
            state = "diverged" if diverged and trial.state in _WITH_VALUE else trial.state.name.lower()
            row = {"slot": slot, "number": trial.number, **trial.params, "state": state}
            row |= {"value": trial.value, "diverged": diverged}
            scores = trial.user_attrs.get(SCORES) or [None] * len(self.spec.seeds)
            rows.append(row | {f"seed_{seed}": score for seed, score in zip(self.spec.seeds, scores, strict=True)})
        table = pd.DataFrame(rows)
        numbers = [name for name in table if name == "value" or str(name).startswith("seed_")]
        return table.astype(dict.fromkeys(numbers, float))

    def ranking(self) -> pd.DataFrame:
        """As :meth:`table`, the best trials first: those in which a run diverged, and then those not complete, come last."""
        table = self.table()
        if table.empty:
            return table
        losses = {"incomplete": ~table["state"].isin(["complete", "diverged"]), "diverged": table["diverged"] > 0}
        losses["value"] = -self.spec.judge.sign * table["value"]
        return table.loc[pd.DataFrame(losses).sort_values([*losses], kind="stable").index]

    def best(self) -> BestTrial:
        """The best trial, the first of :meth:`ranking`.

        Raises:
            ValueError: No trial is complete yet; one in which a run diverged does not count.
        """
        ranking = self.ranking()
        if ranking.empty or ranking["state"].iloc[0] != "complete":
            diverged = 0 if ranking.empty else int((ranking["state"] == "diverged").sum())
            why = f": {diverged} of its trials diverged, which are never the best" if diverged else ""
            raise ValueError(f"study {self.name!r} has no complete trial yet{why}")
        slot = int(ranking["slot"].iloc[0])
        trial = self.trials()[slot]
        assert trial.value is not None
        return BestTrial(slot, trial.number, dict(trial.params), trial.value, tuple(trial.user_attrs.get(SCORES, ())))

    def progress(self) -> tuple[int, int]:
        """How many trials are finished, and how many there are to be."""
        finished = sum(trial.state.is_finished() for trial in self.trials().values())
        return finished, self.register.read().trials

    def state(self) -> str:
        """How far it is, in words."""
        finished, trials = self.progress()
        states = [] if (table := self.table()).empty else table["state"].tolist()
        counted = ", ".join(f"{states.count(state)} {state}" for state in ("pruned", "diverged") if state in states)
        return f"{finished} of {trials} trials finished{f' ({counted})' if counted else ''}"

    def batch_folder(self, number: int, epoch: int) -> pathlib.Path:
        """Where a batch's sweep is, as long as the batch is not told; each worker that has it has a folder of its own."""
        return self.folder / "batches" / f"batch-{number:05d}-{epoch}"


def check_kept(storage: BaseStorage, name: str, register: Register | None = None) -> Ledger:
    """Checks that Optuna's study has all trials that its register knows of.

    Args:
        storage: The storage.
        name: The study's name.
        register: Its register, if it is open.

    Returns:
        What the register says; nothing if there is none. Nothing is written.

    Raises:
        ValueError: Not so: the study was deleted, and perhaps made anew, but its register was not.
    """
    names = optuna.get_all_study_names(storage)
    if name + SUFFIX not in names:
        return fold(())
    ledger = (register or Register(storage, name)).read()
    known: set[Any] = set()
    if name in names:
        trials = storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
        known = {trial.user_attrs.get(SLOT) for trial in trials}
    if (name not in names and ledger.length) or ledger.slots.keys() - known:
        raise ValueError(
            f"study {name!r} or some of its trials were deleted, but its register, {name + SUFFIX!r}, is still there. To begin "
            "anew, delete that, too (in the dashboard, or with optuna delete-study), and the folder; or choose another name"
        )
    return ledger


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Has Optuna say only what goes wrong: progress is shown elsewhere."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
