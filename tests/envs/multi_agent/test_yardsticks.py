"""Yardsticks of environments with several agents: against brute force over ``transition`` itself, and against one agent's."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from mbrl_envs import ButtonGrid, PanFlute, yardsticks
from mbrl_envs.functional import Transition
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute, MultiAgentEnv
from mbrl_envs.multi_agent.button_contest import ContestEvents
from mbrl_envs.multi_agent.coop_button_grid import CoopButtonEvents
from mbrl_envs.multi_agent.players import PlayersState
from mbrl_envs.pan_flute import PanFluteEvents, PanFluteState
from mbrl_envs.yardsticks import joint_walks
from tests.envs import brute_force
from tests.envs.brute_force import Process, Weighted

SOLVERS = {"optimal": yardsticks.optimal, "uniform": yardsticks.uniform}


class Joint(NamedTuple):
    """Several agents as one whose action is a joint one; with ``events`` that carry the actions of those who do not choose."""

    env: MultiAgentEnv
    choosing: int

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(int(self.env.action_space.n) ** self.choosing)

    def transition(self, state: Any, action: jax.Array, events: Any) -> Transition:
        happens, others = events
        each = [action // int(self.env.action_space.n) ** i % int(self.env.action_space.n) for i in range(self.choosing)]
        actions = jnp.stack([*each, *(others[i] for i in range(others.shape[0]))])
        state, reward, terminated = self.env.transition(state, actions, happens)
        return Transition(state, reward[0], terminated)


def with_others(events: Weighted, others: int) -> Weighted:
    """Events together with the uniform actions, of five, of as many others."""
    actions = np.array(list(itertools.product(range(5), repeat=others)), np.int32).reshape(5**others, others)
    items = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(actions), axis=0), events.items)
    tiled = jnp.tile(jnp.asarray(actions), (len(events.probabilities), 1))
    return Weighted((items, tiled), np.repeat(events.probabilities, len(actions)) / len(actions))


def flute(env: CoopPanFlute) -> Process:
    states = jnp.array(list(itertools.product([False, True], repeat=env.flute.num_cells)))
    start = np.eye(len(states))[0]
    q = env.all_on_probability
    events = Weighted(PanFluteEvents(jnp.array([False, True])), np.array([1 - q, q]))
    return brute_force.build(Joint(env, env.num_agents), PanFluteState(states), start, with_others(events, 0))


def buttons(env: CoopButtonGrid | ButtonContest) -> Process:
    """All states, and events in which every layout that may be drawn comes with every way in which buttons may turn."""
    cells, k = range(env.num_cells), env.num_buttons
    sets = list(itertools.combinations(cells, k))
    masks = list(itertools.product([False, True], repeat=k))
    rows = list(itertools.product(itertools.product(cells, repeat=env.num_agents), sets, masks))
    states = PlayersState(*(jnp.array(column) for column in zip(*rows, strict=True)))
    contest = isinstance(env, ButtonContest)
    fresh = [any(mask) != all(mask) if contest else not any(mask) for mask in masks]
    drawn = [
        (positions, chosen, mask)
        for positions in itertools.permutations(cells, env.num_agents)
        for chosen in sets
        for mask, may_be in zip(masks, fresh, strict=True)
        if may_be
    ]
    start = np.array([row in set(drawn) for row in rows]) / len(drawn)
    layouts = PlayersState(*(jnp.array(column) for column in zip(*drawn, strict=True)))
    q = env.all_alike_probability if contest else env.all_on_probability
    ways = (
        [(False, False, 1 - q), (True, True, q / 2), (True, False, q / 2)]
        if contest
        else [(False, False, 1 - q), (True, True, q)]
    )
    tiled = jax.tree.map(lambda leaf: jnp.tile(leaf, (len(ways), *[1] * (leaf.ndim - 1))), layouts)
    happens, way, weights = (np.repeat(np.array(column), len(drawn)) for column in zip(*ways, strict=True))
    flags = (jnp.array(happens), jnp.array(way)) if contest else (jnp.array(happens),)
    events = Weighted((ContestEvents if contest else CoopButtonEvents)(*flags, tiled), weights / len(drawn))
    choosing = env.num_agents - (1 if contest else 0)  # one player per team: the second is the opponent
    return brute_force.build(Joint(env, choosing), states, start, with_others(events, env.num_agents - choosing))


_processes: dict[MultiAgentEnv, Process] = {}


def process_of(env: MultiAgentEnv) -> Process:
    if env not in _processes:
        _processes[env] = flute(env) if isinstance(env, CoopPanFlute) else buttons(env)
    return _processes[env]


@pytest.mark.parametrize("choose", ["optimal", "uniform"])
@pytest.mark.parametrize(
    "env",
    [
        CoopPanFlute(1, 1),
        CoopPanFlute(2, 2),
        CoopPanFlute(3, 1),
        CoopPanFlute(3, 2),
        CoopPanFlute(3, 2, spontaneous=False),
        CoopPanFlute(3, 3),
        CoopButtonGrid(2, 2, 2),
        CoopButtonGrid(2, 3, 2, spontaneous=False),
        ButtonContest(2, 2),
        ButtonContest(2, 2, spontaneous=False),
        CoopButtonGrid(2, 2, 2, activate_on_reset=False),
        ButtonContest(2, 2, activate_on_reset=False),
    ],
    ids=repr,
)
def test_agrees_with_brute_force(env: MultiAgentEnv, choose: str) -> None:
    for steps in (None, 1, 2, 3, 7, 30):
        expected = brute_force.solve(process_of(env), choose, steps, continuing=True)
        score = SOLVERS[choose](env, steps=steps)
        assert score.standard_error == 0
        assert score.value == pytest.approx(expected, rel=1e-7, abs=1e-9), steps


@pytest.mark.parametrize("steps", [None, 100])
@pytest.mark.parametrize(
    ("several", "one"),
    [
        (CoopButtonGrid(3, 2, 1), ButtonGrid(3, 2)),
        (CoopButtonGrid(3, 3, 1, spontaneous=False), ButtonGrid(3, 3, spontaneous=False)),
        (CoopButtonGrid(4, 2, 1), ButtonGrid(4, 2)),
    ],
    ids=repr,
)
def test_with_one_agent_they_are_the_single_agent_environments(several: Any, one: Any, steps: int | None) -> None:
    for solve in SOLVERS.values():
        assert solve(several, steps=steps).value == pytest.approx(solve(one, steps=steps).value, rel=1e-9)
    # One player of the cooperative flute may also do nothing, which the best one never does.
    assert yardsticks.optimal_score(CoopPanFlute(4, 1), steps=steps) == yardsticks.optimal_score(PanFlute(4), steps=steps)


@pytest.mark.parametrize("env", [CoopPanFlute(4, 3), CoopButtonGrid(2, 2, 3)], ids=repr)
def test_uniform_players_come_to_the_uniform_score(env: MultiAgentEnv) -> None:
    lanes, steps = 4000, 40

    def play(key: jax.Array) -> jax.Array:
        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            event_key, action_key = jax.random.split(key)
            actions = jax.random.randint(action_key, (env.num_agents,), 0, env.action_space.n)
            out = env.step(event_key, state, actions)
            return out.state, out.reward.mean()

        return jax.lax.scan(step, env.reset(key), jax.random.split(key, steps))[1].mean()

    scores = np.asarray(jax.jit(jax.vmap(play))(jax.random.split(jax.random.PRNGKey(0), lanes)))
    error = scores.std() / np.sqrt(lanes)
    assert abs(scores.mean() - yardsticks.uniform_score(env, steps=steps)) < 4 * error


@pytest.mark.parametrize("num_agents", [1, 2, 3, 5])
@pytest.mark.parametrize("steps", [4, 5, 6, 7, 9, 12, 17])
def test_the_best_schedule_of_chords_is_found_by_search(num_agents: int, steps: int) -> None:
    """Sets of steps with a chord, tried one by one: with P pipes no P steps in a row may need more than A notes in one step."""
    pipes, best = 5, 0
    possible = range(pipes + 1, steps + 1)
    for chosen in itertools.product([False, True], repeat=len(possible)):
        chords = [step for step, taken in zip(possible, chosen, strict=True) if taken]
        notes = [sum(chord - pipes <= step < chord for chord in chords) for step in range(1, steps + 1)]
        if max(notes) <= num_agents:
            best = max(best, len(chords))
    env = CoopPanFlute(pipes, num_agents, spontaneous=False)
    assert yardsticks.optimal_score(env, steps=steps) == pytest.approx(best / steps)


def test_normalised_scores() -> None:
    env = CoopPanFlute(5, 2)
    low, high = yardsticks.uniform_score(env, steps=100), yardsticks.optimal_score(env, steps=100)
    np.testing.assert_allclose(yardsticks.normalised_score(env, np.array([low, high, 0.2]), steps=100)[:2], [0, 1])
    assert 0 < yardsticks.normalised_score(ButtonContest(2, 2), 0.05) < 1


def test_what_is_out_of_reach_says_so() -> None:
    with pytest.raises(ValueError, match=r"grid_size\*\*\(2 \* players\) \* 2\*\*num_buttons may be at most 50000, got 80000"):
        yardsticks.optimal_score(CoopButtonGrid(10, 3, 2))
    with pytest.raises(ValueError, match="out of reach with grid_size=5, num_buttons=3 and 3 players"):
        yardsticks.uniform_score(CoopButtonGrid(5, 3, 3), steps=100)
    with pytest.raises(ValueError, match="all layouts together may have at most 50000 joint states"):
        yardsticks.optimal_score(ButtonContest(5, 3))
    assert joint_walks.player_steps(np.array([0]), 2).shape == (8, 5)
