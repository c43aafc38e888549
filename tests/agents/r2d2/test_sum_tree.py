"""The sum tree: sums, exact proportions, and what must never be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agents.r2d2.sum_tree import SumTree


def tree_of(*priorities: float) -> SumTree:
    tree = SumTree(len(priorities))
    tree.update(np.arange(len(priorities)), np.array(priorities))
    return tree


def test_find_walks_along_the_running_sum() -> None:
    tree = tree_of(1, 0, 2, 0.5, 0)
    assert tree.total == 3.5
    heights = np.array([0, 0.999, 1, 2.999, 3, 3.499])
    assert tree.find(heights).tolist() == [0, 0, 2, 2, 3, 3]


def test_a_height_beyond_the_total_finds_the_last_leaf_above_zero() -> None:
    assert tree_of(1, 3, 0, 0).find(np.array([4.0, 4.1])).tolist() == [1, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
def test_each_leaf_is_found_by_itself(size: int) -> None:
    for leaf in range(size):
        tree = SumTree(size)
        tree.update(np.array([leaf]), 2.0)
        assert tree.sample(5, np.random.default_rng(0)).tolist() == [leaf] * 5


def test_draws_are_in_exact_proportion() -> None:
    priorities = np.array([4.0, 0.0, 1.0, 2.5, 0.5])
    tree, rng = tree_of(*priorities), np.random.default_rng(3)
    drawn = np.bincount(np.concatenate([tree.sample(16, rng) for _ in range(5000)]), minlength=5)
    # Each of 16 equal parts gives one draw: 8, 2, 5 and 1 of them on average, and 4.0 is 8 parts exactly.
    assert drawn[0] == 8 * 5000
    assert drawn[1] == 0
    np.testing.assert_allclose(drawn / drawn.sum(), priorities / priorities.sum(), atol=2e-3)


def test_of_an_index_that_comes_twice_the_last_counts() -> None:
    tree = tree_of(1, 1, 1)
    tree.update(np.array([1, 1]), np.array([5.0, 3.0]))
    assert tree.leaves.tolist() == [1, 3, 1]
    assert tree.total == 5


def test_nothing_can_be_drawn_from_zeros() -> None:
    tree = tree_of(0, 0)
    with pytest.raises(ValueError, match="all of them are 0"):
        tree.sample(1, np.random.default_rng(0))


@settings(max_examples=50)
@given(st.integers(1, 40), st.lists(st.lists(st.tuples(st.integers(0, 39), st.floats(0, 1e6)), max_size=6), max_size=150))
def test_sums_stay_those_of_the_leaves(size: int, updates: list[list[tuple[int, float]]]) -> None:
    tree, plain = SumTree(size), [0.0] * size
    for update in updates:
        pairs = [(index % size, priority) for index, priority in update]
        tree.update(np.array([index for index, _ in pairs], np.int64), np.array([priority for _, priority in pairs]))
        for index, priority in pairs:
            plain[index] = priority
    assert tree.leaves.tolist() == plain
    assert tree.total == pytest.approx(sum(plain), rel=1e-12)
    if sum(plain) > 0:
        assert all(plain[leaf] > 0 for leaf in tree.sample(64, np.random.default_rng(0)))
