"""Gymnasium's spaces through JSON are the identity, so that an agent loads into the environment it was saved in."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbrl_agents import ReplayDQN
from mbrl_agents.sb3 import spaces_json

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)
INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from([*INTEGERS, np.bool_, *"efd"])))
    shape, width = draw(SHAPES), 8 * dtype.itemsize
    numbers = st.floats(width=width, allow_nan=False) if dtype.kind == "f" else None
    first, second = (draw(arrays.arrays(dtype, shape, elements=numbers, fill=numbers)) for _ in range(2))
    low, high = np.minimum(first, second), np.maximum(first, second)
    if dtype.kind == "f":  # Gymnasium wants them on their own sides
        low, high = np.where(low == np.inf, 0, low), np.where(high == -np.inf, 0, high)
        low, high = np.minimum(low, high), np.maximum(low, high)
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), shape, dtype.type)


@st.composite
def multi_discretes(draw: st.DrawFn) -> spaces.MultiDiscrete:
    dtype, shape = draw(st.sampled_from(INTEGERS)), draw(arrays.array_shapes(max_dims=2, max_side=3))
    nvec = draw(arrays.arrays(dtype, shape, elements=st.integers(1, 50), fill=st.just(1)))
    start = draw(arrays.arrays(dtype, shape, elements=st.integers(0, 50), fill=st.just(0)))
    return spaces.MultiDiscrete(nvec, dtype=dtype.type, start=start)


@st.composite
def discretes(draw: st.DrawFn) -> spaces.Discrete:
    dtype = draw(st.sampled_from(INTEGERS))
    start = draw(st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max - 100))
    return spaces.Discrete(draw(st.integers(1, 99)), start=start, dtype=dtype.type)


SINGLE = st.one_of(
    boxes(),
    discretes(),
    multi_discretes(),
    (st.integers(1, 9) | st.lists(st.integers(1, 4), min_size=1, max_size=3)).map(spaces.MultiBinary),
    st.builds(
        lambda low, more, characters: spaces.Text(low + more, min_length=low, charset=characters),
        st.integers(0, 5),
        st.integers(1, 5),
        st.text(min_size=1) | st.frozensets(st.characters(), min_size=1),
    ),
    st.builds(spaces.Graph, boxes() | discretes(), st.none() | boxes() | discretes()),
)


def combined(parts: st.SearchStrategy[spaces.Space]) -> st.SearchStrategy[spaces.Space]:
    several = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        several.map(spaces.Tuple),
        several.map(spaces.OneOf),
        st.lists(st.tuples(st.text() | st.integers(0, 99), parts), min_size=1, max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: spaces.Dict(pairs)
        ),
        st.builds(spaces.Sequence, parts, stack=st.just(False)),
    )


def details(space: Any) -> Any:
    """What Gymnasium's own comparison leaves out, or compares roughly."""
    if isinstance(space, spaces.Box):
        return space.low.tolist(), space.high.tolist(), space.bounded_below.tolist(), space.bounded_above.tolist()
    if isinstance(space, spaces.Text):
        return space.character_list
    if isinstance(space, spaces.Dict):
        return [(name, details(part)) for name, part in space.spaces.items()]
    return [details(part) for part in getattr(space, "spaces", ())]


@settings(max_examples=300)
@given(st.recursive(SINGLE, combined, max_leaves=5))
def test_spaces_through_json_are_the_same(space: spaces.Space) -> None:
    again = spaces_json.from_json(json.loads(json.dumps(spaces_json.to_json(space))))
    assert again == space
    assert (type(again), again.shape, again.dtype) == (type(space), space.shape, space.dtype)
    assert details(again) == details(space)


@settings(max_examples=50)
@given(boxes())
def test_bounds_that_older_files_keep_as_floats_are_read(space: spaces.Box) -> None:
    data = spaces_json.to_json(space)
    exact = max(abs(int(end)) for end in [*space.low.flat, *space.high.flat]) < 2**53 if space.dtype.kind in "iu" else True
    if exact:
        old = data | {end: np.asarray(getattr(space, end), float).tolist() for end in ("low", "high")}
        assert details(spaces_json.from_json(old)) == details(space)


class Own(spaces.Space):
    """No space of Gymnasium's."""


def test_what_cannot_be_saved_or_read_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of Gymnasium's"):
        spaces_json.to_json(Own())
    with pytest.raises(ValueError, match="names in a Dict space must be text or integers"):
        spaces_json.to_json(spaces.Dict([((1, 2), spaces.Discrete(2))]))
    for damaged in ({}, {"kind": "Own"}, {"kind": "Discrete", "n": 0, "start": 0}, {"kind": "Tuple", "spaces": [3]}):
        with pytest.raises(ValueError, match="a saved space could not be read"):
            spaces_json.from_json(damaged)


class Switches(gymnasium.Env):
    """Random switches, shown in a given space."""

    def __init__(self, space: spaces.Space) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict]:
        return self.observation_space.sample(), 0.0, True, False, {}


@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiBinary(3),
        spaces.MultiBinary([3]),
        spaces.MultiBinary([2, 2]),
        spaces.Box(0, 2**60 + 1, (1,), np.int64),
        spaces.Discrete(3, start=-1),
    ],
    ids=str,
)
def test_an_agent_is_loaded_into_the_environment_it_was_saved_in(space: spaces.Space, tmp_path: pathlib.Path) -> None:
    agent = ReplayDQN("MlpPolicy", Switches(space), learning_starts=10, batch_size=4, policy_kwargs={"net_arch": [4]}, seed=0)
    agent.learn(12).save(tmp_path / "agent")
    again = ReplayDQN.load(tmp_path / "agent", env=Switches(space))
    assert again.observation_space == space
    again.learn(3, reset_num_timesteps=False)
    assert again.num_timesteps == 15
