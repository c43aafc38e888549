"""Servers that do not answer, go away, or come back; and libraries that are not there."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mbrl_envs import cli
from tests.experiments.test_commands import fails
from tests.tuning.fakes import FakeTrainer, study_in, work
from tests.tuning.servers import Postgres, free_port, start_proxy
from tests.tuning.test_workers import complete_once
from tuning import command_studies, open_study
from tuning.storages import open_storage

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize("url", ["postgresql+psycopg2://me@{}/x", "postgresql://me:secret@{}/x?connect_timeout=2"])
def test_a_database_that_does_not_answer(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection, and says nothing."""
    pytest.importorskip("psycopg2")
    seconds = 2 if "connect_timeout" not in url else 60
    monkeypatch.setattr("tuning.storages._SERVER_SECONDS", seconds)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ConnectionError, match=r"cannot be opened: .*timeout expired") as caught:
            open_storage(url.format(f"127.0.0.1:{silent.getsockname()[1]}"))
    assert time.monotonic() - began < 20
    assert "secret" not in str(caught.value)


def test_a_database_that_was_restarted(postgres: Postgres, tmp_path: pathlib.Path) -> None:
    """While a batch is trained nobody needs it; the worker notices nothing."""
    study = study_in(tmp_path, postgres.database())

    def restart() -> None:
        postgres.stop()
        postgres.start()

    work(study, FakeTrainer(before=restart))
    complete_once(study)


def _is_lost_and_found(
    storage: str,
    folder: pathlib.Path,
    stop: Callable[[], None],
    start: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    """A server goes away while a worker trains: one line says so; when it is back, all goes on."""
    study_in(folder, storage)
    with monkeypatch.context() as patch:
        patch.setattr(command_studies, "_trainer", lambda arguments: FakeTrainer(before=stop))
        began = time.monotonic()
        error = fails(capsys, "tune", "worker", folder, "--storage", storage, "--lease-seconds", 2)
        assert time.monotonic() - began < 60
    assert "the storage does not answer any more" in error
    assert "mbrl tune resume goes on when it does" in error
    start()
    study = open_study(storage, folder=folder)
    assert study.progress() == (0, 12)
    work(study, batch_size=12, lease_seconds=1.0)
    complete_once(study)


def test_a_database_that_goes_away(
    postgres: Postgres, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    _is_lost_and_found(postgres.database(), tmp_path, postgres.stop, postgres.start, monkeypatch, capsys)


def test_a_proxy_that_goes_away(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    port = free_port()
    servers = [start_proxy(tmp_path / "study.journal", port)]

    def stop() -> None:
        servers[-1].kill()
        servers[-1].wait()

    def start() -> None:
        servers.append(start_proxy(tmp_path / "study.journal", port))

    with contextlib.ExitStack() as stack:
        stack.callback(stop)
        _is_lost_and_found(f"grpc://localhost:{port}", tmp_path, stop, start, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("library", "storage"), [("grpc", "grpc://localhost:1"), ("psycopg2", "postgresql+psycopg2://localhost:1/x")]
)
def test_libraries_that_are_not_there(library: str, storage: str) -> None:
    """They are in an extra, and needed by nobody else."""
    code = f"""
import sys
sys.modules[{library!r}] = None
from mbrl_envs import cli
assert cli.main(["tune", "status", "."]) == 2
sys.exit(cli.main(["tune", "status", "--storage", {storage!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    first, second = done.stderr.splitlines()
    assert "there is no study in ." in first
    assert f"storage {storage} needs a library that is not installed" in second
    assert 'pip install "mbrl-lab[workers]"' in second


def test_what_a_storage_may_be(capsys: pytest.CaptureFixture, tmp_path: pathlib.Path) -> None:
    error = fails(capsys, "tune", "status", "--storage", "postgres://localhost/x")
    assert "storage postgres://localhost/x: there is no such kind" in error
    assert "postgresql+psycopg2://" in error
    assert cli.main(["tune", "status", "--storage", f"{tmp_path}"]) == 2
