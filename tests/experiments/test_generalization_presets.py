"""The study's presets say what REFERENCE section 2 says, all of it; its numbers are written down here once more."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import numpy as np
import pytest

from mbrl_agents.experiments import preset_files, published
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_envs import ButtonGrid, PanFlute, ProcMaze, cli

AGENTS = {
    "replay": "ReplayDQN",
    "perfect": "PerfectModelDQN",
    "simple": "SimpleModelDQN",
    "categorical": "LatentModelDQN",
    "gaussian": "LatentModelDQN",
}
# REFERENCE's table: step size and temperature of replay, perfect, simple, categorical and gaussian.
TUNED: dict[str, list[tuple[float, float]]] = {
    "procmaze-high": [(5e-05, 0.1), (0.0001, 0.4), (0.0002, 0.8), (0.0002, 1.6), (3.125e-06, 12.8)],
    "procmaze-low": [(2.5e-05, 1.6), (0.0004, 0.4), (2.5e-05, 0.4), (0.0001, 0.8), (3.125e-06, 0.8)],
    "buttongrid-high": [(5e-05, 0.0125), (0.0002, 0.0125), (0.0002, 1.6), (0.0001, 0.05), (1.25e-05, 0.1)],
    "buttongrid-low": [(2.5e-05, 0.1), (0.0002, 0.0125), (5e-05, 0.4), (0.0002, 0.1), (2.5e-05, 0.8)],
    "panflute-high": [(0.0001, 0.1), (0.0002, 0.1), (0.0001, 0.4), (0.0008, 0.05), (0.0002, 0.1)],
    "panflute-low": [(3.125e-06, 0.8), (0.0001, 0.1), (0.0002, 0.2), (0.0016, 0.05), (0.0002, 0.1)],
}
# Steps, updates per step, steps between target copies, steps between evaluations.
REGIMES = {"high": (1_000_000, 1, 100, 500), "low": (100_000, 10, 10, 50)}
ENVIRONMENTS = {"procmaze": ProcMaze(4), "buttongrid": ButtonGrid(5, 3), "panflute": PanFlute(5)}
COMMON: dict[str, Any] = {
    "policy_kwargs": {"net_arch": [200, 200, 200], "activation_fn": "elu"},
    "gamma": 0.9,
    "tau": 1.0,
    "double_q": False,
    "adam_b1": 0.9,
    "adam_b2": 0.99,
    "adam_eps": 1e-5,
    "weight_decay": 1e-6,
    "max_grad_norm": None,
    "exploration": "softmax",
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "warmup": "policy",
    "train_freq": 1,
}
ROLLOUTS = {"batch_size": 32, "rollout_length": 10, "rollout_batch_size": 32}
MODEL: dict[str, Any] = {
    **ROLLOUTS,
    "separate_rollout_batch": False,
    "model_learning_rate": 2e-4,
    "reward_weight": 1.0,
    "termination_weight": 1.0,
    "observation_weight": 1.0,
    "continuing": None,
    "learned_variance": False,
}
LATENT: dict[str, Any] = {
    **MODEL,
    "latent_variables": 32,
    "latent_classes": 32,
    "latent_units": 32,
    "latent_min_std": 0.1,
    "latent_std_activation": "sigmoid",
    "dynamics_weight": 1.0,
    "dynamics_kl_weight": 0.8,
    "encoder_kl_weight": 0.2,
    "prior_weight": 0.0,
    "published_mask": False,
}
OWN: dict[str, dict[str, Any]] = {
    "replay": {"batch_size": 320, "n_steps": 1},
    "perfect": ROLLOUTS,
    "simple": {**MODEL, "raw_logits": True},
    "categorical": {**LATENT, "latent": "categorical"},
    "gaussian": {**LATENT, "latent": "gaussian"},
}
# Not of the study: what is reported, where it is computed, and the numbers of the exploration that it does not use.
OTHERS = {"policy", "env", "seed", "verbose", "device", "device_loop", "tensorboard_log", "stats_window_size"}
OTHERS |= {"exploration_fraction", "exploration_initial_eps", "exploration_final_eps", "_init_setup_model", "self"}

presets = pytest.mark.parametrize("name", TUNED)


@presets
def test_presets_say_what_the_reference_says(name: str) -> None:
    preset = published.preset(name)
    task, _, regime = name.partition("-")
    steps, updates, interval, evaluations = REGIMES[regime]
    assert (preset.regime.total_timesteps, preset.regime.eval_interval) == (steps, evaluations)
    assert (preset.regime.n_envs, preset.regime.eval_episodes, preset.regime.eval_steps) == (1, 32, 100)
    assert preset.environment.dynamics() == ENVIRONMENTS[task]
    assert preset.environment.max_episode_steps == -1
    assert {label: cls for label, (cls, _) in preset.agents.items()} == AGENTS
    for label, (rate, temperature) in zip(AGENTS, TUNED[name], strict=True):
        tuned = {"learning_rate": rate, "temperature": temperature}
        amount = {"gradient_steps": updates, "target_update_interval": interval}
        assert preset.arguments[label] == COMMON | OWN[label] | amount | tuned, label


def test_all_values_lie_on_the_grids_that_were_searched() -> None:
    values = np.array(list(TUNED.values())).reshape(-1, 2)
    assert len(values) == 30
    np.testing.assert_allclose(np.log2(values / [3.125e-6, 0.0125]) % 1, 0, atol=1e-12)


@pytest.mark.parametrize("label", AGENTS)
def test_presets_are_complete(label: str) -> None:
    """They leave nothing to a default, and agents take every argument as it is said."""
    preset = published.preset("procmaze-low")
    given = preset.arguments[label]
    kind = find_agent(AGENTS[label])
    assert set(given) == set(inspect.signature(kind.cls.__init__).parameters) - OTHERS
    agent = kind.make(preset.environment.make(), given, seed=0, _init_setup_model=False)
    known = {name: value for name, value in agent.arguments.items() if name in given and given[name] is not None}
    assert known == {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(("name", "continuing"), [("procmaze-high", False), ("buttongrid-high", True), ("panflute-low", True)])
def test_dynamics_say_whether_a_task_ends(name: str, continuing: bool) -> None:
    preset = published.preset(name)
    agent = find_agent("SimpleModelDQN").make(preset.environment.make(), preset.arguments["simple"], 0, _init_setup_model=False)
    assert agent.arguments["continuing"] is continuing


def test_simple_is_as_tuned_unless_asked_otherwise(tmp_path: pathlib.Path) -> None:
    """The preset has raw logits, with which it was tuned; ``--set raw_logits=False`` draws bits with their probability."""
    assert published.preset("procmaze-high").for_agent("SimpleModelDQN")["raw_logits"] is True
    quick = ["--total-timesteps", "100", "--eval-interval", "100", "--eval-episodes", "1", "--eval-steps", "2"]
    command = ["train", "SimpleModelDQN", "--preset", "procmaze-high", "--set", "raw_logits=False", *quick]
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == 0
    arguments = RunFolder.open(tmp_path / "run").config.arguments
    assert arguments == COMMON | OWN["simple"] | {
        "raw_logits": False,
        "gradient_steps": 1,
        "target_update_interval": 100,
        "learning_rate": 2e-4,
        "temperature": 0.8,
    }


@presets
def test_what_is_printed_is_a_preset_file(name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets", name]) == 0
    printed = capsys.readouterr().out
    assert "&" not in printed  # no YAML anchors: every agent's settings stand in one place
    (tmp_path / "printed.yaml").write_text(printed)
    again, preset = preset_files.read(tmp_path / "printed.yaml"), published.preset(name)
    assert (again.arguments, again.agents, again.regime) == (preset.arguments, preset.agents, preset.regime)
    assert (again.environment, again.notes) == (preset.environment, preset.notes)


def test_sizes_that_are_not_known_are_said() -> None:
    for task, words in {"buttongrid": "grid_size=10 and num_buttons=3", "panflute": "default is 5"}.items():
        notes = published.preset(f"{task}-high").notes
        assert "does not say for which" in notes
        assert words in notes


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == published.names()
    first = "mbrl/ProcMaze-v0(grid_size=4), 1,000,000 steps: replay, perfect, simple, categorical, gaussian"
    assert lines[0].split(maxsplit=1) == ["procmaze-high", first]


def test_files_of_other_settings_are_no_presets() -> None:
    """The study's file says several, and other studies' files lie beside theirs; whatever is named can be read."""
    assert "generalization" not in published.names()
    assert not preset_files.is_preset(published.STUDY)
    for name in published.names():
        assert published.preset(name).name == name


@pytest.mark.parametrize(("agent", "labels"), [("simple", ["simple"]), ("LatentModelDQN", ["categorical", "gaussian"])])
def test_one_agent_is_printed(
    agent: str, labels: list[str], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["presets", "panflute-low", "--agent", agent]) == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert list(preset_files.read(tmp_path / "printed.yaml").agents) == labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["best"], "there is no preset 'best'; there are procmaze-high"),
        (["procmaze-high", "--agent", "PPO"], "preset 'procmaze-high' has replay, perfect, simple, categorical, gaussian, not"),
        (["--agent", "replay"], "--agent needs the NAME of a preset"),
    ],
)
def test_bad_input(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets", *arguments]) == 2
    assert message in capsys.readouterr().err
