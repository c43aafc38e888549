"""The sum tree in JAX: against NumPy, and its draws against exact probabilities."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_agents.core.sum_tree import SumTree

SIZES = [1, 5, 64, 65, 5000]  # one level, two, three


@pytest.mark.parametrize("num", SIZES)
def test_sums_are_those_of_the_leaves(num: int) -> None:
    tree, rng, wanted = SumTree(num), np.random.default_rng(0), np.zeros(num, np.float32)
    sums, write = tree.init(), jax.jit(tree.set)
    for _ in range(20):
        places = rng.permutation(num)[:4]
        priorities, where = rng.uniform(0, 3, len(places)).astype(np.float32), rng.random(len(places)) < 0.7
        sums = write(sums, places, priorities, where)
        wanted[places[where]] = priorities[where]
        np.testing.assert_array_equal(tree.leaves(sums), wanted)
        for level, above in itertools.pairwise(sums):
            np.testing.assert_allclose(above.ravel()[: len(level)], level.sum(axis=-1), rtol=1e-6)
        np.testing.assert_allclose(tree.total(sums), wanted.sum(), rtol=1e-5)
    np.testing.assert_array_equal(tree.get(sums, np.arange(num)), wanted)


@pytest.mark.parametrize("num", [5, 200, 5000])
def test_draws_are_in_proportion(num: int) -> None:
    """Chi-square over 60 leaves, all others are 0, with priorities that differ by five orders of magnitude."""
    tree, rng = SumTree(num), np.random.default_rng(1)
    leaves = rng.permutation(num)[: min(num, 60)]
    priorities = 10.0 ** rng.uniform(-2, 3, len(leaves))
    sums = tree.set(tree.init(), leaves, priorities.astype(np.float32), np.ones(len(leaves), bool))
    drawn = jax.jit(lambda key: tree.sample(sums, key, 2000))
    found = np.concatenate([np.asarray(drawn(key)) for key in jax.random.split(jax.random.PRNGKey(2), 100)])
    counts = np.bincount(found, minlength=num)
    assert counts.sum() == counts[leaves].sum() == 200_000
    wanted = 200_000 * priorities / priorities.sum()
    # Stratified draws vary less than independent ones, so the statistic may be small, never large.
    often = wanted > 5
    statistic = (np.square(counts[leaves] - wanted) / wanted)[often].sum()
    assert statistic < stats.chi2.ppf(0.999, often.sum())


def test_a_single_leaf_is_always_drawn() -> None:
    tree = SumTree(300)
    sums = tree.set(tree.init(), jnp.array([299]), jnp.array([1e-6]), jnp.array([True]))
    assert set(np.asarray(tree.sample(sums, jax.random.PRNGKey(0), 500)).tolist()) == {299}
