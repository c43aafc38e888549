"""The presets of published R2D2s say what was published; the numbers are written down here once more, from their texts."""

from __future__ import annotations

import inspect
import pathlib

import pytest
import yaml

from mbrl_agents import R2D2, r2d2
from mbrl_agents.experiments.published import preset
from mbrl_agents.r2d2.policies import R2D2Policy
from mbrl_agents.runs.config import make_config

PAPER = {
    "sequence_length": 80,
    "burn_in": 40,
    "overlap": 40,
    "stored_state": True,
    "n_steps": 5,
    "gamma": 0.997,
    "double_q": True,
    "value_rescaling": True,
    "rescaling_epsilon": 1e-3,
    "prioritized": True,
    "priority_eta": 0.9,
    "priority_exponent": 0.9,
    "importance_exponent": 0.6,
    "learning_rate": 1e-4,
    "exploration": "ladder",
    "ladder_base": 0.4,
    "ladder_exponent": 7,
}
PAPERS_NETWORK = {"cell": "lstm", "lstm_hidden_size": 512, "dueling": True, "previous_action": True, "previous_reward": True}
SMALL = {
    "n_steps": 1,
    "burn_in": 5,
    "sequence_length": 10,
    "batch_size": 12,
    "buffer_size": 10_000,
    "learning_rate": 2.5e-4,
    "exploration": "schedule",
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 0.05,
    "exploration_fraction": 0.5,
    "learning_starts": 10_000,
    "train_freq": 10,
    "target_update_interval": 500,
    "prioritized": False,
    "double_q": False,
    "value_rescaling": False,
    "max_grad_norm": None,
}


def test_the_papers_values() -> None:
    given = preset("r2d2-published")
    arguments = given.arguments["r2d2"]
    assert {name: arguments[name] for name in PAPER} == PAPER
    network = arguments["policy_kwargs"]
    assert {name: network[name] for name in PAPERS_NETWORK} == PAPERS_NETWORK
    assert network["optimizer_kwargs"] == {"eps": 1e-3}
    updates_per_transition = arguments["gradient_steps"] / (arguments["train_freq"] * given.regime.n_envs)
    assert arguments["target_update_interval"] * updates_per_transition == 2500


def test_the_small_public_version() -> None:
    given = preset("r2d2-small-public")
    assert given.environment.id == "CartPole-v1"
    assert given.regime.total_timesteps == 30_000
    arguments = given.arguments["r2d2"]
    assert {name: arguments[name] for name in SMALL} == SMALL
    network = arguments["policy_kwargs"]
    assert (network["cell"], network["lstm_hidden_size"], network["dueling"]) == ("gru", 64, False)
    assert len(network["net_arch"]) + 1 == 3  # linear layers after the GRU, with that of the outputs


@pytest.mark.parametrize("name", ["r2d2-published", "r2d2-small-public"])
def test_files_name_arguments_that_exist_once(name: str) -> None:
    file = pathlib.Path(r2d2.__file__).parent / f"{name}.yaml"
    written = yaml.safe_load(file.read_text())["agents"]["r2d2"]["arguments"]
    assert set(written) <= set(inspect.signature(R2D2).parameters)
    assert set(written["policy_kwargs"]) <= set(inspect.signature(R2D2Policy).parameters)
    given = preset(name)
    make_config("R2D2", given.environment, total_timesteps=100, arguments=given.arguments["r2d2"], n_envs=given.regime.n_envs)
