"""The dynamics, step by step, against plain-Python simulators fed the same random events; and those events' distribution."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mbrl_envs.button_grid import ButtonGrid, ButtonState
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.open_grid import OpenGrid, OpenGridState
from mbrl_envs.pan_flute import PanFlute, PanFluteState
from mbrl_envs.proc_maze import MazeState, ProcMaze
from tests.envs import simulators
from tests.envs.helpers import uniform_p_value
from tests.envs.readings import adapter

LANES = 8
STEPS = 400
FORCED_LANES = 4  # in these lanes rare events are made frequent
FORCED_PROBABILITY = 0.12

ENVS = [
    *[ProcMaze(grid_size=n) for n in (2, 3, 4, 6, 10)],
    *[OpenGrid(grid_size=n) for n in (2, 5, 10)],
    *[ButtonGrid(grid_size=n, num_buttons=k) for n, k in ((2, 1), (2, 4), (5, 3), (10, 3))],
    *[PanFlute(num_pipes=p) for p in (1, 2, 5, 8)],
]
# What the random event does instead, by the published option.
OTHERWISE = [
    ProcMaze(grid_size=4, teleport_on_termination=False),
    OpenGrid(grid_size=5, teleport_on_termination=False),
    ButtonGrid(grid_size=3, num_buttons=2, activate_on_reset=False),
]
ONE_OF_EACH = [ProcMaze(grid_size=6), OpenGrid(grid_size=5), ButtonGrid(grid_size=5, num_buttons=3), PanFlute(num_pipes=5)]


def name(env: FunctionalEnv) -> str:
    return "-".join([type(env).__name__, *[str(v) for v in dataclasses.astuple(env) if isinstance(v, int) and v is not True]])


def event_probability(env: FunctionalEnv) -> float:
    """From the reference's formulas, not from the environment."""
    match env:
        case ProcMaze(grid_size=n):
            return float(simulators.proc_maze_teleport_probability(n))
        case OpenGrid(grid_size=n):
            return float(simulators.open_grid_teleport_probability(n))
        case ButtonGrid(grid_size=n):
            return float(simulators.button_grid_all_on_probability(n))
        case PanFlute(num_pipes=p):
            return float(simulators.pan_flute_all_on_probability(p))
    raise AssertionError(env)


# --- Playing many steps in one compiled call ------------------------------------------------------------------------------


@functools.cache
def starts(env: FunctionalEnv) -> Any:
    """Enough start states for every test of ``env``, drawn by one compiled call (a start does not depend on other switches)."""
    assert env.spontaneous
    assert env.observation == "flat"
    return jax.device_get(jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(5), (STEPS + 1) * LANES)))


def play(env: FunctionalEnv, fresh: Any, seed: int, steps: int) -> Any:
    """Plays random actions in ``LANES`` lanes; a terminated lane goes on from one of the ``fresh`` states.

    In the last ``FORCED_LANES`` lanes the rare event also happens with ``FORCED_PROBABILITY``.

    Returns:
        Per step and lane: state, action, events, transition, and both forms of the observations of the state and the next
        state, as NumPy arrays.
    """
    flat, planes = (dataclasses.replace(env, observation=form) for form in ("flat", "planes"))
    flag = adapter(env).flag

    def both(state: Any) -> Any:
        return flat.observe(state), planes.observe(state)

    def step(state: Any, inputs: Any) -> Any:
        key, action, forced, fresh = inputs
        events = env.events(key)
        events = events._replace(**{flag: getattr(events, flag) | forced})
        transition = env.transition(state, action, events)
        following = jax.tree.map(lambda new, old: jnp.where(transition.terminated, new, old), fresh, transition.state)
        return following, (state, action, events, transition, both(state), both(transition.state))

    shape = (steps, LANES)
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), shape)
    actions = rng.integers(0, env.action_space.n, shape, dtype=np.int32)
    forced = (rng.random(shape) < FORCED_PROBABILITY) & (np.arange(LANES) >= LANES - FORCED_LANES) & env.spontaneous
    fresh = jax.tree.map(lambda leaf: leaf[: (steps + 1) * LANES].reshape(steps + 1, LANES, *leaf.shape[1:]), fresh)
    start, later = jax.tree.map(lambda leaf: leaf[0], fresh), jax.tree.map(lambda leaf: leaf[1:], fresh)
    run = jax.jit(lambda start, inputs: jax.lax.scan(jax.vmap(step), start, inputs)[1])
    return jax.device_get(run(start, (keys, actions, forced, later)))


def happenings(env: FunctionalEnv, state: Any, action: int, events: tuple, step: simulators.Step) -> list[str]:
    """What occurred in a step that had better occur in the test, told from the simulator's own values."""
    happened = ["event"] if events[0] else []
    if step.terminated:
        happened.append("terminated")
    if step.reward > 0:
        happened.append("success and event at once" if events[0] else "success")
    if isinstance(env, PanFlute):
        return happened
    player = state if isinstance(env, OpenGrid) else state.player
    there = simulators.target(player, action)
    on_grid = simulators.on_grid(there, env.grid_size)
    if not on_grid:
        happened.append("edge")
    if isinstance(env, ProcMaze | OpenGrid) and step.terminated and events[0] and there != player and on_grid:
        happened.append("terminated and event at once" if env.teleport_on_termination else "ended by the event")
    if isinstance(env, ProcMaze) and on_grid and state.wall[there[0]][there[1]]:
        happened.append("wall")
    if isinstance(env, ButtonGrid):
        if player in state.cells and (action == 0 or not on_grid):
            happened.append("stayed on a button")
        if there != player and there in state.cells and step.reward == 0:
            happened.append("switched off" if state.on[state.cells.index(there)] else "switched on")
            if happened[-1] == "switched off" and events[0]:
                happened.append("switched off and event at once")
    return happened


def expected_happenings(env: FunctionalEnv) -> set[str]:
    """What must have occurred at least twice in a test."""
    match env:
        case ProcMaze() | OpenGrid() if not env.teleport_on_termination:
            return {"event", "terminated", "edge", "ended by the event"}
        case ProcMaze():
            return {"event", "terminated", "edge", "wall", "terminated and event at once"}
        case OpenGrid():
            return {"event", "terminated", "edge", "terminated and event at once"}
        case ButtonGrid(grid_size=n, num_buttons=k):
            often = {"event", "success", "success and event at once", "edge", "stayed on a button", "switched on"}
            # A single button that is on is a success, which redraws the layout: it can never be switched off.
            return often | ({"switched off", "switched off and event at once"} if n == 2 and k > 1 else set())
        case PanFlute(num_pipes=p):
            # With one pipe the event's probability is 1.
            return {"event", "success and event at once"} | ({"success"} if p > 1 else set())
    raise AssertionError(env)


@pytest.mark.parametrize(
    ("env", "spontaneous"),
    [*[(env, True) for env in (*ENVS, *OTHERWISE)], *[(env, False) for env in ONE_OF_EACH]],
    ids=lambda value: name(value) if isinstance(value, FunctionalEnv) else "spontaneous" if value else "quiet",
)
def test_every_step_equals_the_simulator(env: FunctionalEnv, spontaneous: bool) -> None:
    fresh = starts(env)
    env = dataclasses.replace(env, spontaneous=spontaneous)
    steps = STEPS if spontaneous else STEPS // 4
    simulator, state_of, events_of, _ = adapter(env)
    states, actions, all_events, transitions, observed, observed_next = play(env, fresh, seed=7, steps=steps)
    assert transitions.reward.dtype == np.float32
    assert transitions.terminated.dtype == np.bool_
    for form, before, after in zip(("flat", "planes"), observed, observed_next, strict=True):
        space = dataclasses.replace(env, observation=form).observation_space
        assert space.dtype == np.bool_
        assert before.dtype == after.dtype == np.bool_
        assert before.shape == after.shape == (steps, LANES, *space.shape)
        assert space.contains(before[0, 0])
        assert space.contains(after[-1, -1])
    assert all(env.action_space.contains(action) for action in np.unique(actions))
    assert len(np.unique(actions)) == env.action_space.n

    count: collections.Counter[str] = collections.Counter()
    for lane in range(LANES):
        own = None  # the simulator's own state; taken from us only at a reset
        for t in range(steps):
            now = (t, lane)
            ours, following, happened = (
                jax.tree.map(lambda leaf, now=now: leaf[now], tree) for tree in (states, transitions.state, all_events)
            )
            if own is None:
                own = state_of(ours)
                for form, mine in zip(("flat", "planes"), observed, strict=True):
                    assert mine[now].tolist() == simulator.observe(own, form)
            assert state_of(ours) == own
            action, events = int(actions[now]), events_of(happened)
            step = simulator.step(own, action, *events)
            assert state_of(following) == step.state, (t, lane, own, action, events)
            assert float(transitions.reward[now]) == step.reward, (t, lane, own, action, events)
            assert bool(transitions.terminated[now]) == step.terminated, (t, lane, own, action, events)
            for form, mine in zip(("flat", "planes"), observed_next, strict=True):
                assert mine[now].tolist() == simulator.observe(step.state, form), (t, lane, step.state)
            count.update(happenings(env, own, action, events, step))
            own = None if step.terminated else step.state
    if spontaneous:
        occurred = {what: count[what] for what in expected_happenings(env)}
        assert min(occurred.values()) >= 2, occurred
    else:
        assert count["event"] == 0


# --- Every state, action and event of the smallest environments -----------------------------------------------------------


def words_of(cells: Any, n: int) -> np.ndarray:
    bits = sum(1 << (row * n + column) for row, column in cells)
    return np.array([bits], np.uint32)


def all_states(env: FunctionalEnv) -> Any:
    """All states, reachable or not, stacked."""
    match env:
        case ProcMaze(grid_size=n):
            states = [
                MazeState(np.int32(a[0] * n + a[1]), np.int32(b[0] * n + b[1]), words_of(maze, n))
                for maze in simulators.maze_distribution(n)
                for a, b in itertools.product(maze, maze)
            ]
        case OpenGrid(grid_size=n):
            states = [OpenGridState(np.int32(cell)) for cell in range(n * n)]
        case ButtonGrid(grid_size=n, num_buttons=k):
            states = [
                ButtonState(np.int32(cell), np.array(cells, np.int32), np.array(on))
                for cell in range(n * n)
                for cells in itertools.permutations(range(n * n), k)
                for on in itertools.product([False, True], repeat=k)
            ]
        case PanFlute(num_pipes=p):
            states = [PanFluteState(np.array(bits)) for bits in itertools.product([False, True], repeat=p * (p + 1) // 2)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


@pytest.mark.parametrize(
    "env",
    [
        *[ProcMaze(2), ProcMaze(3), OpenGrid(2), OpenGrid(3)],
        *[ButtonGrid(2, 1), ButtonGrid(2, 2), ButtonGrid(2, 3), PanFlute(1), PanFlute(2), PanFlute(3)],
        *[dataclasses.replace(env, grid_size=2) for env in OTHERWISE],
    ],
    ids=name,
)
def test_every_possible_transition_equals_the_simulator(env: FunctionalEnv) -> None:
    simulator, state_of, events_of, flag = adapter(env)
    states = all_states(env)
    num_states, num_actions = len(jax.tree.leaves(states)[0]), int(env.action_space.n)
    index, action, event = (
        axis.reshape(-1) for axis in np.meshgrid(np.arange(num_states), np.arange(num_actions), [False, True], indexing="ij")
    )
    before = jax.tree.map(lambda leaf: leaf[index], states)
    events = jax.jit(jax.vmap(env.events))(jax.random.split(jax.random.key(8), len(index)))
    events = jax.device_get(events)._replace(**{flag: event})
    transitions = jax.device_get(jax.jit(jax.vmap(env.transition))(before, action, events))
    observed = jax.device_get(jax.jit(jax.vmap(env.observe))(before))
    for i in range(len(index)):
        mine, following, happened = (
            jax.tree.map(lambda leaf, i=i: leaf[i], tree) for tree in (before, transitions.state, events)
        )
        step = simulator.step(state_of(mine), int(action[i]), *events_of(happened))
        assert state_of(following) == step.state, (state_of(mine), action[i], happened)
        assert float(transitions.reward[i]) == step.reward, (state_of(mine), action[i], happened)
        assert bool(transitions.terminated[i]) == step.terminated, (state_of(mine), action[i], happened)
        assert observed[i].tolist() == simulator.observe(state_of(mine), "flat")


# --- The protocol ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env", ONE_OF_EACH, ids=name)
def test_step_is_events_then_transition_whether_compiled_or_not(env: FunctionalEnv) -> None:
    keys = jax.random.split(jax.random.key(3), 16)
    states = jax.tree.map(lambda leaf: jnp.asarray(leaf[:16]), starts(env))
    actions = jnp.arange(16, dtype=jnp.int32) % env.action_space.n
    batched = jax.device_get(jax.jit(jax.vmap(env.step))(keys, states, actions))
    jitted_step = jax.jit(env.step)
    for i in range(2):
        state = jax.tree.map(lambda leaf, i=i: leaf[i], states)
        plain = env.step(keys[i], state, actions[i])
        by_hand = env.transition(state, actions[i], env.events(keys[i]))
        expected = jax.tree.leaves(jax.tree.map(lambda leaf, i=i: leaf[i], batched))
        for other in (plain, by_hand, jitted_step(keys[i], state, actions[i])):
            for a, b in zip(jax.tree.leaves(other), expected, strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("env", ONE_OF_EACH, ids=name)
def test_observations_lie_in_the_space_and_states_keep_their_types(env: FunctionalEnv) -> None:
    state = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), starts(env))
    following = env.step(jax.random.key(0), state, jnp.int32(0)).state
    # A state that changed type would compile every program twice, or break a scan.
    assert jax.tree.map(lambda a: (a.shape, a.dtype), following) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    for form in ("flat", "planes"):
        formed = dataclasses.replace(env, observation=form)
        observation = np.asarray(formed.observe(following))
        assert observation.dtype == np.bool_
        assert observation.shape == formed.observation_space.shape
        assert formed.observation_space.contains(observation)


@pytest.mark.parametrize(
    ("env", "flat", "planes"),
    [
        (ProcMaze(grid_size=6), (144,), (6, 6, 4)),
        (OpenGrid(grid_size=7), (49,), (7, 7, 1)),
        (ButtonGrid(grid_size=10, num_buttons=3), (300,), (10, 10, 3)),
        (PanFlute(num_pipes=5), (15,), (5, 5, 1)),
    ],
    ids=["ProcMaze", "OpenGrid", "ButtonGrid", "PanFlute"],
)
def test_spaces_have_the_published_sizes(env: FunctionalEnv, flat: tuple, planes: tuple) -> None:
    assert env.observation_space.shape == flat
    assert dataclasses.replace(env, observation="planes").observation_space.shape == planes
    assert env.action_space.n == 5
    assert env.continuing == isinstance(env, ButtonGrid | PanFlute)


def test_an_observation_of_proc_maze_written_down_by_hand() -> None:
    """Bit for bit, from the definition: the player in the top right corner, the goal in the middle of the bottom row."""
    maze = ["..@", "#.#", ".G."]
    expected = [
        [0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1],
        [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 0],
        [0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1],
    ]  # fmt: skip
    cells = "".join(maze)
    words = np.array([sum(1 << i for i, cell in enumerate(cells) if cell != "#")], np.uint32)
    state = MazeState(np.int32(cells.index("@")), np.int32(cells.index("G")), words)
    flat = np.asarray(ProcMaze(3).observe(state))
    assert flat.dtype == np.bool_
    assert flat.astype(int).tolist() == [bit for cell in expected for bit in cell]
    planes = np.asarray(ProcMaze(3, observation="planes").observe(state))
    assert planes.astype(int).reshape(9, 4).tolist() == expected
    assert (planes[..., 2] ^ planes[..., 3]).all()
    together = np.asarray(ProcMaze(3).observe(state._replace(position=state.goal)))
    assert together[28:32].astype(int).tolist() == [1, 1, 0, 1]


# --- Distribution of the events -------------------------------------------------------------------------------------------


@functools.cache
def many_keys(kind: str) -> jax.Array:
    """Keys as a loop makes them, and as users do: from the seeds 0, 1, 2, …"""
    if kind == "split":
        return jax.random.split(jax.random.key(11), 1_000_000)
    return jax.jit(jax.vmap(jax.random.key))(jnp.arange(1_000_000))


@pytest.mark.parametrize("env", ENVS, ids=name)
def test_the_rare_event_is_as_frequent_as_the_formula_says(env: FunctionalEnv) -> None:
    flag, probability = adapter(env).flag, event_probability(env)
    draw = jax.jit(jax.vmap(lambda key: getattr(env.events(key), flag)))
    for kind in ("split", "seeds"):
        happened = np.asarray(draw(many_keys(kind)))
        assert stats.binomtest(int(happened.sum()), happened.size, probability).pvalue > 1e-4, kind
        twice = int((happened[1:] & happened[:-1]).sum())  # no memory from one key to the next
        assert stats.binomtest(twice, happened.size - 1, probability**2).pvalue > 1e-4, kind
    declared = env.teleport_probability if flag == "teleport" else env.all_on_probability
    assert declared == pytest.approx(probability, rel=1e-12)


@pytest.mark.parametrize("env", ONE_OF_EACH, ids=name)
def test_switched_off_the_rare_event_never_happens(env: FunctionalEnv) -> None:
    env = dataclasses.replace(env, spontaneous=False)
    flag = adapter(env).flag
    keys = jax.random.split(jax.random.key(12), 100_000)
    assert not jax.jit(jax.vmap(lambda k: getattr(env.events(k), flag)))(keys).any()


# --- Distribution of the starts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 10])
def test_open_grid_starts_anywhere(n: int) -> None:
    states = jax.jit(jax.vmap(OpenGrid(grid_size=n).reset))(jax.random.split(jax.random.key(21), 200_000))
    assert uniform_p_value(states.position, n * n) > 1e-4


@pytest.mark.parametrize("num_pipes", [1, 2, 5, 8])
def test_pan_flute_starts_silent(num_pipes: int) -> None:
    states = jax.vmap(PanFlute(num_pipes=num_pipes).reset)(jax.random.split(jax.random.key(22), 1000))
    assert states.pipes.shape == (1000, num_pipes * (num_pipes + 1) // 2)
    assert not states.pipes.any()


@functools.cache
def layouts(env: ButtonGrid, num: int, kind: str = "split") -> dict[str, Any]:
    """Layouts drawn by ``reset``, by ``events``, and by those ``events`` in which the rare event happens too."""
    draw = jax.jit(jax.vmap(lambda key: (env.reset(key), env.events(key))))
    reset, events = jax.device_get(draw(many_keys(kind)[:num]))
    rare = jax.tree.map(lambda leaf: leaf[events.all_on], events.layout)
    return {"reset": reset, "events": events.layout, "rare events": rare}


@pytest.mark.parametrize("kind", ["split", "seeds"])
@pytest.mark.parametrize("source", ["reset", "events", "rare events"])
def test_small_button_layouts_are_uniform(source: str, kind: str) -> None:
    drawn = layouts(ButtonGrid(grid_size=2, num_buttons=2), 400_000, kind)[source]
    assert len(drawn.position) > 9000
    first, second = drawn.buttons.T
    assert (first != second).all()
    # Player and the ordered pair of buttons together: 4 * 4 * 3 equally likely layouts.
    pair = first * 3 + second - (second > first)
    assert uniform_p_value(drawn.position * 12 + pair, 48) > 1e-4
    assert not drawn.on.any()


@pytest.mark.parametrize("source", ["reset", "events"])
@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 3), (10, 3), (4, 16), (32, 3)])
def test_button_layouts_are_distinct_and_uniform(n: int, k: int, source: str) -> None:
    num = 50_000
    drawn = layouts(ButtonGrid(grid_size=n, num_buttons=k), num)[source]
    assert drawn.position.dtype == drawn.buttons.dtype == np.int32
    assert drawn.buttons.shape == (num, k)
    assert drawn.buttons.min() >= 0
    assert drawn.buttons.max() < n * n
    assert (np.diff(np.sort(drawn.buttons, axis=1), axis=1) > 0).all()
    assert not drawn.on.any()
    assert uniform_p_value(drawn.position, n * n) > 1e-4
    for i in range(k):
        assert uniform_p_value(drawn.buttons[:, i], n * n) > 1e-4
    for i in range(1, k if n <= 5 else 1):  # neighbours in the list, as an ordered pair of distinct cells
        before, after = drawn.buttons[:, i - 1], drawn.buttons[:, i]
        assert uniform_p_value(before * (n * n - 1) + after - (after > before), n * n * (n * n - 1)) > 1e-4


def test_all_orders_of_a_full_board_of_buttons_are_equally_likely() -> None:
    drawn = layouts(ButtonGrid(grid_size=2, num_buttons=4), num=200_000)["reset"]
    code = drawn.buttons @ np.array([64, 16, 4, 1])
    orders, counts = np.unique(code, return_counts=True)
    assert len(orders) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_button_triples_are_uniform() -> None:
    drawn = layouts(ButtonGrid(grid_size=5, num_buttons=3), num=400_000)["events"]
    code = drawn.buttons @ np.array([625, 25, 1])
    triples, counts = np.unique(code, return_counts=True)
    assert len(triples) == 25 * 24 * 23
    assert stats.chisquare(counts).pvalue > 1e-4
