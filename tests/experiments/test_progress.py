"""Time left, and how it is said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mbrl_agents.runs import progress
from mbrl_agents.runs.progress import RunProgress, Tracker, duration, tracked


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_time_left_goes_by_each_agents_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    tracker = Tracker([RunProgress(label, label, 1000) for label in ("slow", "fast", "slow", "fast")], 2)
    assert tracker.seconds_left() is None
    tracker.progress(0, 0, None)
    tracker.progress(1, 0, None)
    clock.now += 10
    tracker.progress(0, 100, 0.1)  # 10 steps a second
    tracker.progress(1, 1000, 0.1)  # 100 steps a second
    tracker.ended(1, "finished", None)
    # 90 s of the first, 100 s and 10 s of those to come, two at once.
    assert tracker.seconds_left() == pytest.approx(100)
    assert "1 of 4 runs, 27 % of all steps, 10 s so far, about 1 min 40 s left" in tracker.summary()
    # A run that goes on where it was is not taken for a fast one.
    resumed = Tracker([RunProgress("a", "a", 1000)], 1)
    resumed.progress(0, 900, None)
    clock.now += 10
    resumed.progress(0, 950, None)
    assert resumed.seconds_left() == pytest.approx(10)


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, out = Clock(monkeypatch), io.StringIO()
    with tracked([RunProgress("a", "a seed 0", 1000)], 1, Console(file=out)) as tracker:
        tracker.progress(0, 0, None)
        for _ in range(100):
            clock.now += 0.3
            tracker.progress(0, 500, 0.25)
        tracker.ended(0, "failed", "bad [luck]")
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 4
    assert lines[0].startswith("500 of 1,000 steps")
    assert lines[0].endswith("a seed 0: 500, score 0.25")
    assert lines[-1] == "a seed 0 failed: bad [luck]"


def test_bars_in_a_terminal() -> None:
    out = io.StringIO()
    runs = [RunProgress("a", f"a seed {i}", 1000) for i in range(20)]
    with tracked(runs, 2, Console(file=out, force_terminal=True, width=150)) as tracker:
        for i in range(20):
            tracker.progress(i, 400, 0.25)
            tracker.waiting()
            tracker.ended(i, "finished", None)
        tracker.stopping()
    assert "a seed 0 finished, score 0.25" in out.getvalue()
    assert "stopping" in out.getvalue()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_bars_are_closed_by_an_interruption(error: type[BaseException]) -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    seen: list[progress.BarTracker] = []

    def interrupted() -> None:
        with tracked([RunProgress("a", "a seed 0", 1000)], 1, console) as tracker:
            assert isinstance(tracker, progress.BarTracker)
            seen.append(tracker)
            tracker.progress(0, 500, 0.25)
            assert tracker.bars.live.is_started
            raise error

    with pytest.raises(error):
        interrupted()
    assert not seen[0].bars.live.is_started
