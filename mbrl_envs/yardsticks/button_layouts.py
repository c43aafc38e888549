"""Where the buttons can lie: all sets of cells up to symmetry, or a fixed random sample of them."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from mbrl_envs.yardsticks.mazes import SEED, orbits

MOST_ENUMERATED = 200_000  # C(100, 3) = 161 700, the reference's larger task, is among them
FEWEST_SETS, MOST_SETS = 50, 30_000


class ButtonSets(NamedTuple):
    """Sets of button cells to average over.

    Attributes:
        cells: The k cells of each set, ascending, int (M, k).
        weights: Weights with sum 1, float64 (M,).
        sampled: Whether they are a random sample, rather than all sets with their probabilities.
    """

    cells: np.ndarray
    weights: np.ndarray
    sampled: bool


@functools.lru_cache(maxsize=8)
def all_sets(n: int, k: int) -> ButtonSets:
    """Every set of ``k`` cells of an ``n`` × ``n`` grid up to rotation and reflection, with its probability."""
    total = math.comb(n * n, k)
    sets = np.fromiter(itertools.chain.from_iterable(itertools.combinations(range(n * n), k)), np.int64).reshape(total, k)
    # The rank of an ascending set c_1 < c_2 < … among all of them is Σ C(c_i, i): a number for each set, without gaps.
    ranks = np.array([[min(math.comb(cell, i + 1), total) for i in range(k)] for cell in range(n * n)])
    images = [ranks[np.sort(image[sets], axis=1), np.arange(k)].sum(axis=1) for image in orbits(n)]
    _, chosen, copies = np.unique(np.min(images, axis=0), return_index=True, return_counts=True)
    return ButtonSets(sets[chosen], copies / total, sampled=False)


@functools.lru_cache(maxsize=8)
def sample_sets(n: int, k: int, num: int) -> ButtonSets:
    """Draws ``num`` sets of ``k`` cells of an ``n`` × ``n`` grid with a fixed seed."""
    rng = np.random.default_rng(SEED)
    sets = np.stack([np.sort(rng.choice(n * n, k, replace=False)) for _ in range(num)])
    return ButtonSets(sets, np.full(num, 1 / num), sampled=True)


def button_sets(n: int, k: int, most: float) -> ButtonSets:
    """All sets if (up to symmetry) they are at most ``most``, else a sample of so many, at most ``MOST_SETS``."""
    if math.comb(n * n, k) <= MOST_ENUMERATED and len(all_sets(n, k).weights) <= most:
        return all_sets(n, k)
    return sample_sets(n, k, int(min(most, MOST_SETS)))
