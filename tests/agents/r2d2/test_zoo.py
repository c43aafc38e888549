"""R2D2 in RL Zoo's programs.

RL Zoo is imported in processes of their own only: it replaces Gymnasium's TimeLimit by one that reports otherwise.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

from mbrl_agents.r2d2 import zoo

needs_rl_zoo = pytest.mark.skipif(importlib.util.find_spec("rl_zoo3") is None, reason="RL Zoo is not installed")

TABLES = """
from mbrl_agents.r2d2 import R2D2, zoo
zoo.register()
import rl_zoo3.exp_manager
assert rl_zoo3.ALGOS["r2d2"] is rl_zoo3.exp_manager.ALGOS["r2d2"] is R2D2
"""

# What RL Zoo has saved contains its own functions: loading imports it.
LOADED = """
import sys
from mbrl_agents.r2d2 import R2D2
loaded = R2D2.load(sys.argv[1])
assert loaded.num_timesteps == 1100
assert loaded.layout.burn_in == 5
assert loaded._n_updates == 20
"""


def run(*arguments: str) -> None:
    """Runs Python with the arguments, which must do."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


@needs_rl_zoo
def test_r2d2_is_in_the_table() -> None:
    run("-c", TABLES)


def test_training_r2d2_reads_our_hyperparameters_unless_others_are_named() -> None:
    conf = ["--conf-file", "mbrl_agents.r2d2.zoo"]
    assert zoo.arguments_for("train", ["--algo", "r2d2"]) == ["--algo", "r2d2", *conf]
    assert zoo.arguments_for("train", ["--algo=r2d2", "-n", "5"]) == ["--algo=r2d2", "-n", "5", *conf]
    for program, arguments in [
        ("train", ["--algo", "dqn"]),
        ("enjoy", ["--algo", "r2d2"]),
        ("train", ["--algo", "r2d2", "-conf", "own.yml"]),
        ("train", ["--algo", "r2d2", "--conf-file=own.yml"]),
    ]:
        assert zoo.arguments_for(program, arguments) == arguments


def test_unknown_programs() -> None:
    with pytest.raises(SystemExit, match="PROGRAM being train, enjoy"):
        zoo.main(["dance"])


@needs_rl_zoo
def test_training_and_loading(tmp_path: pathlib.Path) -> None:
    program = ["train", "--algo", "r2d2", "--env", "CartPole-v1", "-n", "1100", "-f", str(tmp_path), "--seed", "1"]
    small = ["--device", "cpu", "--eval-freq", "-1", "-params", "learning_starts:100", "train_freq:50", "buffer_size:500"]
    run("-m", "mbrl_agents.r2d2.zoo", *program, *small)
    run("-c", LOADED, str(tmp_path / "r2d2" / "CartPole-v1_1" / "CartPole-v1.zip"))
    assert "rl_zoo3" not in sys.modules
