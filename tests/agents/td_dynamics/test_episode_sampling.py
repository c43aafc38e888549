"""Episodes on disk: the same as Gymnasium's, in parts or at once, after a kill, and what is refused."""

import json
import pathlib
import shutil

import gymnasium
import jax
import numpy as np
import pytest

from mbrl_agents.td_dynamics import episode_sampling
from mbrl_agents.td_dynamics.episode_sampling import sample, sample_episodes
from mbrl_agents.td_dynamics.episode_store import Episodes, EpisodeStore
from mbrl_agents.td_dynamics.linear_features import TabularBins
from mbrl_envs import MountainCar, draws

ENV, STEPS = MountainCar(), 130
CELLS = TabularBins(ENV.observation_space.low, ENV.observation_space.high, (42, 28))
# With the motion: in about 120 steps it reaches the goal.
POLICY = np.where(np.arange(1176) % 28 >= 14, 2, 0)
NUMBER = 2500  # three blocks of 1024, the last one not full


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(episode_sampling, "BLOCK", 1024)


@pytest.fixture(scope="module")
def whole():
    return sample(ENV, CELLS, POLICY, num_episodes=NUMBER, steps=STEPS, seed=7)


def write(folder, **changes):
    settings = {"num_episodes": NUMBER, "steps": STEPS, "seed": 7} | changes
    return sample_episodes(folder, ENV, CELLS, settings.pop("policy", POLICY), **settings)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("episodes") / "all").folder


@pytest.fixture
def folder(written, tmp_path):
    return pathlib.Path(shutil.copytree(written, tmp_path / "copy"))


def test_episodes_are_gymnasiums(whole):
    """Gymnasium's own class, in float64, from the same starts: rounding moves a step into another cell now and then."""
    other = gymnasium.make("MountainCar-v0").unwrapped
    other.reset()
    keys = jax.vmap(lambda i: draws.fold_in(draws.fold_in(draws.raw_key(7), i), 0))(np.arange(40, dtype=np.uint32))
    starts = jax.vmap(ENV.reset)(keys)
    assert len(np.unique(starts.position)) == 40
    equal = reached = 0
    for i in range(40):
        other.state = (float(starts.position[i]), 0.0)
        expected, length = [], STEPS
        for t in range(STEPS):
            position, velocity = other.state
            cell = min(int((position + 1.2) / 1.8 * 42), 41) * 28 + min(int((velocity + 0.07) / 0.14 * 28), 27)
            expected.append(cell)
            if length == STEPS and other.step(int(POLICY[cell]))[2]:
                length = t + 1
            elif length < STEPS:  # over: the state stays
                other.state = (position, velocity)
        if length < STEPS:
            expected[length:] = [expected[length]] * (STEPS - length)
        equal += whole.cells[i].tolist() == expected and whole.lengths[i] == length
        reached += length < STEPS
    assert equal >= 36
    assert reached >= 10


def test_after_the_end_the_state_is_repeated(whole):
    ended = np.flatnonzero(whole.lengths < STEPS - 1)
    assert len(ended) > 100
    for i in ended[:50]:
        assert len(set(whole.cells[i, whole.lengths[i] :].tolist())) == 1


def test_parts_are_the_whole_and_seeds_differ(whole):
    part = sample(ENV, CELLS, POLICY, num_episodes=900, steps=STEPS, seed=7, first=1500)
    for found, expected in zip(part, whole, strict=True):
        np.testing.assert_array_equal(found, expected[1500:2400])
    other = sample(ENV, CELLS, POLICY, num_episodes=900, steps=STEPS, seed=8)
    assert (other.cells != whole.cells[:900]).any(axis=1).mean() > 0.9


def test_written_is_what_is_sampled(written, whole):
    store = EpisodeStore(written)
    assert len(store) == NUMBER
    for found, expected in zip(store.read(0, NUMBER), whole, strict=True):
        np.testing.assert_array_equal(found, expected)
    mapped = np.load(written / "cells.npy", mmap_mode="r")  # as anybody may read it
    np.testing.assert_array_equal(mapped[1020:1030], whole.cells[1020:1030])
    assert (mapped.dtype, mapped.shape) == (np.int16, (NUMBER, STEPS))


def test_blocks_hold_every_episode_once(written, whole):
    store = EpisodeStore(written)
    in_order = list(store.blocks(700))
    np.testing.assert_array_equal(np.concatenate([block.cells for block in in_order]), whole.cells)
    rows = sorted(map(bytes, whole.cells))
    for order in (0, 1):
        shuffled = np.concatenate([block.cells for block in store.blocks(700, order=order)])
        assert not np.array_equal(shuffled, whole.cells)
        assert sorted(map(bytes, shuffled)) == rows


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("place", ["before", "torn"])
def test_a_killed_writer_goes_on_to_the_same(tmp_path, monkeypatch, whole, stop, place):
    """Killed before a block was written, or when half of it was on the disk and nothing noted."""
    append = EpisodeStore.append

    def killed(store, block):
        if store.complete < 1024 * stop:
            return append(store, block)
        if place == "torn":
            with (store.folder / "cells.npy").open("r+b") as file:
                file.seek(-(NUMBER - store.complete) * STEPS * 2, 2)
                file.write(b"\xff" * 5000)
        raise KeyboardInterrupt

    monkeypatch.setattr(EpisodeStore, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path)
    monkeypatch.setattr(EpisodeStore, "append", append)
    with pytest.raises(ValueError, match=rf"half written: {1024 * stop} of 2500 episodes are complete"):
        EpisodeStore(tmp_path)
    partial = EpisodeStore(tmp_path, partial=True)
    assert len(partial) == 1024 * stop
    with pytest.raises(ValueError, match="are not complete"):
        partial.read(0, 1024 * stop + 1)
    for found, expected in zip(write(tmp_path).read(0, NUMBER), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_complete_is_not_written_again(folder):
    before = (folder / "cells.npy").stat().st_mtime_ns
    write(folder)
    assert (folder / "cells.npy").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "changes", [{"seed": 8}, {"steps": 131}, {"num_episodes": 2501}, {"policy": np.zeros(1176, int)}], ids=str
)
def test_other_episodes_are_not_mixed_in(folder, changes):
    with pytest.raises(ValueError, match=r"holds other episodes .* take another folder"):
        write(folder, **changes)


def test_damaged_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="there are no episodes in"):
        EpisodeStore(tmp_path / "nowhere")
    cells = (folder / "cells.npy").read_bytes()
    (folder / "cells.npy").write_bytes(cells[:-100])
    with pytest.raises(ValueError, match=r"cells.npy is missing or damaged"):
        EpisodeStore(folder)
    (folder / "cells.npy").write_bytes(cells)
    np.save(folder / "lengths.npy", np.zeros(3, np.int16))
    with pytest.raises(ValueError, match=r"lengths.npy must be int16 \(2500,\), got int16 \(3,\)"):
        EpisodeStore(folder)
    (folder / "episodes.json").write_text("{")
    with pytest.raises(ValueError, match=r"episodes.json is damaged"):
        EpisodeStore(folder)
    (folder / "episodes.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(ValueError, match="is no note of episodes"):
        EpisodeStore(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": np.zeros(1175, int)}, r"policy must have one action for each of 1176 cells, got shape \(1175,\)"),
        ({"policy": np.full(1176, 3)}, "policy must have actions from 0 to 2, got 3 to 3"),
        ({"policy": np.full(1176, -1)}, "policy must have actions from 0 to 2"),
        ({"policy": np.zeros(1176)}, "policy must be integers, an action for each cell, got dtype float64"),
        ({"policy": lambda cell: 0}, "policy must be integers"),
        ({"cells": TabularBins((0,), (1,), 5)}, "TabularBins, which read a one-dimensional Box space of 1 entries"),
        (
            {"cells": TabularBins((-1.2, -0.07), (0.6, 0.07), (400, 300))},
            "the number of cells must be an integer from 1 to 32768",
        ),
        ({"steps": 1}, "steps must be"),
        ({"steps": 2**15}, "steps must be"),
        ({"num_episodes": 0}, "num_episodes must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments(tmp_path, changes, message):
    settings = {"cells": CELLS, "policy": POLICY, "num_episodes": 10, "steps": STEPS, "seed": 0} | changes
    cells, policy = settings.pop("cells"), settings.pop("policy")
    for call in (
        lambda: sample(ENV, cells, policy, **settings),
        lambda: sample_episodes(tmp_path / "x", ENV, cells, policy, **settings),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    assert not (tmp_path / "x").exists()


def test_blocks_of_the_store_are_integers_of_two_bytes(written):
    (block,) = EpisodeStore(written).blocks(10_000)
    assert isinstance(block, Episodes)
    assert block.cells.dtype == block.lengths.dtype == np.int16
