"""Dictionaries, tuples and several choices: each part is stored in the smallest dtype that holds it, and read in order."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Replay
from mbrl_agents.sb3.policy import as_batch

NAMES = st.text("abc", min_size=1, max_size=2)


@st.composite
def boxes(draw: st.DrawFn) -> spaces.Box:
    dtype = np.dtype(draw(st.sampled_from(["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])))
    shape = draw(st.sampled_from([(), (3,), (2, 2), (2, 1, 3)]))
    if dtype.kind == "b":
        return spaces.Box(0, 1, shape, np.bool_)
    if dtype.kind == "f":
        return spaces.Box(-8, 8, shape, dtype.type)
    info = np.iinfo(dtype)
    # Numbers beyond 24 bits in 64 are stored as float32, which does not hold all of them.
    edges = st.sampled_from(
        [each for each in (-300, -2, 0, 1, 200, 255, 300, 70_000, 2**31 - 1) if info.min <= each <= info.max]
    )
    low, high = sorted((draw(edges), draw(edges)))
    return spaces.Box(low, high, shape, dtype.type)


LEAVES = (
    boxes()
    | st.builds(spaces.Discrete, st.integers(1, 400), start=st.integers(-5, 5))
    | st.builds(lambda n: spaces.MultiBinary(n), st.integers(1, 9))
    | st.builds(
        lambda sizes, start: spaces.MultiDiscrete(sizes, start=[start] * len(sizes)),
        st.lists(st.integers(1, 300), min_size=1, max_size=3),
        st.integers(-3, 3),
    )
)
SPACES = st.recursive(
    LEAVES,
    lambda inside: (
        st.builds(spaces.Dict, st.dictionaries(NAMES, inside, min_size=1, max_size=3))
        | st.builds(spaces.Tuple, st.lists(inside, min_size=1, max_size=3))
    ),
    max_leaves=6,
)


def expected(space: Any, observation: Any) -> np.ndarray:
    """Features of one observation, straight from what they are to be."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([expected(part, observation[name]) for name, part in space.spaces.items()])
    if isinstance(space, spaces.Tuple):
        return np.concatenate([expected(part, own) for part, own in zip(space.spaces, observation, strict=True)])
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[int(observation) - int(space.start)]
    if isinstance(space, spaces.MultiDiscrete):
        places = (np.asarray(observation) - space.start).ravel()
        return np.concatenate([np.eye(int(n), dtype=np.float32)[i] for n, i in zip(space.nvec.ravel(), places, strict=True)])
    numbers = np.asarray(observation, np.float32).ravel()
    image = isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.low.min() == 0 and space.high.min() == 255
    return numbers / 255 if image and space.low.max() == 0 else numbers


def leaf_spaces(space: Any) -> list[Any]:
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        inside = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return [leaf for part in inside for leaf in leaf_spaces(part)]
    return [space]


def smallest(space: Any) -> set[str]:
    """Dtypes in which a part may be stored: those of the fewest bits that hold all of its values."""
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        low, high = 0, int(np.max(space.n if isinstance(space, spaces.Discrete) else space.nvec)) - 1
    elif isinstance(space, spaces.MultiBinary) or space.dtype == np.bool_:
        return {"uint8"}
    elif space.dtype.kind == "f":
        return {"float16" if space.dtype == np.float16 else "float32"}
    else:
        low, high = int(space.low.min()), int(space.high.max())
    fits = [np.dtype(f"{kind}{size}") for size in (1, 2, 4) for kind in "ui"]
    fits = [each for each in fits if np.iinfo(each).min <= low and high <= np.iinfo(each).max]
    return {each.name for each in fits if each.itemsize == fits[0].itemsize}


@settings(max_examples=60, deadline=None)
@given(SPACES, st.integers(0, 2**31))
def test_every_space_is_stored_small_and_read_as_it_is(space: Any, seed: int) -> None:
    space.seed(seed)
    each = [space.sample() for _ in range(3)]
    observation = jax.tree.map(lambda *parts: np.stack(parts), *each)
    codec = ObservationCodec.of(space)
    wanted = np.stack([expected(space, one) for one in each])
    stored = jax.tree.map(np.asarray, codec.encode(codec.to_storage(observation)))
    np.testing.assert_allclose(codec.decode(jax.tree.map(jnp.asarray, stored)), wanted, rtol=1e-6)
    np.testing.assert_allclose(codec.features(codec.from_host(observation)), wanted, rtol=1e-6)
    assert codec.num_features == wanted.shape[-1]
    rows, leaves = jax.tree.leaves(codec.row), jax.tree.leaves(stored)
    assert [(leaf.shape[1:], leaf.dtype) for leaf in leaves] == [(row.shape, row.dtype) for row in rows]
    parts = [codec] if codec.kind != "parts" else [part for _, part in codec.leaves()]
    flat = [space] if codec.kind != "parts" else leaf_spaces(space)
    if codec.kind == "parts":
        assert all(part.row.dtype.name in smallest(own) for part, own in zip(parts, flat, strict=True))
    # Features go back into the observation's structure, and batches are told from single observations.
    split = jax.tree.leaves(codec.split(wanted))
    joined = sorted(number for leaf in split for number in leaf.ravel().tolist())
    assert joined == sorted(wanted.ravel().tolist())
    for one, vectorized in ((each[0], False), (observation, True)):
        batch, found = as_batch(one, space)
        assert found == vectorized
        np.testing.assert_allclose(codec.features(codec.from_host(batch)), wanted if vectorized else wanted[:1], rtol=1e-6)


def test_bytes_of_a_dictionary() -> None:
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (8, 8, 3), np.uint8),
            "bits": spaces.MultiBinary(12),
            "choice": spaces.Discrete(4),
            "choices": spaces.MultiDiscrete([[300, 2], [5, 5]]),
            "count": spaces.Box(0, 100, (3,), np.int64),
            "half": spaces.Box(-1, 1, (3,), np.float16),
            "numbers": spaces.Box(-1, 1, (3,), np.float64),
        }
    )
    codec = ObservationCodec.of(space)
    sizes = {name: row.size * row.dtype.itemsize for name, row in codec.row.items()}
    assert sizes == {"image": 192, "bits": 2, "choice": 1, "choices": 8, "count": 3, "half": 6, "numbers": 12}
    others = 4 + 4 + 2  # action, reward, ends
    assert Replay(codec, ActionCodec(4), 10, 2).bytes == 20 * (2 * sum(sizes.values()) + others) + 8


def test_what_is_no_observation_is_refused() -> None:
    codec = ObservationCodec.of(spaces.Dict({"a": spaces.Discrete(3, start=1), "b": spaces.MultiDiscrete([2, 300])}))
    good = {"a": np.array([1, 3]), "b": np.array([[0, 299], [1, 0]])}
    assert codec.to_storage(good)["a"].tolist() == [1, 3]
    for name, wrong in (("a", np.array([4, 1])), ("a", np.array([1, 0])), ("b", np.array([[0, 0], [2, 0]]))):
        with pytest.raises(ValueError, match="must be of the observation space, got the choice"):
            codec.to_storage(good | {name: wrong})
    with pytest.raises(ValueError, match="must be a Box, MultiBinary, Discrete or MultiDiscrete, or a Dict or Tuple"):
        ObservationCodec.of(spaces.Dict({"a": spaces.Text(3)}))
    with pytest.raises(ValueError, match="must have parts"):
        ObservationCodec.of(spaces.Tuple([]))
    with pytest.raises(ValueError, match="different paths, got a/b twice"):
        ObservationCodec.of(spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}))
    with pytest.raises(ValueError, match="discrete observations must lie between"):
        ObservationCodec.of(spaces.MultiDiscrete([2, 3], start=[0, 2**40]))
