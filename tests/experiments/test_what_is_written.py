"""A run's ``metrics.csv`` follows from its configuration alone, to the byte; seconds are written elsewhere."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
from typing import Any

import numpy as np
import pytest

from mbrl_agents.core import chunks
from mbrl_agents.core.chunks import Chunk
from mbrl_agents.core.run import StepRecord
from mbrl_agents.runs import checkpoints
from mbrl_agents.runs.run_folder import FINISHED, INTERRUPTED, RunFolder
from mbrl_agents.runs.running_means import RunningMeans
from mbrl_agents.runs.training import train
from mbrl_envs import cli
from tests.experiments.runs import folder, settings, stop_at

AGENTS = ["ReplayDQN", "ValueRNN", "SimpleModelDQN"]
# Evaluations fall between two trainings of the ValueRNN, and between two chunks of whole cycles.
SIZES: dict[str, Any] = {"total_timesteps": 330, "eval_interval": 110}


def paces(monkeypatch: pytest.MonkeyPatch, first: int, seconds: float) -> None:
    """How long compiled calls are allowed to be."""
    monkeypatch.setattr(chunks, "FIRST_CHUNK", first)
    monkeypatch.setattr(chunks, "SECONDS_PER_CHUNK", seconds)


def written(run: RunFolder) -> bytes:
    return (run.path / "metrics.csv").read_bytes()


@pytest.fixture(scope="module", params=AGENTS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was never interrupted, in chunks as long as they come."""
    run = folder(tmp_path_factory.mktemp("whole") / "run", request.param, **SIZES)
    assert train(run).state == FINISHED
    return run


def test_how_long_calls_are(tmp_path: pathlib.Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    paces(monkeypatch, 7, 0.0)
    run = folder(tmp_path / "run", whole.config.agent, **SIZES)
    assert train(run).state == FINISHED
    assert written(run) == written(whole)
    metrics = run.metrics()
    updates = metrics[metrics["metric"] == "train/n_updates"].set_index("timestep")["value"]
    every = run.config.arguments.get("train_freq", 1)
    assert updates.to_dict() == {t: t // every - 40 // every for t in (110, 220, 330)}


@pytest.mark.parametrize("stops", [(30, 175), (111, 219, 221)], ids=str)
def test_stopped_and_gone_on(
    tmp_path: pathlib.Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, stops: tuple[int, ...]
) -> None:
    run = folder(tmp_path / "run", whole.config.agent, **SIZES)
    paces(monkeypatch, 1, 0.0)
    for timesteps in stops:
        assert train(run, stop_at(timesteps)).state == INTERRUPTED
        assert timesteps <= run.status().timesteps < timesteps + 20
        assert [file.name for file in run.unfinished_means()] == [f"means-{run.status().timesteps}.json"]
    monkeypatch.undo()
    assert train(run).state == FINISHED
    assert written(run) == written(whole)
    assert not list(run.unfinished_means())
    assert run.times()["timestep"].tolist() == [0, 110, 220, 330]


class Killed(BaseException):
    """As SIGKILL: nobody tidies up."""


def test_killed_and_gone_on(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a checkpoint after every 1000 steps, so also between evaluations; dead before this write or that."""
    sizes = {"total_timesteps": 2600, "eval_interval": 1300}
    whole = folder(tmp_path / "whole", "LinearTD", **sizes)
    train(whole)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    replace, died = os.replace, 0
    for moment in range(1, 40, 2):
        run = folder(tmp_path / str(moment), "LinearTD", **sizes)
        writes = itertools.count()

        def dies(source: Any, target: Any, writes: Any = writes, moment: int = moment) -> None:
            if next(writes) >= moment:
                raise Killed
            replace(source, target)

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(os, "replace", dies)
            train(run)
        if run.status().state == FINISHED:
            break
        died += 1
        train(run)
        assert written(run) == written(whole), moment
    assert died > 5


def test_the_same_command_twice_and_as_a_sweep_of_one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--total-timesteps", "250", "--eval-interval", "60", "--eval-episodes", "4", "--eval-steps", "10"]
    arguments = [part.replace("ReplayDQN.", "") for part in settings("ReplayDQN")]
    command = ["train", "ReplayDQN", "mbrl/PanFlute-v0", *sizes, *arguments, "--seed", "2"]
    assert cli.main([*command, "--out", str(tmp_path / "one")]) == 0
    paces(monkeypatch, 3, 1e-3)
    assert cli.main([*command, "--out", str(tmp_path / "two")]) == 0
    assert cli.main([*command, "--seeds", "1", "--out", str(tmp_path / "sweep")]) == 0
    one, two, swept = (RunFolder.open(tmp_path / name) for name in ("one", "two", "sweep/run-0000"))
    assert written(one) == written(two) == written(swept)
    assert one.scores().index.tolist() == [0, 60, 120, 180, 240, 250]


# ---------------------------------------------------------------------- means


def chunk(rewards: np.ndarray, ended: np.ndarray, losses: np.ndarray) -> Chunk:
    """A chunk of steps of one environment."""
    zeros = np.zeros((len(rewards), 1))
    returns, lengths = np.cumsum(rewards)[:, None].astype(np.float32), np.arange(1, len(rewards) + 1)[:, None]
    record = StepRecord(zeros, rewards[:, None].astype(np.float32), ended[:, None], zeros.astype(bool), returns, lengths)
    return Chunk(record, {"loss": losses.astype(np.float32)} if len(losses) else {}, len(losses))


def test_means_are_those_of_all_steps_whatever_chunks_they_come_in(tmp_path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    rewards, losses, ended = rng.normal(size=300), rng.exponential(size=300) * 1e3, rng.random(300) < 0.1
    whole = RunningMeans()
    whole.add(chunk(rewards, ended, losses))
    found = whole.means()
    assert found["train/loss"] == pytest.approx(losses.astype(np.float32).astype(float).mean(), rel=1e-14)
    assert found["rollout/reward_per_step"] == pytest.approx(rewards.mean(), rel=1e-5)
    assert found["rollout/ep_len_mean"] == (1 + np.flatnonzero(ended)).mean()
    assert list(found) == sorted(found)
    parts, full = RunningMeans(), chunk(rewards, ended, losses)
    for begin, end in itertools.pairwise([0, 1, 5, 140, 300]):
        records = StepRecord(*(each[begin:end] for each in full.records))
        parts.add(Chunk(records, {"loss": full.metrics["loss"][begin:end]}, end - begin))
        parts.save(tmp_path / "means.json")
        parts = RunningMeans.load(tmp_path / "means.json")
    assert parts.means() == found  # to the bit
    parts.clear()
    assert parts.means() == {}
    assert parts.finite


def test_a_loss_that_is_not_finite_is_noticed_and_kept(tmp_path: pathlib.Path) -> None:
    for bad in (np.nan, np.inf):
        means = RunningMeans()
        means.add(chunk(np.ones(3), np.zeros(3, bool), np.array([1.0, bad, 2.0])))
        assert not means.finite
        means.save(tmp_path / "means.json")
        assert not RunningMeans.load(tmp_path / "means.json").finite
    rewards = RunningMeans()
    rewards.add(chunk(np.array([np.inf]), np.zeros(1, bool), np.ones(1)))
    assert rewards.finite  # training makes sense


@pytest.mark.parametrize("text", ["", "[]", '{"loss": 3}', '{"loss": [1]}', '{"loss": ["a", 1]}'])
def test_damaged_sums_are_told(tmp_path: pathlib.Path, text: str) -> None:
    (tmp_path / "means.json").write_text(text)
    with pytest.raises(ValueError, match="is damaged"):
        RunningMeans.load(tmp_path / "means.json")


def test_times_of_a_run_begun_before_there_were_any(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", "LinearTD")
    assert train(run, stop_at(50)).state == INTERRUPTED
    (run.path / "times.csv").unlink()
    before = run.status().timesteps
    assert train(run).state == FINISHED
    assert run.times()["timestep"].tolist() == [t for t in (0, 50, 100, 150, 200) if t > before]
