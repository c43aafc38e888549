"""The replay memory of an unfinished run, in files that grow with it: a checkpoint writes the rows that are new.

``replay-<n>.npz`` goes with the agent that was saved after n timesteps. It has all arrays that are not rows of transitions
(position, size, priorities, …), and the list of the files that have those rows: ``rows-<first>-<end>.npz``. Rows are counted by
the vector steps that wrote them. Nothing that the saved agent needs is overwritten: whatever happens while a checkpoint is
written, the one before is whole.
"""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np

from mbrl_agents.core import files
from mbrl_agents.core.replay import Replay, ReplayState
from mbrl_agents.core.run import RunState

END, PARTS = "rows/end", "rows/parts"


class RowFiles(NamedTuple):
    """Where the rows of a memory are.

    Attributes:
        end: Vector steps that had been made, and so the number of the row that is written next.
        position: Its place in the ring.
        size: Rows in use.
        parts: First and last row but one of each file, later ones stand for what is in earlier ones too.
    """

    end: int
    position: int
    size: int
    parts: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, arrays: files.ArrayFile) -> RowFiles | None:
        """Reads the index in a file of :func:`save`; None if it has a whole memory."""
        if PARTS not in arrays.names:
            return None
        end, position, size = (int(arrays[name]) for name in (END, "position", "size"))
        return cls(end, position, size, tuple((int(first), int(end)) for first, end in arrays[PARTS].reshape(-1, 2)))


def part_path(folder: pathlib.Path, part: tuple[int, int]) -> pathlib.Path:
    """The file of some rows."""
    return folder / f"rows-{part[0]}-{part[1]}.npz"


def save(path: pathlib.Path, before: pathlib.Path | None, replay: Replay, run: RunState) -> list[pathlib.Path]:
    """Saves a run's memory.

    Args:
        path: The checkpoint's file; rows lie beside it.
        before: That of the checkpoint that the run has gone on from or made last, if there is one.
        replay: The memory's layout.
        run: The run.

    Returns:
        The files with rows that it needs.

    Raises:
        OSError: Writing failed; the checkpoint before is whole.
    """
    state, end, size = run.memory, int(run.clock.vector_steps), int(run.memory.size)
    old = _read(before)
    number = size
    kept: tuple[tuple[int, int], ...] = ()
    if old is not None and _goes_on(old, replay, state, end):
        # One more: where episodes are cut short, the newest row changes.
        number = min(end - old.end + 1, size)
        kept = tuple(part for part in old.parts if part[1] > end - size)
    new = _split(replay, state, end, number)
    kept = tuple(part for part in kept if part not in new)
    for first, last in new:
        row = _row(replay, state, end, first)
        files.save_arrays(part_path(path.parent, (first, last)), replay.rows_to_arrays(state, row, row + last - first))
    parts = kept + new
    rows = replay.rows_to_arrays(state, 0, 0)
    rest = {name: array for name, array in replay.to_arrays(state).items() if name not in rows}
    rest |= {END: np.array(end, np.int64), PARTS: np.array(parts, np.int64).reshape(-1, 2)}
    files.save_arrays(path, rest)
    return [part_path(path.parent, part) for part in parts]


def load(path: pathlib.Path, replay: Replay) -> ReplayState | None:
    """The memory that :func:`save` saved; None if the file has a whole memory and no list of others.

    Raises:
        FileNotFoundError, ValueError: A file is missing, damaged, or of a memory with another layout.
    """
    with files.ArrayFile(path, str(path)) as arrays:
        index = RowFiles.read(arrays)
        return None if index is None else replay.from_arrays(_Joined(path, arrays, index, replay), str(path))


def _read(path: pathlib.Path | None) -> RowFiles | None:
    if path is None or not path.is_file():
        return None
    try:
        with files.ArrayFile(path, str(path)) as arrays:
            return RowFiles.read(arrays)
    except ValueError:  # it is damaged: everything is written again
        return None


def _goes_on(old: RowFiles, replay: Replay, state: ReplayState, end: int) -> bool:
    """Whether a memory is that of an earlier checkpoint with a row more for each vector step since."""
    since = end - old.end
    moved = (int(state.position) - old.position) % replay.rows == since % replay.rows
    return since >= 0 and moved and int(state.size) == min(old.size + since, replay.rows)


def _row(replay: Replay, state: ReplayState, end: int, number: int) -> int:
    """The place in the ring of a row by its number."""
    return (int(state.position) - (end - number)) % replay.rows


def _split(replay: Replay, state: ReplayState, end: int, number: int) -> tuple[tuple[int, int], ...]:
    """The newest rows, in parts that lie side by side in the ring; of an empty memory one that has none."""
    first = end - number
    middle = first + replay.rows - _row(replay, state, end, first)
    return ((first, middle), (middle, end)) if middle < end else ((first, end),)


class _Joined:
    """Arrays of a whole memory, put together one by one as they are asked for; see :class:`~mbrl_agents.core.replay.Arrays`."""

    def __init__(self, path: pathlib.Path, rest: files.ArrayFile, index: RowFiles, replay: Replay) -> None:
        self._path, self._rest, self._index, self._rows = path, rest, index, replay.rows
        if not index.parts:
            raise ValueError(f"{path} names no file of rows")
        with self._opened(index.parts[0]) as first:
            rows = first.names
        self.names = [name for name in rest.names if name not in (END, PARTS)] + rows

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self._rest.names:
            return self._rest[name]
        end, position, size, parts = self._index
        known = np.zeros(size, bool)
        for i, part in enumerate(parts):
            with self._opened(part) as arrays:
                given = arrays[name]
            if i == 0:
                out = np.empty((size, *given.shape[1:]), given.dtype)
            numbers = np.arange(*part)
            wanted = (numbers >= end - size) & (numbers < end)
            places = (position - (end - numbers[wanted])) % self._rows
            fits = given.shape == (len(numbers), *out.shape[1:]) and given.dtype == out.dtype
            if not fits or (places >= size).any():
                raise ValueError(f"{self._path}: the rows of {name!r} in its files do not go together")
            out[places], known[places] = given[wanted], True
        if not known.all():
            raise ValueError(f"{self._path}: {np.count_nonzero(~known)} rows of {name!r} are in none of its files")
        return out

    def _opened(self, part: tuple[int, int]) -> files.ArrayFile:
        file = part_path(self._path.parent, part)
        return files.ArrayFile(file, str(file))
