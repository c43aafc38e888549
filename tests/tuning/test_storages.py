"""Storages: half-written journals, damaged ones, those that cannot be reached; PostgreSQL."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from optuna.storages import JournalStorage

from tests.tuning.fakes import FakeTrainer, study_in, work
from tests.tuning.killed_workers import BATCH
from tests.tuning.servers import Postgres
from tests.tuning.test_workers import complete_once, scenario
from tuning import Worker, open_study
from tuning.storages import file_of, is_sqlite, open_storage

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize("tail", [b'{"op_code":4,"worker', b"\x00" * 5000, b"x" * 200_000])
def test_half_a_line_is_cut_off(tail: bytes, tmp_path: pathlib.Path) -> None:
    """Somebody was killed in the middle of writing it; also when others go on at that moment."""
    path = tmp_path / "study.journal"
    study = study_in(tmp_path, path)

    def tear() -> None:
        with path.open("ab") as file:
            file.write(tail)

    tear()
    Worker(study, 4, FakeTrainer(before=tear), poll_seconds=0.01).run()
    again = open_study(path, folder=tmp_path)
    complete_once(again)
    assert all(line.startswith(b"{") for line in path.read_bytes().splitlines())


@pytest.mark.parametrize(
    "line", [b"\xff\xfe nonsense\n", b'{"something": "else"}\n', b'{"op_code": 4}\n', b'{"op_code": 99}\n', b"[1]\n"]
)
@pytest.mark.parametrize("where", ["middle", "end"])
def test_damage_is_refused(line: bytes, where: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "study.journal"
    study_in(tmp_path, path)
    lines = path.read_bytes().splitlines(keepends=True)
    place = 3 if where == "middle" else len(lines)
    path.write_bytes(b"".join([*lines[:place], line, *lines[place:]]))
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=rf"study.journal is damaged in line {place + 1} \(.*\): delete that line and all after it"
    ):
        open_study(path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_that_was_left_behind(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who was killed while writing; after a while one can be sure."""
    path = tmp_path / "study.journal"
    study_in(tmp_path, path)
    os.symlink(path, f"{path}.lock")
    monkeypatch.setattr("tuning.journals._LOCK_SECONDS", 1)
    began = time.monotonic()
    with pytest.warns(UserWarning, match="grace_period. might be too small"):  # Optuna's word on a lock of less than 3 seconds
        open_study(path)
    assert time.monotonic() - began >= 1
    assert not os.path.lexists(f"{path}.lock")


def test_kinds(tmp_path: pathlib.Path) -> None:
    assert is_sqlite(open_storage(tmp_path / "a" / "study.db"))
    assert is_sqlite(open_storage(f"sqlite:///{tmp_path}/b/study.db"))
    for text in (tmp_path / "a.journal", f"journal:{tmp_path}/c", f"journal://{tmp_path}/d"):
        storage = open_storage(text)
        assert isinstance(storage, JournalStorage)
        assert not is_sqlite(storage)


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("a/study.db", "a/study.db"),
        ("sqlite:///a/study.db?timeout=3", "a/study.db"),
        ("sqlite+pysqlite:////a/study.db", "/a/study.db"),
        ("a.journal", "a.journal"),
        ("journal:/a/b", "/a/b"),
        ("journal:///a/b", "/a/b"),
        *((text, None) for text in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:a?uri=true")),
        *((text, None) for text in ("postgresql://me@host/x", "grpc://localhost:1")),
    ],
)
def test_files(text: str, file: str | None) -> None:
    assert file_of(text) == (None if file is None else pathlib.Path(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("postgresql+psycopg2://me:secret@localhost:1/x", r"storage postgresql\+psycopg2://me@localhost:1/x cannot be opened"),
        ("sqlite:////proc/nowhere/study.db", "No such file or directory|cannot be opened"),
    ],
)
def test_unreachable(text: str, message: str) -> None:
    with pytest.raises((OSError, ImportError), match=message) as caught:
        open_storage(text)
    assert "secret" not in str(caught.value)


def test_a_proxy_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.storages._SERVER_SECONDS", 0.2)
    with pytest.raises(ConnectionError, match=r"storage grpc://localhost:1 cannot be reached: nobody answered for 0\.2 s"):
        open_storage("grpc://localhost:1")
    with pytest.raises(ValueError, match="a proxy must look like grpc://HOST:PORT"):
        open_storage("grpc://localhost")


def test_no_database(tmp_path: pathlib.Path) -> None:
    (tmp_path / "study.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConnectionError, match="file is not a database"):
        open_storage(tmp_path / "study.db")


# ---------------------------------------------------------------------- PostgreSQL


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_postgres_killed_and_frozen(kills: int, postgres: Postgres, tmp_path: pathlib.Path) -> None:
    """Three workers and more, some killed, one frozen past its lease and thawed."""
    storage = postgres.database()
    report, trained = scenario("several", tmp_path, storage, kills)
    assert report.pop("killed") > kills / 2  # the last ones may have come to the end before
    assert report == {"finished": [0, 0, 0], "same": True}
    study = open_study(storage)
    complete_once(study)
    assert len(trained) == 12
    assert 12 < sum(trained) <= 12 + (kills + 1) * BATCH
    assert work(study).batches == []
    assert max(batch.epoch for batch in study.register.read().batches.values()) > 1
