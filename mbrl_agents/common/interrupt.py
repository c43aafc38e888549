"""Ctrl-C at a moment of our choosing."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class PendingInterrupt:
    """Remembers that Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.pressed = False

    def raise_if_pressed(self) -> None:
        """Raises the KeyboardInterrupt that was held back."""
        if self.pressed:
            self.pressed = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def deferred() -> Iterator[PendingInterrupt]:
    """Holds Ctrl-C back until ``raise_if_pressed``, so that it never hits an agent whose arrays are in a compiled call.

    A second Ctrl-C acts at once. Outside the main thread, where Python delivers no signals, nothing is changed.
    """
    pending = PendingInterrupt()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def remember(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        if pending.pressed:
            raise KeyboardInterrupt
        pending.pressed = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield pending
    finally:
        signal.signal(signal.SIGINT, before)
    pending.raise_if_pressed()
