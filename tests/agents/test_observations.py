"""Observations of every dtype and bounds are read as they are; only images' bytes are divided by 255, as by SB3."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mbrl_agents import LinearTD, ReplayDQN
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec

DTYPES = [np.bool_, *(np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)), *"efd"]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[spaces.Box, np.ndarray]:
    """A Box of any dtype with any bounds, and four observations of it."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.kind == "b":
        return spaces.Box(0, 1, (3,), dtype), draw(arrays.arrays(dtype, (4, 3)))
    if dtype.kind == "f":
        limit = float(np.finfo(np.float32 if dtype == np.float64 else dtype).max)
        low, high = sorted(
            each + 0.0 for each in draw(st.tuples(*[st.floats(-limit, limit, width=8 * dtype.itemsize)] * 2))
        )  # no -0.0
        elements = st.floats(low, high, width=8 * dtype.itemsize)
    else:
        info = np.iinfo(dtype)
        edges = st.sampled_from([each for each in (0, 1, 255, 2**31 - 1, 2**31) if each <= info.max])
        low, high = sorted(draw(st.tuples(*[st.integers(info.min, info.max) | edges] * 2)))
        elements = st.integers(low, high)
    box = spaces.Box(np.full(3, low, dtype), np.full(3, high, dtype), dtype=dtype)
    return box, draw(arrays.arrays(dtype, (4, 3), elements=elements))


@settings(max_examples=300)
@given(boxes())
def test_any_numbers_are_read_as_they_are(drawn: tuple[spaces.Box, np.ndarray]) -> None:
    space, observations = drawn
    codec = ObservationCodec.of(space)
    image = space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all()
    expected = (observations.astype(np.float64) / (255 if image else 1)).astype(np.float32)
    given_to_jax = jnp.asarray(codec.from_host(observations))
    stored = codec.encode(jnp.asarray(codec.to_storage(observations)))
    assert stored.dtype == codec.row.dtype
    np.testing.assert_allclose(codec.features(given_to_jax), expected, rtol=1e-6, atol=1e-38)
    np.testing.assert_allclose(codec.decode(stored), expected, rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize(
    ("space", "bytes_per_row"),
    [
        (spaces.Box(0, 1, (5,), np.uint8), 5),
        (spaces.Box(-5, 5, (5,), np.int16), 10),
        (spaces.Box(0, 100, (5,), np.int64), 20),
        (spaces.Box(0, 2**40, (5,), np.int64), 20),
    ],
    ids=str,
)
def test_integers_are_stored_in_no_more_than_they_need(space: spaces.Box, bytes_per_row: int) -> None:
    row = ObservationCodec.of(space).row
    assert row.size * row.dtype.itemsize == bytes_per_row


def test_what_a_space_does_not_hold_is_refused() -> None:
    small = ObservationCodec.of(spaces.Box(0, 10, (1,), np.int64))
    for read in (small.from_host, small.to_storage):
        with pytest.raises(ValueError, match="fit into int32, got 1700000000000"):
            read(np.array([[1_700_000_000_000]]))
    with pytest.raises(ValueError, match=r"fit into uint8, got 0\.5"):
        ObservationCodec.of(spaces.Box(0, 1, (1,), np.uint8)).to_storage(np.array([[0.5]]))
    with pytest.raises(ValueError, match=r"discrete observations must lie between -2\*\*31"):
        ObservationCodec.of(spaces.Discrete(3, start=2**40))
    with pytest.raises(ValueError, match=r"discrete actions must lie between -2\*\*31"):
        ActionCodec.of(spaces.Discrete(3, start=2**40))


class Recall(gymnasium.Env):
    """One step: the reward is 1 for the action that equals the bit shown."""

    def __init__(self, zero: int, one: int, dtype: Any, high: int | None = None) -> None:
        self.observation_space = spaces.Box(zero, one if high is None else high, (1,), dtype)
        self.action_space = spaces.Discrete(2)
        self.numbers = zero, one

    def _show(self) -> np.ndarray:
        self.bit = int(self.np_random.integers(2))
        return np.array([self.numbers[self.bit]], self.observation_space.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._show(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(action == self.bit)
        return self._show(), reward, True, False, {}


@pytest.mark.parametrize("dtype", [np.uint8, np.int64], ids=["uint8", "int64"])
def test_zeros_and_ones_of_any_dtype_are_learned(dtype: Any) -> None:
    """A network that reads 0 and 1/255 stays at chance for as long."""
    agent = ReplayDQN(
        "MlpPolicy",
        Recall(0, 1, dtype),
        learning_rate=5e-3,
        learning_starts=100,
        batch_size=32,
        gamma=0.0,
        policy_kwargs={"net_arch": [16], "activation_fn": "relu"},
        seed=0,
    ).learn(500)
    np.testing.assert_array_equal(agent.predict(np.array([[0], [1]], dtype), deterministic=True)[0], [0, 1])


def test_large_integers_arrive_in_memory() -> None:
    """Milliseconds since 1970 in int64: they were stored as -8.07e8."""
    clock = Recall(1_700_000_000_000, 1_800_000_000_000, np.int64)
    agent = ReplayDQN("MlpPolicy", clock, learning_starts=100, seed=0).learn(20)
    seen = np.asarray(agent.replay.codec.decode(agent.memory.state.stored.observation[:20, 0]))
    assert set(np.unique(seen)) == {np.float32(1.7e12), np.float32(1.8e12)}
    value = LinearTD("linear", Recall(0, 2**40, np.int64), seed=0)
    value.set_parameters({"policy": {"weights": np.array([1, 0], np.float32)}})
    assert value.value(np.array([2**40])) == 2.0**40
