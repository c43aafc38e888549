"""Ctrl-C at a moment of our choosing."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


class PendingInterrupt:
    """Remembers that Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.pressed = False
        self._pressed_again = self._held = False

    def press(self) -> None:
        """Ctrl-C was pressed: once, or again.

        Raises:
            KeyboardInterrupt: Again, and it is not held back.
        """
        if self.pressed and not self._held:
            raise KeyboardInterrupt
        self._pressed_again, self.pressed = self.pressed, True

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the second Ctrl-C back, too, until what a compiled call has made is in its place."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pressed_again:
                self._pressed_again = False
                raise KeyboardInterrupt

    def raise_if_pressed(self) -> None:
        """Raises the KeyboardInterrupt that was held back."""
        if self.pressed:
            self.pressed = False
            raise KeyboardInterrupt


@contextlib.contextmanager
def handled(signum: int, handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> Iterator[None]:
    """Has a signal handled otherwise for a while. Outside the main thread, where Python delivers none, nothing is changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signum, handler)
    try:
        yield
    finally:
        signal.signal(signum, before)


@contextlib.contextmanager
def deferred() -> Iterator[PendingInterrupt]:
    """Holds Ctrl-C back until ``raise_if_pressed``, so that it never hits an agent whose arrays are in a compiled call.

    A second Ctrl-C acts at once, or at the end of a ``held`` block.
    """
    pending = PendingInterrupt()

    def remember(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        pending.press()

    with handled(signal.SIGINT, remember):
        yield pending
    pending.raise_if_pressed()
