"""R2D2's files: SB3's own, but whole or not at all."""

from __future__ import annotations

import io
import pathlib
import pickle
from collections.abc import Iterable
from typing import Any, Self

from mbrl_agents.core import files
from mbrl_agents.r2d2.recurrent_algorithm import RecurrentOffPolicyAlgorithm
from mbrl_agents.r2d2.sequence_buffer import SequenceReplayBuffer


class SavedRecurrentAlgorithm(RecurrentOffPolicyAlgorithm):
    """Saves and loads as SB3's agents do."""

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Saves the agent as SB3's are saved, but whole or not at all.

        Raises:
            OSError: Writing failed; the old file, if any, is intact.
        """
        buffer = io.BytesIO()
        super().save(buffer, exclude, include)
        files.write_to(path, "zip", buffer.getvalue())

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """Saves the replay buffer as SB3's are saved, but whole or not at all; errors as of :meth:`save`."""
        files.write_to(path, "pkl", lambda file: pickle.dump(self.replay_buffer, file, pickle.HIGHEST_PROTOCOL))

    @classmethod
    def load(cls, path: str | pathlib.Path | io.BufferedIOBase, *args: Any, **kwargs: Any) -> Self:
        """Loads an agent, as SB3's agents are loaded: a pickle, WHICH MAY RUN CODE FROM THE FILE. Load only what you trust.

        ``mbrl evaluate``, or making an agent and calling ``set_parameters(path)``, reads only the weights and runs nothing.

        Args:
            path: The agent's file, or a stream.
            *args: As for :meth:`stable_baselines3.common.base_class.BaseAlgorithm.load`.
            **kwargs: Likewise.
        """
        return super().load(path, *args, **kwargs)

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """Loads what ``save_replay_buffer`` saved: a pickle, WHICH MAY RUN CODE FROM THE FILE. Load only what you trust.

        Raises:
            ValueError: It is another kind of buffer, or was made for other sequences, states or environments.
        """
        before = self.replay_buffer
        super().load_replay_buffer(path, truncate_last_traj)
        loaded, self.replay_buffer = self.replay_buffer, before
        if not isinstance(loaded, SequenceReplayBuffer):
            raise ValueError(f"path must hold a SequenceReplayBuffer, got a {type(loaded).__name__}")
        for name in ("layout", "state_shapes", "n_envs", "observation_space", "action_space", "stored_state"):
            if getattr(loaded, name) != getattr(before, name):
                raise ValueError(f"the replay buffer's {name} must be {getattr(before, name)}, got {getattr(loaded, name)}")
        self.replay_buffer = loaded

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_batch_norm_stats"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []
