"""A worker: takes batches, trains them, tells; adopts what others left behind. See :mod:`tuning.register`."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable

from tuning.leases import LEASE_SECONDS, Lease, LeaseLostError, Watch
from tuning.register import Batch, Ledger
from tuning.storages import is_sqlite, refuse_sqlite
from tuning.study import Study, quiet
from tuning.training import SweepTrainer, Trainer, take_over

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
        self.study, self.batch_size, self.trainer = study, batch_size, trainer or SweepTrainer()
        self.poll_seconds, self.keep_runs, self.say = poll_seconds, keep_runs, say
        self.lease, self.watch = Lease(study.register, lease_seconds), Watch(lease_seconds)

    def run(self) -> None:
        """Works until every trial is finished; waits for other workers' batches, to adopt them should they be gone.

        Raises:
            ValueError: Another worker is at work on a study in an SQLite file.
            KeyboardInterrupt: Ctrl-C; the batch can be gone on with.
        """
        with quiet(), self.lease:
            if is_sqlite(self.study.storage):
                self._check_alone()
            while True:
                ledger = self.study.register.read()
                self._settle(ledger)
                if (batch := self._adopt(ledger) or self._open(ledger)) is not None:
                    with contextlib.suppress(LeaseLostError):
                        self._work(batch)
                elif self._is_over():
                    return
                else:
                    time.sleep(self.poll_seconds)

    # ------------------------------------------------------------------ which batch

    def _open(self, ledger: Ledger) -> Batch | None:
        """A new batch; None if there is nothing left to take."""
        if not (slots := ledger.free[: self.batch_size]):
            return None
        return self.study.register.open(self.lease.worker, slots)

    def _adopt(self, ledger: Ledger) -> Batch | None:
        """A batch that its worker has left behind; None if there is none."""
        beats = self.study.register.beats() if ledger.open else {}
        for batch in ledger.open:
            if batch.worker != self.lease.worker and self.watch.gone(ledger.workers.get(batch.worker), beats.get(batch.worker)):
                adopted = self.study.register.adopt(batch, self.lease.worker)
                if adopted is not None:
                    self.say(f"goes on with the {len(batch.slots)} trials that {batch.worker} left behind")
                return adopted
        return next((batch for batch in ledger.open if batch.worker == self.lease.worker), None)

    def _is_over(self) -> bool:
        ledger, trials = self.study.register.read(), self.study.trials()
        told = all(slot in trials and trials[slot].state.is_finished() for slot in range(ledger.trials))
        return told and not ledger.open and not ledger.free

    # ------------------------------------------------------------------ what is done with it

    def _work(self, batch: Batch) -> None:
        study = self.study
        folder = self._folder(batch)
        with self.lease.held(batch):
            trials = study.ask(batch.slots)
            points = [trials[slot].params for slot in batch.slots]
            curves = self.trainer(study.spec, points, study.spec.seeds, folder)
        outcomes = [study.spec.judge.of_trial(own) for own in curves]
        for slot, own in zip(batch.slots, curves, strict=True):
            study.curves.write(slot, own)
        results = {str(slot): outcome._asdict() for slot, outcome in zip(batch.slots, outcomes, strict=True)}
        if (done := study.register.finish(batch, results)) is None:
            self.say("was too late: another worker has adopted the batch")
            return
        assert done.results is not None
        study.settle(done.results)
        self._tidy(batch)
        self.say("{} of {} trials finished".format(*study.progress()))

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
        """Tells what others have finished and were kept from telling."""
        trials = self.study.drop_late()
        beats: dict[str, dict] | None = None
        for batch in ledger.done:
            if all(slot in trials and trials[slot].state.is_finished() for slot in batch.slots):
                continue
            beats = self.study.register.beats() if beats is None else beats
            mine = batch.worker == self.lease.worker
            if mine or self.watch.gone(ledger.workers.get(batch.worker), beats.get(batch.worker)):
                assert batch.results is not None
                self.study.settle(batch.results)
                self._tidy(batch)

    def _tidy(self, batch: Batch) -> None:
        """Deletes the folders of a batch that has been told."""
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
