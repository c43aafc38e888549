"""The study's settings: all there, as published, and used by the commands."""

from __future__ import annotations

import dataclasses
import pathlib

import pytest
import yaml

from mbrl_agents.experiments import preset_files, published
from mbrl_agents.experiments.preset_files import Found, Regime
from mbrl_agents.runs.config import EvaluationConfig
from mbrl_agents.runs.run_folder import RunFolder, runs_below
from mbrl_envs import cli

FOUND = {"study": "x", "objective": "final", "direction": "maximize", "value": 0.5, "seeds": [0, 1]}
QUICK = ["--eval-interval", "100", "--eval-episodes", "2", "--eval-steps", "5", "--set", "policy_kwargs={'net_arch': [8]}"]


def test_an_agent_is_found_by_its_class() -> None:
    """What tells agents of one class apart decides, and what is given goes before the preset."""
    high, low = published.preset("procmaze-high"), published.preset("PanFlute-low")
    assert high.for_agent("LatentModelDQN", {"latent": "gaussian"})["temperature"] == 12.8
    assert high.for_agent("LatentModelDQN")["learning_rate"] == 2e-4  # categorical
    assert low.for_agent("ReplayDQN") == low.arguments["replay"]
    assert low.for_agent("ReplayDQN", {"temperature": 3.0})["temperature"] == 3.0


def test_unknown_presets_and_agents() -> None:
    with pytest.raises(ValueError, match="there is no preset 'procmaze'; there are procmaze-high"):
        published.preset("procmaze")
    with pytest.raises(ValueError, match=r"preset .procmaze-high. has settings for ReplayDQN, .*, not for PPO"):
        published.preset("procmaze-high").for_agent("PPO")
    with pytest.raises(ValueError, match="not for LatentModelDQN"):
        published.preset("procmaze-high").for_agent("LatentModelDQN", {"latent": "tanh_gaussian"})


def test_train_with_a_preset(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "run"
    command = ["train", "ReplayDQN", "--preset", "panflute-low", "--total-timesteps", "200", "--out", str(out), *QUICK]
    assert cli.main(command) == 0
    config = RunFolder.open(out).config
    assert config.arguments["learning_rate"] == 3.125e-6
    assert config.environment.max_episode_steps == -1
    assert config.total_timesteps == 200


def test_compare_with_a_preset(tmp_path: pathlib.Path) -> None:
    """The study's names are labels; agents may be left out."""
    out = tmp_path / "cmp"
    names = ["--agents", "replay", "Simple"]
    command = [
        "compare",
        "--preset",
        "panflute-high",
        *names,
        "--seeds",
        "1",
        "--total-timesteps",
        "200",
        "--out",
        str(out),
        *QUICK,
    ]
    assert cli.main(command) == 0
    rates = {label: RunFolder.open(out / label / "seed-0").config.arguments for label in ("replay", "simple")}
    assert {label: (each["learning_rate"], each["temperature"]) for label, each in rates.items()} == {
        "replay": (1e-4, 0.1),
        "simple": (1e-4, 0.4),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "ReplayDQN"], "ENV_ID is missing"),
        (["compare"], "ENV_ID is missing"),
        (
            ["train", "ReplayDQN", "mbrl/PanFlute-v0", "--preset", "procmaze-high"],
            "preset 'procmaze-high' is for mbrl/ProcMaze-v0",
        ),
        (["compare", "--preset", "best"], "there is no preset 'best'"),
        (["train", "PPO", "--preset", "procmaze-high"], "not for PPO"),
    ],
)
def test_bad_presets(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_presets_in_files(tmp_path: pathlib.Path) -> None:
    """What is written is read back, trained with, and compared; the environment's constants count, unless others are given."""
    file, out = tmp_path / "mine.yaml", tmp_path / "run"
    study = published.preset("panflute-high")
    environment = dataclasses.replace(study.environment, arguments={"num_pipes": 2})
    preset_files.write(dataclasses.replace(study, environment=environment), file)
    again = published.preset(file)
    assert (again.environment, again.regime.total_timesteps, again.regime.eval_interval) == (environment, 1_000_000, 500)
    for name, given in [("ReplayDQN", {}), ("LatentModelDQN", {"latent": "gaussian"})]:
        assert again.for_agent(name, given) == study.for_agent(name, given)
    assert cli.main(["train", "ReplayDQN", "--preset", str(file), "--total-timesteps", "200", "--out", str(out), *QUICK]) == 0
    config = RunFolder.open(out).config
    assert (config.arguments["temperature"], config.environment.arguments) == (0.1, {"num_pipes": 2})
    changed = [
        "--preset",
        str(file),
        "--agents",
        "replay",
        "--env-arg",
        "num_pipes=3",
        "--seeds",
        "1",
        "--total-timesteps",
        "200",
    ]
    assert cli.main(["compare", *changed, "--out", str(tmp_path / "compared"), *QUICK[:-2]]) == 0
    (run,) = runs_below(tmp_path / "compared")
    assert (run.config.environment.arguments, run.config.arguments["temperature"]) == ({"num_pipes": 3}, 0.1)


def test_another_kind_under_a_label_has_its_own_settings() -> None:
    study = published.preset("panflute-high")
    gaussian = study.for_agent("LatentModelDQN", {"latent": "gaussian"})
    assert study.for_label("categorical", "LatentModelDQN", {"latent": "gaussian"}) == gaussian
    assert study.for_label("gaussian", "LatentModelDQN", {}) == gaussian


def test_two_agents_of_one_class_in_a_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its own settings; where one is meant by its class, it must be clear which."""
    file, out = tmp_path / "mine.yaml", tmp_path / "compared"
    study = published.preset("panflute-high")
    arguments = {"slow": {"learning_rate": 1e-4}, "fast": {"learning_rate": 1e-2}}
    two = dataclasses.replace(study, arguments=arguments, agents={label: ("ReplayDQN", {}) for label in arguments})
    preset_files.write(two, file)
    assert (
        cli.main(["compare", "--preset", str(file), "--seeds", "1", "--total-timesteps", "200", "--out", str(out), *QUICK]) == 0
    )
    rates = {run.config.label: run.config.arguments["learning_rate"] for run in runs_below(out)}
    assert rates == {"slow": 1e-4, "fast": 1e-2}
    assert cli.main(["train", "ReplayDQN", "--preset", str(file)]) == 2
    assert "mine.yaml' has settings for several ReplayDQN: slow, fast" in capsys.readouterr().err


def test_all_that_a_file_may_say(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command line says goes before it."""
    file = tmp_path / "mine.yaml"
    study = published.preset("panflute-high")
    regime = Regime(200, 100, {}, n_envs=2, eval_episodes=3, eval_steps=7)
    found = Found("mine", "last-3", "minimize", 0.25, (0, 1), 0.5, (2, 3, 4))
    preset_files.write(dataclasses.replace(study, regime=regime, found=found, notes="For tests."), file)
    again = preset_files.read(file)
    assert (again.regime, again.found, again.notes) == (regime, found, "For tests.")
    train = ["train", "ReplayDQN", "--preset", str(file), *QUICK[-2:]]
    assert cli.main([*train, "--out", str(tmp_path / "run")]) == 0
    error = capsys.readouterr().err
    assert "mine.yaml: found by study mine, last-3 score 0.25 (lowest, seeds 0 1), 0.5 on fresh seeds 2 3 4" in error
    config = RunFolder.open(tmp_path / "run").config
    assert (config.n_envs, config.evaluation) == (2, EvaluationConfig(100, 3, 7))
    given = ["--n-envs", "1", "--eval-episodes", "2", "--eval-steps", "5", "--eval-interval", "200"]
    assert cli.main([*train, *given, "--out", str(tmp_path / "other")]) == 0
    config = RunFolder.open(tmp_path / "other").config
    assert (config.n_envs, config.evaluation) == (1, EvaluationConfig(200, 2, 5))


def test_a_file_of_an_earlier_version(tmp_path: pathlib.Path) -> None:
    file, names = (
        tmp_path / "old.yaml",
        (("auc", "maximize", "mean"), ("best", "minimize", "min"), ("last-3", "maximize", "last-3")),
    )
    for objective, direction, today in names:
        found = FOUND | {"objective": objective, "direction": direction}
        data = {"environment": {"id": "mbrl/PanFlute-v0"}, "steps": 5, "eval_interval": 1, "found": found}
        file.write_text(yaml.safe_dump(data | {"agents": {"a": {"agent": "ReplayDQN"}}}))
        preset = published.preset(file)
        assert preset.found is not None
        assert (preset.regime.total_timesteps, preset.found.objective) == (5, today)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("total_timesteps: 5\n", "lacks agents, environment, eval_interval"),
        ("[1]", "must be a mapping with agents, environment"),
        ("{", "is not YAML"),
        (
            "extra: 1\n",
            "must have no key but agents, environment, eval_episodes, eval_interval, .*, total_timesteps, got extra",
        ),
        ("notes: 3\n", "notes must be a text, got 3"),
        ("agents: {a: {agent: Nobody}}\n", "Nobody"),
        ("agents: {}\n", "agents must name at least one agent"),
        ("total_timesteps: 0\n", "total_timesteps must be"),
        ("environment: {name: x}\n", "environment lacks id"),
        ("n_envs: 0\n", "n_envs must be an integer from 1"),
        ("eval_steps: a\n", "eval_steps must be an integer from 1"),
        ("found: 0.3\n", "found must be a mapping with direction, objective, seeds, study, value, got 0.3"),
        ("found: {study: x}\n", "found lacks direction, objective, seeds, value"),
        (f"found: {FOUND | {'value': 'high'}}\n", "found: value must be a finite number"),
        (f"found: {FOUND | {'study': 3}}\n", "found: study must be a text, got 3"),
        (f"found: {FOUND | {'direction': 'up'}}\n", "found: direction must be one of 'maximize', 'minimize'"),
        (f"found: {FOUND | {'seeds': 3}}\n", "found: seeds must be a list of integers, got 3"),
        (f"found: {FOUND | {'fresh_seeds': [-1]}}\n", "found: fresh_seeds must be an integer from 0"),
        (f"found: {FOUND | {'luck': 1}}\n", "found must have no key but .*, got luck"),
    ],
)
def test_files_that_are_no_presets(tmp_path: pathlib.Path, change: str, message: str) -> None:
    file = tmp_path / "preset.yaml"
    whole = {
        "environment": {"id": "mbrl/PanFlute-v0"},
        "total_timesteps": 5,
        "eval_interval": 1,
        "agents": {"a": {"agent": "ReplayDQN"}},
    }
    replaces = ":" in change and not message.startswith("lacks")
    file.write_text(yaml.safe_dump(whole | yaml.safe_load(change)) if replaces else change)
    with pytest.raises((TypeError, ValueError), match=message):
        published.preset(file)
