"""n-step returns, priorities and TD errors, against sequences computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from mbrl_agents.r2d2.targets import n_step_returns, sequence_priorities


def returns_of(rewards: list[float], last: int, terminated: bool, gamma: float, n_steps: int) -> tuple[list, list, list]:
    found = n_step_returns(
        np.array(rewards, np.float32)[:, None], np.array([last]), np.array([terminated]), gamma=gamma, n_steps=n_steps
    )
    return tuple(each[:, 0].tolist() for each in found)  # type: ignore[return-value]


def test_within_an_episode() -> None:
    returns, discounts, bootstrap = returns_of([1, 2, 4, 8, 16], last=5, terminated=False, gamma=0.5, n_steps=2)
    assert returns == [2, 4, 8, 16]  # 1 + 2/2, 2 + 4/2, …
    assert discounts == [0.25] * 4
    assert bootstrap == [2, 3, 4, 5]


def test_termination_inside_the_sequence() -> None:
    """The episode ends at observation 3; what follows is padding, whose rewards (here 8 and 16) must not count."""
    returns, discounts, bootstrap = returns_of([1, 2, 4, 8, 16], last=3, terminated=True, gamma=0.5, n_steps=2)
    assert returns[:3] == [2, 4, 4]
    assert discounts[:3] == [0.25, 0, 0]
    assert bootstrap[:3] == [2, 3, 3]


def test_truncation_inside_the_sequence_bootstraps_from_the_final_observation() -> None:
    returns, discounts, bootstrap = returns_of([1, 2, 4, 8, 16], last=3, terminated=False, gamma=0.5, n_steps=2)
    assert returns[:3] == [2, 4, 4]
    assert discounts[:3] == [0.25, 0.25, 0.5]  # one step before the end, only one reward is left
    assert bootstrap[:3] == [2, 3, 3]


def test_an_end_in_the_last_observation_of_the_window() -> None:
    returns, discounts, bootstrap = returns_of([1, 1, 1, 1], last=4, terminated=True, gamma=1.0, n_steps=3)
    assert (returns, discounts, bootstrap) == ([3, 3], [1, 0], [3, 4])


def test_episodes_shorter_than_n() -> None:
    for terminated, discount in ((True, 0.0), (False, 0.9)):
        returns, discounts, bootstrap = returns_of([7, 0, 0, 0, 0, 0], last=1, terminated=terminated, gamma=0.9, n_steps=5)
        assert (returns[0], discounts[0], bootstrap[0]) == (7, pytest.approx(discount), 1)
        assert np.isfinite([returns, discounts]).all()


def test_priorities_mix_largest_and_mean_error() -> None:
    errors = np.array([[1.0, -3.0], [-2.0, 9.0], [100.0, 1.0]])
    trained = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])  # 100 and 9 are padding or burn-in
    np.testing.assert_allclose(sequence_priorities(errors, trained, eta=0.9), [0.9 * 2 + 0.1 * 1.5, 0.9 * 3 + 0.1 * 2])
    np.testing.assert_allclose(sequence_priorities(errors, trained, eta=0.0), [1.5, 2])
