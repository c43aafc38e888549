"""Weights & Biases through SB3's callback: the line that the README shows, and every agent in every loop.

Where ``wandb`` is not installed (the extra ``tracking``) a stand-in takes its place, which needs of an agent what
``wandb.integration.sb3.WandbCallback`` of wandb 0.31 needs, and hears of TensorBoard's files as ``sync_tensorboard=True`` does.
"""

from __future__ import annotations

import pathlib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import writer

from mbrl_agents import ReplayDQN
from tests.agents import test_interruptions
from tests.agents.small import agent as small_agent
from tests.agents.small import both_loops
from tests.command_lines import ROOT

# One case of each class, in each of its loops: the device loop, the host loop, that of whole batches, and PyTorch's by default.
ONE_OF_EACH = {cls: case for case, (cls, _) in reversed(test_interruptions.CASES.items())}.values()
EVERY_LOOP = [
    *((case, True) for case in ONE_OF_EACH if case in test_interruptions.ON_DEVICE),
    *((case, False) for case in ONE_OF_EACH if case in test_interruptions.ON_HOST),
]
BY_DEFAULT = [("replay", True), ("replay", False), ("linear", False), ("r2d2", False)]


class StandIn(BaseCallback):
    """What ``WandbCallback`` asks of an agent and of SB3's contract."""

    made: ClassVar[list[StandIn]] = []

    def __init__(self, model_save_path: str | None = None, model_save_freq: int = 0) -> None:
        super().__init__()
        self.path, self.every = model_save_path, model_save_freq
        self.config: dict[str, Any] = {}
        self.watched: list[str] = []
        self.saved: list[int] = []
        self.ended = False
        self.made.append(self)

    def _init_callback(self) -> None:
        self.config = {"algo": type(self.model).__name__, **{name: str(value) for name, value in vars(self.model).items()}}
        assert isinstance(self.model.policy, nn.Module)
        self.watched = [name for name, _ in self.model.policy.named_parameters()]

    def _on_step(self) -> bool:
        if self.every and self.n_calls % self.every == 0:
            self._save()
        return True

    def _on_training_end(self) -> None:
        self.ended = True
        if self.path is not None:
            self._save()

    def _save(self) -> None:
        assert self.path is not None
        self.model.save(pathlib.Path(self.path) / "model.zip")
        self.saved.append(self.model.num_timesteps)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """``wandb.init(sync_tensorboard=True)``: the folders that TensorBoard's writer is opened with."""
    folders: list[str] = []

    class Heard(writer.EventFileWriter):  # type: ignore[misc, name-defined]
        def __init__(self, logdir: str, *more: Any, **named: Any) -> None:
            folders.append(logdir)
            super().__init__(logdir, *more, **named)

    monkeypatch.setattr(writer, "EventFileWriter", Heard)
    module = types.ModuleType("wandb.integration.sb3")
    module.WandbCallback = StandIn  # type: ignore[attr-defined]
    for name in ("wandb", "wandb.integration"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    StandIn.made = []
    return folders


def scalars(folder: str) -> dict[str, list[int]]:
    """The timesteps of each scalar that TensorBoard's files have."""
    events = EventAccumulator(folder).Reload()
    return {name: [event.step for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def readme_line() -> str:
    """The line of the README, with what it says to import."""
    page = " ".join((ROOT / "mbrl_agents" / "README.md").read_text(encoding="utf-8").split())
    before = r"after `(from wandb[^`]*)` and `wandb\.init\([^`]*sync_tensorboard=True\)`"
    found = re.search(before + r", `([^`]*callback=WandbCallback\(\)\))`", page)
    assert found, "mbrl_agents/README.md must show how to track with Weights & Biases"
    return f"{found[1]}\n{found[2]}"


def test_the_readmes_line(synced: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(readme_line().replace("15_000", "1_200"), {"ReplayDQN": ReplayDQN})
    (callback,) = StandIn.made
    assert callback.ended
    assert callback.n_calls == 1200
    assert callback.config["algo"] == "ReplayDQN"
    assert callback.config["gamma"] == "0.9"
    assert [pathlib.Path(folder).parent.name for folder in synced] == ["runs"]
    assert {"train/loss", "rollout/reward_per_step", "train/learning_rate"} <= scalars(synced[0]).keys()


@pytest.mark.parametrize(
    ("case", "device_loop"),
    [*BY_DEFAULT, *(pytest.param(*each, marks=pytest.mark.slow) for each in EVERY_LOOP if each not in BY_DEFAULT)],
)
def test_agents_are_tracked_by_the_callback(case: str, device_loop: bool, synced: list[str], tmp_path: pathlib.Path) -> None:
    agent = test_interruptions.make(case, device_loop)
    agent.tensorboard_log = str(tmp_path / "runs")
    agent.learn(80, log_interval=1, callback=(callback := StandIn(str(tmp_path), model_save_freq=40)))
    assert callback.ended
    steps = agent.num_timesteps
    assert callback.n_calls == callback.saved[-1] == steps >= 80  # one learns from whole batches in its host loop
    assert len(callback.saved) == 3
    assert type(agent).load(tmp_path / "model.zip", env=test_interruptions.environment(type(agent))).num_timesteps == steps
    assert len(synced) == 1
    found = scalars(synced[0])
    assert "train/learning_rate" in found or "train/loss" in found, found
    assert all(1 <= step <= steps for several in found.values() for step in several)


@both_loops
def test_an_agent_is_tracked_by_the_real_callback(
    device_loop: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offline: nothing leaves the machine."""
    wandb = pytest.importorskip("wandb", reason="the extra 'tracking' is not installed")
    from wandb.integration.sb3 import WandbCallback

    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    agent = small_agent(device_loop, tensorboard_log="runs")
    with wandb.init(project="mbrl", sync_tensorboard=True, dir=tmp_path) as run:
        agent.learn(200, log_interval=1, callback=WandbCallback(model_save_path="models", gradient_save_freq=50))
        assert run.config["algo"] == "ReplayDQN"
        assert float(run.config["gamma"]) == 0.9
    assert (tmp_path / "models" / "model.zip").is_file()
    assert list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
