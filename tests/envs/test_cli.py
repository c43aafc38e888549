import importlib.metadata
import json
import subprocess
import sys

import pytest

from mbrl_envs import cli, commands
from mbrl_envs.assignments import parse_assignments
from mbrl_envs.registration import DYNAMICS


def run_failing(error):
    """An entry point whose command raises ``error``."""

    def register(subparsers):
        def run(arguments):
            raise error

        subparsers.add_parser("fail").set_defaults(run=run)

    return register


@pytest.fixture
def entry_points(monkeypatch):
    """Lets a test say which functions the entry points of the group load."""
    found = []

    def add(name, register):
        entry_point = importlib.metadata.EntryPoint(name, f"made_up:{name}", cli.COMMAND_GROUP)
        found.append((entry_point, register))

    def load(self):
        for entry_point, register in found:
            if entry_point == self:
                return register() if getattr(register, "broken", False) else register
        return commands.register

    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", load)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry_point for entry_point, _ in found])
    return add


def test_without_a_command_help_is_shown(capsys):
    assert cli.main([]) == 2
    assert "play an environment" in capsys.readouterr().out


def test_help_is_no_error(capsys):
    assert cli.main(["--help"]) == 0
    assert "mbrl" in capsys.readouterr().out


def test_an_unknown_command_is_an_error_of_the_user(capsys):
    assert cli.main(["dance"]) == 2
    assert "invalid choice: 'dance'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [ValueError("bad\n value"), TypeError("bad value"), FileNotFoundError("bad value"), FileExistsError("bad value")],
    ids=lambda error: type(error).__name__,
)
def test_errors_of_users_are_one_line(entry_points, capsys, error):
    entry_points("other", run_failing(error))
    assert cli.main(["fail"]) == 2
    assert capsys.readouterr().err == "mbrl: error: bad value\n"


def test_debugging_shows_the_traceback(entry_points, monkeypatch):
    entry_points("other", run_failing(ValueError("bad value")))
    monkeypatch.setenv("MBRL_DEBUG", "1")
    with pytest.raises(ValueError, match="bad value"):
        cli.main(["fail"])


def test_our_own_faults_are_not_hidden(entry_points):
    entry_points("other", run_failing(KeyError("oops")))
    with pytest.raises(KeyError, match="oops"):
        cli.main(["fail"])


def test_ctrl_c_ends_quietly(entry_points, capsys):
    entry_points("other", run_failing(KeyboardInterrupt()))
    assert cli.main(["fail"]) == 130
    assert capsys.readouterr().err.strip() == "mbrl: interrupted"


def test_a_broken_entry_point_is_a_warning_and_others_still_work(entry_points, capsys):
    def broken():
        raise ImportError("no module named 'gone'")

    broken.broken = True
    entry_points("broken", broken)
    assert cli.main(["envs", "--json"]) == 0
    captured = capsys.readouterr()
    assert "warning: commands of made_up:broken are missing (ImportError: no module named 'gone')" in captured.err
    assert len(json.loads(captured.out)) == len(DYNAMICS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mbrl/ProcMze-v0"], "Did you mean: `ProcMaze`?"),
        (["mbrl/ProcMaze-v0", "--env-arg", "grid_size=99"], "grid_size must be an integer from 2 to 32, got 99"),
        (
            ["mbrl/ProcMaze-v0", "--env-arg", "size=4"],
            "ProcMaze has no argument 'size'; it has 'grid_size', 'spontaneous', 'observation', 'teleport_on_termination'",
        ),
        (["mbrl/ProcMaze-v0", "--env-arg", "4"], "--env-arg must look like NAME=VALUE, got '4'"),
        (["mbrl/ProcMaze-v0", "--env-arg", "grid_size=4", "--arg", "grid_size=5"], "--env-arg grid_size is given twice"),
        (["CartPole-v1"], "CartPole-v1 has no render mode 'ansi'; it has 'human', 'rgb_array'"),
    ],
)
def test_mistakes_in_play_are_one_line(capsys, arguments, message):
    assert cli.main(["play", "--ansi", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("mbrl: error: ")
    assert error.endswith(message)


def test_constants_are_literals_or_strings():
    pairs = ["grid_size=6", "spontaneous=False", "observation=planes", "name='a=b'", "a.policy_kwargs={'net_arch': [8]}"]
    expected = {"grid_size": 6, "spontaneous": False, "observation": "planes", "name": "a=b"}
    expected["a.policy_kwargs"] = {"net_arch": [8]}
    assert parse_assignments(pairs, "--env-arg") == expected


def test_envs_lists_every_environment(capsys):
    assert cli.main(["envs"]) == 0
    out = capsys.readouterr().out
    for cls in DYNAMICS.values():
        assert cls.env_id in out
    assert "best policy" in out


def test_envs_for_machines(capsys):
    assert cli.main(["envs", "--json"]) == 0
    described = {env["id"]: env for env in json.loads(capsys.readouterr().out)}
    flute = described["mbrl/PanFlute-v0"]
    assert flute["arguments"]["num_pipes"] == 5
    assert flute["observation_space"]["shape"] == [15]
    assert flute["continuing"] is True
    assert flute["max_episode_steps"] == 1000
    capped = next(row for row in flute["scores"] if row["steps"] == 100)
    assert capped["optimal"] == pytest.approx(0.222)
    assert len(described["mbrl/ProcMaze-v0"]["scores"]) == 2


def test_the_module_runs_and_survives_a_closed_pipe():
    """As in ``mbrl envs | head -1``."""
    process = subprocess.Popen([sys.executable, "-m", "mbrl_envs.cli", "envs"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read().decode()
    assert process.wait() == 141
    assert "Traceback" not in error
