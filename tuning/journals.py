"""Journal files: what somebody left half-written is mended, what is damaged in another way is refused with the line's number.

A journal is a file to which records are only ever appended, a line each. Whoever reads it replays it from the beginning, so
that nothing after a damaged line can be trusted. A line costs nothing if there is nothing in it, or if Optuna passes over it.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.trial import FrozenTrial

from mbrl_agents.core.files import write_atomically
from tuning.register import ENTRY, SUFFIX, entry_damage

_LOCK_SECONDS = 10  # a lock as old as that belongs to somebody who was killed: appending takes milliseconds


def open_journal(path: pathlib.Path) -> JournalStorage:
    """Opens a journal, or makes one.

    Raises:
        ValueError: It is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = MendingLock(str(path))
    backend = JournalFileBackend(str(path), lock_obj=lock)
    with get_lock_file(lock):  # mends
        _drop_blank_lines(path)
        if damage := _damage(path):
            raise ValueError(damage)
    return JournalStorage(backend)


class MendingLock(JournalFileSymlinkLock):
    """The journal's lock; whoever takes it first cuts off a line that somebody was killed in the middle of writing.

    Nobody has been told that such a line was written, so nothing is lost. Without this, the next line would be appended to the
    half one, and none could read the journal any further.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, grace_period=_LOCK_SECONDS)
        self._path = path

    def acquire(self) -> bool:
        """Waits for the lock, then mends the file."""
        taken = super().acquire()
        try:
            _cut_half_line(self._path)
        except BaseException:
            self.release()
            raise
        return taken


def _cut_half_line(path: str, block: int = 65536) -> None:
    with open(path, "rb+") as file:
        end = file.seek(0, os.SEEK_END)
        keep = end
        while keep > 0:
            start = max(keep - block, 0)
            file.seek(start)
            part = file.read(keep - start)
            if (last := part.rfind(b"\n")) >= 0:
                keep = start + last + 1
                break
            keep = start
        if keep < end:
            file.truncate(keep)


def _drop_blank_lines(path: pathlib.Path) -> None:
    """Takes out lines in which nothing is written: they say nothing, but Optuna cannot read past them.

    Nobody has read past them either, so that the places of what others have read stay as they are.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    if any(not line.strip() for line in lines):
        write_atomically(path, b"".join(line for line in lines if line.strip()))


def _damage(path: pathlib.Path) -> str | None:
    """Where a journal is damaged, in words; found by replaying it as Optuna does."""
    replay = JournalStorageReplayResult("")
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            _replay(replay, json.loads(line))
        except Exception as error:  # of a record that is none, almost any
            why = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
            return (
                f"{path} is damaged in line {number} ({why}): delete that line and all after it, which are lost, or restore a "
                "copy"
            )
    return None


def _replay(replay: JournalStorageReplayResult, record: Any) -> None:
    """Replays a record; raises an error if it is none, or not one of ours in our register."""
    if not isinstance(record, dict) or "op_code" not in record:
        raise ValueError("it is no record")
    before = len(replay._trials)
    replay.apply_logs([record])
    if not all(isinstance(study.study_name, str) and study.directions for study in replay.get_all_studies()):
        raise ValueError("a study must have a name and a direction")
    new = len(replay._trials) > before
    about = before if new else record.get("trial_id")
    if isinstance(about, int) and about in replay._trials:
        trial, study = replay._trials[about], replay._studies.get(replay._trial_id_to_study_id[about])
        if study is not None:  # it may have been deleted
            _check_trial(trial, len(study.directions))
        if new:
            trial._validate()
            is_entry = study is not None and study.study_name.endswith(SUFFIX)
            if is_entry and (why := entry_damage(trial.user_attrs.get(ENTRY))):
                raise ValueError(why)


def _check_trial(trial: FrozenTrial, num_values: int) -> None:
    """Checks what Optuna takes on trust."""
    if not isinstance(trial.user_attrs, dict) or not isinstance(trial.system_attrs, dict):
        raise ValueError("attributes must be dictionaries")
    values = trial._values if trial._values is not None else [0.0] * num_values
    if len(values) != num_values or not all(isinstance(each, (int, float)) for each in values):
        raise ValueError(f"values must be numbers, {num_values} of them, got {values!r}")
    if not all(isinstance(each, (int, float)) for each in trial.intermediate_values.values()):
        raise ValueError("intermediate values must be numbers")
