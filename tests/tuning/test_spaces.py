"""Search spaces: what they hold, how they are typed, what is refused."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mbrl_agents.runs.environments import EnvironmentSpec
from tests.tuning.fakes import FLUTE, SMALL
from tuning import Range, Space, StudySpec, Values, create_study, factor_two_grid


def test_the_published_grid() -> None:
    steps, temperatures = factor_two_grid(3.125e-6, 1.6e-3).values, factor_two_grid(0.0125, 12.8).values
    assert (len(steps), len(temperatures)) == (10, 11)
    assert steps == (3.125e-6, 6.25e-6, 1.25e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3)
    assert temperatures == (0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8)


def test_as_typed() -> None:
    space = Space.parse(
        ["learning_rate=log:1e-5:1e-2", "temperature=0.1,0.2", "gamma=uniform:0.8:0.99", "n=int:1:9", "e=grid2:1:4", "w=a,b"]
    )
    assert space.dimensions == {
        "learning_rate": Range(1e-5, 1e-2, log=True),
        "temperature": Values((0.1, 0.2)),
        "gamma": Range(0.8, 0.99),
        "n": Range(1, 9, integer=True),
        "e": Values((1.0, 2.0, 4.0)),
        "w": Values(("a", "b")),
    }
    assert space.distributions()["learning_rate"] == FloatDistribution(1e-5, 1e-2, log=True)
    assert space.distributions()["temperature"] == CategoricalDistribution((0.1, 0.2))
    assert space.distributions()["n"] == IntDistribution(1, 9)
    assert space.size is None
    assert Space.of({"temperature": [0.1, 0.2], "gamma": (0.9,)}).size == 2


def test_numpys_numbers_are_numbers(tmp_path: pathlib.Path) -> None:
    """They are stored as Python's: in lists, as the ends of ranges, through JSON, and by the user's route."""
    space = Space.of(
        {
            "target_update_interval": [np.int64(50), np.int32(100)],
            "learning_rate": Range(np.float64(1e-4), np.float32(0.5)),
            "n": Range(np.int64(1), np.int16(9), integer=np.bool_(True)),
            "w": Values((np.str_("a"), np.bool_(True))),
            "gamma": np.array([0.5, 0.9]),
        }
    )
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    assert [type(value) for value in space.dimensions["target_update_interval"].probes] == [int, int]
    assert space.dimensions["w"] == Values(("a", True))
    with pytest.raises(ValueError, match="values must differ"):
        Values((np.int64(3), 3))
    study = create_study(
        *("ReplayDQN", FLUTE, {"target_update_interval": list(np.arange(10, 30, 10))}),
        **{"total_timesteps": 100, "folder": tmp_path, "arguments": SMALL},
    )
    assert study.spec.space.size == 2


def test_stored_and_read_back() -> None:
    space = Space.parse(["learning_rate=log:1e-5:1e-2", "temperature=0.1,0.2", "n=int:1:9"])
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "the search space is empty: name at least one"),
        ({"gamma": []}, "gamma: a list of values must have at least one"),
        ({"gamma": [0.9, 0.9]}, "gamma: values must differ"),
        ({"gamma": [float("nan")]}, "gamma: values must be finite"),
        ({"gamma": [[0.9]]}, "gamma: values must be numbers, words or truth values"),
        ({"gamma": 0.9}, "gamma: a dimension must be a list of values"),
        ({"gamma": "log:0:1"}, "gamma: low must be a finite number above 0, got 0.0"),
        ({"gamma": "log:2:1"}, "gamma: high must be a finite number of at least 2, got 1.0"),
        ({"gamma": "log:1:1"}, "gamma: a range must have more than one value"),
        ({"gamma": "log:1"}, "gamma: must look like log:LOW:HIGH with two numbers, got '1'"),
        ({"gamma": "log:a:b"}, "gamma: must look like log:LOW:HIGH"),
        ({"gamma": "int:1:2.5"}, "gamma: a range of integers must have integers as its ends"),
        ({"gamma": "grid2:1:3"}, "gamma: high must be low times a power of two, got 3 and 1: the nearest is 4"),
        ({"gamma": "0.9,,1"}, "gamma must have values between its commas"),
    ],
)
def test_no_space(given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Space.of(given)


@pytest.mark.parametrize(
    ("texts", "message"), [(["gamma"], "must look like NAME=VALUE"), (["a=1", "a=2"], "--space a is given twice")]
)
def test_mistyped(texts: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Space.parse(texts)


def spec(space: Any, **more: Any) -> StudySpec:
    return StudySpec("ReplayDQN", EnvironmentSpec(FLUTE), Space.of(space), 100, **({"arguments": SMALL} | more))


@pytest.mark.parametrize(
    ("space", "more", "message"),
    [
        ({"lerning_rate": [1e-3]}, {}, "no argument 'lerning_rate' .did you mean 'learning_rate'"),
        ({"seed": [1, 2]}, {}, "'seed' cannot be set here; use the argument seeds"),
        ({"gamma": [0.9, 1.5]}, {}, "gamma"),
        ({"gamma": Range(0.5, 1.5)}, {"sampler": "tpe"}, "gamma"),
        ({"learning_rate": Values(("fast",))}, {}, "learning_rate"),
        ({"gradient_steps": [1, 2], "gamma": [0.9, 0.95]}, {}, "gradient_steps cannot be searched: it shapes the program"),
        ({"exploration": ["softmax", "epsilon_greedy"]}, {}, "exploration cannot be searched: it shapes the program"),
        ({"batch_size": [8, 16]}, {"arguments": {}}, "batch_size cannot be searched"),
        ({"batch_size": [8, 16]}, {}, "batch_size: in the search space and among the fixed arguments"),
        ({"gamma": Range(0.5, 0.9)}, {}, "a grid needs lists of values, and gamma has a range"),
        ({"gamma": [0.5, 0.9]}, {"sampler": "cmaes"}, "cmaes needs at least one range"),
        ({"gamma": [0.5, 0.9]}, {"sampler": "best"}, "sampler must be one of"),
        ({"gamma": [0.5, 0.9]}, {"objective": "worst"}, "objective must be one of final, mean, max, min, auc"),
        ({"gamma": [0.5, 0.9]}, {"direction": "up"}, "direction must be one of"),
        ({"gamma": [0.5, 0.9]}, {"seeds_per_trial": 0}, "seeds_per_trial must be"),
    ],
)
def test_refused_at_the_door(space: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        spec(space, **more).check()


def test_a_good_one() -> None:
    spec({"learning_rate": "grid2:3.125e-6:1.6e-3", "temperature": "grid2:0.0125:12.8"}).check()
    spec({"learning_rate": "log:1e-5:1e-2", "temperature": "0.1,0.2"}, sampler="cmaes").check()
