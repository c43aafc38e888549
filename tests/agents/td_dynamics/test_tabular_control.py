"""Tabular Q-learning where the answer is known."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_agents.td_dynamics.linear_features import TabularBins
from mbrl_agents.td_dynamics.tabular_control import q_learning
from mbrl_envs import FunctionalEnv, MountainCar, OpenGrid, Transition
from mbrl_envs.rendering import Picture

GOAL = 4


class Place(NamedTuple):
    at: jax.Array


@dataclasses.dataclass(frozen=True)
class Corridor(FunctionalEnv[Place, None]):
    """From place 0 to 4, left or right by one, −1 a step."""

    env_id: ClassVar[str] = "Corridor"
    continuing: ClassVar[bool] = False

    observation_space = spaces.Box(np.float32([0]), np.float32([GOAL]))
    action_space = spaces.Discrete(2)

    def reset(self, key):
        return Place(jnp.float32(0))

    def events(self, key):
        return None

    def transition(self, state, action, events):
        at = jnp.clip(state.at + 2 * action - 1, 0, GOAL)
        return Transition(Place(at), jnp.float32(-1), at >= GOAL)

    def observe(self, state):
        return state.at[None]

    def picture(self, state):
        return Picture(np.array([["empty"]], dtype=object))


CELLS = TabularBins([-0.5], [GOAL + 0.5], GOAL + 1)
SETTINGS = {"num_episodes": 200, "max_steps": 50, "learning_rate": 1.0, "gamma": 0.9, "epsilon": 0.5}


def test_it_finds_the_best_values_and_policy():
    table = q_learning(Corridor(), CELLS, **SETTINGS)
    value = [-(1 - 0.9 ** (GOAL - place)) / 0.1 for place in range(GOAL + 1)]
    for place in range(GOAL):
        left, right = (max(place - 1, 0), place + 1)
        np.testing.assert_allclose(table.values[place], [-1 + 0.9 * value[left], -1 + 0.9 * value[right]], atol=1e-4)
    assert table.policy[:GOAL].tolist() == [1] * GOAL
    assert ((table.values[GOAL] >= 0) & (table.values[GOAL] < 1)).all()  # never left, so as it began
    assert table.lengths.shape == (200,)
    assert table.lengths.min() >= GOAL
    assert table.lengths.max() <= 50


def test_without_chance_lengths_are_known_and_seeds_matter():
    greedy = q_learning(Corridor(), CELLS, **{**SETTINGS, "epsilon": 0.0})
    assert (greedy.lengths[-50:] == GOAL).all()
    cut = q_learning(Corridor(), CELLS, **{**SETTINGS, "max_steps": 3})
    assert (cut.lengths == 3).all()
    again, other = (q_learning(Corridor(), CELLS, **SETTINGS, seed=seed) for seed in (0, 1))
    first = q_learning(Corridor(), CELLS, **SETTINGS)
    np.testing.assert_array_equal(again.lengths, first.lengths)
    assert (other.lengths != first.lengths).any()


def test_the_learning_rate_is_the_published_one_unless_another_is_asked_for():
    """A single step changes a single entry by .1 of its error, −1 + .9 · (the best of the next place) − Q."""
    before = q_learning(Corridor(), CELLS, num_episodes=1, max_steps=1, learning_rate=1e-9, gamma=0.9, seed=4).values
    after = q_learning(Corridor(), CELLS, num_episodes=1, max_steps=1, gamma=0.9, seed=4).values
    ((cell, action),) = np.argwhere(before != after)
    assert cell == 0
    error = -1 + 0.9 * before[action].max() - before[0, action]  # left (0) stays at place 0, right (1) leads to 1
    assert after[0, action] - before[0, action] == pytest.approx(0.1 * error, rel=1e-5)


@pytest.mark.parametrize(
    ("env", "cells", "changes", "message"),
    [
        (MountainCar(), CELLS, {}, "of 1 entries; observations are"),
        (OpenGrid(), CELLS, {}, "of 1 entries"),
        (Corridor(), CELLS, {"gamma": 1.5}, "gamma"),
        (Corridor(), CELLS, {"learning_rate": 0}, "learning_rate"),
        (Corridor(), CELLS, {"epsilon": -0.1}, "epsilon"),
        (Corridor(), CELLS, {"num_episodes": 0}, "num_episodes"),
        (Corridor(), CELLS, {"max_steps": 1.5}, "max_steps"),
        (Corridor(), CELLS, {"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(env, cells, changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        q_learning(env, cells, **{**SETTINGS, **changes})
