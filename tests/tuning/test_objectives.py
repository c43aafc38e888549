"""Objectives, on curves whose numbers can be worked out by hand."""

from __future__ import annotations

import pytest

from tuning.objectives import Curve, Objective

RISING = Curve(0, (0, 50, 95, 100), (0.0, 4.0, 3.0, 2.0))
NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "direction", "value"),
    [
        ("final", "maximize", 2.5),
        ("mean", "maximize", 2.25),
        ("auc", "maximize", 2.7),  # (2 * 50 + 3.5 * 45 + 2.5 * 5) / 100 = 2.7
        ("max", "maximize", 4.0),
        ("min", "minimize", 0.0),
        ("last-1", "maximize", 2.0),
        ("last-3", "minimize", 3.0),
        ("last-9", "maximize", 2.25),
    ],
)
def test_of_a_run(name: str, direction: str, value: float) -> None:
    assert Objective(name, direction, 100).of_run(RISING) == value


def test_a_trial_is_the_mean_of_its_runs() -> None:
    outcome = Objective("last-1", "maximize", 100).of_trial([RISING, RISING._replace(seed=1, scores=(0.0, 0.0, 0.0, 4.0))])
    assert outcome == (3.0, (2.0, 4.0), 0)


@pytest.mark.parametrize("name", ["final", "auc", "max", "min", "mean", "last-2"])
@pytest.mark.parametrize("curve", [RISING._replace(diverged=True), Curve(0, (0, 50, 95, 100, 110), (0.0, 4.0, 3.0, 2.0, NAN))])
def test_a_diverged_run_counts_with_its_worst(name: str, curve: Curve) -> None:
    assert Objective(name, "maximize", 100).of_trial([curve, RISING._replace(scores=(2.0,) * 4)]) == (1.0, (0.0, 2.0), 1)
    assert Objective(name, "minimize", 100).of_run(curve) == 4.0


def test_a_run_without_any_number_fails_the_trial() -> None:
    nothing = Curve(1, (0,), (NAN,))
    assert Objective("final", "maximize", 100).of_trial([RISING, nothing]) == (None, (2.5, None), 1)
    assert Objective("final", "maximize", 100).of_trial([]).value is None


def test_an_evaluation_interval_that_leaves_none_at_the_end() -> None:
    assert Objective("final", "maximize", 100).of_run(Curve(0, (0, 50), (1.0, 2.0))) == 2.0


@pytest.mark.parametrize("name", ["best", "last", "last-0", "last-", "last--1", "last-x", "final-2"])
def test_unknown(name: str) -> None:
    with pytest.raises(ValueError, match="objective must be one of"):
        Objective(name, "maximize", 100)
