"""What to install where an environment needs a package that is not there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from gymnasium.error import DependencyNotInstalled


@contextlib.contextmanager
def advice() -> Iterator[None]:
    """Within this, what Gymnasium says of a missing MuJoCo names this package's own extra.

    Raises:
        gymnasium.error.DependencyNotInstalled: Something is missing.
    """
    try:
        yield
    except DependencyNotInstalled as error:
        if "mujoco" in str(error).lower():
            raise DependencyNotInstalled(
                'this environment needs MuJoCo, which is not installed: pip install "mbrl-lab[mujoco]"'
            ) from error
        raise
