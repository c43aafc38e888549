"""Sampled episodes on disk: cells and lengths as ``.npy`` files that can be memory-mapped, and a note of how many are done.

A folder holds ``cells.npy``, int16 (episodes, steps); ``lengths.npy``, int16 (episodes,); and ``episodes.json``, which says
what the episodes are of and how many of them are complete. Arrays have their final size from the beginning (as sparse files),
blocks are written and flushed first and noted after: whenever the writer is killed, what is noted is there.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mbrl_agents.core.files import load_numpy, write_atomically
from mbrl_envs.checks import integer_in

FORMAT = "mbrl-episodes-1"
MAX_CELLS, MAX_STEPS = 2**15, 2**15 - 1  # int16


class Episodes(NamedTuple):
    """Episodes of T steps.

    Attributes:
        cells: Where each episode was at steps 0 … T−1, integers (n, T); the last cell is repeated after an episode's end.
        lengths: Steps that each episode took until it terminated, T where it did not within these steps; integers (n,).
    """

    cells: np.ndarray
    lengths: np.ndarray


class EpisodeStore:
    """A folder of episodes.

    Args:
        folder: The folder; see :meth:`create` for a new one.
        partial: Whether a folder with fewer episodes than it is to have may be read.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It is damaged, or half written and ``partial`` is False.
    """

    def __init__(self, folder: str | os.PathLike[str], *, partial: bool = False) -> None:
        self.folder = pathlib.Path(folder)
        try:
            note = json.loads((self.folder / "episodes.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"there are no episodes in {self.folder} (no episodes.json)") from None
        except ValueError as error:
            raise ValueError(f"{self.folder / 'episodes.json'} is damaged: {error}") from error
        if not isinstance(note, dict) or note.get("format") != FORMAT:
            raise ValueError(f"{self.folder / 'episodes.json'} is no note of episodes ({FORMAT})")
        self.about: dict[str, Any] = note["about"]
        self.num_episodes, self.steps, self.complete = (int(note[name]) for name in ("num_episodes", "steps", "complete"))
        self._arrays = Episodes(
            self._open("cells.npy", (self.num_episodes, self.steps)), self._open("lengths.npy", (self.num_episodes,))
        )
        if self.complete < self.num_episodes and not partial:
            raise ValueError(
                f"{self.folder} is half written: {self.complete} of {self.num_episodes} episodes are complete. Go on with "
                "sample_episodes(...) and the same arguments, or read what is there with partial=True"
            )

    @classmethod
    def create(cls, folder: str | os.PathLike[str], num_episodes: int, steps: int, about: dict[str, Any]) -> EpisodeStore:
        """Opens a folder for writing: a new one, or one that the same call began.

        Args:
            folder: The folder.
            num_episodes: Episodes that it is to hold.
            steps: Steps of each, at most 32 767.
            about: What the episodes are of, plain data; all that decides what is in them.

        Raises:
            ValueError: The folder holds episodes of something else.
        """
        folder = pathlib.Path(folder)
        steps = integer_in("steps", steps, 2, MAX_STEPS)
        if (folder / "episodes.json").exists():
            store = cls(folder, partial=True)
            found, wanted = (store.num_episodes, store.steps, store.about), (num_episodes, steps, about)
            if found != wanted:
                raise ValueError(
                    f"{folder} holds other episodes ({store.num_episodes} of {store.steps} steps, {store.about}) than those "
                    f"asked for ({num_episodes} of {steps} steps, {about}): take another folder"
                )
            return store
        folder.mkdir(parents=True, exist_ok=True)
        for name, shape in (("cells.npy", (num_episodes, steps)), ("lengths.npy", (num_episodes,))):
            _create_array(folder / name, shape)
        _write_note(folder, num_episodes, steps, 0, about)
        return cls(folder, partial=True)

    def _open(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            array = load_numpy(lambda: np.load(self.folder / name, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.folder / name} is missing or damaged: {error}") from error
        if array.shape != shape or array.dtype != np.int16:
            raise ValueError(f"{self.folder / name} must be int16 {shape}, got {array.dtype} {array.shape}")
        return array

    def append(self, block: Episodes) -> None:
        """Writes the next episodes, and notes them once they are on the disk.

        Raises:
            OSError: The disk is full, for example; what was complete still is.
        """
        for name, array, mapped in zip(("cells.npy", "lengths.npy"), block, self._arrays, strict=True):
            assert isinstance(mapped, np.memmap)
            row = mapped.dtype.itemsize * int(np.prod(mapped.shape[1:]))
            with (self.folder / name).open("r+b") as file:  # not through the map: a full disk would kill the process there
                file.seek(mapped.offset + self.complete * row)
                file.write(np.ascontiguousarray(array, np.int16).tobytes())
                file.flush()
                os.fsync(file.fileno())
        self.complete += len(block.lengths)
        _write_note(self.folder, self.num_episodes, self.steps, self.complete, self.about)

    def __len__(self) -> int:
        return self.complete

    def read(self, start: int, stop: int) -> Episodes:
        """Complete episodes from ``start`` to ``stop``, copied into memory.

        Raises:
            ValueError: They are not complete.
        """
        if not 0 <= start <= stop <= self.complete:
            raise ValueError(f"episodes {start} to {stop} are not complete: {self.folder} has {self.complete}")
        # Not through the map: its pages would count as this process's memory.
        return Episodes(*(_read(array, start, stop) for array in self._arrays))

    def blocks(self, size: int, order: int | None = None) -> Iterator[Episodes]:
        """All complete episodes, in blocks of at most ``size``, without end to memory.

        Args:
            size: Episodes of a block.
            order: None for the order in which they are stored; a seed for a random order of blocks, shuffled within.
        """
        starts = np.arange(0, self.complete, size)
        rng = np.random.default_rng(order) if order is not None else None
        for start in starts if rng is None else rng.permutation(starts):
            block = self.read(int(start), min(int(start) + size, self.complete))
            if rng is not None:
                shuffled = rng.permutation(len(block.lengths))
                block = Episodes(block.cells[shuffled], block.lengths[shuffled])
            yield block


def _read(mapped: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Rows of a mapped file, read as a file."""
    assert isinstance(mapped, np.memmap)
    assert mapped.filename is not None
    row = int(np.prod(mapped.shape[1:]))
    offset = mapped.offset + start * row * mapped.dtype.itemsize
    return np.fromfile(mapped.filename, mapped.dtype, (stop - start) * row, offset=offset).reshape(-1, *mapped.shape[1:])


def _create_array(path: pathlib.Path, shape: tuple[int, ...]) -> None:
    """A ``.npy`` file of zeros that takes no room yet."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.int16)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * int(np.prod(shape)))


def _write_note(folder: pathlib.Path, num_episodes: int, steps: int, complete: int, about: dict[str, Any]) -> None:
    note = {"format": FORMAT, "num_episodes": num_episodes, "steps": steps, "complete": complete, "about": about}
    write_atomically(folder / "episodes.json", json.dumps(note, indent=2).encode())
