"""The recipes of the packages' READMEs, followed: an environment, an agent and a kind of search space that are not there yet.

A corridor of n cells: from the first to the last, where an episode ends with a reward of 1. So the best Q-values are known.
"""

from __future__ import annotations

import dataclasses
import pathlib
import types
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optuna
import pandas as pd
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents import train_sweep
from mbrl_agents.core import exploration
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Hyperparameters, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.replay import Batch
from mbrl_agents.core.schedules import Now, Schedule
from mbrl_agents.experiments import objectives
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import Given, argument
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import (
    FunctionalEnv,
    FunctionalVecEnv,
    Transition,
    commands,
    documentation,
    multi_agent,
    registration,
    rendering,
    yardsticks,
)
from mbrl_envs.checks import integer_in, set_frozen
from mbrl_envs.multi_agent import MultiAgentEnv
from mbrl_envs.rendering import Picture, Style
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver
from tests.tuning import fakes
from tuning import Study, Worker, create_study, open_study, proposals, specification
from tuning import spaces as search_spaces
from tuning.objectives import Curve
from tuning.spaces import Values
from tuning.training import SweepTrainer

GAMMA = 0.5

# --- an environment (mbrl_envs/README.md) -------------------------------------------------------------------------------------


class CorridorState(NamedTuple):
    """State: the player's ``cell``, int32 scalar."""

    cell: jax.Array


@dataclasses.dataclass(frozen=True)
class Corridor(FunctionalEnv[CorridorState, None]):
    """Walk to the end of a corridor.

    **Reset.** The player is in the first cell.

    **Step.** The player moves, unless the corridor ends there; the episode terminates in the last cell.

    **Reward.** 1 for the step into the last cell.

    Args:
        length: Number of cells n, 2 to 100.

    Observation planes:
        player: The player's cell.
    """

    length: int = 3

    env_id: ClassVar[str] = "mbrl/Corridor-v0"
    continuing: ClassVar[bool] = False
    max_episode_steps: ClassVar[int] = 50
    action_names: ClassVar[tuple[str, ...]] = ("back", "on")

    def __post_init__(self) -> None:
        set_frozen(self, length=integer_in("length", self.length, 2, 100))

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0, 1, (self.length,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    def reset(self, key: jax.Array) -> CorridorState:
        del key
        return CorridorState(jnp.int32(0))

    def events(self, key: jax.Array) -> None:
        del key

    def transition(self, state: CorridorState, action: jax.Array, events: None) -> Transition:
        cell = jnp.clip(state.cell + 2 * action - 1, 0, self.length - 1).astype(jnp.int32)
        there = cell == self.length - 1
        return Transition(CorridorState(cell), there.astype(jnp.float32), there)

    def observe(self, state: CorridorState) -> jax.Array:
        return jax.nn.one_hot(state.cell, self.length)

    def picture(self, state: CorridorState) -> Picture:
        cells = np.full((1, self.length), "floor", dtype=object)
        cells[0, int(state.cell)] = "player"
        return Picture(cells, legend=("player", "floor"))


@optimal_solver.register(Corridor)
def _optimal(env: Corridor, steps: int | None) -> Score:
    return Score(1.0 if steps is None or steps >= env.length - 1 else 0.0)


@uniform_solver.register(Corridor)
def _uniform(env: Corridor, steps: int | None) -> Score:
    """The probability of arriving within so many steps, of a walk that the first cell reflects."""
    if steps is None:
        return Score(1.0)
    walk = np.zeros((env.length, env.length))
    for cell in range(env.length - 1):
        walk[cell, max(cell - 1, 0)] += 0.5
        walk[cell, cell + 1] += 0.5
    walk[-1, -1] = 1
    return Score(float(np.linalg.matrix_power(walk, steps)[0, -1]))


@pytest.fixture
def corridor(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The corridor's id, while it is one of the environments."""
    monkeypatch.setitem(registration.DYNAMICS, "Corridor", Corridor)
    monkeypatch.setitem(rendering.STYLES, "floor", Style("_", "floor", rendering.STYLES["empty"].layers))
    registration.register()
    yield Corridor.env_id
    del gymnasium.registry[Corridor.env_id]


def test_an_environment(corridor: str) -> None:
    env = gymnasium.make(corridor, length=4, render_mode="ansi")
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=0)
    assert [env.step(1)[1:3] for _ in range(3)] == [(0, False), (0, False), (1, True)]
    assert "player" in str(env.render())
    envs = gymnasium.make_vec(corridor, num_envs=5)
    envs.reset(seed=0)
    assert envs.step(np.ones(5, int))[0].shape == (5, 3)
    assert FunctionalVecEnv(corridor, num_envs=2, length=6).reset().shape == (2, 6)
    with pytest.raises(ValueError, match="length must be"):
        gymnasium.make(corridor, length=1)
    described = commands.describe(corridor)
    assert (described["summary"], described["arguments"]) == ("Walk to the end of a corridor.", {"length": 3})
    assert yardsticks.optimal_score(corridor, steps=50) == 1
    assert yardsticks.uniform_score(corridor, steps=2) == 0.25
    text = documentation.section(Corridor, [])
    for part in ("## Corridor", "Number of cells n, 2 to 100.", "**Reward.** 1 for the step", "| 1 | on |"):
        assert part in text


@dataclasses.dataclass(frozen=True)
class Corridors(MultiAgentEnv[CorridorState, None]):
    """Walk to the ends of corridors that lie side by side.

    **Reset.** All players are in their first cells.

    **Step.** The players move, unless a corridor ends there; the episode terminates when one is in the last cell.

    **Reward.** 1 for a player's step into its last cell.

    Args:
        num_players: Number of players A, 1 to 8.

    Observation planes:
        player: The player's cell.
    """

    num_players: int = 2

    env_id: ClassVar[str] = "corridors_v0"
    continuing: ClassVar[bool] = False
    max_episode_steps: ClassVar[int] = 50

    def __post_init__(self) -> None:
        set_frozen(self, num_players=integer_in("num_players", self.num_players, 1, 8))

    @property
    def num_agents(self) -> int:
        return self.num_players

    @property
    def action_names(self) -> tuple[str, ...]:
        return ("back", "on")

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0, 1, (3 + self.num_players,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    def reset(self, key: jax.Array) -> CorridorState:
        del key
        return CorridorState(jnp.zeros(self.num_players, jnp.int32))

    def events(self, key: jax.Array) -> None:
        del key

    def transition(self, state: CorridorState, action: jax.Array, events: None) -> Transition:
        cell = jnp.clip(state.cell + 2 * action - 1, 0, 2).astype(jnp.int32)
        return Transition(CorridorState(cell), (cell == 2).astype(jnp.float32), (cell == 2).any())

    def observe(self, state: CorridorState) -> jax.Array:
        return jnp.concatenate([jax.nn.one_hot(state.cell, 3), jnp.eye(self.num_players)], axis=-1)

    def picture(self, state: CorridorState) -> Picture:
        cells = np.full((self.num_players, 3), "floor", dtype=object)
        cells[np.arange(self.num_players), np.asarray(state.cell)] = "player"
        return Picture(cells, legend=("player", "floor"))


MODULE = """from mbrl_envs.adapters.parallel_env import makers
from tests.test_recipes import Corridors

parallel_env, env = makers(Corridors)
"""


@pytest.fixture
def corridors(corridor: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of two lines, while the class is one of the environments with several agents."""
    pytest.importorskip("pettingzoo")
    monkeypatch.setitem(multi_agent.DYNAMICS, "Corridors", Corridors)
    module = types.ModuleType("corridors_v0")
    exec(MODULE, vars(module))
    return module


def test_an_environment_with_several_agents(corridors: Any) -> None:
    from pettingzoo.test import api_test, parallel_api_test

    parallel_api_test(corridors.parallel_env(), num_cycles=100)
    api_test(corridors.env(max_cycles=20), num_cycles=50)
    env = corridors.parallel_env(num_players=3, render_mode="ansi")
    env.reset(seed=0)
    assert env.step(dict(zip(env.agents, (1, 1, 0), strict=True)))[1] == dict.fromkeys(env.possible_agents, 0)
    _, rewards, terminated, _, _ = env.step(dict(zip(env.agents, (1, 0, 1), strict=True)))
    assert [*rewards.values()] == [1, 0, 0]
    assert all(terminated.values())
    assert "player" in env.render()
    with pytest.raises(ValueError, match="num_players must be"):
        corridors.env(num_players=9)
    lanes = FunctionalVecEnv(Corridors(), num_envs=2)
    assert lanes.reset().shape == (4, 5)
    assert lanes.step(np.array([1, 0, 1, 1]))[1].tolist() == [0, 0, 0, 0]
    text = documentation.section(Corridors, [])
    for part in ("## Corridors", "`corridors_v0` · Episodic", "Number of players A, 1 to 8.", "| 1 | on |"):
        assert part in text


# --- an agent (mbrl_agents/README.md) -----------------------------------------------------------------------------------------


class LinearQState(NamedTuple):
    """What learning changes: the weights (features, actions); and the numbers."""

    params: dict[str, jax.Array]
    hyper: Hyperparameters


@dataclasses.dataclass(frozen=True)
class LinearQLearner(Learner):
    """Q-learning, linear in observations; the fields are what shapes the program."""

    codec: ObservationCodec
    num_actions: int

    def init(self, key: jax.Array, hyper: Hyperparameters) -> LinearQState:
        del key
        weights = jnp.zeros((self.codec.num_features, self.num_actions))
        return LinearQState({"weights": weights}, jax.tree.map(jnp.float32, hyper))

    def values(self, state: LinearQState, observation: jax.Array) -> jax.Array:
        return self.codec.features(observation) @ state.params["weights"]

    def act(
        self, state: LinearQState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None
    ) -> Acted:
        return Acted(exploration.select(self.values(state, observation), key, "softmax", explore), carry)

    def update(self, state: LinearQState, batch: Batch, key: jax.Array, now: Now) -> Updated:
        del key
        target = batch.reward + batch.discount * self.values(state, batch.next_observation).max(axis=-1)
        taken = jax.nn.one_hot(batch.action, self.num_actions)
        errors = target - (self.values(state, batch.observation) * taken).sum(axis=-1)
        step = self.codec.features(batch.observation).T @ (taken * errors[:, None]) / len(errors)
        weights = state.params["weights"] + now.learning_rate * step
        return Updated(state._replace(params={"weights": weights}), {"loss": jnp.square(errors).mean()})


class LinearQ(JaxAgent[LinearQLearner]):
    """Q-learning, linear in observations, behind Stable-Baselines3's interface."""

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY)
    env: Given[GymEnv | str | None, VecEnv | None] = argument(settings.ENV)
    learning_rate: float | Schedule = argument(settings.LEARNING_RATE, default=1.0)
    buffer_size: int = argument(settings.BUFFER_SIZE, default=1000)
    learning_starts: int = argument(settings.LEARNING_STARTS, default=20)
    batch_size: int = argument(settings.BATCH_SIZE, default=32)
    gamma: float = argument(settings.GAMMA, default=GAMMA)
    temperature: float | Schedule = argument(settings.TEMPERATURE, default=1.0)

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> LinearQLearner:
        return LinearQLearner(codec, actions.num_actions)


@pytest.mark.parametrize("device_loop", [True, False], ids=["device", "host"])
def test_an_agent_in_both_loops(corridor: str, device_loop: bool, tmp_path: pathlib.Path) -> None:
    agent = LinearQ("MlpPolicy", corridor, seed=0, device_loop=device_loop).learn(600)
    # The last cell is terminal. The step into it is worth 1, the one before γ, and any step back leads to the start, worth γ.
    wanted = [[GAMMA**2, GAMMA], [GAMMA**2, 1.0]]
    np.testing.assert_allclose(agent.learner_state.params["weights"][:2], wanted, atol=0.01)
    agent.save(tmp_path / "agent.zip")
    loaded = LinearQ.load(tmp_path / "agent.zip", env=gymnasium.make(corridor))
    np.testing.assert_array_equal(loaded.predict(np.eye(3, dtype=np.float32)[:2], deterministic=True)[0], [1, 1])
    assert loaded.learn(50, reset_num_timesteps=False).num_timesteps == 650


def test_many_runs_of_an_agent(corridor: str) -> None:
    result = train_sweep(
        LinearQ,
        corridor,
        {"gamma": [0.5, 0.8]},
        seeds=2,
        total_timesteps=400,
        eval_interval=200,
        eval_episodes=2,
        eval_steps=10,
    )
    assert len(result) == 4
    values = [float(result.agent(run).learner_state.params["weights"][0, 1]) for run in range(4)]
    np.testing.assert_allclose(values, [0.5, 0.5, 0.8, 0.8], atol=0.02)


# --- a kind of search space (tuning/README.md) --------------------------------------------------------------------------------


def tenfold(low: float, high: float) -> Values:
    """From the first to the last number in factors of ten."""
    return Values(tuple(round(float(low * 10**i), 12) for i in range(round(np.log10(high / low)) + 1)))


def test_a_kind_of_space(corridor: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(search_spaces._KINDS, "tenfold", tenfold)
    study = create_study(
        LinearQ,
        corridor,
        {"learning_rate": "tenfold:0.0001:1"},
        total_timesteps=300,
        seeds_per_trial=1,
        eval_interval=150,
        eval_episodes=2,
        eval_steps=4,
        folder=tmp_path,
    )
    assert study.set_trials(None) == 5
    Worker(study, batch_size=5, trainer=SweepTrainer(execution="loop")).run()
    table = study.table()
    assert sorted(table["learning_rate"]) == [0.0001, 0.001, 0.01, 0.1, 1.0]
    assert set(table["state"]) == {"complete"}
    assert study.best().value == 1  # with the largest step size at least, the way is learned


def a_study(corridor: str, folder: pathlib.Path, **more: Any) -> Study:
    sizes = {"total_timesteps": 100, "eval_interval": 50, "eval_episodes": 2, "eval_steps": 4, "seeds_per_trial": 1}
    return create_study(LinearQ, corridor, folder=folder, **(sizes | more))


def test_an_objective(corridor: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first evaluation that is as good as the last; what is done about seeds and divergence is common to all."""

    def first(curve: pd.Series, total_timesteps: int) -> float:
        return float(curve.index[curve >= curve.iloc[-1]][0])

    monkeypatch.setitem(objectives.OBJECTIVES, "first", first)
    study = a_study(corridor, tmp_path, space={"learning_rate": [0.5, 1.0]}, objective="first", direction="minimize")
    study.set_trials(None)

    def train(spec: Any, portions: Any, seeds: Any, until: int) -> list[list[Curve]]:
        points = [portion.points[i] for portion in portions for i in portion.chosen]
        late = [int(100 * point["learning_rate"]) for point in points]
        for portion in portions:
            portion.folder.mkdir(parents=True, exist_ok=True)
        return [[Curve(seed, (0, each, 100), (0.0, 1.0, 1.0)) for seed in seeds] for each in late]

    Worker(study, batch_size=2, trainer=train).run()
    assert study.table().set_index("learning_rate")["value"].to_dict() == {0.5: 50.0, 1.0: 100.0}
    assert study.best().setting == {"learning_rate": 0.5}
    assert open_study(tmp_path / "study.db").spec.judge.name == "first"


def test_a_sampler(corridor: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes down from the largest value in halves: the same from the same seed and history."""

    class Halves(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> float:
            return param_distribution.high / 2**trial.number

    real = proposals.make_sampler

    def make_sampler(spec: Any, slot: int = 0) -> optuna.samplers.BaseSampler:
        return Halves() if spec.sampler == "halves" else real(spec, slot)

    monkeypatch.setattr(specification, "SAMPLERS", (*specification.SAMPLERS, "halves"))
    monkeypatch.setattr(proposals, "make_sampler", make_sampler)
    study = a_study(corridor, tmp_path, space={"learning_rate": "log:0.01:1"}, sampler="halves")
    assert study.set_trials(4) == 4
    trainer = fakes.FakeTrainer()
    Worker(study, batch_size=2, trainer=trainer).run()
    assert sorted(study.table()["learning_rate"]) == [0.125, 0.25, 0.5, 1.0]
