"""Stable-Baselines3's progress bar, which is closed however a training ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.type_aliases import MaybeCallback


@contextlib.contextmanager
def closing_bar(callback: MaybeCallback, progress_bar: bool) -> Iterator[MaybeCallback]:
    """Adds a progress bar to callbacks, and closes it at the end of the block.

    SB3 closes its bar at the end of a training only. After Ctrl-C or an error the bar stays alive in a notebook, or in a
    terminal's interpreter, and takes in what is printed later.

    Args:
        callback: Callbacks as ``learn`` takes them.
        progress_bar: Whether there is to be a bar.

    Yields:
        The callbacks for ``learn``, which then needs no ``progress_bar``.
    """
    if not progress_bar:
        yield callback
        return
    bar = ProgressBarCallback()
    several: list[BaseCallback] = list(callback) if isinstance(callback, list) else []
    if callback is not None and not isinstance(callback, list):
        several = [callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)]
    try:
        yield [*several, bar]
    finally:
        if hasattr(bar, "pbar") and not bar.pbar.disable:  # the training has begun, and has not come to its end
            bar.pbar.close()
