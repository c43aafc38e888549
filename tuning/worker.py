"""A worker: takes batches of trials, trains them a generation at a time, tells; adopts what others left behind.

See :mod:`tuning.register` for why nothing is lost or done twice, and :mod:`tuning.generations` for what comes next.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time
import warnings
from collections.abc import Callable

from mbrl_envs.checks import integer_in, number_in
from tuning import enqueued
from tuning.generations import Generation, empty_lanes, full_generation, last_generation
from tuning.leases import LEASE_SECONDS, Lease, LeaseLostError, Watch
from tuning.register import Batch, Ledger
from tuning.storages import is_sqlite, refuse_sqlite
from tuning.study import MOST_TRIALS, Study, quiet
from tuning.training import Portion, SweepTrainer, Trainer, take_over

BATCH_SIZE = 8


class Worker:
    """Works on a study until all its trials are finished.

    Args:
        study: The study.
        batch_size: Trials to train in one program.
        trainer: What trains them.
        lease_seconds: Silence after which a worker counts as gone.
        poll_seconds: How often to look whether others have finished, or are gone.
        keep_runs: Whether the runs' folders (with their agents) are kept when a batch has been told.
        say: Is told what happens.

    Raises:
        TypeError, ValueError: An argument is out of range.
    """

    def __init__(
        self,
        study: Study,
        batch_size: int = BATCH_SIZE,
        trainer: Trainer | None = None,
        *,
        lease_seconds: float = LEASE_SECONDS,
        poll_seconds: float = 2.0,
        keep_runs: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.study, self.trainer, self.keep_runs, self.say = study, trainer or SweepTrainer(), keep_runs, say
        self.batch_size = integer_in("batch_size", batch_size, 1, MOST_TRIALS)
        self.lease_seconds = number_in("lease_seconds", lease_seconds, 0, open_low=True)
        self.poll_seconds = number_in("poll_seconds", poll_seconds, 0)
        self.watch = Watch(self.lease_seconds)
        self.lease = Lease(study.register, self.lease_seconds)  # of the latest run; each has its own

    def run(self) -> None:
        """Works until every trial is finished; waits for other workers' batches, to adopt them should they be gone.

        It can be called again, also after an error: each call is a worker of its own to others.

        Raises:
            ValueError: There are no trials to be trained yet, another worker is at work on a study in an SQLite file, the
                folder is another study's, or the study has been deleted.
            KeyboardInterrupt: Ctrl-C; the trials can be gone on with.
        """
        if self.study.register.read().trials == 0:
            raise ValueError(
                f"study {self.study.name!r} has no trials to be trained yet: say how many there are to be, with set_trials(N) "
                "or mbrl tune resume --trials N"
            )
        self.study.claim_folder()
        self.lease = Lease(self.study.register, self.lease_seconds)
        with self.study.deletion_named(), quiet(), self.lease:
            if is_sqlite(self.study.storage):
                self._check_alone()
            while True:
                ledger = self.study.register.read()
                self._settle(ledger)
                if (generation := self._next(ledger)) is not None:
                    with contextlib.suppress(LeaseLostError):
                        self._work(generation)
                elif self._is_over():
                    self._warn_of_the_queue()
                    return
                else:
                    time.sleep(self.poll_seconds)

    # ------------------------------------------------------------------ what comes next

    def _next(self, ledger: Ledger) -> Generation | None:
        """What to train next; None if there is nothing. Takes over what others have left behind, and new trials."""
        worker, lanes = self.lease.worker, self.batch_size
        if (adopted := self._adopt(ledger)) is not None:
            ledger = adopted
        if (full := full_generation(ledger, worker, lanes)) is not None:
            return full
        if slots := ledger.free[: empty_lanes(ledger, worker, lanes)]:
            ledger = self.study.register.open(worker, slots)
            if (full := full_generation(ledger, worker, lanes)) is not None:
                return full
        return last_generation(ledger, worker, lanes)

    def _adopt(self, ledger: Ledger) -> Ledger | None:
        """Takes over all batches whose workers are gone; what the log says then, or None if nothing was to be taken over."""
        beats = self.study.register.beats() if ledger.open else {}
        adopted = None
        for batch in ledger.open:
            if batch.worker != self.lease.worker and self.watch.has_left(batch.worker, ledger, beats):
                adopted = self.study.register.adopt(batch, self.lease.worker)
                if adopted.batches[batch.number].worker == self.lease.worker:
                    self.say(f"goes on with the {len(batch.slots)} trials that {batch.worker} left behind")
        return adopted

    def _is_over(self) -> bool:
        ledger, trials = self.study.register.read(), self.study.trials()
        told = all(slot in trials and trials[slot].state.is_finished() for slot in range(ledger.trials))
        return told and not ledger.open and not ledger.free

    def _warn_of_the_queue(self) -> None:
        """Says that enqueued trials are left when all slots have theirs."""
        if queue := enqueued.refuse_others(self.study.optuna, self.study.optuna.get_trials(deepcopy=False)):
            warnings.warn(
                f"{len(queue)} enqueued trials of study {self.study.name!r} are left, and it has all its trials: give it more "
                "with set_trials(N) or mbrl tune resume --trials N",
                stacklevel=3,
            )

    # ------------------------------------------------------------------ what is done

    def _work(self, generation: Generation) -> None:
        """Trains a generation up to its rung, and says what came out."""
        study = self.study
        with self.lease.held(generation.batches):
            portions = [self._portion(batch, generation) for batch in generation.batches]
            curves = self.trainer(study.spec, portions, study.spec.seeds, generation.until)
        trained = [slot for batch in generation.batches for slot in batch.slots if slot in generation.slots]
        own = dict(zip(trained, curves, strict=True))
        outcomes = {slot: study.spec.judge_at(generation.until).of_trial(each)._asdict() for slot, each in own.items()}
        for slot, each in own.items():
            study.curves.write(slot, each)
        ledger = study.register.report(generation.batches, generation.until, outcomes)
        if not all(ledger.holds(batch) for batch in generation.batches):
            self.say("was too late: another worker has adopted a batch")
        self._settle(ledger)
        self.say(study.state())

    def _portion(self, batch: Batch, generation: Generation) -> Portion:
        trials = self.study.ask(batch.slots)
        chosen = [i for i, slot in enumerate(batch.slots) if slot in generation.slots]
        return Portion(self._folder(batch), [trials[slot].params for slot in batch.slots], chosen)

    def _folder(self, batch: Batch) -> pathlib.Path:
        """The batch's folder; that of the worker before, if it is within reach."""
        folder = self.study.batch_folder(batch.number, batch.epoch)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            for epoch in range(batch.epoch - 1, 0, -1):
                if take_over(self.study.batch_folder(batch.number, epoch), folder):
                    break
        return folder

    def _settle(self, ledger: Ledger) -> None:
        """Tells Optuna what has ended: by this worker, or by one that was kept from telling."""
        trials = self.study.drop_late()
        untold = {
            slot: each for slot, each in ledger.ended.items() if not (slot in trials and trials[slot].state.is_finished())
        }
        beats = self.study.register.beats() if untold else {}
        own = {}
        for slot, progress in untold.items():
            holder = ledger.holder(slot)
            assert holder is not None
            if holder == self.lease.worker or self.watch.has_left(holder, ledger, beats):
                own[slot] = progress
        # First, so that a kill in between leaves something to be told, and the folders to whoever tells it.
        for batch in ledger.batches.values():
            if own.keys() & set(batch.slots) and ledger.is_over(batch):
                self._tidy(batch)
        for slot, progress in own.items():
            self.study.settle(trials[slot], slot, progress)

    def _tidy(self, batch: Batch) -> None:
        """Deletes the folders of a batch that is over."""
        for epoch in range(1, batch.epoch + 1):
            if not self.keep_runs or epoch < batch.epoch:
                shutil.rmtree(self.study.batch_folder(batch.number, epoch), ignore_errors=True)

    # ------------------------------------------------------------------ SQLite

    def _check_alone(self) -> None:
        """Makes sure that this is the only worker: the earlier one stays."""
        while True:
            workers, beats = self.study.register.read().workers, self.study.register.beats()
            own = workers[self.lease.worker]
            earlier = [info for info in workers.values() if info.order < own.order]
            present = [info for info in earlier if not self.watch.gone(info, beats.get(info.worker))]
            if not present:
                return
            for info in present:
                if self.watch.is_present(info):
                    refuse_sqlite(info.worker)
            time.sleep(self.poll_seconds)
