"""Where a study is stored: an SQLite file for one worker; a journal file, a database server or Optuna's gRPC proxy for many.

===============================  ==========================================================================================
``sqlite:///study.db``           one worker at a time (a path that ends in ``.db`` is enough)
``study.journal``                any number of processes that share a file system (or ``journal:PATH``)
``postgresql+psycopg2://…``      any number of machines (``postgresql://…`` is the same); any URL that SQLAlchemy knows
``grpc://HOST:PORT``             Optuna's proxy (``optuna.storages.run_grpc_proxy_server``) before one of these
===============================  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import IntegrityError, InterfaceError, NoSuchModuleError, OperationalError

from tuning.journals import open_journal

_SERVER_SECONDS = 10
_ATTEMPTS, _ATTEMPT_SECONDS = 50, 0.1  # to open a database that others are making
_WITH_TIMEOUT = ("psycopg2", "psycopg", "pymysql", "mysqldb")  # drivers that call it so
_MULTI = "a journal file (study.journal), PostgreSQL (postgresql+psycopg2://…) or Optuna's proxy (grpc://HOST:PORT)"


def open_storage(url: str | os.PathLike[str]) -> BaseStorage:
    """Opens a storage; see the head of this file.

    Raises:
        TypeError: It is neither a path nor a URL.
        ImportError: The database's driver, or the proxy's library, is not installed.
        ConnectionError: It cannot be reached; nobody is waited for longer than some seconds.
        ValueError: There is no such kind, it names no file, or the journal is damaged.
    """
    text = _text(url)
    if text.startswith("grpc://"):
        return _proxy(text)
    if (path := _journal_path(text)) is not None:
        return open_journal(path)
    if "://" not in text:
        text = f"sqlite:///{text}"
    return _database(text)


def file_of(url: str | os.PathLike[str]) -> pathlib.Path | None:
    """The file that a storage is; None if a server has it, or memory.

    Raises:
        TypeError, ValueError: It is neither a path nor a URL, or names no file.
    """
    text = _text(url)
    if (path := _journal_path(text)) is not None:
        return path
    if "://" not in text:
        return pathlib.Path(text)
    name = text.partition("?")[0].partition(":///")[2] if text.startswith("sqlite") else ""
    return None if name in ("", ":memory:") or name.startswith("file:") else pathlib.Path(name)


def _text(url: str | os.PathLike[str]) -> str:
    """A storage as it is typed."""
    wanted = f"storage must be an SQLite file (study.db), {_MULTI}"
    if not isinstance(url, (str, os.PathLike)):
        raise TypeError(f"{wanted}, got {url!r} of type {type(url).__name__}")
    text = os.fspath(url)
    if not text.removeprefix("journal:").removeprefix("//").strip():
        raise ValueError(f"{wanted}, got {text!r}")
    return text


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


@contextlib.contextmanager
def server_needed() -> Iterator[None]:
    """Says that a server has gone away, in words, where Optuna says how it has noticed.

    Raises:
        ConnectionError: It has gone away.
    """
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, (OperationalError, InterfaceError)) and not type(cause).__module__.startswith("grpc"):
            raise
        raise ConnectionError(
            f"the storage does not answer any more ({_why(error)}); what was told is kept, and mbrl tune resume goes on when "
            "it does"
        ) from error


# --- servers ------------------------------------------------------------------------------------------------------------------


def _database(text: str) -> BaseStorage:
    """A database. A server that does not answer is not waited for longer than connections may take."""
    known = _without_password(text)
    try:
        url = make_url(text)
        if url.drivername == "postgresql":  # without a driver's name, our extra's
            url = url.set(drivername="postgresql+psycopg2")
        if url.get_backend_name() == "sqlite" and url.database:
            pathlib.Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        storage = _first_of_several(RDBStorage, url.render_as_string(hide_password=False), _engine_arguments(url))
        return optuna.storages.get_storage(storage)
    except NoSuchModuleError as error:
        raise ValueError(f"storage {known}: there is no such kind of database; use an SQLite file, {_MULTI}") from error
    except ImportError as error:
        raise _library_missing(known, error.__cause__ or error) from error
    except Exception as error:
        if type(error).__module__.startswith(("sqlalchemy", "optuna")):
            raise ConnectionError(f"storage {known} cannot be opened: {_why(error)}") from error
        raise


def _first_of_several(make: Callable[[str, dict[str, Any]], RDBStorage], url: str, engine_kwargs: dict[str, Any]) -> RDBStorage:
    """Opens a database, whose tables others may be making at this moment: Optuna then says that something is there already.

    Args:
        make: Opens it.
        url: Where it is.
        engine_kwargs: How to connect.
    """
    for _ in range(_ATTEMPTS):
        try:
            return make(url, engine_kwargs)
        except Exception as error:
            if not _is_there_already(error):
                raise
            time.sleep(_ATTEMPT_SECONDS)
    return make(url, engine_kwargs)


def _is_there_already(error: Exception) -> bool:
    cause = _cause(error)
    return isinstance(cause, IntegrityError) or (isinstance(cause, OperationalError) and "already exists" in str(cause))


def _engine_arguments(url: URL) -> dict[str, Any]:
    """How to connect to a database."""
    if url.get_backend_name() == "sqlite":
        return {}
    given: dict[str, Any] = {"pool_pre_ping": True}  # connections that have broken are made anew: servers are restarted
    if url.get_driver_name() in _WITH_TIMEOUT and "connect_timeout" not in url.query:
        given["connect_args"] = {"connect_timeout": _SERVER_SECONDS}
    return given


def _proxy(text: str) -> BaseStorage:
    host, colon, port = text.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise ValueError(f"a proxy must look like grpc://HOST:PORT, got {text!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = GrpcStorageProxy(host=host, port=int(port))
        storage.wait_server_ready(_SERVER_SECONDS)
    except ImportError as error:
        raise _library_missing(text, error) from error
    except ConnectionError as error:
        raise ConnectionError(f"storage {text} cannot be reached: nobody answered for {_SERVER_SECONDS:g} s") from error
    return storage


def _library_missing(storage: str, error: BaseException) -> ImportError:
    return ImportError(
        f'storage {storage} needs a library that is not installed ({error}): pip install "mbrl-lab[workers]" brings those of '
        "PostgreSQL and of Optuna's proxy"
    )


def _why(error: Exception) -> str:
    """The cause of an error, in one line."""
    cause = _cause(error)
    details = getattr(cause, "details", None)  # of the proxy's errors
    return " ".join(str(getattr(cause, "orig", None) or (details() if callable(details) else cause)).split())


def _cause(error: Exception) -> BaseException:
    """What Optuna has wrapped."""
    return error.__cause__ or error if isinstance(error, optuna.exceptions.StorageInternalError) else error


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"


def _journal_path(text: str) -> pathlib.Path | None:
    if text.startswith("journal:"):
        return pathlib.Path(text.removeprefix("journal:").removeprefix("//"))
    return pathlib.Path(text) if "://" not in text and text.endswith((".journal", ".log")) else None
