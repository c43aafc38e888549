"""A pygame window that shows frames: for playing, and for environments that Gymnasium's ``HumanRendering`` cannot wrap."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def import_pygame(purpose: str, otherwise: str = "") -> Any:
    """The module pygame, without its greeting.

    Args:
        purpose: What needs it, for the message.
        otherwise: What can be done without.

    Raises:
        ImportError: It is missing.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError:
        raise ImportError(f'{purpose} needs pygame: pip install "mbrl-lab[play]"{otherwise}') from None
    return pygame


def draw_frame(pygame: Any, frame: np.ndarray, room_below: int = 0) -> Any:
    """Draws a frame into the window, which is made to fit it; not shown before ``pygame.display.flip()``.

    Args:
        pygame: The module, its display initialised.
        frame: uint8 (height, width, 3).
        room_below: Height in pixels of what else is to be drawn, below the frame.

    Returns:
        The window's surface.
    """
    height, width = frame.shape[:2]
    size = (width, height + room_below)
    screen = pygame.display.get_surface()
    if screen is None or screen.get_size() != size:
        screen = pygame.display.set_mode(size)
    screen.blit(pygame.image.frombuffer(frame.tobytes(), (width, height), "RGB"), (0, 0))
    return screen


class Window:
    """Opens with the first frame.

    Args:
        title: What the window is called.
        fps: Frames per second at most; showing one takes as long as that asks for.

    Raises:
        ImportError: pygame is missing.
    """

    def __init__(self, title: str, fps: int) -> None:
        self._pygame = import_pygame('render_mode="human"')
        self._title, self._fps = title, fps
        self._clock: Any = None

    def show(self, frame: np.ndarray) -> None:
        """Shows a frame, uint8 (height, width, 3)."""
        pygame = self._pygame
        if self._clock is None:
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._clock = pygame.time.Clock()
        draw_frame(pygame, frame)
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Closes the window, if it is open."""
        if self._clock is not None:
            self._pygame.display.quit()
            self._clock = None
