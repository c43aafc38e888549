"""Mistakes on the command line: one line says what is wrong and what is allowed, and nothing has been written."""

from __future__ import annotations

import pathlib

import pytest

from tests.experiments.test_commands import fails
from tests.tuning.fakes import FLUTE

GAMMA = ["--space", "gamma=0.8,0.9"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # spaces
        (["--space", "gamma"], "--space must look like NAME=VALUE,VALUE,… or NAME=log:LOW:HIGH, got 'gamma'"),
        (["--space", "gamma="], "--space must look like NAME=VALUE,VALUE,… or NAME=log:LOW:HIGH, got 'gamma='"),
        (["--space", "gamma=[]"], "--space gamma must have values between its commas, got []"),
        ([*GAMMA, *GAMMA], "--space gamma is given twice"),
        (["--space", "gama=0.9"], "ReplayDQN has no argument 'gama' (did you mean 'gamma'?)"),
        (["--space", "gamma=0.9,1.5"], "gamma must be a finite number of at least 0 and at most 1, got 1.5"),
        (["--space", "gamma=uniform:0.5:1.5", "--sampler", "tpe"], "gamma must be a finite number of at least 0 and at most 1"),
        (["--space", "gamma=log:0:1"], "gamma: low must be a finite number above 0, got 0.0"),
        (["--space", "gamma=uniform:0.5:0.9"], "a grid needs lists of values, and gamma has a range"),
        (["--space", "learning_rate=fast"], "learning_rate must be a finite number of at least 0, got 'fast' of type str"),
        (["--space", "batch_size=8,16"], "batch_size cannot be searched: it shapes the program, which all trials share"),
        ([*GAMMA, "--set", "gamma=0.5"], "gamma: in the search space and among the fixed arguments; give it once"),
        # everything else
        (
            [*GAMMA, "--objective", "worst"],
            "objective must be one of final, mean, max, min, auc, or last-K such as last-1, got 'worst'",
        ),
        ([*GAMMA, "--pruning", "soon"], "pruning must be none, halving or halving-N with N from 2 to 16, got 'soon'"),
        ([*GAMMA, "--seeds-per-trial", "0"], "seeds_per_trial must be an integer from 1 to 10000, got 0"),
        ([*GAMMA, "--seed", "-1"], "seed must be an integer from 0"),
        ([*GAMMA, "--total-timesteps", "0"], "total_timesteps must be an integer from 1"),
        ([*GAMMA, "--n-envs", "0"], "n_envs must be an integer from 1"),
        ([*GAMMA, "--confirm", "-1"], "--confirm must be an integer from 0 to 10000, got -1"),
        ([*GAMMA, "--batch-size", "0"], "--batch-size must be an integer from 1"),
        ([*GAMMA, "--lease-seconds", "0"], "--lease-seconds must be a finite number of at least 1, got 0.0"),
        ([*GAMMA, "--env-arg", "pipes=3"], "pipes"),
        # storages
        (
            [*GAMMA, "--storage", "postgresql://me:secret@localhost:1/x"],
            "storage postgresql://me@localhost:1/x cannot be opened",
        ),
        ([*GAMMA, "--storage", "grpc://localhost"], "a proxy must look like grpc://HOST:PORT, got 'grpc://localhost'"),
        ([*GAMMA, "--storage", "oracle9://x"], "storage oracle9://x: there is no such kind of database; use an SQLite file"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    given = arguments if "--total-timesteps" in arguments else [*arguments, "--total-timesteps", "100"]
    assert message in fails(capsys, "tune", "run", "ReplayDQN", FLUTE, *given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("agent", "env_id", "message"),
    [
        ("PPO", FLUTE, "PPO"),
        ("Nobody", FLUTE, "Nobody"),
        ("ReplayDQN", "CartPole-v1", "CartPole-v1"),
        ("ReplayDQN", "mbrl/Nowhere-v0", "Nowhere"),
    ],
)
def test_wrong_agents_and_environments(
    agent: str,
    env_id: str,
    message: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, "tune", "run", agent, env_id, *GAMMA, "--total-timesteps", "100")
    assert not list(tmp_path.iterdir())
