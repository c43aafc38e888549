"""MountainCar's values at the study's size: both paths of batch TD, and Monte Carlo by a simulator that shares no code."""

import functools
import importlib.util
import pathlib

import numpy as np
import pandas as pd
import pytest

from mbrl_agents.td_dynamics.episode_sampling import sample
from mbrl_agents.td_dynamics.episode_store import Episodes
from mbrl_agents.td_dynamics.least_squares import count, td_values
from mbrl_agents.td_dynamics.linear_features import FourierModes
from mbrl_agents.td_dynamics.policy_evaluation import evaluate, gram_scale
from mbrl_envs import MountainCar

ENV, POSITIONS, GAMMA, NUMBER = MountainCar(), 351, 0.99, 1000
TRANSITIONS = 350
MODES = FourierModes(ENV.observation_space.low, ENV.observation_space.high, (42, 28))
POLICY = np.where(np.arange(1176) % 28 >= 14, 2, 0)  # with the motion: in about 120 steps it reaches the goal
GROUPS = np.arange(NUMBER) * 20 // NUMBER  # for standard errors


@pytest.fixture(scope="module")
def episodes():
    return sample(ENV, MODES, POLICY, num_episodes=NUMBER, steps=POSITIONS, seed=3)


def test_the_general_path_gives_the_weights_of_the_tabular_one(episodes):
    """2352 features, learning rate .1 / 350, 120 updates."""
    table, few = MODES.table(), Episodes(*(each[:120] for each in episodes))
    assert gram_scale(table) == pytest.approx(1176)
    settings = {"gamma": GAMMA, "step_size": 0.1 / 350, "every": 60, "features": table}
    general = evaluate([few], 1176, path="general", **settings)
    tabular = evaluate([few], 1176, path="tabular", **settings)
    assert general.values.min() < -10
    np.testing.assert_allclose(tabular.values, general.values, atol=2e-5 * np.abs(general.values).max())
    np.testing.assert_allclose(tabular.weights, general.weights, atol=2e-5 * np.abs(general.weights).max())


def returns_by_cell(episodes):
    """Mean discounted return after the visits of each cell, its standard error, and the number of visits."""
    left = np.maximum(episodes.lengths[:, None].astype(int) - np.arange(TRANSITIONS), 0)
    returns = -(1 - GAMMA**left) / (1 - GAMMA)
    sums, visits = np.zeros((20, 1176)), np.zeros((20, 1176))
    where = np.broadcast_to(GROUPS[:, None], left.shape), episodes.cells[:, :-1]
    np.add.at(sums, where, returns)
    np.add.at(visits, where, 1)
    number = np.maximum(visits.sum(axis=0), 1)
    mean = sums.sum(axis=0) / number
    return mean, np.sqrt(np.square(sums - visits * mean).sum(axis=0)) / number, visits.sum(axis=0)


@functools.cache
def example():
    path = pathlib.Path(__file__).parents[3] / "examples" / "td_mountain_car.py"
    spec = importlib.util.spec_from_file_location("td_mountain_car", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_learns_as_published():
    """Tabular TD by hand: 350 transitions, rewards 0 after the goal, step size .1 · 1176 / 350 for the mean over a batch."""
    (block,) = example().blocks(POLICY, 1, seed=2)
    few = Episodes(*(each[:40] for each in block))
    assert few.cells.shape == (40, 351)
    assert few.lengths.max() < 350
    for size in (1, 4):
        values = np.zeros(1176)
        for first in range(0, 40, size):
            change = np.zeros(1176)
            for cells, length in zip(few.cells[first : first + size], few.lengths[first : first + size], strict=True):
                for t in range(350):
                    reward = -1.0 if t < length else 0.0
                    change[cells[t]] += reward + 0.99 * values[cells[t + 1]] - values[cells[t]]
            values += 0.1 * 1176 / 350 * change / size
        learner = example().learner_of(size, 0.1, every=1)
        learner.learn(few)
        np.testing.assert_allclose(learner.result.values, values, rtol=1e-3, atol=1e-3)
        assert values.min() < -5


def test_the_example_takes_the_policy_that_is_most_like_the_published_one():
    """It converges, .86 to .88 of its episodes take more than 200 steps, and it visits about 689 cells."""
    table = pd.DataFrame(
        {
            "seed": range(5),
            "past_200": [0.87, 0.86, 0.88, 0.95, 0.875],
            "cells": [689, 600, 680, 689, 300],
            "converges": [False, True, True, True, True],
        }
    )
    assert example().nearest(table) == 2
    assert example().nearest(table[table["seed"] == 3]) == 3
    assert example().plateau_batches(10_000_000) == 100_000
    assert example().plateau_batches(1_000) == 500


def test_plateaus_are_means_over_the_last_batches_of_each_study():
    batches = 10_000_000
    records = {}
    for (size, rate), length in example().lengths(batches).items():
        errors = np.zeros(length // example().record_interval(batches))
        errors[-50:] = rate / size  # the last 100 000 batches
        if length > 1_000_000:
            errors[450:500] = rate / size  # those of the batch-size study, which is a tenth as long
        records |= {f"{size} {rate} {kind}": errors for kind in ("monte_carlo", "all_cells", "visited")}
    _, plateaus = example().tables([records, records], batches)
    np.testing.assert_allclose(plateaus["plateau"], plateaus["learning_rate"] / plateaus["batch_size"])


def test_values_by_monte_carlo_are_those_of_an_independent_simulator(episodes):
    theirs, their_error = example().monte_carlo(POLICY, NUMBER, POSITIONS)
    ours, error, visits = returns_by_cell(episodes)
    often = visits > 300
    known = often & (error + their_error < 1e-9)  # always the same number of steps from the goal
    np.testing.assert_allclose(ours[known], theirs[known], atol=1e-9)
    often &= ~known
    z = (ours - theirs)[often] / np.hypot(error, their_error)[often]
    assert often.sum() > 100
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.4
    assert np.abs(z).max() < 5
    assert theirs[often].min() < -65
    # Cells are not quite states, so that TD's fixed point is another, but not by much.
    values = td_values(count([episodes], 1176), gamma=GAMMA)
    assert np.sqrt(np.average(np.square(values - theirs), weights=visits)) < 0.02 * 70
