"""Statistics against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mbrl_agents.experiments.statistics import (
    Interval,
    describe,
    interquartile_mean,
    mean_band,
    mean_interval,
    probability_of_improvement,
    steps_until_held,
    stratified_bootstrap,
)


def test_a_row_says_only_what_can_be_said() -> None:
    known = [sum(not np.isnan(value) for value in describe([2.0] * runs).values()) for runs in range(6)]
    assert known == [0, 1, 4, 4, 4, 7]


def test_t_interval_of_three_numbers() -> None:
    # Mean 2, standard error 1/√3, t quantile 4.3027 with two degrees of freedom.
    low, high = mean_interval([1, 2, 3])
    assert low == pytest.approx(2 - 4.30265 / np.sqrt(3), abs=1e-4)
    assert high == pytest.approx(2 + 4.30265 / np.sqrt(3), abs=1e-4)
    assert mean_interval([1]) is None
    assert mean_interval([5, 5, 5]) == (5, 5)


def test_t_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = [low <= 1 <= high for low, high in (mean_interval(rng.normal(1, 2, 3)) for _ in range(2000))]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_interquartile_mean() -> None:
    assert interquartile_mean([0, 1, 2, 1000]) == 1.5
    np.testing.assert_allclose(interquartile_mean(np.array([[0, 1, 2, 9], [4, 4, 4, 4]]), axis=1), [1.5, 4])


def test_the_bootstrap_keeps_to_its_strata() -> None:
    # Two tasks far apart: resampled together the mean would vary by the distance, within tasks hardly at all.
    tasks = [[0.0, 0.1] * 10, [10.0, 10.1] * 10]
    low, high = stratified_bootstrap(tasks, statistic=np.mean)
    assert 5.0 < low < 5.05 < high < 5.1
    assert high - low < 0.1
    assert stratified_bootstrap([[1.0]]) is None
    assert stratified_bootstrap([]) is None


def test_bands_stay_within_the_runs() -> None:
    values = np.array([[0.0, 1, 2], [1, 1, 1], [np.nan, 3, 4], [np.nan, np.nan, 7]])
    low, high = mean_band(values)
    np.testing.assert_array_equal(low[1:], [1, 3, 7])
    np.testing.assert_array_equal(high[1:], [1, 4, 7])
    assert 0 <= low[0] < 1 < high[0] <= 2


def test_probability_of_improvement_is_the_share_of_pairs() -> None:
    share, interval = probability_of_improvement([1, 2, 3], [0, 2])
    assert share == pytest.approx((1 + 0 + 1 + 0.5 + 1 + 1) / 6)
    assert interval is not None
    assert 0 <= interval.low < share < interval.high <= 1


def test_probability_of_improvement_where_all_runs_are_better_or_there_is_one() -> None:
    assert probability_of_improvement([5, 6], [1, 2, 3]) == (1.0, Interval(1.0, 1.0))
    assert probability_of_improvement([5], [1, 2, 3]) == (1.0, None)


def test_steps_until_a_score_is_held() -> None:
    curve = pd.Series([0, 5, 5, 0, 5, 6, 5, 1], index=range(0, 80, 10))
    assert steps_until_held(curve, 5, times=1) == 10
    assert steps_until_held(curve, 5, times=3) == 40
    assert steps_until_held(curve, 5, times=4) is None
    assert steps_until_held(curve, 0) == 0
