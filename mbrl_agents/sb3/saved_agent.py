"""The part of Stable-Baselines3's contract that has to do with files: parameters, saving, loading; and export."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast

from gymnasium import spaces
from stable_baselines3.common.type_aliases import GymEnv

from mbrl_agents.sb3 import persistence
from mbrl_agents.sb3.settable_agent import SettableAgent

if TYPE_CHECKING:
    from mbrl_agents.sb3.jax_agent import JaxAgent
    from mbrl_agents.sb3.replay_buffer import DeviceReplayBuffer


class SavedAgent(SettableAgent):
    """Saves arrays as arrays and settings as JSON; see :mod:`mbrl_agents.sb3.persistence`."""

    memory: DeviceReplayBuffer

    @property
    def _own(self) -> JaxAgent:
        return cast("JaxAgent", self)

    def get_parameters(self) -> dict[str, dict]:
        """Arrays of ``"policy"``, ``"policy.target"`` and ``"policy.optimizer"``, NumPy copies by path.

        Agents with a model also have ``"model"`` and ``"model.optimizer"``, OMD under ``"vep"`` ``"value_networks"``.
        """
        with self._own.arrays_lock:
            return persistence.get_parameters(self._own)

    def set_parameters(self, load_path_or_dict: Any, exact_match: bool = True, device: Any = "auto") -> None:
        """Sets what :meth:`get_parameters` gives, from such a dictionary or from a saved agent.

        Raises:
            ValueError: Names, shapes or dtypes do not match (with ``exact_match=False`` some names may be missing).
        """
        del device
        with self._own.arrays_lock:
            persistence.set_parameters(self._own, load_path_or_dict, exact_match)

    def save(
        self,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves everything but the replay memory (see :meth:`save_replay_buffer`) to a ``.zip``, whole or not at all.

        Args:
            path: File; ``.zip`` is added if there is no suffix.
            exclude: What to leave out: ``"policy.optimizer"``, ``"lanes"`` (environments of the device loop), or arguments of
                the constructor, which then have their defaults when the file is loaded.
            include: What not to leave out, though ``exclude`` names it; everything else is saved anyway.

        Raises:
            OSError: Writing failed; the old file, if any, is intact.
            ValueError: There is nothing of an excluded name.
        """
        with self._own.arrays_lock:
            persistence.save(self._own, path, set(exclude or ()) - set(include or ()))

    @classmethod
    def _arguments_of_file(cls, arguments: dict[str, Any], action_space: spaces.Space[Any]) -> dict[str, Any]:
        """The constructor's arguments that a file has, in today's terms if it was written before some of them were there."""
        del action_space
        return arguments

    @classmethod
    def load(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str] | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Loads a saved agent. No code in the file is executed.

        Args:
            path: File (``.zip`` may be left out) or stream.
            env: Environment to go on learning in; None for prediction alone.
            device: Device to run on.
            custom_objects: Constructor arguments that replace saved ones, as ``kwargs``; others are ignored, as SB3 does.
            print_system_info: Whether to print this system's versions.
            force_reset: Whether the host loop resets the environment before it learns on; False where ``env`` is where it was
                when the agent was saved. The device loop's environments are part of the agent and go on where they were.
            **kwargs: Constructor arguments that replace saved ones; a schedule that was a function must be given here.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged or of another kind of agent, or spaces do not match.
        """
        own = inspect.signature(cls).parameters
        replaced = {**{name: value for name, value in (custom_objects or {}).items() if name in own}, **kwargs}
        return persistence.load(cls, path, env, device, replaced, print_system_info, force_reset)  # type: ignore[type-var]

    def save_replay_buffer(self, path: str | os.PathLike[str] | io.BufferedIOBase) -> None:
        """Saves the replay memory to an NPZ file (``.npz`` is added if there is no suffix), whole or not at all."""
        with self._own.arrays_lock:
            self.memory.save(path)

    def load_replay_buffer(self, path: str | os.PathLike[str] | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Loads what :meth:`save_replay_buffer` saved."""
        del truncate_last_traj
        self.memory.load(path)
        self.memory.state = self._own._put(self.memory.state)

    def to_torch(self) -> Any:
        """A copy of the trained network as a ``torch.nn.Module``, for deployment: TorchScript, ONNX.

        Returns:
            A module that maps a batch of observations, a tensor (n, …) as the environment gives them, to action values float32
            (n, actions), or of agents for continuous actions to the greedy actions as the environment takes them, (n, …).

        Raises:
            NotImplementedError: What this agent has learned is no feed-forward network.
        """
        raise NotImplementedError(f"{type(self).__name__} has no feed-forward network that could be copied to PyTorch")
