"""Saving, loading and continuing equals never having stopped; bad files and full disks do no harm."""

from __future__ import annotations

import concurrent.futures
import errno
import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import textwrap
import zipfile
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import DQN
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents import ReplayDQN
from mbrl_agents.core import files
from tests.agents.comparing import assert_same, assert_same_parameters
from tests.agents.small import LIMIT, TINY, agent, both_loops, flute


@pytest.mark.parametrize("changes", [{}, {"n_steps": 3, "exploration": "epsilon_greedy"}, {"max_grad_norm": 1.0}], ids=str)
def test_continuing_equals_never_having_stopped(tmp_path: pathlib.Path, changes: dict) -> None:
    undisturbed = agent(**changes).learn(90)
    undisturbed.learn(110, reset_num_timesteps=False)

    stopped = agent(**changes).learn(90)
    stopped.save(tmp_path / "agent")
    stopped.save_replay_buffer(tmp_path / "replay")
    del stopped
    continued = ReplayDQN.load(tmp_path / "agent", env=flute())
    continued.load_replay_buffer(tmp_path / "replay")
    continued.learn(110, reset_num_timesteps=False)
    assert continued.num_timesteps == 200
    assert_same_parameters(undisturbed, continued)
    assert_same(undisturbed.memory.state, continued.memory.state)
    assert undisturbed._episode_num == continued._episode_num
    assert list(undisturbed.ep_info_buffer or [])[-1]["r"] == list(continued.ep_info_buffer or [])[-1]["r"]


def test_continuing_on_the_host_with_the_same_environment(tmp_path: pathlib.Path) -> None:
    """The host loop cannot save somebody else's environment: it begins a new episode, and all else goes on."""
    one, other = agent(False).learn(80), agent(False).learn(80)
    other.save(tmp_path / "agent.zip")
    other.save_replay_buffer(tmp_path / "replay.npz")
    loaded = ReplayDQN.load(tmp_path / "agent.zip", env=flute(), seed=1)
    loaded.load_replay_buffer(tmp_path / "replay.npz")
    for each in (one, loaded):  # both begin anew, in equally seeded environments
        each.set_env(flute())
        each.env.seed(5)  # type: ignore[union-attr]
        each.learn(70, reset_num_timesteps=False)
    assert_same_parameters(one, loaded)


@both_loops
def test_loading_for_prediction_needs_no_environment(device_loop: bool, tmp_path: pathlib.Path) -> None:
    learner = agent(device_loop).learn(60)
    learner.save(tmp_path / "agent.zip")
    loaded = ReplayDQN.load(str(tmp_path / "agent"))
    observations = np.random.default_rng(0).random((50, 6)) < 0.5
    np.testing.assert_array_equal(
        learner.predict(observations, deterministic=True)[0], loaded.predict(observations, deterministic=True)[0]
    )
    with pytest.raises(ValueError, match="no environment"):
        loaded.learn(10)


def test_the_file_holds_arrays_and_json_only(tmp_path: pathlib.Path) -> None:
    agent(learning_rate=LinearSchedule(1e-3, 1e-5, 0.5)).learn(40).save(tmp_path / "agent.zip")
    with zipfile.ZipFile(tmp_path / "agent.zip") as archive:
        names = set(archive.namelist())
        data = json.loads(archive.read("data"))
        for name in names:
            if name.endswith(".npz"):
                np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
    assert names == {
        "data",
        "policy.npz",
        "policy.target.npz",
        "policy.optimizer.npz",
        "state.npz",
        "_stable_baselines3_version",
        "system_info.txt",
    }
    assert data["arguments"]["learning_rate"] == {"schedule": "linear", "start": 1e-3, "end": 1e-5, "end_fraction": 0.5}
    loaded = ReplayDQN.load(tmp_path / "agent.zip")
    assert loaded.lr_schedule(0.75) == pytest.approx(1e-3 + 0.25 * (1e-5 - 1e-3) / 0.5)


def test_a_function_as_schedule_is_asked_for_again(tmp_path: pathlib.Path) -> None:
    agent(temperature=lambda progress: 0.1 + progress).save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match=r"temperature was a function .* give it again"):
        ReplayDQN.load(tmp_path / "agent.zip")
    loaded = ReplayDQN.load(tmp_path / "agent.zip", temperature=0.3)
    assert loaded.exploration_at(1.0).temperature == pytest.approx(0.3)


def test_saving_to_and_from_streams_and_excluding(tmp_path: pathlib.Path) -> None:
    learner, stream = agent().learn(40), io.BytesIO()
    learner.save(stream, exclude=["policy.optimizer"])
    stream.seek(0)
    loaded = ReplayDQN.load(stream, env=flute())
    mine, yours = learner.get_parameters(), loaded.get_parameters()
    np.testing.assert_array_equal(mine["policy"]["Dense_0/kernel"], yours["policy"]["Dense_0/kernel"])
    assert not yours["policy.optimizer"]["mu/Dense_0/kernel"].any()
    with pytest.raises(ValueError, match="exclude must name"):
        learner.save(io.BytesIO(), exclude=["policy"])


def test_files_without_a_suffix(tmp_path: pathlib.Path) -> None:
    """A file of the very name goes first; a folder of that name is no file."""
    learner = agent().learn(60)
    for name, save in (("agent", learner.save), ("replay", learner.save_replay_buffer)):
        save(stream := io.BytesIO())
        (tmp_path / name).write_bytes(stream.getvalue())
    agent().save(tmp_path / "agent.zip")
    agent().save_replay_buffer(tmp_path / "replay.npz")
    loaded = ReplayDQN.load(tmp_path / "agent", env=flute())
    loaded.load_replay_buffer(tmp_path / "replay")
    assert (loaded.num_timesteps, loaded.memory.size()) == (60, 60)
    for name in ("agent", "replay"):
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    loaded = ReplayDQN.load(tmp_path / "agent", env=flute())
    loaded.load_replay_buffer(tmp_path / "replay")
    assert (loaded.num_timesteps, loaded.memory.size()) == (0, 0)


def foreign_files(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, str]]:
    good = folder / "good.zip"
    agent().save(good)
    files = {name: folder / f"{name}.zip" for name in ("empty", "text", "cut", "sb3", "other", "pickled", "incomplete")}
    files["empty"].write_bytes(b"")
    files["text"].write_text("not a zip")
    files["cut"].write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    DQN("MlpPolicy", "CartPole-v1", buffer_size=10).save(files["sb3"])
    edit(good, files["other"], data=lambda content: content.replace(b'"class": "ReplayDQN"', b'"class": "Other"'))
    edit(good, files["incomplete"], data=lambda content: content.replace(b'"counters"', b'"countess"'))

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(folder / "exploded"),)

    npz = io.BytesIO()
    np.savez(npz, bomb=np.array([Bomb()], dtype=object))
    edit(good, files["pickled"], **{"policy.npz": lambda _: npz.getvalue()})
    messages = {
        "empty": "damaged or not an agent",
        "text": "damaged or not an agent",
        "cut": "damaged or not an agent",
        "sb3": "not an agent of this package",
        "other": "holds a Other, not a ReplayDQN",
        "pickled": "not a readable NPZ file of plain arrays",
        "incomplete": "not a complete agent",
    }
    return {name: (files[name], messages[name]) for name in files}


def edit(source: pathlib.Path, target: pathlib.Path, **changes: Any) -> None:
    """Copies a zip file, with some members changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, changes[name](content) if name in changes else content)


def test_corrupt_and_foreign_files(tmp_path: pathlib.Path) -> None:
    for path, message in foreign_files(tmp_path).values():
        with pytest.raises(ValueError, match=message):
            ReplayDQN.load(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(FileNotFoundError, match="no agent file"):
        ReplayDQN.load(tmp_path / "nowhere")


def test_a_hostile_pickle_in_an_sb3_file_is_never_opened(tmp_path: pathlib.Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        import base64

        serialized = base64.b64encode(pickle.dumps(Bomb())).decode()
        archive.writestr("data", json.dumps({"policy_class": {":type:": "x", ":serialized:": serialized}}))
        archive.writestr("policy.pth", pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="not an agent of this package"):
        ReplayDQN.load(tmp_path / "bomb.zip")
    with pytest.raises(ValueError, match="not an agent of this package"):
        agent().set_parameters(tmp_path / "bomb.zip")
    assert not (tmp_path / "exploded").exists()


def test_loading_into_other_spaces_or_with_unknown_arguments(tmp_path: pathlib.Path) -> None:
    agent().save(tmp_path / "agent.zip")
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        ReplayDQN.load(tmp_path / "agent.zip", env=gymnasium.make("mbrl/PanFlute-v0"))
    with pytest.raises(TypeError, match="no argument 'learning_rat'"):
        ReplayDQN.load(tmp_path / "agent.zip", learning_rat=1.0)
    with pytest.raises(ValueError, match="policy_kwargs must equal"):
        ReplayDQN.load(tmp_path / "agent.zip", policy_kwargs={"net_arch": [9]})


def test_versions_are_printed_where_asked_for(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent().save(tmp_path / "agent")
    for asked in (False, True):
        ReplayDQN.load(tmp_path / "agent", print_system_info=asked)
        assert ("Stable-Baselines3: " in capsys.readouterr().out) == asked


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    learner = agent()
    learner.save(tmp_path / "agent.zip")
    learner.save_replay_buffer(tmp_path / "replay.npz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    learner.learn(60)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        learner.save(tmp_path / "agent.zip")
    with pytest.raises(OSError, match="No space left"):
        learner.save_replay_buffer(tmp_path / "replay.npz")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_replay_files_of_other_layouts(tmp_path: pathlib.Path) -> None:
    learner = agent().learn(60)
    learner.save_replay_buffer(tmp_path / "replay.npz")
    with pytest.raises(ValueError, match="must have shape"):
        ReplayDQN("MlpPolicy", "mbrl/PanFlute-v0", **TINY).load_replay_buffer(tmp_path / "replay.npz")
    with pytest.raises(ValueError, match="at most 20 rows"):
        agent(buffer_size=20).load_replay_buffer(tmp_path / "replay.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(ValueError, match="not a readable NPZ"):
        learner.load_replay_buffer(tmp_path / "text.npz")
    with pytest.raises(FileNotFoundError):
        learner.load_replay_buffer(tmp_path / "nowhere.npz")
    larger = agent(buffer_size=600)
    larger.load_replay_buffer(tmp_path / "replay.npz")
    assert larger.memory.size() == 60


@pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])
def test_ctrl_c_leaves_an_agent_that_goes_on(tmp_path: pathlib.Path, device_loop: bool) -> None:
    """A real SIGINT in a real process that is learning."""
    script = f"""
        import gymnasium, mbrl_envs
        from mbrl_agents import ReplayDQN
        from stable_baselines3.common.callbacks import BaseCallback
        env = gymnasium.make("mbrl/PanFlute-v0", num_pipes=3, max_episode_steps=20)
        agent = ReplayDQN("MlpPolicy", env, device_loop={device_loop}, **{TINY!r})


        class Tell(BaseCallback):
            def _on_step(self):
                if self.n_calls == 100:
                    print("learning", flush=True)
                return True

        try:
            agent.learn(10_000_000, Tell())
        except KeyboardInterrupt:
            agent.save({str(tmp_path / "agent.zip")!r})
            agent.learn(50, reset_num_timesteps=False)
            print("steps", agent.num_timesteps, flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "learning\n"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    loaded = ReplayDQN.load(tmp_path / "agent.zip", env=flute())
    assert loaded.num_timesteps >= 100
    assert int(output.split()[-1]) == loaded.num_timesteps + 50


def test_numpy_numbers_and_episodic_training_are_saved(tmp_path: pathlib.Path) -> None:
    learner = agent(False, learning_rate=np.float32(0.5), batch_size=np.int64(8), train_freq=(2, "episode"), seed=np.int64(3))
    learner.save(tmp_path / "agent.zip")
    loaded = ReplayDQN.load(tmp_path / "agent.zip", env=flute())
    assert (loaded.learning_rate, loaded.batch_size, loaded.seed) == (0.5, 8, 3)
    assert loaded.train_freq == learner.train_freq
    loaded.learn(60)


def test_arguments_are_left_out_and_have_their_defaults_again(tmp_path: pathlib.Path) -> None:
    learner = agent(verbose=0, gamma=0.5, double_q=True)
    learner.save(tmp_path / "agent", exclude=["gamma", "double_q", "lanes"], include=["double_q"])
    again = ReplayDQN.load(tmp_path / "agent")
    assert (again.gamma, again.double_q) == (0.9, True)
    replaced = ReplayDQN.load(tmp_path / "agent", custom_objects={"gamma": 0.25, "no argument": 1})
    assert replaced.gamma == 0.25
    with pytest.raises(ValueError, match=r"exclude must name some of .* or arguments of the constructor, got \['nothing'\]"):
        learner.save(tmp_path / "agent", exclude=["nothing"])


def test_the_host_loop_goes_on_in_the_same_episode_where_asked_to(tmp_path: pathlib.Path) -> None:
    """With the environment where it was; elsewhere it begins a new one."""
    learner = agent(False).learn(50)
    learner.save(tmp_path / "agent")
    again = ReplayDQN.load(tmp_path / "agent", env=learner.get_env(), force_reset=False)
    np.testing.assert_array_equal(again._last_obs, learner._last_obs)
    again.learn(LIMIT, reset_num_timesteps=False)
    assert again._episode_num == learner._episode_num + 1  # that one ended 10 steps later, the next has not yet
    assert ReplayDQN.load(tmp_path / "agent", env=learner.get_env())._last_obs is None
    assert ReplayDQN.load(tmp_path / "agent", env=flute())._last_obs is None


def test_replay_buffer_is_another_name_of_the_memory() -> None:
    learner, other = agent().learn(40), agent()
    assert learner.replay_buffer is learner.memory
    other.replay_buffer = learner.memory
    assert_same(other.memory.state, learner.memory.state)  # a copy: an agent has its own run
    other.learn(10, reset_num_timesteps=False)
    assert (other.memory.size(), learner.memory.size()) == (50, 40)
    for wrong in (None, 3, agent(buffer_size=400).memory):
        with pytest.raises(AttributeError, match="replay_buffer can be set to another memory of the same layout only"):
            other.replay_buffer = wrong


def test_one_action_is_an_array_as_of_sb3() -> None:
    action, _ = agent().predict(np.zeros(6, bool))
    assert isinstance(action, np.ndarray)
    assert action.shape == ()


def test_threads_read_arrays_at_once() -> None:
    """Python's parser, which reads the headers, fails at random in threads (CPython issue 106905): see ``load_numpy``."""
    content = files.arrays_to_bytes({"x": np.arange(75.0)})
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            read = list(threads.map(lambda _: files.arrays_from_bytes(content, "here")["x"][-1], range(4000)))
    finally:
        sys.setswitchinterval(switching)
    assert read == [74.0] * 4000


def test_a_reader_that_always_fails_is_heard() -> None:
    tries = []

    def read() -> None:
        tries.append(1)
        raise SystemError("for ever")

    with pytest.raises(SystemError, match="for ever"):
        files.load_numpy(read)
    assert len(tries) == 20
