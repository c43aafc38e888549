"""What progress bars showed."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common import callbacks


class _Bar:
    """In the place of tqdm's: counts."""

    def __init__(self, made: list[tuple[int, int]], total: int) -> None:
        self.made, self.total, self.n = made, total, 0

    def update(self, num: int) -> None:
        self.n += num

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.made.append((self.n, self.total))


def bars_made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that gets, of each progress bar that is closed from now on, how far it went and where its end is."""
    made: list[tuple[int, int]] = []

    def bar(*, total: int, **other: Any) -> _Bar:
        return _Bar(made, total)

    monkeypatch.setattr(callbacks, "tqdm", bar)
    return made
