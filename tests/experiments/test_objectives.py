"""Objectives, on a curve whose numbers can be worked out by hand; and names that they had before."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mbrl_agents.experiments.objectives import checked_objective, objective_value
from mbrl_agents.runs.old_names import todays_objective, with_todays_names

CURVE = pd.Series([0.0, 4.0, 3.0, 2.0], [0, 50, 95, 100])


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ("final", 2.5),
        ("mean", 2.25),
        ("max", 4),
        ("min", 0),
        ("last-1", 2),
        ("last-3", 3),
        ("last-9", 2.25),
        ("auc", (2 * 50 + 3.5 * 45 + 2.5 * 5) / 100),
    ],
)
def test_of_a_curve(objective: str, value: float) -> None:
    assert checked_objective(objective) == objective
    assert objective_value(CURVE, objective, 100) == pytest.approx(value, rel=1e-15)
    assert (objective_value(CURVE, objective, 200) is None) == (objective == "final")
    assert objective_value(CURVE[:0], objective, 100) is None
    assert objective_value(CURVE[2:3], objective, 100) == 3


def test_the_area_is_the_mean_of_a_curve_that_is_measured_ever_more_densely() -> None:
    timesteps = range(0, 1001)
    dense = pd.Series([(t / 1000) ** 2 for t in timesteps], timesteps)
    uneven = dense[[0, *range(500, 1001)]]  # nothing is known of the first half but its ends
    assert objective_value(dense, "auc", 1000) == pytest.approx(1 / 3, abs=1e-6)
    assert objective_value(uneven, "auc", 1000) == pytest.approx(0.25 / 4 + 7 / 24, abs=1e-6)
    assert objective_value(uneven, "mean", 1000) == pytest.approx(7 / 12, abs=2e-3)


@pytest.mark.parametrize("name", ["best", "last", "last-0", "last-", "last--1", "last-x", "final-2", "", None, 3, ["final"]])
def test_unknown(name: Any) -> None:
    with pytest.raises(
        ValueError, match="found: objective must be one of final, mean, max, min, auc, or last-K such as last-1"
    ):
        checked_objective(name, "found: objective")


def test_names_of_earlier_versions() -> None:
    assert with_todays_names({"steps": 1, "num_envs": 2, "first_seed": 3, "eval_steps": 4}) == {
        "total_timesteps": 1,
        "n_envs": 2,
        "seed": 3,
        "eval_steps": 4,
    }
    old = {"final": "final", "auc": "mean", "last": "last-1", "last-3": "last-3"}
    assert {name: todays_objective(name, "maximize") for name in old} == old
    assert [todays_objective("best", direction) for direction in ("maximize", "minimize")] == ["max", "min"]
