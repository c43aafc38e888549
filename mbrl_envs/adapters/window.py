"""A window that shows frames, for environments that Gymnasium's own ``HumanRendering`` cannot wrap."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


class Window:
    """Opens with the first frame.

    Args:
        title: What the window is called.
        fps: Frames per second at most; showing one takes as long as that asks for.

    Raises:
        ImportError: pygame is missing.
    """

    def __init__(self, title: str, fps: int) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ImportError:
            raise ImportError('render_mode="human" needs pygame: pip install "mbrl-lab[play]"') from None
        self._pygame: Any = pygame
        self._title, self._fps = title, fps
        self._clock: Any = None

    def show(self, frame: np.ndarray) -> None:
        """Shows a frame, uint8 (height, width, 3)."""
        pygame = self._pygame
        size = (frame.shape[1], frame.shape[0])
        if self._clock is None:
            pygame.display.init()
            pygame.display.set_caption(self._title)
            self._clock = pygame.time.Clock()
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != size:
            screen = pygame.display.set_mode(size)
        screen.blit(pygame.image.frombuffer(frame.tobytes(), size, "RGB"), (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Closes the window, if it is open."""
        if self._clock is not None:
            self._pygame.display.quit()
            self._clock = None
