"""The published settings are those of the reference, and make networks and tasks."""

from __future__ import annotations

import numpy as np
import pytest

from mbrl_agents.value_rnn import ValueRNN, fit_many
from mbrl_agents.value_rnn.published import NAMES, study
from mbrl_envs.conditioning import Babayan, CueReward, Starkweather

GRU = {
    "cell": "gru",
    "readout": "linear",
    "loss": "td",
    "gamma": 0.93,
    "td_lambda": 0.0,
    "learning_rate": 0.003,
    "batch_size": 12,
    "initialization": "uniform",
}


def test_starkweathers_tasks() -> None:
    found = study("starkweather")
    assert found.task() == Starkweather(2, "A", iti_min=10, iti_probability=1 / 8)
    assert found.task(task=1) == Starkweather(1)
    assert found.episodes * (found.trials_per_episode or 0) == 10_000
    assert found.trials_per_episode == 20
    assert found.sizes == (2, 5, 10, 20, 50, 100)
    assert found.network == GRU
    assert found.fit == {"epochs": 150, "patience": None}
    assert found.analysis == {"noise": 0.05, "omission": "at_cue"}


def test_babayans_task() -> None:
    found = study("babayan")
    assert found.task() == Babayan((1.0, 10.0), None, block_length=5, delay=10, jitter=1)
    assert found.shown == (1, 2, 4, 6, 8, 10)
    assert (found.network, found.fit) == (GRU, {"epochs": 150, "patience": None})


def test_the_public_example() -> None:
    found = study("two-cues")
    assert found.task() == CueReward((10, 15), iti_probability=0.5, reward=1.0)
    assert (found.episodes, found.sizes) == (100, (2,))
    assert found.network == GRU | {"cell": "lstm", "readout": "relu_sum", "gamma": 0.5}
    assert found.fit == {
        "epochs": 2000,
        "shuffle": False,
        "terminal_target": False,
        "keep_best": True,
        "patience": None,
    }
    for trial in found.trials(seed=0, episodes=20):  # interval + delay + 2 steps
        cue = int(np.flatnonzero(trial.observations[:, :2].any(axis=1))[0])
        reward = int(trial.rewards.argmax())
        assert reward - cue == 10 + 5 * trial.observations[cue, :2].argmax()
        assert len(trial.rewards) == reward + 2


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_taken(name: str) -> None:
    found = study(name)
    network = ValueRNN(hidden_size=2, seed=0, **found.network)
    fit_many([network], found.trials(seed=0, episodes=3), **(found.fit | {"epochs": 1}))
    assert network._n_updates == 1


def test_unknown_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="name must be one of 'starkweather', 'babayan', 'two-cues'; got 'pavlov'"):
        study("pavlov")
