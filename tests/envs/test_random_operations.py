"""Every environment in every adapter, under random sequences of steps and resets, beside its plain game."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mbrl_envs
from mbrl_envs import (
    ButtonGrid,
    CartPole,
    CueRecall,
    FunctionalEnv,
    MountainCar,
    OpenGrid,
    PanFlute,
    ProcMaze,
    RandomWalk2D,
    multi_agent,
)
from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv
from mbrl_envs.conditioning import (
    Babayan,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
)
from mbrl_envs.conditioning.task import ConditioningTask
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute
from mbrl_envs.registration import DYNAMICS
from tests.envs.plain_games import PlainLane

ENVS: list[FunctionalEnv] = [
    *(ProcMaze(grid_size=2), ProcMaze(grid_size=3, observation="planes"), ProcMaze(grid_size=6, spontaneous=False)),
    *(OpenGrid(grid_size=2), OpenGrid(grid_size=5, observation="planes")),
    *(ButtonGrid(2, 2), ButtonGrid(3, 2, observation="planes"), ButtonGrid(4, 1, spontaneous=False)),
    *(PanFlute(1), PanFlute(2), PanFlute(4, observation="planes")),
    *(CueRecall(0, 2), CueRecall(3, 4, 0.3)),
    *(CartPole(), CartPole(num_distractors=3), MountainCar(), MountainCar(goal_velocity=0.02)),
    *(RandomWalk2D(), RandomWalk2D(4, (1, 3), 0, one_hot=True)),
    *(CueReward(), CueReward((((2, 0.5), (4, 0.3), (9, 0.2)), 3), 0.3, 2.0, (0.25, 0.75), 0, 0.5, 2, 2)),
    *(Starkweather(1), Starkweather(2, "ABCD", iti_min=2, iti_probability=0.5)),
    *(Babayan((1.0, 2.0, 10.0), (0.5, 0.3, 0.2)), Contingency("cued")),
    *(VariableMagnitude(iti_min=1, iti_probability=1.0), VariableProbability()),
]
SEVERAL: list[FunctionalEnv] = [
    *(CoopPanFlute(3, 2), CoopPanFlute(4, 3, split=True, observation="planes")),
    *(CoopButtonGrid(2, 2, 2), CoopButtonGrid(3, 3, 3, sight=1, observation="planes")),
    *(ButtonContest(2, 2, 1), ButtonContest(3, 3, 2, sight=1)),
]
assert {type(env) for env in ENVS} == set(DYNAMICS.values())
assert {type(env) for env in SEVERAL} == set(multi_agent.DYNAMICS.values())
LIMITS = {MountainCar: 170, Starkweather: 60, CartPole: 40}
LANES = 3


# --- An adapter beside plain lanes ------------------------------------------------------------------------------------------


class Beside:
    """An adapter, and as many plain lanes as it has environments; every call is made in both and compared.

    Args:
        env: The dynamics.
        lanes: Number of environments.
    """

    can_reset_some = False
    goes_on = False  # steps after an episode's end go on in what is no state of the task any more

    def __init__(self, env: FunctionalEnv, lanes: int) -> None:
        self.env, self.agents, self.limit = env, env.num_agents, LIMITS.get(type(env), 11)
        self.lanes = [PlainLane(env, self.limit) for _ in range(lanes)]
        self.ended = np.zeros(lanes, bool)

    @property
    def tolerance(self) -> float:
        return self.lanes[0].game.tolerance

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        """Begins episodes in the chosen lanes."""
        for i, (lane, seed, is_chosen) in enumerate(zip(self.lanes, seeds, chosen, strict=True)):
            if not is_chosen:
                continue
            self.ended[i] = False
            if seed is None:
                lane.restart()
            else:
                lane.begin(seed)

    def agree(self, shown: Any, wanted: Any) -> None:
        """Observations or rewards."""
        assert isinstance(shown, np.ndarray)
        wanted = np.asarray(wanted, shown.dtype)
        if not np.array_equal(shown, wanted):  # a tenth of the time of what tells the difference
            np.testing.assert_allclose(shown, wanted, rtol=0, atol=self.tolerance)

    def agree_on_observations(self, shown: np.ndarray) -> None:
        assert shown.dtype == self.env.observation_space.dtype
        self.agree(shown, [row for lane in self.lanes for row in lane.observe()])

    def is_end(self, wanted: bool | None, shown: bool) -> bool:
        """Whether it is the end: the game says it, and where it cannot, the adapter may."""
        assert wanted in (None, shown)
        return bool(shown)

    def step(self, actions: list[list[int]]) -> None:
        """Takes a step in all lanes; ``actions`` are those of all agents of each."""
        raise NotImplementedError


class Single(Beside):
    """Gymnasium's ``Env``, under ``TimeLimit``."""

    def __init__(self, env: FunctionalEnv, lanes: int) -> None:
        super().__init__(env, 1)
        constants = {field.name: getattr(env, field.name) for field in dataclasses.fields(env)}  # type: ignore[arg-type]
        self.ours = gymnasium.make(env.env_id, max_episode_steps=self.limit, disable_env_checker=True, **constants)
        self.goes_on = self.tolerance == 0

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        super().reset(seeds, [True])
        self.agree_on_observations(self.ours.reset(seed=seeds[0])[0][None])

    def step(self, actions: list[list[int]]) -> None:
        if self.ended[0] and not self.goes_on:
            self.reset([None], [True])
        rewards, terminated, truncated = self.lanes[0].step(actions[0])
        seen, reward, *ended, info = self.ours.step(actions[0][0])
        self.agree_on_observations(seen[None])
        self.agree(np.array([reward]), rewards)
        assert truncated == ended[1]
        assert set(info) == ({"state"} if isinstance(self.env, ConditioningTask) else set())
        self.ended[0] = self.is_end(terminated, ended[0]) | truncated


class Vector(Beside):
    """Gymnasium's ``VectorEnv``."""

    can_reset_some = True
    mode = AutoresetMode.NEXT_STEP

    def __init__(self, env: FunctionalEnv, lanes: int) -> None:
        super().__init__(env, lanes)
        self.ours = mbrl_envs.FunctionalVectorEnv(env, lanes, self.limit, self.mode)

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        super().reset(seeds, chosen)
        options = None if all(chosen) else {"reset_mask": np.array(chosen)}
        in_order = None not in seeds and list(seeds) == list(range(seeds[0] or 0, (seeds[0] or 0) + len(seeds)))
        self.agree_on_observations(self.ours.reset(seed=seeds[0] if in_order else list(seeds), options=options)[0])

    def step(self, actions: list[list[int]]) -> None:
        seen, rewards, terminated, truncated, info = self.ours.step(np.array(actions)[:, 0])
        assert info == {}
        for i, lane in enumerate(self.lanes):
            if self.ended[i]:
                lane.restart()
                assert (rewards[i], terminated[i], truncated[i]) == (0, False, False)
                self.ended[i] = False
            else:
                wanted, is_end, is_cut = lane.step(actions[i])
                self.agree(rewards[i : i + 1], wanted)
                assert truncated[i] == is_cut
                self.ended[i] = self.is_end(is_end, terminated[i]) | is_cut
        self.agree_on_observations(seen)


class SameStep(Vector):
    """... whose episodes begin anew on the step that ends them."""

    mode = AutoresetMode.SAME_STEP

    def step(self, actions: list[list[int]]) -> None:
        seen, rewards, terminated, truncated, info = self.ours.step(np.array(actions)[:, 0])
        ended = terminated | truncated
        assert (info["_final_obs"].tolist() if info else [False] * len(ended)) == ended.tolist()
        for i, lane in enumerate(self.lanes):
            wanted, is_end, is_cut = lane.step(actions[i])
            self.agree(rewards[i : i + 1], wanted)
            assert truncated[i] == is_cut
            if self.is_end(is_end, terminated[i]) | is_cut:
                self.agree(info["final_obs"][i], lane.observe()[0])
                lane.restart()
        self.agree_on_observations(seen)


class ForSB3(Beside):
    """Stable-Baselines3's ``VecEnv``, where agents are lanes."""

    def __init__(self, env: FunctionalEnv, lanes: int) -> None:
        super().__init__(env, lanes)
        self.ours = mbrl_envs.FunctionalVecEnv(env, lanes, self.limit)
        self.returns = np.zeros(lanes * self.agents)
        self.lengths = np.zeros(lanes, int)

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        first = seeds[0]
        everywhere = [None if first is None else first + i * self.agents for i in range(len(self.lanes))]
        super().reset(everywhere, [True] * len(self.lanes))
        if first is not None:
            self.ours.seed(first)
        self.agree_on_observations(self.ours.reset())
        self.returns[:], self.lengths[:] = 0, 0

    def step(self, actions: list[list[int]]) -> None:
        seen, rewards, dones, infos = self.ours.step(np.array(actions).ravel())
        self.lengths += 1
        for e, lane in enumerate(self.lanes):
            own = slice(e * self.agents, (e + 1) * self.agents)
            wanted, terminated, truncated = lane.step(actions[e])
            self.agree(rewards[own], wanted)
            self.returns[own] += rewards[own]
            assert len(set(dones[own])) == 1
            cut = {info["TimeLimit.truncated"] for info in infos[own]}
            is_end = self.is_end(terminated, bool(dones[own][0]) and cut == {False} if truncated else bool(dones[own][0]))
            assert cut == {truncated and not is_end}
            assert dones[own][0] == (is_end or truncated)
            assert all(("terminal_observation" in info) == ("episode" in info) == (is_end or truncated) for info in infos[own])
            if is_end or truncated:
                self.agree(np.stack([info["terminal_observation"] for info in infos[own]]), lane.observe())
                for info, total in zip(infos[own], self.returns[own], strict=True):
                    assert info["episode"]["l"] == self.lengths[e]
                    assert info["episode"]["r"] == pytest.approx(total)
                self.returns[own], self.lengths[e] = 0, 0
                lane.restart()
        self.agree_on_observations(seen)


class Parallel(Beside):
    """PettingZoo's ``ParallelEnv``."""

    def __init__(self, env: Any, lanes: int) -> None:
        super().__init__(env, 1)
        self.ours = FunctionalParallelEnv(env, max_cycles=self.limit)

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        super().reset(seeds, [True])
        seen = self.ours.reset(seed=seeds[0])[0]
        assert list(seen) == self.ours.agents == self.ours.possible_agents
        self.agree_on_observations(np.stack(list(seen.values())))

    def step(self, actions: list[list[int]]) -> None:
        if self.ended[0]:
            self.reset([None], [True])
        wanted, terminated, truncated = self.lanes[0].step(actions[0])
        agents = self.ours.agents
        seen, rewards, ends, cuts, _ = self.ours.step(dict(zip(agents, actions[0], strict=True)))
        self.agree_on_observations(np.stack([seen[agent] for agent in agents]))
        self.agree(np.array([rewards[agent] for agent in agents]), wanted)
        assert set(ends.values()) == {terminated}
        assert set(cuts.values()) == {truncated}
        assert self.ours.agents == ([] if terminated or truncated else agents)
        self.ended[0] = bool(terminated) or truncated


class InTurn(Parallel):
    """PettingZoo's ``AECEnv``, whose agents act one after the other."""

    def __init__(self, env: Any, lanes: int) -> None:
        Beside.__init__(self, env, 1)
        constants = {field.name: getattr(env, field.name) for field in dataclasses.fields(env)}
        self.ours = getattr(multi_agent, env.env_id).env(max_cycles=self.limit, **constants)

    def seen(self) -> np.ndarray:
        return np.stack([self.ours.observe(agent) for agent in self.ours.possible_agents])

    def reset(self, seeds: Sequence[int | None], chosen: Sequence[bool]) -> None:
        Beside.reset(self, seeds, [True])
        self.ours.reset(seed=seeds[0])
        assert self.ours.agents == self.ours.possible_agents
        self.agree_on_observations(self.seen())

    def step(self, actions: list[list[int]]) -> None:
        if self.ended[0]:
            self.reset([None], [True])
        wanted, terminated, truncated = self.lanes[0].step(actions[0])
        agents = self.ours.agents
        for agent, action in zip(agents, actions[0], strict=True):
            assert self.ours.agent_selection == agent
            self.ours.step(action)
        self.agree_on_observations(self.seen())
        self.agree(np.array([self.ours.rewards[agent] for agent in agents]), wanted)
        assert set(self.ours.terminations.values()) == {terminated}
        assert set(self.ours.truncations.values()) == {truncated}
        self.ended[0] = bool(terminated) or truncated


# --- Random operations ------------------------------------------------------------------------------------------------------


class Phase(NamedTuple):
    """A reset, and steps after it.

    Attributes:
        reset: ``"none"``, ``"all"``, ``"seeded"`` (all), ``"some"`` (chosen lanes), ``"some seeded"`` (some of these).
        seed: Of the first lane.
        lots: Chooses lanes and seeds, and draws actions.
        steps: Steps that follow.
        guided: Whether they lead somewhere.
    """

    reset: str
    seed: int
    lots: int
    steps: int
    guided: bool


phases = st.builds(
    Phase,
    st.sampled_from(["none", "all", "seeded", "some", "some seeded"]),
    st.integers(0, 40) | st.integers(2**31, 2**31 + 2),
    st.integers(0, 2**16),
    st.integers(1, 60),
    st.booleans(),
)


def play(pair: Beside, wanted: Sequence[Phase], steps: int) -> int:
    """Goes through the phases, again and again, for so many steps; returns how many steps of environments they were."""
    number, done = len(pair.lanes), 0
    pair.reset([wanted[0].seed + i for i in range(number)], [True] * number)
    while True:
        for phase in wanted:
            rng = np.random.default_rng(phase.lots)
            chosen = rng.random(number) < 0.5
            if phase.reset in ("all", "seeded"):
                chosen[:] = True
            if phase.reset != "none" and chosen.any() and (chosen.all() or pair.can_reset_some):
                seeds = [phase.seed + i if "seeded" in phase.reset else None for i in range(number)]
                if phase.reset == "some seeded":
                    seeds = [seed if rng.random() < 0.5 else None for seed in seeds]
                pair.reset(seeds, chosen.tolist())
            for _ in range(phase.steps):
                pair.step([_actions(pair, lane, rng, phase.guided) for lane in pair.lanes])
                done += 1
                if done == steps:
                    return done * number


def _actions(pair: Beside, lane: PlainLane, rng: np.random.Generator, guided: bool) -> list[int]:
    guide = lane.game.guide
    if guided and guide is not None and rng.random() < 0.9:
        return [guide(lane.state)]
    space: Any = pair.env.action_space
    return rng.integers(space.n, size=pair.agents).tolist()


def explore(make: Callable[[], Beside], examples: int, steps: int) -> int:
    """Plays so many examples of so many steps each; returns how many steps of environments were compared."""
    pair, compared = make(), 0

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(phases, min_size=1, max_size=8))
    def run(wanted: list[Phase]) -> None:
        nonlocal compared
        compared += play(pair, wanted, steps)

    run()
    return compared


SINGLE_AGENT = (Single, Vector, SameStep, ForSB3)
EVERYTHING = [
    *((kind, env) for env in ENVS for kind in SINGLE_AGENT),
    *((kind, env) for env in SEVERAL for kind in (ForSB3, Parallel, InTurn)),
]
LIGHT = [
    *((kind, OpenGrid(grid_size=2)) for kind in SINGLE_AGENT),
    (Single, CueRecall(3, 4, 0.3)),
    (Single, MountainCar(goal_velocity=0.02)),
    (Single, ENVS[20]),
    *((kind, SEVERAL[0]) for kind in (ForSB3, Parallel, InTurn)),
]


def ids(value: Any) -> str | None:
    return value.__name__ if isinstance(value, type) else repr(value) if isinstance(value, FunctionalEnv) else None


@pytest.mark.parametrize(("kind", "env"), LIGHT, ids=ids)
def test_what_an_adapter_shows_is_the_plain_games(kind: type[Beside], env: FunctionalEnv) -> None:
    assert explore(lambda: kind(env, LANES), examples=4, steps=70) >= 4 * 70


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "env"), EVERYTHING, ids=ids)
def test_every_adapter_shows_every_plain_game(kind: type[Beside], env: FunctionalEnv) -> None:
    """Ten thousand steps and more each, over a million in all."""
    lanes = 1 if kind in (Single, Parallel, InTurn) else LANES
    steps = 10_000 // (30 * lanes)
    assert explore(lambda: kind(env, LANES), examples=30, steps=steps + 1) >= 10_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Vector, SameStep, ForSB3])
def test_prepared_starts_are_those_of_the_plain_game(kind: type[Beside]) -> None:
    env, lanes = ProcMaze(grid_size=2), 70
    assert mbrl_envs.FunctionalTask(env, None).batched(lanes).prepares
    assert explore(lambda: kind(env, lanes), examples=15, steps=60) >= 15 * 60 * lanes


# --- Environments that are made of others -----------------------------------------------------------------------------------

SEEN = [0, 2]  # of CartPole: position and angle


def of_no_velocity(observation: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    return observation[SEEN]


def of_distracted(observation: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    return np.concatenate([observation, noise.standard_normal(3)], dtype=np.float32)


OTHERS: dict[str, tuple[Callable[..., np.ndarray], dict[str, Any]]] = {
    "mbrl/CartPoleNoVelocity-v0": (of_no_velocity, {}),
    "mbrl/Distracted-v0": (of_distracted, {"env_id": "CartPole-v1", "num_distractors": 3}),
}


def test_every_id_is_among_them() -> None:
    registered = {name for name, spec in gymnasium.registry.items() if spec.namespace == "mbrl"}
    assert registered == {*OTHERS, *(cls.env_id for cls in DYNAMICS.values())}


@pytest.mark.parametrize("env_id", OTHERS)
def test_an_environment_made_of_another_shows_what_it_does(env_id: str) -> None:
    show, arguments = OTHERS[env_id]
    ours, inner = gymnasium.make(env_id, **arguments), gymnasium.make("CartPole-v1")

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(phases, min_size=1, max_size=8))
    def run(wanted: list[Phase]) -> None:
        noise, ended = np.random.default_rng(0), False
        for number, phase in enumerate(wanted):
            rng = np.random.default_rng(phase.lots)
            if number == 0 or ended or phase.reset != "none":
                seed = phase.seed if number == 0 or "seeded" in phase.reset else None
                if seed is not None:
                    noise = np.random.default_rng([seed, 3])
                seen, theirs = ours.reset(seed=seed)[0], inner.reset(seed=seed)[0]
                np.testing.assert_array_equal(seen, show(theirs, noise))
                ended = False
            for _ in range(phase.steps):
                if ended:
                    break
                action = int(rng.integers(2))
                seen, *rest = ours.step(action)
                theirs, *others = inner.step(action)
                np.testing.assert_array_equal(seen, show(theirs, noise))
                assert rest == others
                assert seen in ours.observation_space
                ended = bool(rest[1] or rest[2])

    run()
