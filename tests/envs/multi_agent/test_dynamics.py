"""Dynamics with several agents, step by step, against simulators fed the same events; with one agent against ours."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_envs import ButtonGrid, FunctionalEnv, PanFlute
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid, CoopPanFlute, MultiAgentEnv
from tests.envs.helpers import uniform_p_value
from tests.envs.multi_agent.readings import flag, plain, plain_events, simulator

LANES, STEPS = 6, 250
FORCED = 0.1  # how often the rare event happens in half of the lanes

ENVS: list[MultiAgentEnv] = [
    *(CoopPanFlute(p, a, split=s) for p, a, s in ((1, 1, False), (3, 2, False), (5, 2, True))),
    *(CoopButtonGrid(n, k, a, sight=s) for n, k, a, s in ((2, 2, 2, None), (3, 3, 3, 1), (5, 3, 2, None))),
    *(ButtonContest(n, k, t, sight=s) for n, k, t, s in ((2, 2, 1, None), (3, 3, 2, 1))),
    *(kind(2, 2, activate_on_reset=False) for kind in (CoopButtonGrid, ButtonContest)),
]


@functools.cache
def played(env: FunctionalEnv) -> Any:
    """Random steps of several lanes: states before, actions, events, transitions, flat and planes observations before."""
    flat, planes = (dataclasses.replace(env, observation=form) for form in ("flat", "planes"))
    agents = (env.num_agents,) if isinstance(env, MultiAgentEnv) else ()

    def step(state: Any, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[Any, Any]:
        key, action, forced = inputs
        events = env.events(key)
        name = flag(env) if isinstance(env, MultiAgentEnv) else "all_on"
        events = events._replace(**{name: getattr(events, name) | forced})
        out = env.transition(state, action, events)
        return out.state, (state, action, events, out, flat.observe(state), planes.observe(state))

    def lane(key: jax.Array, actions: jax.Array, forced: jax.Array) -> Any:
        keys = jax.random.split(key, STEPS)
        return jax.lax.scan(step, env.reset(key), (keys, actions, forced))[1]

    # One agent draws its actions from the same numbers as the first of several.
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 10**6, (LANES, STEPS, 16))[..., : (agents or (1,))[0]] % min(env.action_space.n, _fewest(env))
    actions = actions.reshape(LANES, STEPS, *agents).astype(np.int32)
    forced = np.random.default_rng(4).random((LANES, STEPS)) < FORCED * (np.arange(LANES) % 2)[:, None]
    keys = jax.random.split(jax.random.PRNGKey(5), LANES)
    return jax.device_get(jax.jit(jax.vmap(lane))(keys, jnp.asarray(actions), jnp.asarray(forced)))


def _fewest(env: FunctionalEnv) -> int:
    """With one player, no action that the single-agent environment does not have."""
    return env.num_pipes if isinstance(env, CoopPanFlute) and env.num_agents == 1 else 10**6


@pytest.mark.parametrize("env", ENVS, ids=repr)
def test_every_step_is_the_simulators(env: MultiAgentEnv) -> None:
    states, actions, events, out, flat, planes = played(env)
    reference, rewards = simulator(env), 0
    for lane, t in np.ndindex(LANES, STEPS):
        before, happened, after = (
            jax.tree.map(lambda leaf, i=(lane, t): leaf[i], tree) for tree in (states, events, out.state)
        )
        following, reward = reference.step(plain(env, before), actions[lane, t].tolist(), *plain_events(env, happened))
        assert plain(env, after) == following, (lane, t)
        assert out.reward[lane, t].tolist() == reward, (lane, t)
        assert not out.terminated[lane, t]
        rewards += any(reward)
        if t % 5 == 0:
            for a in range(env.num_agents):
                assert flat[lane, t, a].tolist() == reference.observe(plain(env, before), a, "flat")
                assert planes[lane, t, a].tolist() == reference.observe(plain(env, before), a, "planes")
    assert rewards > 10
    assert out.reward.dtype == np.float32


@pytest.mark.parametrize("env", ENVS, ids=repr)
def test_observations_fit_their_space(env: MultiAgentEnv) -> None:
    *_, flat, planes = played(env)
    for form, observation in (("flat", flat), ("planes", planes)):
        space = dataclasses.replace(env, observation=form).observation_space
        assert observation.shape == (LANES, STEPS, env.num_agents, *space.shape)
        assert space.contains(observation[0, 0, -1])


@pytest.mark.parametrize(
    ("several", "one"),
    [
        (CoopPanFlute(4, 1, split=True), PanFlute(4)),
        (CoopButtonGrid(3, 2, 1), ButtonGrid(3, 2)),
    ],
    ids=repr,
)
def test_one_agent_does_what_the_single_agent_environment_does(several: MultiAgentEnv, one: FunctionalEnv) -> None:
    (states, actions, events, out, flat, planes), single = played(several), played(one)
    np.testing.assert_array_equal(actions[..., 0], single[1])
    for ours, theirs in ((out.reward[..., 0], single[3].reward), (flat[:, :, 0], single[4]), (planes[:, :, 0], single[5])):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(events.all_on, single[2].all_on)
    if isinstance(one, ButtonGrid):
        for ours, theirs in ((states, single[0]), (events.layout, single[2].layout)):
            np.testing.assert_array_equal(ours.positions[..., 0], theirs.position)
            np.testing.assert_array_equal(ours.buttons, theirs.buttons)
            np.testing.assert_array_equal(ours.on, theirs.on)


def press(env: CoopButtonGrid | ButtonContest, positions: list[int], on: list[bool], actions: list[int]) -> list[bool]:
    """Which buttons, in the cells 0, 4 and 8 of a 3 × 3 grid, are on after a step without events."""
    state = env.reset(jax.random.PRNGKey(0))
    state = state._replace(positions=jnp.array(positions), buttons=jnp.array([0, 4, 8]), on=jnp.array(on))
    events = env.events(jax.random.PRNGKey(0))._replace(**{flag(env): jnp.bool_(False)})
    return _transition(env)(state, jnp.array(actions), events).state.on.tolist()


@functools.cache
def _transition(env: MultiAgentEnv) -> Any:
    return jax.jit(env.transition)


def test_a_button_entered_by_two_at_once_stays_as_it_was() -> None:
    up, left, down, right = 1, 2, 3, 4
    for on in ([False, True, False], [True, False, False]):
        two, three = CoopButtonGrid(3, 3, 2), CoopButtonGrid(3, 3, 3)
        assert press(two, [1, 3], on, [down, right]) == on
        assert press(two, [1, 3], on, [down, 0]) == [on[0], not on[1], on[2]]
        assert press(three, [1, 3, 5], on, [down, right, left]) == [on[0], not on[1], on[2]]
        assert press(ButtonContest(3, 3), [1, 3], on, [down, right]) == on  # also of different teams
        assert press(two, [1, 3], on, [left, up]) == on
        assert press(two, [4, 0], on, [0, up]) == on  # staying, and walking into the edge, enter nothing
        assert press(two, [1, 5], on, [left, down]) == [not on[0], on[1], not on[2]]


def test_a_pipe_blown_by_several_sounds_once() -> None:
    env = CoopPanFlute(3, 3, spontaneous=False)
    silent = env.reset(jax.random.PRNGKey(0))
    events = env.events(jax.random.PRNGKey(0))
    together, alone = (env.transition(silent, jnp.array(actions), events).state for actions in ([1, 1, 1], [3, 1, 3]))
    np.testing.assert_array_equal(together.pipes, [False, True, False, False, False, False])
    np.testing.assert_array_equal(alone.pipes, together.pipes)
    np.testing.assert_array_equal(env.transition(silent, jnp.array([3, 3, 3]), events).state.pipes, silent.pipes)


def test_two_in_one_cell_do_not_see_the_same() -> None:
    state = CoopButtonGrid(3, 2, 3).reset(jax.random.PRNGKey(0))
    crowd = state._replace(positions=jnp.array([4, 4, 4]))
    seen = np.asarray(CoopButtonGrid(3, 2, 3).observe(crowd))
    assert len({row.tobytes() for row in seen}) == 3
    contest = ButtonContest(3, 2, 2)
    start = contest.reset(jax.random.PRNGKey(0))
    seen = np.asarray(contest.observe(start._replace(positions=jnp.array([4, 4, 4, 4]))))
    assert len({row.tobytes() for row in seen}) == 4


def test_teams_see_the_same_of_turned_buttons() -> None:
    """The game is symmetric: exchange the teams and turn all buttons, and each sees what the other saw."""
    env = ButtonContest(3, 3)
    state = env.reset(jax.random.PRNGKey(2))
    turned = state._replace(positions=state.positions[::-1], on=~state.on)
    np.testing.assert_array_equal(env.observe(state), env.observe(turned)[::-1])


def starts(env: MultiAgentEnv, num: int) -> Any:
    keys = jax.random.split(jax.random.key(11), num)
    return jax.device_get(jax.jit(jax.vmap(lambda key: (env.reset(key), env.events(key))))(keys))


def test_players_start_in_distinct_cells_and_everything_is_equally_likely() -> None:
    state, events = starts(CoopButtonGrid(2, 1, 2), 100_000)
    for layout in (state, events.layout):
        first, second = layout.positions.T
        assert (first != second).all()
        pair = first * 3 + second - (second > first)
        assert uniform_p_value(pair * 4 + layout.buttons[:, 0], 48) > 1e-4  # the button's cell does not depend on them
        assert not layout.on.any()
    assert stats.binomtest(int(events.all_on.sum()), len(events.all_on), 1 / 40).pvalue > 1e-4


def test_a_contest_starts_undecided_and_is_fair() -> None:
    state, events = starts(ButtonContest(2, 3, spontaneous=True), 100_000)
    for layout in (state, events.layout):
        pattern = layout.on @ np.array([1, 2, 4])
        assert uniform_p_value(pattern - 1, 6) > 1e-4
        first, second = layout.positions.T
        pair = first * 3 + second - (second > first)
        assert uniform_p_value(pair * 6 + pattern - 1, 72) > 1e-4
    assert stats.binomtest(int(events.all_alike.sum()), len(events.all_alike), 1 / 40).pvalue > 1e-4
    assert stats.binomtest(int(events.way.sum()), len(events.way), 0.5).pvalue > 1e-4
    assert stats.binomtest(int(events.way[events.all_alike].sum()), int(events.all_alike.sum()), 0.5).pvalue > 1e-4
    assert not starts(ButtonContest(2, 3, spontaneous=False), 10_000)[1].all_alike.any()
    assert starts(ButtonContest(4, 16), 100)[0].on.any(axis=1).all()  # the largest number of patterns
