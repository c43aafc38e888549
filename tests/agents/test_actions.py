"""What actions are to learners and to environments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from mbrl_agents.core.actions import ActionCodec

BOX = spaces.Box(np.array([[-2.0, 0.0], [1.0, -1.0]]), np.array([[2.0, 1.0], [5.0, 3.0]]), dtype=np.float32)


def test_vectors_are_scaled_as_stable_baselines3_does() -> None:
    class Policy(BasePolicy):
        def _predict(self, observation: Any, deterministic: bool = False) -> Any:
            raise NotImplementedError

    codec, theirs = ActionCodec.of(BOX), Policy(BOX, BOX)
    scaled = np.random.default_rng(0).uniform(-1, 1, (7, 2, 2)).astype(np.float32)
    actions = codec.to_env(scaled.reshape(7, 4))
    np.testing.assert_allclose(actions, theirs.unscale_action(scaled), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(jax.jit(codec.to_env)(jnp.asarray(scaled.reshape(7, 4))).shape, (7, 2, 2))
    np.testing.assert_allclose(codec.from_env(actions), scaled.reshape(7, 4), atol=1e-6)


def test_bounds_are_reached_and_not_passed() -> None:
    codec = ActionCodec.of(BOX)
    for end, bound in ((-1.0, BOX.low), (1.0, BOX.high)):
        np.testing.assert_array_equal(codec.to_env(np.full((1, 4), end, np.float32))[0], bound)


def test_an_entry_with_one_value_is_no_number_divided_by_0() -> None:
    codec = ActionCodec.of(spaces.Box(np.array([0.0, 2.0]), np.array([1.0, 2.0]), dtype=np.float32))
    stored = codec.from_env(np.array([[0.5, 2.0]], np.float32))
    np.testing.assert_array_equal(stored, [[0, -1]])
    np.testing.assert_array_equal(codec.to_env(stored), [[0.5, 2]])


def test_discrete_actions_are_counted_from_0() -> None:
    codec = ActionCodec.of(spaces.Discrete(3, start=-1))
    np.testing.assert_array_equal(codec.to_env(np.arange(3)), [-1, 0, 1])
    np.testing.assert_array_equal(codec.from_env(np.array([-1, 1])), [0, 2])
    drawn = np.asarray(codec.uniform(jax.random.PRNGKey(0), 300))
    assert drawn.dtype == np.int32
    assert sorted(set(drawn.tolist())) == [0, 1, 2]


def test_uniform_vectors_fill_the_box() -> None:
    drawn = np.asarray(ActionCodec.of(BOX).uniform(jax.random.PRNGKey(1), 4000))
    assert drawn.shape == (4000, 4)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(drawn.var(axis=0), 1 / 3, atol=0.03)


@pytest.mark.parametrize("space", [spaces.Box(-np.inf, np.inf, (2,)), spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2])])
def test_other_spaces_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(ValueError, match="must be Discrete or a Box with finite bounds, got"):
        ActionCodec.of(space)
