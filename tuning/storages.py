"""Where a study is stored: an SQLite file for one worker; a journal file, a database server or Optuna's gRPC proxy for many.

===============================  ==========================================================================================
``sqlite:///study.db``           one worker at a time (a path that ends in ``.db`` is enough)
``study.journal``                any number of processes that share a file system (or ``journal:PATH``)
``postgresql+psycopg2://…``      any number of machines; any URL that SQLAlchemy knows
``grpc://HOST:PORT``             Optuna's proxy (``optuna.storages.run_grpc_proxy_server``) before one of these
===============================  ==========================================================================================
"""

from __future__ import annotations

import json
import os
import pathlib
import warnings
from typing import Any

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file

_GRPC_SECONDS = 10.0
_LOCK_SECONDS = 10  # a lock as old as that belongs to somebody who was killed: appending takes milliseconds
_MULTI = "a journal file (study.journal), PostgreSQL (postgresql+psycopg2://…) or Optuna's proxy (grpc://HOST:PORT)"


def open_storage(url: str | os.PathLike[str]) -> BaseStorage:
    """Opens a storage; see the head of this file.

    Raises:
        ImportError: The database's driver is not installed.
        ConnectionError: It cannot be reached.
        ValueError: There is no such kind, or the journal is damaged.
    """
    text = os.fspath(url)
    if text.startswith("grpc://"):
        return _proxy(text)
    if (path := _journal_path(text)) is not None:
        return _journal(path)
    if "://" not in text:
        text = f"sqlite:///{text}"
    if text.startswith("sqlite:///"):
        pathlib.Path(text.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.storages.get_storage(text)
    except ImportError as error:
        raise ImportError(f"storage {_without_password(text)} needs a driver: {error.__cause__ or error}") from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "optuna")):
            why = " ".join(str(getattr(error, "orig", None) or error).split())
            raise ConnectionError(f"storage {_without_password(text)} cannot be opened: {why}") from error
        raise


def is_sqlite(storage: BaseStorage) -> bool:
    """Whether it can serve one worker only."""
    engine = getattr(getattr(storage, "_backend", storage), "engine", None)
    return engine is not None and engine.name == "sqlite"


def refuse_sqlite(other: str) -> None:
    """Says that a second worker cannot share an SQLite file, and what to do.

    Raises:
        ValueError: Always.
    """
    raise ValueError(
        f"another worker ({other}) is at work on this study, and SQLite is for one worker: wait for it, or store the study in "
        f"{_MULTI}"
    )


def _proxy(text: str) -> BaseStorage:
    host, colon, port = text.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise ValueError(f"a proxy must look like grpc://HOST:PORT, got {text!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=host, port=int(port))
    try:
        storage.wait_server_ready(_GRPC_SECONDS)
    except ConnectionError as error:
        raise ConnectionError(f"storage {text} cannot be reached: nobody answered for {_GRPC_SECONDS:g} s") from error
    return storage


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"


# --- journals -----------------------------------------------------------------------------------------------------------------


def _journal_path(text: str) -> pathlib.Path | None:
    if text.startswith("journal:"):
        return pathlib.Path(text.removeprefix("journal:").removeprefix("//"))
    return pathlib.Path(text) if "://" not in text and text.endswith((".journal", ".log")) else None


def _journal(path: pathlib.Path) -> BaseStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = MendingLock(str(path))
    backend = JournalFileBackend(str(path), lock_obj=lock)
    with get_lock_file(lock):  # mends
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


def _damage(path: pathlib.Path) -> str | None:
    """Where a journal is damaged, in words."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not _is_record(line):
            return f"{path} is damaged in line {number}: delete that line and all after it, which are lost, or restore a copy"
    return None


def _is_record(line: bytes) -> bool:
    try:
        found: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and "op_code" in found
