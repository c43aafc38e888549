"""The published settings say what the reference says, number for number, and the random walk has the published losses."""

from __future__ import annotations

import functools
import importlib.util
import pathlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from mbrl_agents import td_dynamics as td
from mbrl_agents.td_dynamics.published import study_names

# Written down from the reference, not from the file.
REFERENCE: dict[str, dict[str, Any]] = {
    "decoupled": {
        "features": 300, "times": 50, "spectrum": -1.2, "correlation_time": 10, "rewards": -1.1, "num_steps": 500,
    },
    "batch": {"gamma": 0.9, "step_size": 0.025, "batch_size": [1, 5, 10, 25, 50]},
    "discount": {"gamma": [0.1, 0.25, 0.5, 0.8, 0.9]},
    "step_size": {"step_size": [0.01, 0.02, 0.05, 0.1]},
    "schedules": {"step_size": 0.2, "batch_size": 10, "exponents": [0, 0.2, 0.75, 1.25], "scan": [0, 2, 20]},
    "shaping": {"shares": [-0.8, -0.5, 0, 0.5, 1], "batch_size": 25},
    "rotated_shaping": {"angles": [0, 1 / 4, 1 / 2], "batch_size": 30, "reward_feature": 16},
    "walk": {"grid_size": 17, "edges": "bounce", "positions": 51, "centred": True, "goal": [11, 11]},
    "place_widths": {"widths": [0.25, 0.5, 0.75, 1], "step_size": 0.1, "gamma": 0.85, "batch_size": 2},
    "reward_functions": {"goals": [[11, 11], [14, 14]], "gamma": 0.75, "step_size": 0.05, "batch_size": 2},
    "reward_noise": {"reward_noise": [0, 2.5]},
    "mountain_car": {
        "cells": [42, 28],
        "q_learning": {"num_episodes": 2000, "max_steps": 1000, "learning_rate": 0.1, "gamma": 0.99, "epsilon": 0.1},
        "positions": 351, "share_past_200": [0.86, 0.88], "visited_cells": 689, "batch_sizes": [1, 2, 4, 8], "usual_rate": 0.1,
        "learning_rates": [0.01, 0.02, 0.05, 0.1, 0.2], "runs": 10, "episodes": 10_000_000, "plateau_batches": 100_000,
    },
}  # fmt: skip
# L(n) / L(0) of the walk with places of width .5, η = .1, γ = .85, B = 2.
WALK_LOSSES = {50: 0.2423, 100: 0.0786, 200: 0.0206, 500: 0.0108}


def test_the_file_says_what_the_reference_says() -> None:
    assert set(study_names()) == set(REFERENCE)
    for name, wanted in REFERENCE.items():
        assert td.published_study(name).published == wanted, name


def test_what_is_ours_is_apart_and_copies_are_the_callers() -> None:
    for name in study_names():
        study = td.published_study(name)
        assert not set(study.published) & set(study.ours)
        assert study.settings == {**study.published, **study.ours}
    td.published_study("batch").published["batch_size"].append(7)
    assert td.published_study("batch").published["batch_size"] == [1, 5, 10, 25, 50]
    with pytest.raises(ValueError, match="name must be one of 'decoupled'"):
        td.published_study("bach")


@functools.cache
def example() -> ModuleType:
    path = pathlib.Path(__file__).parents[3] / "examples" / "td_theory.py"
    spec = importlib.util.spec_from_file_location("td_theory", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example_losses(num_steps: int) -> np.ndarray:
    """L(n) / L(0) of the example's walk."""
    scale = example().Scale()
    chain = example().place_cells(scale, 0.5)
    weights = chain.reward_weights(example().walk_rewards(scale))
    losses = td.theory_curve(
        chain, weights, gamma=0.85, step_size=0.1, batch_size=2, num_steps=num_steps, check_stability=False
    )
    return losses / losses[0]


def test_the_walk_has_the_published_losses() -> None:
    found = example_losses(100)
    for n in (50, 100):
        assert f"{found[n]:.4f}" == f"{WALK_LOSSES[n]:.4f}"


@pytest.mark.slow
def test_the_walk_has_the_published_losses_to_the_end() -> None:
    found = example_losses(500)
    assert {n: f"{found[n]:.4f}" for n in WALK_LOSSES} == {n: f"{each:.4f}" for n, each in WALK_LOSSES.items()}


def plain_walk(bounce: bool) -> np.ndarray:
    """The transition matrix, by a loop over cells and directions."""
    moves = np.zeros((289, 289))
    for row in range(17):
        for column in range(17):
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                to = [row + down, column + right]
                for i in (0, 1):
                    if not 0 <= to[i] <= 16:
                        to[i] = {-1: 1, 17: 15}[to[i]] if bounce else min(max(to[i], 0), 16)
                moves[17 * row + column, 17 * to[0] + to[1]] += 1 / 4
    return moves


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        ({}, True),
        ({"bounce": False}, False),
        *(
            pytest.param(changes, False, marks=pytest.mark.slow)
            for changes in ({"positions": 50}, {"centred": False}, {"goal": (14, 14)}, {"reward_width": 1.0})
        ),
    ],
    ids=lambda each: str(each),
)
def test_which_options_have_the_published_losses(changes: dict[str, Any], agrees: bool) -> None:
    """Bouncing, 51 positions, centring and a bump of width .75 at (11, 11), together; by arrays made here."""
    options: dict[str, Any] = {"bounce": True, "positions": 51, "centred": True, "goal": (11, 11), "reward_width": 0.75}
    options |= changes
    places = np.array([(row, column) for row in range(17) for column in range(17)])
    features = np.exp(-((places[:, None] - places) ** 2).sum(axis=-1) / (2 * 0.5**2))
    rewards = np.exp(-((places - options["goal"]) ** 2).sum(axis=-1) / (2 * options["reward_width"] ** 2))
    if options["centred"]:
        features, rewards = features - features.mean(axis=0), rewards - rewards.mean()
    chain = td.ChainCovariance(plain_walk(options["bounce"]), np.eye(289)[8 * 17 + 8], features, num_steps=options["positions"])
    weights = np.linalg.lstsq(features, rewards, rcond=1e-8)[0]
    losses = td.theory_curve(chain, weights, gamma=0.85, step_size=0.1, batch_size=2, num_steps=50, check_stability=False)
    assert (f"{losses[50] / losses[0]:.4f}" == "0.2423") == agrees


def test_rotated_shaping() -> None:
    weights, towards = np.array([0.0, 2.0, 0.0]), np.array([0.0, 5.0, 1.0])
    for angle in (0, np.pi / 4, np.pi / 2, -np.pi / 2):
        wanted = 2 * np.array([0, np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(td.rotated_shaping(weights, angle, towards), wanted, atol=1e-12)
    for wrong in (np.zeros(3), 3 * weights, -weights):
        with pytest.raises(ValueError, match="weights and towards must span a plane"):
            td.rotated_shaping(weights, 1.0, wrong)
    with pytest.raises(ValueError, match="towards must have a weight for each of 3 features"):
        td.rotated_shaping(weights, 1.0, np.ones(2))
    with pytest.raises(ValueError, match="angle must be"):
        td.rotated_shaping(weights, np.nan, towards)


def test_a_potential_that_holds_a_share_of_the_values_leaves_the_rest() -> None:
    """e₀ = (1 + β) w_V, so that the first loss is (1 + β)² times that without; and half a turn of w_V is −w_V."""
    covariance = td.DecoupledCovariance(np.stack([np.eye(4), 0.5 * np.eye(4)]))
    rewards = np.array([1.0, -0.5])
    setting: dict[str, Any] = {"gamma": 0.5, "step_size": 0.1, "batch_size": 2, "num_steps": 1}
    values = td.fixed_point(covariance, rewards, gamma=0.5)
    first = td.theory_curve(covariance, rewards, **setting)[0]
    for share in (-0.8, 0.5):
        found = td.theory_curve(covariance, rewards, shaping=share * values, **setting)[0]
        assert found == pytest.approx((1 + share) ** 2 * first)
    turned = td.rotated_shaping(values, np.pi, np.array([1.0, 0.0]))
    assert td.theory_curve(covariance, rewards, shaping=turned, **setting)[0] == pytest.approx(0, abs=1e-12)
