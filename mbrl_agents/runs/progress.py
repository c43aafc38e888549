"""How far runs have come, and how long it will still take: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mbrl_agents.runs.run_folder import ENDED, FAILED, FINISHED, INTERRUPTED

LINE_SECONDS = 10.0  # between plain lines
MAX_BARS = 12  # of runs at once
MAX_TOLD = 4  # runs in a plain line
WAITING, TRAINING = "waiting", "training"


class Listener(Protocol):
    """Receives the progress of runs."""

    def progress(self, index: int, timesteps: int, score: float | None) -> None:
        """A run has come so far."""

    def ended(self, index: int, state: str, error: str | None) -> None:
        """A run has ended, with the state of a :class:`~mbrl_agents.runs.run_folder.Status`."""

    def waiting(self) -> None:
        """Nothing has happened for a moment."""

    def stopping(self) -> None:
        """Ctrl-C was pressed."""


@dataclasses.dataclass
class RunProgress:
    """How far one run has come.

    Attributes:
        label: Name of the agent; runs of one label are taken to be equally fast.
        title: Name of the run.
        total_timesteps: Timesteps in total.
        timesteps: Timesteps done.
        score: Latest score.
        state: ``"waiting"``, ``"training"``, or how it ended.
        error: What went wrong, if it failed.
        began: When we first heard of it, seconds.
        first: Timesteps it had then.
        latest: When we last heard of it.
    """

    label: str
    title: str
    total_timesteps: int
    timesteps: int = 0
    score: float | None = None
    state: str = WAITING
    error: str | None = None
    began: float = 0.0
    first: int = 0
    latest: float = 0.0

    @property
    def left(self) -> int:
        """Timesteps still to do."""
        return 0 if self.state in (*ENDED, FAILED, INTERRUPTED) else max(self.total_timesteps - self.timesteps, 0)


class Tracker:
    """Listens to runs and estimates the time left.

    Args:
        runs: The runs.
        num_workers: How many are trained at once.
    """

    def __init__(self, runs: Sequence[RunProgress], num_workers: int) -> None:
        self.runs, self.num_workers = list(runs), max(num_workers, 1)
        self.began = time.monotonic()
        self.is_stopping = False

    def progress(self, index: int, timesteps: int, score: float | None) -> None:
        """A run has come so far."""
        run, now = self.runs[index], time.monotonic()
        if run.state == WAITING:
            run.state, run.began, run.first = TRAINING, now, timesteps
        run.timesteps, run.score, run.latest = timesteps, score, now
        self.show()

    def ended(self, index: int, state: str, error: str | None) -> None:
        """A run has ended."""
        run = self.runs[index]
        run.state, run.error = state, error
        if error:
            self.say(f"{run.title} failed: {error}")
        self.show()

    def waiting(self) -> None:
        """Nothing has happened for a moment."""
        self.show()

    def stopping(self) -> None:
        """Ctrl-C was pressed."""
        self.is_stopping = True
        self.say("stopping: saving what there is (Ctrl-C again to give up at once)")

    def seconds_left(self) -> float | None:
        """An estimate from the speed of each agent so far; None before anything is known."""
        speeds: dict[str, float] = {}
        for run in self.runs:
            if run.timesteps > run.first and run.latest > run.began:
                speeds[run.label] = (run.timesteps - run.first) / (run.latest - run.began)
        if not speeds:
            return None
        # Of an agent not seen yet we know nothing: take it for as slow as the slowest.
        lefts = [run.left / speeds.get(run.label, min(speeds.values())) for run in self.runs]
        # Runs that take turns are each as slow as there are many of them.
        at_once = max(self.num_workers, sum(run.state == TRAINING for run in self.runs))
        return max(sum(lefts) / at_once, max(lefts))

    def summary(self) -> str:
        """One line."""
        done, total = sum(run.timesteps for run in self.runs), sum(run.total_timesteps for run in self.runs)
        finished = sum(run.state == FINISHED for run in self.runs)
        left = self.seconds_left()
        parts = [] if len(self.runs) == 1 else [f"{finished} of {len(self.runs)} runs"]
        parts.append(f"{100 * done // max(total, 1)} % of all steps" if parts else f"{done:,} of {total:,} steps")
        parts.append(f"{duration(time.monotonic() - self.began)} so far")
        parts.append("stopping" if self.is_stopping else f"about {duration(left)} left" if left is not None else "starting")
        return ", ".join(parts)

    def show(self) -> None:
        """Shows where we are; to be filled in."""

    def say(self, text: str) -> None:
        """Tells something once; to be filled in."""


class PlainTracker(Tracker):
    """Writes a line now and then."""

    def __init__(self, runs: Sequence[RunProgress], num_workers: int, console: Console) -> None:
        super().__init__(runs, num_workers)
        self.console = console
        self.shown_at = time.monotonic()

    def show(self) -> None:
        if time.monotonic() - self.shown_at >= LINE_SECONDS:
            self.shown_at = time.monotonic()
            active = [f"{run.title}: {run.timesteps:,}{_score(run)}" for run in self.runs if run.state == TRAINING]
            more = [f"and {len(active) - MAX_TOLD} more"] if len(active) > MAX_TOLD else []
            self.say("; ".join([self.summary(), *active[:MAX_TOLD], *more]))

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class BarTracker(Tracker):
    """Draws a bar for all runs together and one for each run in training."""

    def __init__(self, runs: Sequence[RunProgress], num_workers: int, bars: Progress) -> None:
        super().__init__(runs, num_workers)
        self.bars = bars
        self.tasks: dict[int, TaskID] = {}
        self.total = bars.add_task("", total=sum(run.total_timesteps for run in runs), note="starting")

    def show(self) -> None:
        for index, run in enumerate(self.runs):
            if run.state == TRAINING:
                if index not in self.tasks and len(self.tasks) < MAX_BARS:
                    self.tasks[index] = self.bars.add_task(escape(run.title), total=run.total_timesteps, note="")
                if index in self.tasks:
                    note = f"{run.timesteps:,} of {run.total_timesteps:,} steps{_score(run)}"
                    self.bars.update(self.tasks[index], completed=run.timesteps, note=note)
            elif run.state != WAITING and len(self.runs) > 1 and index in self.tasks:
                self.bars.remove_task(self.tasks.pop(index))
                score = _score(run).lstrip(", ")
                self.say(f"{run.title} {run.state}{f', {score}' if score else ''}")
        done = sum(run.timesteps for run in self.runs)
        self.bars.update(self.total, completed=done, note=self.summary())

    def say(self, text: str) -> None:
        self.bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def tracked(runs: Sequence[RunProgress], num_workers: int, console: Console | None = None) -> Iterator[Tracker]:
    """A tracker that fits where standard error goes: bars in a terminal, else plain lines."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield PlainTracker(runs, num_workers, console)
        return
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}", markup=False)]
    with Progress(*columns, console=console, transient=True) as bars:
        yield BarTracker(runs, num_workers, bars)


def duration(seconds: float) -> str:
    """A time span in words, in the two units that matter."""
    whole = max(round(seconds), 0)
    for size, unit, smaller in ((86400, "d", 3600), (3600, "h", 60), (60, "min", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} { {3600: 'h', 60: 'min', 1: 's'}[smaller] }" if rest else "")
    return f"{whole} s"


def _score(run: RunProgress) -> str:
    return "" if run.score is None else f", score {run.score:.4g}"
