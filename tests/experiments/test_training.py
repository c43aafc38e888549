"""A run: evaluated when it says, usable whenever it stops, and going on as if it had never been stopped."""

from __future__ import annotations

import copy
import errno
import os
import pathlib
import time
import zipfile
from typing import Any

import numpy as np
import pytest
import torch as th
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mbrl_agents import ReplayDQN
from mbrl_agents.core import chunks
from mbrl_agents.runs import checkpoints, training
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.run_folder import DIVERGED, FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from mbrl_agents.runs.saved_agents import load_for_evaluation
from mbrl_agents.runs.training import Calling, Report, train
from tests.experiments.runs import FLUTE, TINY, contents, folder, stop_at

GRID = [0, 50, 100, 150, 200]


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Whether two agents' parameters are the same, to the bit."""
    for part in one | other:
        for name in one[part] | other[part]:
            np.testing.assert_array_equal(one[part][name], other[part][name], err_msg=f"{part} {name}")


@pytest.fixture(autouse=True)
def _a_step_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks as short as can be, so that runs are stopped where the tests say."""
    monkeypatch.setattr(chunks, "FIRST_CHUNK", 1)
    monkeypatch.setattr(chunks, "SECONDS_PER_CHUNK", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that was never interrupted."""
    run = folder(tmp_path_factory.mktemp("whole") / "run")
    train(run)
    return run


def test_a_finished_run(whole: RunFolder) -> None:
    files = ["agent.zip", "config.yaml", "metrics.csv", "status.json", "times.csv", "versions.json"]
    assert sorted(contents(whole.path)) == files
    status = whole.status()
    assert (status.state, status.timesteps, status.error) == (FINISHED, 200, None)
    assert whole.scores().index.tolist() == GRID
    metrics = whole.metrics()
    assert (metrics["seed"] == 0).all()
    assert {"score", "train/loss", "train/n_updates"} <= set(metrics["metric"])
    assert not metrics["metric"].str.startswith("time/").any()
    times = whole.times()
    assert times["timestep"].tolist() == GRID
    assert times["seconds"].is_monotonic_increasing
    assert status.seconds >= times["seconds"].iloc[-1] > 0
    assert ReplayDQN.load(whole.agent_path).num_timesteps == 200


def check_evaluated(seen: dict[int, tuple[int, dict]], device_loop: bool, arguments: dict[str, Any]) -> None:
    """Whether parameters that were seen at timesteps are those of an agent that has learned for just so long."""
    assert [timesteps for timesteps, _ in seen.values()] == list(seen)
    for steps in (50, 150):
        agent = ReplayDQN("MlpPolicy", FLUTE.make(), seed=4, **arguments)
        # The host loop calls back before the gradient steps that follow a step, as SB3 does.
        agent.learn(steps if device_loop else steps - 1)
        same(seen[steps][1], agent.get_parameters())


@pytest.mark.parametrize("train_freq", [1, 3])
def test_the_agent_of_an_evaluation_in_the_device_loop(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, train_freq: int
) -> None:
    """It is saved just after it was evaluated."""
    seen: dict[int, tuple[int, dict]] = {}
    real = checkpoints.save_unfinished

    def save(folder: RunFolder, agent: Any, *more: Any) -> None:
        real(folder, agent, *more)
        saved = ReplayDQN.load(folder.agent_path)
        seen[int(folder.scores().index[-1])] = (saved.num_timesteps, saved.get_parameters())

    monkeypatch.setattr(checkpoints, "save_unfinished", save)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    arguments = TINY["ReplayDQN"] | {"train_freq": train_freq}
    train(folder(tmp_path / "run", arguments=arguments, seed=4))
    assert list(seen) == GRID[1:-1]
    check_evaluated(seen, True, arguments)


def test_the_agent_of_an_evaluation_in_the_host_loop(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, tuple[int, dict]] = {}
    real = Evaluator.measure

    def measure(self: Evaluator, model: Any, seed: int = 0, stream: int = 0) -> dict[str, np.ndarray]:
        seen[stream] = (model.num_timesteps, model.get_parameters())
        return real(self, model, seed, stream)

    monkeypatch.setattr(Evaluator, "measure", measure)
    arguments = TINY["ReplayDQN"] | {"device_loop": False}
    train(folder(tmp_path / "run", arguments=arguments, seed=4))
    assert list(seen) == GRID
    check_evaluated(seen, False, arguments)


@pytest.mark.parametrize(("agent", "steps", "last"), [("PPO", 100, 100), ("DQN", 103, 104)])
def test_agents_of_sb3_are_evaluated_on_the_same_grid(tmp_path: pathlib.Path, agent: str, steps: int, last: int) -> None:
    """PPO stops at the end although its rollout is not full; DQN learns after every fourth step."""
    run = folder(tmp_path / "run", agent, total_timesteps=steps, eval_interval=30)
    assert train(run).state == FINISHED
    assert run.scores().index.tolist() == [0, 30, 60, 90, last]


def test_several_environments(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", n_envs=4, total_timesteps=100, eval_interval=30)
    assert train(run).timesteps == 100
    assert run.scores().index.tolist() == [0, 32, 60, 92, 100]


def test_an_environment_without_functional_dynamics(tmp_path: pathlib.Path) -> None:
    spec = EnvironmentSpec("CartPole-v1")
    run = folder(tmp_path / "run", environment=spec, total_timesteps=60, eval_interval=30, eval_steps=None, n_envs=2)
    assert train(run, stop_at(20)).state == INTERRUPTED
    assert train(run).state == FINISHED
    assert run.scores().index.tolist() == [0, 30, 60]
    assert (run.scores() >= 8).all()


@pytest.mark.parametrize("stops", [(1,), (30, 145, 200)], ids=str)
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path: pathlib.Path, whole: RunFolder, stops: tuple) -> None:
    run = folder(tmp_path / "run")
    for timesteps in stops:
        status = train(run, stop_at(timesteps))
        if status.state == FINISHED:  # a chunk went beyond
            break
        assert run.status().state == INTERRUPTED
        agent, _, _ = load_for_evaluation(run.path)
        assert agent.num_timesteps == run.status().timesteps >= timesteps
        assert len(list(run.unfinished_replays())) == 1
        assert run.scores().equals(whole.scores().loc[: agent.num_timesteps])
    assert train(run).state == FINISHED
    assert run.scores().equals(whole.scores())
    same(ReplayDQN.load(run.agent_path).get_parameters(), ReplayDQN.load(whole.agent_path).get_parameters())
    assert contents(run.path).keys() == contents(whole.path).keys()


class Killed(BaseException):
    """As SIGKILL: nobody tidies up."""


def kill_at(timesteps: int) -> Report:
    """A report in which the process dies once so many timesteps are done."""

    def report(done: int, score: float | None) -> bool:
        if done >= timesteps:
            raise Killed
        return True

    return report


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1e9])
@pytest.mark.parametrize("timesteps", [1, 130])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    tmp_path: pathlib.Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, checkpoint_seconds: float, timesteps: int
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", checkpoint_seconds)
    run = folder(tmp_path / "run")
    with pytest.raises(Killed):
        train(run, kill_at(timesteps))
    assert run.status().state == RUNNING
    if checkpoint_seconds == 0 and timesteps > 50:
        assert ReplayDQN.load(run.agent_path).num_timesteps == timesteps // 50 * 50
    else:
        assert not run.agent_path.is_file()
    assert train(run).state == FINISHED
    assert run.scores().equals(whole.scores())
    same(ReplayDQN.load(run.agent_path).get_parameters(), ReplayDQN.load(whole.agent_path).get_parameters())


def test_checkpoints_that_take_long_are_written_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: now)
    now = 0.0
    clock, always = checkpoints.CheckpointClock(60), checkpoints.CheckpointClock(0)
    assert [clock.is_due(seconds) for seconds in (0, 59, 60)] == [False, False, True]
    now = 70.0
    for each in (clock, always):
        each.note_saved(began=60.0)  # took ten seconds
    assert [clock.is_due(70 + seconds) for seconds in (60, 199, 200)] == [False, False, True]
    assert always.is_due(70)


@pytest.mark.parametrize("agent", [pytest.param("SimpleModelDQN", marks=pytest.mark.slow), "LinearTD"])
def test_other_agents_go_on_likewise(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, agent: str) -> None:
    """Stopped, then killed: with a learned model, and with a memory that is used up in between."""
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    whole, run = (folder(tmp_path / name, agent) for name in ("whole", "run"))
    assert train(whole).state == FINISHED
    assert train(run, stop_at(70)).state == INTERRUPTED
    with pytest.raises(Killed):
        train(run, kill_at(130))
    assert run.status().timesteps == 100
    assert train(run).state == FINISHED
    assert run.scores().equals(whole.scores())
    one, other = (load_for_evaluation(each.path)[0] for each in (run, whole))
    same(one.get_parameters(), other.get_parameters())


def test_the_host_loop_goes_on_as_it_does_by_hand(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environments begin anew, as they do after ``load``; evaluations and files change nothing else."""
    make = EnvironmentSpec.training_env

    def seeded(self: EnvironmentSpec, num_envs: int) -> Any:  # after loading, nobody has
        env = make(self, num_envs)
        env.reset(seed=7)
        return env

    arguments = TINY["ReplayDQN"] | {"device_loop": False}
    run = folder(tmp_path / "run", arguments=arguments)
    assert train(run, stop_at(130)).state == INTERRUPTED
    monkeypatch.setattr(EnvironmentSpec, "training_env", seeded)
    assert train(run).state == FINISHED
    agent = ReplayDQN("MlpPolicy", FLUTE.make(), seed=0, **arguments)
    agent.learn(200, Calling(lambda: agent.num_timesteps < 130))
    agent.save(tmp_path / "agent")
    agent.save_replay_buffer(tmp_path / "replay")
    loaded = ReplayDQN.load(tmp_path / "agent", env=FLUTE.training_env(1))
    loaded.load_replay_buffer(tmp_path / "replay")
    loaded.learn(70, reset_num_timesteps=False)
    same(ReplayDQN.load(run.agent_path).get_parameters(), loaded.get_parameters())


@pytest.mark.parametrize("agent", ["PPO", "DQN"])
def test_agents_of_sb3_go_on_from_their_weights(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, agent: str) -> None:
    run = folder(tmp_path / "run", agent)
    assert train(run, stop_at(120)).state == INTERRUPTED
    stopped = run.status().timesteps
    assert 120 <= stopped < 150
    with zipfile.ZipFile(run.agent_path) as archive:
        saved = {part: th.load(archive.open(f"{part}.pth"), weights_only=True) for part in ("policy", "policy.optimizer")}
    begun: list[tuple[int, dict[str, Any]]] = []
    restore = checkpoints.restore

    def note(*given: Any) -> Any:
        model, seconds = restore(*given)
        begun.append((model.num_timesteps, copy.deepcopy(model.get_parameters())))
        return model, seconds

    monkeypatch.setattr(checkpoints, "restore", note)
    assert train(run).timesteps == 200
    assert run.scores().index.tolist() == GRID
    ((timesteps, parameters),) = begun
    assert timesteps == stopped
    th.testing.assert_close(parameters["policy"], saved["policy"], rtol=0, atol=0)
    moments = parameters["policy.optimizer"]["state"]
    assert moments  # a fresh optimiser has none
    th.testing.assert_close(moments, saved["policy.optimizer"]["state"], rtol=0, atol=0)
    fresh = run.config.kind.make(FLUTE.make(), run.config.arguments, run.config.seed).policy.state_dict()
    assert any((fresh[name] != value).any() for name, value in parameters["policy"].items())


@pytest.mark.parametrize("device_loop", [True, False])
def test_a_failing_run_says_why(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, device_loop: bool) -> None:
    run = folder(tmp_path / "run", arguments=TINY["ReplayDQN"] | {"device_loop": device_loop})

    def fails(*args: Any) -> None:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(RunFolder, "append_metrics", fails)
    with pytest.raises(RuntimeError, match="luck"):
        train(run)
    status = run.status()
    assert (status.state, status.error) == (FAILED, "RuntimeError: no luck")
    assert "Traceback" in status.details
    monkeypatch.undo()
    assert train(run).state == FINISHED


@pytest.mark.parametrize("name", ["agent.zip", "metrics.csv", "status.json"])
def test_a_full_disk_leaves_the_last_good_agent(
    tmp_path: pathlib.Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = folder(tmp_path / "run")
    train(run, stop_at(120))
    before = contents(run.path)
    real = os.replace

    def no_space(source: Any, target: Any) -> None:
        if pathlib.Path(target).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        train(run)
    monkeypatch.undo()
    assert run.status().state == (INTERRUPTED if name == "status.json" else FAILED)
    assert contents(run.path).keys() == before.keys()  # nothing half-written
    assert contents(run.path)["agent.zip"] == before["agent.zip"]
    assert train(run).state == FINISHED
    assert run.scores().equals(whole.scores())


def test_the_replay_memory_is_kept_if_asked_for(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", save_replay=True)
    train(run)
    agent = ReplayDQN.load(run.agent_path)
    agent.load_replay_buffer(run.path / "replay.npz")
    assert agent.memory.size() == 150


@pytest.mark.parametrize("device_loop", [True, False])
def test_a_run_that_diverges_ends_and_says_so(tmp_path: pathlib.Path, device_loop: bool) -> None:
    arguments = TINY["ReplayDQN"] | {"learning_rate": 1e30, "device_loop": device_loop}
    run = folder(tmp_path / "run", arguments=arguments)
    status = train(run)
    assert (status.state, status.timesteps) == (DIVERGED, 50)
    what = "loss was" if device_loop else "weights were"
    assert run.status().error == status.error == f"the {what} no longer finite at timestep 50"
    assert run.scores().index.tolist() == [0]
    assert run.metrics().query("metric == 'diverged'")["timestep"].tolist() == [50]


def test_agents_of_sb3_diverge_too(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", "DQN", arguments=TINY["DQN"] | {"learning_rate": 1e30})
    assert train(run).state == DIVERGED


def test_an_old_loss_does_not_stand_for_one_that_is_not_finite() -> None:
    latest = training.LatestValues()
    latest.write({"train/loss": 0.5, "train/n": 3, "time/fps": 7}, {})
    assert latest.values == {"train/loss": 0.5, "train/n": 3.0}
    latest.write({"train/loss": float("nan")}, {})
    assert latest.values == {"train/n": 3.0}


def test_tensorboard_gets_every_row(tmp_path: pathlib.Path) -> None:
    run = folder(tmp_path / "run", arguments=TINY["ReplayDQN"] | {"tensorboard_log": str(tmp_path / "tb")})
    train(run)
    (file,) = (tmp_path / "tb" / "ReplayDQN_1").iterdir()
    events = EventAccumulator(str(file)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("score")] == [
        (step, pytest.approx(value)) for step, value in run.scores().items()
    ]
    assert "train/loss" in events.Tags()["scalars"]
