from __future__ import annotations

from collections.abc import Iterator

import optuna
import pytest

from tests.tuning.servers import Postgres, postgres_programs
from tuning import curves


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve's picture takes longer than all the rest of a trial that nobody trains."""
    monkeypatch.setattr(curves, "_picture", lambda table, title: b"")


@pytest.fixture(autouse=True, scope="package")
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of our own; every test takes a database of its own."""
    pytest.importorskip("psycopg2")
    if (programs := postgres_programs()) is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = Postgres(programs, tmp_path_factory.mktemp("postgres"))
    server.start()
    try:
        yield server
    finally:
        server.stop()
