"""Local variables of a step that callbacks get in the device loop, with an error for those that only the host loop has."""

from __future__ import annotations

from typing import Any, NoReturn

_NOT_KEPT = {"new_obs", "terminal_observation", "buffer_actions", "action_noise", "rollout"}


class DeviceLoopValues(dict[str, Any]):
    """Values by name; those that only the host loop has raise an error that says so, also from ``get``."""

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(
            f"{name!r} is not known to callbacks in the device loop (known here: {', '.join(map(repr, self))}): "
            "make the agent with device_loop=False"
        )

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dictionary.

        Raises:
            KeyError: It is something that only the host loop has.
        """
        return self[name] if name in self or name in _NOT_KEPT else default
