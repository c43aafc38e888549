"""Bad input of the cue–reward tasks is refused by a message that names it, what is allowed, and what was given."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from mbrl_envs.conditioning import (
    Babayan,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
    beliefs,
    prediction_errors,
    sample_trials,
    state_values,
    values,
)


@pytest.mark.parametrize(
    ("task", "kwargs", "error", "message"),
    [
        (CueReward, {"delays": ()}, ValueError, "delays must have 1 to 32 entries, got 0"),
        (CueReward, {"delays": 5}, TypeError, "delays must be a sequence"),
        (CueReward, {"delays": (-1,)}, ValueError, r"delays\[0\] must be an integer from 1 to 1000, got -1"),
        (CueReward, {"delays": (3, 1.5)}, TypeError, r"delays\[1\] must be an integer"),
        (
            CueReward,
            {"delays": (((2, 0.5), (3, 0.4)),)},
            ValueError,
            r"probabilities of delays\[0\] must sum to 1, got a sum of 0.9",
        ),
        (CueReward, {"delays": (((2, 0.5), (2, 0.5)),)}, ValueError, "name every delay once"),
        (CueReward, {"delays": (((2, 1.5), (3, -0.5)),)}, ValueError, "number of at least 0 and at most 1, got 1.5"),
        (CueReward, {"delays": (((0, 1.0),),)}, ValueError, "every delay of .* from 1 to 1000, got 0"),
        (CueReward, {"delays": (((2,),),)}, ValueError, "pairs"),
        (CueReward, {"omission": 1.1}, ValueError, "omission must be a finite number of at least 0 and at most 1, got 1.1"),
        (
            CueReward,
            {"omission": float("nan")},
            ValueError,
            "omission must be a finite number .*, got nan",
        ),
        (CueReward, {"omission": "often"}, TypeError, "omission must be a finite number"),
        (CueReward, {"omission": True}, TypeError, "omission must be a finite number"),
        (CueReward, {"reward": 0}, ValueError, "reward must be a finite number above 0"),
        (CueReward, {"cue_probabilities": (0.5, 0.4)}, ValueError, "cue_probabilities must sum to 1"),
        (CueReward, {"cue_probabilities": (1.0,)}, ValueError, "cue_probabilities must have 2 entries, got 1"),
        (CueReward, {"iti_min": -1}, ValueError, "iti_min must be an integer from 0 to 1000, got -1"),
        (CueReward, {"iti_probability": 0}, ValueError, "iti_probability must be a finite number above 0"),
        (CueReward, {"padding": 1.0}, TypeError, "padding must be an integer"),
        (CueReward, {"num_trials": 0}, ValueError, "num_trials must be an integer from 1 to 100, got 0"),
        (Starkweather, {"task": 3}, ValueError, "task must be one of 1, 2; got 3"),
        (Starkweather, {"odours": "BA"}, ValueError, "odours must be some of the letters 'ABCD', in this order, got 'BA'"),
        (Starkweather, {"odours": ""}, ValueError, "odours must be"),
        (Starkweather, {"odours": 1}, ValueError, "odours must be"),
        (Babayan, {"sizes": (1.0, 1.0)}, ValueError, "sizes must all be different"),
        (Babayan, {"sizes": (1.0, -1.0)}, ValueError, "every entry of sizes must be a finite number above 0"),
        (Babayan, {"size_probabilities": (0.5, 0.6)}, ValueError, "size_probabilities must sum to 1"),
        (Babayan, {"block_length": 0}, ValueError, "block_length must be an integer from 1 to 100"),
        (Babayan, {"delay": 5, "jitter": 5}, ValueError, "jitter must be an integer from 0 to 4, got 5"),
        (Contingency, {"phase": "extinction"}, ValueError, "phase must be one of 'conditioning', 'degradation', 'cued'"),
        (
            Contingency,
            {"reward_probability": -0.1},
            ValueError,
            "reward_probability must be a finite number .*, got -0.1",
        ),
        (VariableMagnitude, {"size_probabilities": (1.0,)}, ValueError, "size_probabilities must have 7 entries, got 1"),
        (VariableMagnitude, {"cued": 1}, TypeError, "cued must be True or False"),
        (
            VariableProbability,
            {"probabilities": (0.5, 2)},
            ValueError,
            "every entry of probabilities must be a finite number of at least 0 and at most 1",
        ),
        (VariableProbability, {"delay": 0}, ValueError, "delay must be an integer from 1 to 1000, got 0"),
    ],
)
def test_bad_arguments(task: Any, kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        task(**kwargs)


def test_a_task_with_too_many_states_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 200000 states"):
        CueReward((1000,) * 32, omission=0.1, num_trials=100).chain  # noqa: B018


GOOD = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("observations", "error", "message"),
    [
        (np.zeros((3, 3)), ValueError, r"shape \(T, 2\) or \(N, T, 2\), got \(3, 3\)"),
        (np.zeros((0, 2)), ValueError, r"got \(0, 2\)"),
        (np.zeros(2), ValueError, "shape"),
        ("trial", TypeError, "array of numbers"),
        ([[0, 0], [0, float("nan")]], ValueError, "NaN"),
        ([[0.5, 0]], ValueError, "at most one cue"),
        ([[0, 1.0]], ValueError, "at step 0 it cannot show cue -1 .* reward 1"),
        ([[0, 0], [1, 0]], ValueError, "at step 1 it cannot show cue 0"),
        ([[[0, 0]], [[1, 0]]], ValueError, "step 0 of row 1"),
    ],
)
def test_bad_observations(observations: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        beliefs(Starkweather(), observations)


def test_bad_arguments_of_functions() -> None:
    with pytest.raises(ValueError, match="gamma must be below 1 in mbrl/Starkweather-v0"):
        state_values(Starkweather(), 1.0)
    with pytest.raises(ValueError, match=r"gamma must be a finite number of at least 0 and at most 1, got 1\.5"):
        values(Starkweather(), GOOD, 1.5)
    with pytest.raises(ValueError, match="at least 2 steps"):
        prediction_errors(Starkweather(), GOOD[:1], 0.9)
    with pytest.raises(ValueError, match="reward_noise must be a finite number of at least 0"):
        values(Starkweather(), GOOD, 0.9, reward_noise=-1)
    for env in ("mbrl/PanFlute-v0", 5, gymnasium.make("CartPole-v1")):
        with pytest.raises(TypeError, match="env must be a cue–reward task"):
            values(env, GOOD, 0.9)
    with pytest.raises(ValueError, match="num must be an integer from 1"):
        sample_trials(Starkweather(), 0, 0)
    with pytest.raises(ValueError, match="seed must be an integer from 0"):
        sample_trials(Starkweather(), 1, -1)
    with pytest.raises(ValueError, match="trials_per_episode must be an integer from 1"):
        sample_trials(Starkweather(), 1, 0, trials_per_episode=0)
    with pytest.raises(ValueError, match="trials_per_episode must be None for mbrl/CueReward-v0"):
        sample_trials(CueReward(), 1, 0, trials_per_episode=2)
