"""Chains whose episodes end, and rewards by state: closed forms, an absorbing state told explicitly, enumeration."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np
import pytest

from mbrl_agents import td_dynamics as td
from mbrl_agents.td_dynamics.feature_draws import drawer
from tests.agents.td_dynamics import plain

TWO = np.array([[0.5, 0.3], [0.1, 0.6]])  # the episode ends with .2 after state 0, with .3 after state 1
REWARDS = np.array([1.0, -2.0])


def ring(times: int = 6) -> td.ChainCovariance:
    """The drifting ring of the other tests, whose episodes end in two of its states; after one of them always."""
    chain = plain.ring(times=times)
    moves = chain.transitions * np.array([1, 0.4, 1, 1, 0])[:, None]
    return td.ChainCovariance(moves, chain.start, chain.features, num_steps=times)


def told(chain: td.ChainCovariance) -> td.ChainCovariance:
    """The same with one more state, where ended episodes stay for good, without features."""
    states, missing = len(chain.start), 1 - chain.transitions.sum(axis=1)
    moves = np.zeros((states + 1, states + 1))
    moves[:-1, :-1], moves[:-1, -1], moves[-1, -1] = chain.transitions, missing, 1
    features = np.vstack([chain.features, np.zeros((1, chain.num_features))])
    return td.ChainCovariance(moves, np.append(chain.start, 0), features, num_steps=chain.num_steps)


def test_values_of_two_states_are_the_closed_form() -> None:
    """V = (I − γP)⁻¹ r: by hand, with γ = .9, D = .55 · .46 − .27 · .09 = .2287."""
    chain = td.ChainCovariance(TWO, [1.0, 0.0], num_steps=30)
    found = td.fixed_point(chain, chain.reward_weights(REWARDS), gamma=0.9)
    np.testing.assert_allclose(found, [(0.46 - 0.27 * 2) / 0.2287, (0.09 - 0.55 * 2) / 0.2287], rtol=1e-10)
    np.testing.assert_allclose(chain.ends, [0.2, 0.3])
    # Expected visits at the first 29 times, from the geometric sum of P.
    expected = np.array([1.0, 0.0]) @ np.linalg.solve(np.eye(2) - TWO, np.eye(2) - np.linalg.matrix_power(TWO, 29))
    np.testing.assert_allclose(chain.visits, expected, rtol=1e-12)


def test_the_fixed_point_of_rewards_by_state_is_that_of_td() -> None:
    """w = (Φᵀ D (I − γP) Φ)⁻¹ Φᵀ D r, also for rewards that no weights give (Tsitsiklis & Van Roy 1997)."""
    chain = ring()
    rewards = np.array([0.3, -1.0, 2.0, 0.5, 1.5])
    moves = chain.transitions
    at, visits = chain.start, np.zeros(5)
    for _ in range(5):
        visits, at = visits + at, at @ moves
    by_visits = chain.features.T * visits
    wanted = np.linalg.solve(by_visits @ (np.eye(5) - 0.8 * moves) @ chain.features, by_visits @ rewards)
    with pytest.warns(RuntimeWarning, match=r"rewards lie outside the span of the features: 0\.\d+ of their root mean square"):
        weights = chain.reward_weights(rewards)
    np.testing.assert_allclose(td.fixed_point(chain, weights, gamma=0.8), wanted, rtol=1e-9)
    inside = chain.features @ [1.0, 0.2, -0.5, 0.3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = chain.reward_weights(inside)
    np.testing.assert_allclose(found, [1.0, 0.2, -0.5, 0.3], rtol=1e-9)


@pytest.mark.parametrize("fourth_moments", ["published", "gaussian", "exact"])
def test_the_end_is_as_good_as_a_state_without_features(fourth_moments: str) -> None:
    chain, rewards = ring(), np.array([1.0, 0.2, -0.5, 0.3])
    setting: dict[str, Any] = {"gamma": 0.8, "step_size": 0.3, "batch_size": 2, "num_steps": 8, "reward_noise": 0.4}
    one, other = (td.theory_curve(each, rewards, fourth_moments=fourth_moments, **setting) for each in (chain, told(chain)))
    np.testing.assert_allclose(one, other, rtol=1e-10)
    assert one[-1] < 0.8 * one[0]


def test_the_exact_curve_is_that_of_all_trajectories() -> None:
    chain, rewards = ring(times=4), np.array([1.0, 0.2, -0.5, 0.3])
    found = td.theory_curve(chain, rewards, gamma=0.8, step_size=0.4, batch_size=1, num_steps=2, fourth_moments="exact")
    wanted = plain.enumerated(told(chain), rewards, 0.8, 0.4, 1, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize("source", ["process", "gaussian"])
def test_draws_have_the_covariance(source: str) -> None:
    chain = ring(times=4)
    draws = np.asarray(drawer(chain, source).draw(jax.random.PRNGKey(0), 60_000), np.float64)
    assert np.abs(td.EpisodeCovariance(draws).blocks() - chain.blocks()).max() < 0.02
    if source == "process":
        ended = (draws == 0).all(axis=2)
        alive = [chain.start @ np.linalg.matrix_power(chain.transitions, t) @ np.ones(5) for t in range(4)]
        np.testing.assert_allclose(ended.mean(axis=0), 1 - np.array(alive), atol=0.01)
        assert (ended[:, 1:] >= ended[:, :-1]).all()  # for good


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transitions": [[0.5, 0.6], [0.4, 0.6]]}, "transitions must be probabilities that sum to at most 1 in every row"),
        ({"transitions": [[1.5, -0.5], [0.4, 0.6]]}, "transitions must be probabilities .* entries from -0.5"),
        ({"start": [0.5, 0.4]}, "start must be probabilities that sum to 1, got sum 0.9"),
    ],
)
def test_bad_probabilities(changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"transitions": TWO, "start": [1.0, 0.0], "num_steps": 3}
    with pytest.raises(ValueError, match=message):
        td.ChainCovariance(**(good | changes))


def test_bad_rewards() -> None:
    chain = td.ChainCovariance(TWO, [1.0, 0.0], num_steps=3)
    with pytest.raises(ValueError, match="rewards must have one number for each of 2 states"):
        chain.reward_weights([1.0])
