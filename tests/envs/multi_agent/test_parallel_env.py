"""PettingZoo's own tests, for every environment and several sizes; seeds, ends of episodes, pictures, bad input."""

from __future__ import annotations

import copy
import functools
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test, seed_test, state_test

import mbrl_envs
from mbrl_envs import multi_agent
from mbrl_envs.adapters.parallel_env import FunctionalParallelEnv
from tests.envs.helpers import fresh_interpreter

CASES: list[tuple[str, dict[str, Any]]] = [
    ("coop_button_grid_v0", {}),
    ("coop_button_grid_v0", {"grid_size": 2, "num_buttons": 4, "num_agents": 4, "observation": "planes"}),
    ("coop_pan_flute_v0", {}),
    ("coop_pan_flute_v0", {"num_pipes": 3, "num_agents": 3, "split": True, "observation": "planes"}),
    ("button_contest_v0", {}),
    ("button_contest_v0", {"grid_size": 3, "num_buttons": 2, "players_per_team": 2, "sight": 1}),
]
ONE_OF_EACH = [CASES[0], CASES[2], CASES[4]]
flute = functools.partial(multi_agent.coop_pan_flute_v0.parallel_env, num_pipes=3)


def name(case: Any) -> str | None:
    return case if isinstance(case, str) else "-".join(map(str, case.values())) if isinstance(case, dict) else None


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PettingZoo's tests only warn of much that is wrong; windows open nowhere."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.mark.parametrize(("module", "constants"), CASES, ids=name)
def test_pettingzoos_own_tests_pass(module: str, constants: dict[str, Any]) -> None:
    parallel = functools.partial(getattr(multi_agent, module).parallel_env, **constants)
    in_turn = functools.partial(getattr(multi_agent, module).env, **constants)
    parallel_api_test(parallel(max_cycles=15), num_cycles=40)
    parallel_api_test(parallel(max_cycles=None), num_cycles=40)
    api_test(in_turn(max_cycles=15), num_cycles=40)
    parallel_seed_test(lambda: parallel(max_cycles=15), num_cycles=40)
    seed_test(lambda: in_turn(max_cycles=15), num_cycles=40)
    assert str(in_turn()) == str(parallel()) == module


@pytest.mark.parametrize(("module", "constants"), CASES, ids=name)
def test_pettingzoos_state_test_passes(module: str, constants: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="State numpy array is all zeros")  # a silent flute
        kinds = (getattr(multi_agent, module).env, getattr(multi_agent, module).parallel_env)
        state_test(*(kind(max_cycles=15, **constants) for kind in kinds))


def test_states_show_everything_to_nobody_in_particular() -> None:
    """What one agent sees without limits, put together of all of them; with ``sight`` or ``split`` it still is everything."""
    for form in ("flat", "planes"):
        contest = FunctionalParallelEnv(multi_agent.ButtonContest(3, 2, 2, sight=0, observation=form))
        with pytest.raises(gymnasium.error.ResetNeeded):
            contest.state()
        contest.reset(seed=0)
        for _ in range(10):
            contest.step(dict.fromkeys(contest.agents, 4))
            whole = jax.device_get(multi_agent.ButtonContest(3, 2, 2).observe(_state_of(contest))).reshape(4, 9, 6)
            expected = [*whole[:, :, 0], *whole[0, :, 4:].T]  # each player's own cell; team on wants them on
            np.testing.assert_array_equal(contest.state().reshape(9, 6).T, expected)
        split = FunctionalParallelEnv(multi_agent.CoopPanFlute(3, 3, split=True, observation=form))
        split.reset(seed=0)
        for _ in range(10):
            seen = split.step({"player_0": 0, "player_1": 2, "player_2": 3})[0]
            count = 6 if form == "flat" else None
            cells = [array.ravel()[:count] if count else array[..., :1] for array in seen.values()]
            np.testing.assert_array_equal(split.state(), np.logical_or.reduce(cells))
        assert split.state() is not split.state()


def _state_of(env: FunctionalParallelEnv) -> Any:
    return env._functions.packing.view(np.asarray(env._packed)).lane.state


@pytest.mark.parametrize(("module", "constants"), ONE_OF_EACH, ids=name)
def test_pettingzoos_render_test_passes(module: str, constants: dict[str, Any]) -> None:
    render_test(functools.partial(getattr(multi_agent, module).env, **constants))


@pytest.mark.parametrize(("module", "constants"), ONE_OF_EACH, ids=name)
def test_a_step_is_that_of_the_dynamics(module: str, constants: dict[str, Any]) -> None:
    """Lane 0 of a vector environment with the same seed does the same, over several episodes."""
    env = getattr(multi_agent, module).parallel_env(max_cycles=7, **constants)
    agents = env.possible_agents
    lanes = mbrl_envs.FunctionalVecEnv(env.dynamics, 2, max_episode_steps=7)
    lanes.seed(5)
    rng = np.random.default_rng(0)
    shown, seen = lanes.reset(), env.reset(seed=5)[0]
    for t in range(30):
        np.testing.assert_array_equal(np.stack([seen[agent] for agent in agents]), shown[: len(agents)])
        actions = rng.integers(env.dynamics.action_space.n, size=lanes.num_envs)
        seen, rewards, terminated, truncated, infos = env.step(dict(zip(agents, actions.tolist(), strict=False)))
        shown, lane_rewards, done, lane_infos = lanes.step(actions)
        assert [rewards[agent] for agent in agents] == lane_rewards[: len(agents)].tolist()
        assert set(terminated.values()) == {False}
        assert set(truncated.values()) == {t % 7 == 6} == set(done.tolist())
        assert infos == {agent: {} for agent in agents}
        if done[0]:
            assert env.agents == []
            last = [lane_infos[i]["terminal_observation"] for i in range(len(agents))]
            np.testing.assert_array_equal(np.stack([seen[agent] for agent in agents]), last)
            seen = env.reset()[0]
        assert env.agents == agents


def test_every_agent_has_spaces_of_its_own() -> None:
    env = flute()
    spaces = [env.action_space(agent) for agent in env.possible_agents]
    assert spaces[0] == spaces[1]
    for space in spaces:
        space.seed(0)
    drawn = [space.sample() for _ in range(20) for space in spaces]
    assert drawn[0::2] == drawn[1::2]


def test_in_turn_the_last_action_moves_all() -> None:
    parallel, in_turn = flute(), multi_agent.coop_pan_flute_v0.env(num_pipes=3)
    parallel.reset(seed=1)
    in_turn.reset(seed=1)
    for _ in range(3):
        before = in_turn.observe("player_1")
        in_turn.step(2)
        np.testing.assert_array_equal(in_turn.observe("player_1"), before)
        in_turn.step(1)
        seen = parallel.step({"player_0": 2, "player_1": 1})[0]
        for agent in parallel.agents:
            np.testing.assert_array_equal(in_turn.observe(agent), seen[agent])


def test_observations_are_fresh_arrays_and_say_who_sees() -> None:
    env = flute()
    seen, _ = env.reset(seed=0)
    assert [seen[agent][-2:].tolist() for agent in env.agents] == [[True, False], [False, True]]
    kept = {agent: row.copy() for agent, row in seen.items()}
    env.step({"player_0": 0, "player_1": 1})
    for agent, row in seen.items():
        np.testing.assert_array_equal(row, kept[agent])
        row[:] = False  # may be written to


def test_without_a_seed_episodes_go_on_and_environments_differ() -> None:
    make = functools.partial(multi_agent.coop_button_grid_v0.parallel_env, grid_size=8)
    first, second = make(), make()
    assert (first.reset()[0]["player_0"] != second.reset()[0]["player_0"]).any()
    starts = {first.reset()[0]["player_0"].tobytes() for _ in range(5)}
    assert len(starts) == 5
    first.reset(seed=3)
    following = first.reset()[0]["player_0"]
    second.reset(seed=3)
    np.testing.assert_array_equal(second.reset()[0]["player_0"], following)


@pytest.mark.parametrize(("module", "constants"), ONE_OF_EACH, ids=name)
def test_copies_go_on_alike(module: str, constants: dict[str, Any]) -> None:
    env = getattr(multi_agent, module).parallel_env(render_mode="ansi", max_cycles=15, **constants)
    env.reset(seed=0)
    rng = np.random.default_rng(0)

    def play() -> dict[str, int]:
        return {agent: int(rng.integers(env.action_space(agent).n)) for agent in env.possible_agents}

    env.step(play())
    copies = (copy.deepcopy(env), pickle.loads(pickle.dumps(env)))
    for each in copies:
        assert isinstance(each, FunctionalParallelEnv)
    episodes = 0
    for _ in range(120):  # enough for rare events and the starts of episodes
        actions = play()
        seen, *others = env.step(actions)
        ended = not env.agents
        following = env.reset()[0] if ended else {}
        episodes += ended
        for each in copies:
            copys, *copys_others = each.step(actions)
            np.testing.assert_equal(copys, seen)
            assert copys_others == others
            np.testing.assert_equal(each.reset()[0] if ended else {}, following)
            assert each.agents == env.agents
            assert each.render() == env.render()
    assert episodes == 8


def test_text_shows_players_and_what_they_did() -> None:
    env = multi_agent.button_contest_v0.parallel_env(grid_size=2, num_buttons=2, spontaneous=False, render_mode="ansi")
    env.reset(seed=0)
    state = jax.device_get(env.dynamics.reset(jax.random.PRNGKey(0)))
    crowd = state._replace(positions=np.array([3, 3], np.int32), buttons=np.array([0, 3], np.int32), on=np.array([True, False]))
    picture = env.dynamics.picture(crowd)
    assert picture.cells.tolist() == [["button on", "empty"], ["empty", "players of both teams on button off"]]
    apart = env.dynamics.picture(crowd._replace(positions=np.array([0, 1], np.int32)))
    assert apart.cells.tolist() == [["player for on on button on", "player for off"], ["empty", "button off"]]
    assert picture.legend == apart.legend
    env.step({"on_0": 0, "off_0": 1})
    assert env.render().startswith("step 1   no-op, up   reward 0\n")
    together = multi_agent.CoopButtonGrid(2, 1, 3).picture(
        crowd._replace(positions=np.array([1, 1, 0]), buttons=np.array([2]), on=np.array([True]))
    )
    assert together.cells.tolist() == [["player", "several players"], ["button on", "empty"]]


# --- Bad input -------------------------------------------------------------------------------------------------------------


def test_bad_action_dictionaries_are_refused() -> None:
    env = flute(max_cycles=2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step({"player_0": 0, "player_1": 0})
    env.reset(seed=0)
    for actions, message in (
        ({"player_0": 0}, r"one for each of player_0, player_1; player_1 missing"),
        ({}, r"player_0, player_1 missing"),
        ({"player_0": 0, "player_1": 0, "player_2": 0}, r"must be for player_0, player_1; got one for 'player_2'"),
        ({"player_0": 0, "player_1": 4}, r"the action of player_1 must be in Discrete\(4\), got 4"),
        ({"player_0": -1, "player_1": 0}, r"the action of player_0 must be in Discrete\(4\), got -1"),
        ({"player_0": 0, "player_1": 1.0}, r"the action of player_1 must be in Discrete\(4\), got 1.0"),
        ({"player_0": None, "player_1": 1}, r"the action of player_0 must be in Discrete\(4\), got None"),
        ({"player_0": True, "player_1": 1}, r"the action of player_0 must be in Discrete\(4\), got True"),
        ([0, 1], r"must be a dictionary from agents to actions, got list"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(actions)
    # A refused step has changed nothing.
    for _ in range(2):
        *_, truncated, _ = env.step({"player_1": np.int64(0), "player_0": np.array(3)})
    assert truncated == {"player_0": True, "player_1": True}
    for actions in ({"player_0": 0, "player_1": 0}, {"player_0": 0}, {}):
        with pytest.raises(gymnasium.error.ResetNeeded, match=r"the episode is over .* finished"):
            env.step(actions)
    env.reset()
    env.step({"player_0": 0, "player_1": 0})


@pytest.mark.parametrize(
    ("module", "constants", "error", "message"),
    [
        ("coop_button_grid_v0", {"num_agents": 0}, ValueError, "num_agents must be an integer from 1 to 16, got 0"),
        ("coop_button_grid_v0", {"grid_size": 2, "num_buttons": 1, "num_agents": 5}, ValueError, "from 1 to 4, got 5"),
        ("coop_button_grid_v0", {"grid_size": 10, "num_agents": 17}, ValueError, "from 1 to 16, got 17"),
        ("coop_button_grid_v0", {"num_agents": 2.0}, TypeError, "num_agents must be an integer"),
        ("coop_button_grid_v0", {"sight": 5}, ValueError, "sight must be an integer from 0 to 4, got 5"),
        ("coop_button_grid_v0", {"sight": True}, TypeError, "sight must be an integer"),
        ("coop_button_grid_v0", {"spontaneous": 1}, TypeError, "spontaneous must be True or False"),
        ("coop_button_grid_v0", {"agents": 2}, TypeError, "CoopButtonGrid has no argument 'agents'; it has 'grid_size'"),
        ("coop_pan_flute_v0", {"num_agents": 0}, ValueError, "num_agents must be an integer from 1 to 5, got 0"),
        ("coop_pan_flute_v0", {"num_agents": 6}, ValueError, "num_agents must be an integer from 1 to 5, got 6"),
        ("coop_pan_flute_v0", {"split": "yes"}, TypeError, "split must be True or False"),
        ("coop_pan_flute_v0", {"observation": "pixels"}, ValueError, "observation must be one of"),
        ("button_contest_v0", {"players_per_team": 0}, ValueError, "players_per_team must be an integer from 1 to 8, got 0"),
        ("button_contest_v0", {"grid_size": 2, "num_buttons": 2, "players_per_team": 3}, ValueError, "from 1 to 2, got 3"),
        ("button_contest_v0", {"num_buttons": 1}, ValueError, "num_buttons must be an integer from 2 to 16, got 1"),
        ("coop_pan_flute_v0", {"render_mode": "svg"}, ValueError, "render_mode must be one of None, 'rgb_array'"),
        ("coop_pan_flute_v0", {"max_cycles": 0}, ValueError, "max_cycles .* must be an integer from 1"),
    ],
)
def test_bad_constants_are_refused(module: str, constants: dict[str, Any], error: type[Exception], message: str) -> None:
    for maker in ("parallel_env", "env"):
        make: Callable = getattr(getattr(multi_agent, module), maker)
        with pytest.raises(error, match=message):
            make(**constants)


def test_bad_seeds_are_refused() -> None:
    for seed in (-1, 1.5, True, "0"):
        with pytest.raises(gymnasium.error.Error, match="seed must be None or a non-negative integer"):
            flute().reset(seed=seed)


def test_single_agent_adapters_refuse_several_agents() -> None:
    for make in (mbrl_envs.FunctionalGymEnv, mbrl_envs.FunctionalVectorEnv):
        with pytest.raises(TypeError, match="dynamics must be those of one agent, got CoopPanFlute"):
            make(multi_agent.CoopPanFlute())


def test_without_pettingzoo_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['pettingzoo'] = None\n"
        "import mbrl_envs.multi_agent as m; m.CoopPanFlute()\n"  # dynamics do not need it
        "try:\n    m.coop_pan_flute_v0\nexcept ImportError as error:\n    print(error)\n"
    )
    assert 'pip install "mbrl-lab[multi]"' in fresh_interpreter(code)
    unknown = "coop_pan_flute_v9"
    with pytest.raises(AttributeError, match=unknown):
        getattr(multi_agent, unknown)


def test_a_window_is_kept_up_to_date_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of PettingZoo's own environments are."""
    shown = []
    monkeypatch.setattr("mbrl_envs.window.Window.show", lambda self, frame: shown.append(frame))
    env = flute(render_mode="human", max_cycles=3)
    env.reset(seed=0)
    for _ in range(3):
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    assert len(shown) == 4
    assert shown[0].ndim == 3


def test_without_pygame_a_window_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(ImportError, match=r"mbrl-lab\[play\]"):
        flute(render_mode="human")
