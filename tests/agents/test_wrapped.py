"""What wrapped environments and callbacks are promised holds in either loop."""

from __future__ import annotations

import pathlib
import signal
import time
from typing import Any

import gymnasium
import jax
import numpy as np
import pandas as pd
import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from mbrl_agents import ReplayDQN
from mbrl_agents.core import chunks
from mbrl_agents.sb3 import replay_buffer
from mbrl_envs import FunctionalVecEnv
from tests.agents.comparing import assert_same
from tests.agents.small import LIMIT, TINY, both_loops, flute


class Returns(BaseCallback):
    """Adds up rewards between ends of episodes; one list of returns for each environment."""

    def _on_training_start(self) -> None:
        self.ended: list[list[float]] = [[] for _ in range(self.model.n_envs)]
        self.running = np.zeros(self.model.n_envs)

    def _on_step(self) -> bool:
        self.running += self.locals["rewards"]
        for i in np.flatnonzero(self.locals["dones"]):
            self.ended[i].append(float(self.running[i]))
            self.running[i] = 0
        return True


def learn(env: Any, device_loop: bool | None, **changes: Any) -> list[list[float]]:
    returns = Returns()
    agent = ReplayDQN("MlpPolicy", env, device_loop=device_loop, **(TINY | {"learning_starts": 1000} | changes))
    agent.learn(100, callback=returns)
    return returns.ended


class Penalty(gymnasium.wrappers.TimeLimit):
    """Takes 100 away at the limit."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward - 100 * truncated, terminated, truncated, info


def test_a_subclass_of_a_known_wrapper_is_not_skipped() -> None:
    env = Penalty(gymnasium.make("mbrl/PanFlute-v0", num_pipes=3, max_episode_steps=-1), LIMIT)
    (returns,) = learn(env, None)
    assert len(returns) == 100 // LIMIT
    assert all(each <= LIMIT - 100 for each in returns)
    with pytest.raises(ValueError, match="device_loop=True needs an environment with functional dynamics"):
        learn(env, True)


@both_loops
def test_monitors_write_their_files(device_loop: bool, tmp_path: pathlib.Path) -> None:
    monitors = [Monitor(flute(), str(tmp_path / f"{i}")) for i in range(2)]
    returns = learn(DummyVecEnv([lambda i=i: monitors[i] for i in range(2)]), device_loop)
    for i, monitor in enumerate(monitors):
        table = pd.read_csv(tmp_path / f"{i}.monitor.csv", skiprows=1)
        assert table["r"].tolist() == pytest.approx(returns[i])
        assert table["l"].tolist() == monitor.get_episode_lengths() == [LIMIT] * (50 // LIMIT)
        assert (np.diff(table["t"]) >= 0).all()
        assert monitor.get_episode_rewards() == pytest.approx(returns[i])
        assert len(monitor.get_episode_times()) == len(returns[i])
        assert monitor.get_total_steps() >= LIMIT * len(returns[i])
    assert len(load_results(str(tmp_path))) == 2 * (50 // LIMIT)


@both_loops
def test_vec_monitors_write_their_file(device_loop: bool, tmp_path: pathlib.Path) -> None:
    envs = VecMonitor(FunctionalVecEnv("PanFlute", 2, LIMIT, num_pipes=3), str(tmp_path / "all"))
    returns = learn(envs, device_loop)
    table = pd.read_csv(tmp_path / "all.monitor.csv", skiprows=1)
    assert table["l"].tolist() == [LIMIT] * (2 * (50 // LIMIT))
    assert table["r"].tolist() == pytest.approx(np.transpose(returns).ravel())
    assert envs.episode_count == 2 * (50 // LIMIT)


@both_loops
def test_recorded_statistics_are_kept(device_loop: bool) -> None:
    env = gymnasium.wrappers.RecordEpisodeStatistics(flute(), buffer_length=3)
    began = time.perf_counter()
    (returns,) = learn(env, device_loop)
    elapsed = time.perf_counter() - began
    assert list(env.return_queue) == pytest.approx(returns[-3:])
    assert list(env.length_queue) == [LIMIT] * 3
    assert len(env.time_queue) == 3
    assert 0 < sum(env.time_queue) < elapsed  # of each episode, not since the start
    assert env.episode_count == len(returns) == 100 // LIMIT


class Keys(BaseCallback):
    """Asks for a value at every step."""

    def __init__(self, name: str, of_info: bool = False, get: bool = False) -> None:
        super().__init__()
        self.name, self.of_info, self.get, self.values = name, of_info, get, []

    def _on_step(self) -> bool:
        if not self.of_info or self.locals["dones"][0]:
            source = self.locals["infos"][0] if self.of_info else self.locals
            self.values.append(source.get(self.name) if self.get else source[self.name])
        return True


@pytest.mark.parametrize("get", [False, True])
@pytest.mark.parametrize(("name", "of_info"), [("new_obs", False), ("terminal_observation", True)])
def test_callbacks_that_need_the_host_loop_are_told_so(name: str, of_info: bool, get: bool) -> None:
    agent = ReplayDQN("MlpPolicy", flute(), **TINY)
    with pytest.raises(KeyError, match=f"'{name}' is not known to callbacks in the device loop .* device_loop=False"):
        agent.learn(50, callback=Keys(name, of_info, get))
    asks = Keys(name, of_info, get)
    ReplayDQN("MlpPolicy", flute(), device_loop=False, **TINY).learn(50, callback=asks)
    assert np.shape(asks.values[-1])[-1] == 6


@both_loops
def test_callbacks_find_the_environment_and_its_actions(device_loop: bool) -> None:
    agent = ReplayDQN("MlpPolicy", flute(), device_loop=device_loop, **TINY)
    env, actions = Keys("env"), Keys("actions")
    agent.learn(50, callback=[env, actions])
    assert all(each is agent.env for each in env.values)
    assert all(agent.action_space.contains(each[0]) for each in actions.values)


class Fails(BaseCallback):
    """Raises at a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at:
            raise RuntimeError("the callback's own")
        return True


@both_loops
def test_a_callback_that_raises_leaves_a_consistent_agent(device_loop: bool) -> None:
    """Counters and memory agree, so that learning on is what it would have been."""
    agent = ReplayDQN("MlpPolicy", flute(), device_loop=device_loop, **TINY)
    with pytest.raises(RuntimeError, match="the callback's own"):
        agent.learn(200, callback=Fails(97))
    assert agent.num_timesteps - agent.memory.size() == (0 if device_loop else 1)  # SB3 stores a step after its callbacks
    assert agent.memory.size() == agent.run.clock.vector_steps
    assert agent._n_updates == agent.memory.size() - TINY["learning_starts"]
    assert agent._episode_num == agent.num_timesteps // LIMIT
    before = agent.num_timesteps
    agent.learn(100, reset_num_timesteps=False)
    assert agent.num_timesteps == before + 100


def test_a_program_that_fails_leaves_a_consistent_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when memory runs out, or Ctrl-C is pressed twice."""
    agent = ReplayDQN("MlpPolicy", flute(), **TINY).learn(40)
    plain, before = chunks.run_part, jax.tree.map(np.array, agent.run)  # no views, which would keep the memory alive

    def fail(*arguments: Any) -> None:
        plain(*arguments)
        raise MemoryError("out of memory")

    monkeypatch.setattr(chunks, "run_part", fail)
    with pytest.raises(MemoryError, match="out of memory"), pytest.warns(RuntimeWarning, match="replay memory was lost"):
        agent.learn(40, reset_num_timesteps=False)
    monkeypatch.undo()
    assert_same(agent.run._replace(memory=None), before._replace(memory=None))
    assert (agent.memory.size(), agent.num_timesteps) == (0, 40)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(agent.get_parameters()))
    agent.learn(10, reset_num_timesteps=False)
    assert (agent.memory.size(), agent.num_timesteps) == (10, 50)


def test_storing_that_fails_leaves_a_consistent_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the host loop, where every step is a call of its own."""
    agent = ReplayDQN("MlpPolicy", flute(), device_loop=False, **TINY).learn(40)
    functions, before = chunks.memory_functions(agent.replay), jax.tree.map(np.array, agent.learner_state)

    def fail(*arguments: Any) -> None:
        functions.add(*arguments)
        raise MemoryError("out of memory")

    monkeypatch.setattr(replay_buffer, "memory_functions", lambda replay: functions._replace(add=fail))
    with pytest.raises(MemoryError, match="out of memory"), pytest.warns(RuntimeWarning, match="replay memory was lost"):
        agent.learn(10, reset_num_timesteps=False)
    monkeypatch.undo()
    assert_same(agent.learner_state, before)
    assert agent.memory.size() == 0
    agent.learn(10, reset_num_timesteps=False)
    assert agent.memory.size() == 10


def test_ctrl_c_twice_in_a_compiled_call_waits_for_what_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the call and the agent that takes over what it made, a KeyboardInterrupt would lose the run."""
    agent = ReplayDQN("MlpPolicy", flute(), **TINY).learn(40)
    plain = chunks.run_part

    def interrupted(*arguments: Any) -> Any:
        made = plain(*arguments)
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(chunks, "run_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(100, reset_num_timesteps=False)
    monkeypatch.undo()
    reached = agent.num_timesteps
    assert 40 < reached == agent.memory.size() == agent.run.clock.vector_steps < 140
    agent.learn(10, reset_num_timesteps=False)
    assert agent.num_timesteps == agent.memory.size() == reached + 10
