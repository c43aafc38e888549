"""Replay memories of unfinished runs: after any rows, a checkpoint is the memory, and it wrote what was new."""

from __future__ import annotations

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.core import files
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Replay, Transitions
from mbrl_agents.core.run import Clock, RunState
from mbrl_agents.runs import replay_files
from tests.agents.test_own_memory import DrawnLess

CODEC, ACTIONS = ObservationCodec.of(spaces.Box(-1, 1, (3,))), ActionCodec.of(spaces.Discrete(4))
SLOTS = 2


class Folder:
    """A folder with the checkpoints of a memory that random rows are added to.

    Args:
        path: The folder.
        replay: The memory's layout.
    """

    def __init__(self, path: pathlib.Path, replay: Replay) -> None:
        self.path, self.replay = path, replay
        self.memory, self.steps, self.random = replay.init(), 0, np.random.default_rng(0)
        self.saved: pathlib.Path | None = None
        self.needed: list[pathlib.Path] = []

    def add(self, number: int) -> None:
        for _ in range(number):
            size = self.replay.codec.num_features
            observations = self.random.normal(size=(2, SLOTS, size)).astype(np.float32)
            action, reward = self.random.integers(4, size=SLOTS, dtype=np.int32), self.random.normal(size=SLOTS)
            ends = self.random.random((2, SLOTS)) < 0.1
            new = Transitions(observations[0], action, reward.astype(np.float32), observations[1], *ends)
            self.memory = self.replay.add(self.memory, new)
            self.steps += 1

    def save(self) -> int:
        """Saves a checkpoint, as :func:`mbrl_agents.runs.checkpoints.save_unfinished` does; returns the bytes written."""
        there = {file: file.stat().st_ino for file in self.path.iterdir()}
        run = RunState(None, self.memory, None, None, Clock(vector_steps=np.int32(self.steps)), None)
        file = self.path / f"replay-{self.steps}.npz"
        self.needed = [file, *replay_files.save(file, self.saved, self.replay, run)]
        written = sum(each.stat().st_size for each in self.path.iterdir() if there.get(each) != each.stat().st_ino)
        for each in self.path.iterdir():
            if each not in self.needed:
                each.unlink()
        self.saved = file
        return written

    def load(self) -> Any:
        assert self.saved is not None
        return replay_files.load(self.saved, self.replay)


def same(given: Any, wanted: Any) -> None:
    """Equal to the bit, but for rows that were never written."""
    used = int(wanted.size)
    for one, other in zip(jax.tree.leaves(given), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(*(np.asarray(each)[:used] if np.ndim(each) else each for each in (one, other)))


KINDS = {"uniform": Replay, "own": DrawnLess}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("steps", [(0, 5, 0, 3, 12, 1, 40, 7), (20, 20, 20), (19, 1, 1, 1), (1,) * 45], ids=str)
def test_a_checkpoint_is_the_memory(tmp_path: pathlib.Path, kind: str, steps: tuple[int, ...]) -> None:
    folder = Folder(tmp_path, KINDS[kind](CODEC, ACTIONS, 20, SLOTS))
    for number in steps:
        folder.add(number)
        if kind == "own" and folder.steps:
            _, folder.memory = folder.replay.draw(folder.memory, jax.random.PRNGKey(folder.steps), 4, jnp.float32(0.9))
        folder.save()
        same(folder.load(), folder.memory)
    assert len(list(tmp_path.iterdir())) <= 1 + 20 + 2  # what the ring no longer has is gone


def test_a_cut_of_the_newest_row_is_saved(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, Replay(CODEC, ACTIONS, 20, SLOTS))
    folder.add(6)
    folder.save()
    stored = folder.memory.stored
    folder.memory = folder.memory._replace(stored=stored._replace(truncated=stored.truncated.at[5].set(True)))
    folder.add(2)
    folder.save()
    same(folder.load(), folder.memory)


def test_only_new_rows_are_written(tmp_path: pathlib.Path) -> None:
    image = ObservationCodec.of(spaces.Box(0, 255, (20, 20, 4), np.uint8))
    replay = Replay(image, ACTIONS, 400, SLOTS)
    of_row = sum(leaf.nbytes for leaf in replay.rows_to_arrays(replay.init(), 0, 1).values())
    folder = Folder(tmp_path, replay)
    folder.add(300)
    assert folder.save() == pytest.approx(300 * of_row, rel=0.05)
    folder.add(50)
    assert folder.save() == pytest.approx(50 * of_row, rel=0.05)
    folder.add(90)  # over the ring's end
    assert folder.save() == pytest.approx(90 * of_row, rel=0.05)


def test_another_memory_is_written_whole(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, Replay(CODEC, ACTIONS, 20, SLOTS))
    folder.add(8)
    folder.save()
    folder.memory = folder.replay.init()
    folder.add(3)
    folder.save()
    same(folder.load(), folder.memory)


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_the_checkpoint_before_is_whole_whatever_happens(
    tmp_path: pathlib.Path, allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path, Replay(CODEC, ACTIONS, 20, SLOTS))
    folder.add(15)
    folder.save()
    before, steps = folder.memory, folder.steps
    write, left = files.write_atomically, iter(range(allowed))

    def killed(path: Any, content: Any) -> None:
        if next(left, None) is None:
            raise OSError("killed")
        write(path, content)

    folder.add(9)  # over the ring's end: two files of rows and the list of them
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_atomically", killed)
        with pytest.raises(OSError, match="killed"):
            folder.save()
    same(folder.load(), before)
    # It goes on from there, otherwise than before.
    folder.memory, folder.steps = folder.load(), steps
    folder.add(11)
    folder.save()
    same(folder.load(), folder.memory)


def test_damage_is_refused(tmp_path: pathlib.Path) -> None:
    folder = Folder(tmp_path, Replay(CODEC, ACTIONS, 20, SLOTS))
    for number in (5, 6):
        folder.add(number)
        folder.save()
    rows = sorted(tmp_path.glob("rows-*.npz"))
    assert len(rows) == 2
    content = rows[0].read_bytes()
    rows[0].write_bytes(content[:100])
    with pytest.raises(ValueError, match=rows[0].name):
        folder.load()
    rows[0].unlink()
    with pytest.raises(FileNotFoundError, match=rows[0].name):
        folder.load()
    rows[0].write_bytes(rows[1].read_bytes())
    with pytest.raises(ValueError, match="do not go together"):
        folder.load()
    with np.load(folder.saved) as arrays:
        np.savez(folder.saved, **(dict(arrays) | {replay_files.PARTS: arrays[replay_files.PARTS][1:]}))
    with pytest.raises(ValueError, match="in none of its files"):
        folder.load()
