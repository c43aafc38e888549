"""The two loops are one algorithm: the same transitions give the same actions and the same parameters."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.callbacks import ConvertCallback, EveryNTimesteps

import mbrl_envs
from mbrl_agents import OMDSAC, ReplayDQN, ValueRNN
from mbrl_agents.core import chunks
from tests.agents.probes import Aim, make

SETTINGS: dict[str, Any] = {
    "learning_starts": 40,
    "buffer_size": 150,  # wraps round
    "batch_size": 16,
    "target_update_interval": 20,
    "learning_rate": 1e-3,
    "policy_kwargs": {"net_arch": [16, 16]},
    "seed": 3,
}
LARGE = SETTINGS | {"buffer_size": 1000}
EPSILON_GREEDY = {"exploration": "epsilon_greedy", "exploration_fraction": 0.9}
STEPS = 260


def mazes() -> gymnasium.Env:
    return gymnasium.make("mbrl/ProcMaze-v0", max_episode_steps=25)


class Playback(gymnasium.Env):
    """Shows recorded transitions one after the other, and notes the actions it is given."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, records: dict[str, np.ndarray]) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.records, self.index, self.actions = records, 0, []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self.records["observation"][self.index], {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        i = self.index
        self.actions.append(np.array(action))
        self.index = min(i + 1, len(self.records["observation"]) - 1)
        r = self.records
        return r["next_observation"][i], float(r["reward"][i]), bool(r["terminated"][i]), bool(r["truncated"][i]), {}


def record(cls: Any, env: gymnasium.Env, settings: dict[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """Trains in the device loop, one step a chunk, and takes down every transition."""
    agent = cls("MlpPolicy", env, device_loop=True, **settings)
    rows: list[Any] = []

    def note(local: dict, _: dict) -> bool:
        stored, last = agent.memory.state.stored, (agent.memory.pos - 1) % agent.memory.buffer_size
        rows.append(jax.tree.map(lambda leaf: np.asarray(leaf)[last, 0], stored))
        return True

    agent.learn(STEPS, callback=EveryNTimesteps(1, ConvertCallback(note)))  # a chunk ends with each step
    records = {name: np.stack([getattr(row, name) for row in rows]) for name in rows[0]._fields}
    for name in ("observation", "next_observation"):
        records[name] = np.asarray(agent.replay.codec.decode(records[name])).astype(env.observation_space.dtype)
    records["action"] = agent.actions.to_env(records["action"])
    return agent, records


def check_both_loops(cls: Any, env: gymnasium.Env, settings: dict[str, Any]) -> None:
    """What the host loop does with the device loop's transitions is what that did."""
    device, records = record(cls, env, settings)
    assert records["terminated"].any() or records["truncated"].any()
    playback = Playback(device.observation_space, device.action_space, records)
    host = cls("MlpPolicy", playback, device_loop=False, **settings)
    host.learn(STEPS)
    np.testing.assert_allclose(np.stack(playback.actions), records["action"], rtol=1e-4, atol=1e-5)
    assert host._n_updates == device._n_updates > 100
    ours, theirs = device.get_parameters(), host.get_parameters()
    for part in ours:
        for name in ours[part]:
            np.testing.assert_allclose(ours[part][name], theirs[part][name], rtol=1e-4, atol=1e-6, err_msg=f"{part} {name}")


@pytest.mark.parametrize(
    ("env_id", "changes"),
    [
        # What matters of the environment is whether its episodes terminate.
        ("mbrl/ProcMaze-v0", {"n_steps": 3, "double_q": True, "tau": 0.3, "max_grad_norm": 0.1, **EPSILON_GREEDY}),
        ("mbrl/PanFlute-v0", {"gradient_steps": 3, "train_freq": 2}),
        pytest.param("mbrl/ProcMaze-v0", EPSILON_GREEDY, marks=pytest.mark.slow),
        pytest.param("mbrl/PanFlute-v0", {}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_both_loops_act_and_learn_alike(env_id: str, changes: dict) -> None:
    check_both_loops(ReplayDQN, gymnasium.make(env_id, max_episode_steps=15), SETTINGS | changes)


@pytest.mark.parametrize("model_loss", ["none", pytest.param("omd", marks=pytest.mark.slow)])
def test_both_loops_act_and_learn_alike_in_continuous_actions(model_loss: str) -> None:
    small = {name: value for name, value in SETTINGS.items() if name != "target_update_interval"} | {"model_net_arch": [8]}
    check_both_loops(OMDSAC, make(Aim(3)), small | {"model_loss": model_loss})


@pytest.mark.parametrize(
    ("cls", "changes"),
    [
        (ReplayDQN, {}),
        (ReplayDQN, {"train_freq": 3}),
        (ValueRNN, {"hidden_size": 8, "sequence_length": 10, "burn_in": 2, "train_freq": 20}),
    ],
)
def test_chunks_change_no_number(cls: Any, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the clock lets them be: here a step, or few, or as many as there are."""
    given = {**LARGE, **changes}
    if cls is ValueRNN:
        given = {name: value for name, value in given.items() if name not in ("target_update_interval", "policy_kwargs")}

    def run(first: int, seconds: float) -> dict:
        monkeypatch.setattr(chunks, "FIRST_CHUNK", first)
        monkeypatch.setattr(chunks, "SECONDS_PER_CHUNK", seconds)
        return cls(env=mazes(), **({"policy": "MlpPolicy"} if cls is ReplayDQN else {}), **given).learn(250).get_parameters()

    one = run(1000, np.inf)
    for other in (run(1, 0.0), run(7, 1e-3)):
        for part in one:
            for name in one[part]:
                np.testing.assert_array_equal(one[part][name], other[part][name])


@pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])
def test_stored_observations_never_join_two_episodes(device_loop: bool) -> None:
    """After an episode's end, the next row starts from the fresh observation, and the last one keeps its true end."""
    agent = ReplayDQN("MlpPolicy", mazes(), device_loop=device_loop, **LARGE)
    agent.learn(900)
    codec = agent.replay.codec
    stored = jax.tree.map(lambda leaf: np.asarray(leaf)[:900, 0], agent.memory.state.stored)
    before, after = (np.asarray(codec.decode(x)).reshape(-1, 16, 4) for x in (stored.observation, stored.next_observation))
    ended = stored.terminated | stored.truncated
    assert ended.sum() >= 36
    assert stored.terminated.sum() > 5
    # Walls (plane 2) and goal (plane 1) stay within every stored transition …
    np.testing.assert_array_equal(before[:, :, 1:3], after[:, :, 1:3])
    # … the next row continues where the last ended, unless the episode did.
    follows = (after[:-1] == before[1:]).all(axis=(1, 2))
    assert follows[~ended[:-1]].all()
    assert (~follows[ended[:-1]]).mean() > 0.9
    # The player stood on the goal when the step that terminated began.
    on_goal = (before[:, :, 0] * before[:, :, 1]).any(axis=1)
    np.testing.assert_array_equal(on_goal, stored.terminated)


def test_several_environments_in_one_program() -> None:
    vec_env = mbrl_envs.FunctionalVecEnv("mbrl/ProcMaze-v0", num_envs=4, max_episode_steps=20)
    agent = ReplayDQN("MlpPolicy", vec_env, **(SETTINGS | {"buffer_size": 400, "gradient_steps": -1}))
    agent.learn(400)
    assert agent.num_timesteps == 400
    assert agent.memory.size() == 100
    assert agent.memory.full
    assert agent._n_updates == 400 - 40
    lanes = np.asarray(agent.memory.state.stored.observation)
    assert len({lanes[:, lane].tobytes() for lane in range(4)}) == 4


def test_the_time_limit_asked_for_is_the_one_in_force() -> None:
    for limit, cuts in ((25, 8), (-1, 0)):
        for device_loop in (True, False):
            env = gymnasium.make("mbrl/PanFlute-v0", max_episode_steps=limit)
            changes = {"buffer_size": 300, "learning_starts": 1000}  # nothing is to be learned
            agent = ReplayDQN("MlpPolicy", env, device_loop=device_loop, **(SETTINGS | changes)).learn(200)
            stored = agent.memory.state.stored
            assert int(np.asarray(stored.truncated).sum()) == cuts
            assert not np.asarray(stored.terminated).any()
