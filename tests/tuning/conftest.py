from __future__ import annotations

import optuna
import pytest

from tuning import curves


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve's picture takes longer than all the rest of a trial that nobody trains."""
    monkeypatch.setattr(curves, "_picture", lambda table, title: b"")


@pytest.fixture(autouse=True, scope="package")
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
