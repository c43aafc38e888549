"""What is said about world models, against numbers worked out by hand or in NumPy."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from gymnasium import spaces

from mbrl_agents import LatentModelDQN, PerfectModelDQN, ReplayDQN, SimpleModelDQN
from mbrl_agents.model_dqn import foresight
from mbrl_agents.model_dqn.inspection import (
    SMALLEST_PROBABILITY,
    Trajectory,
    imagined_rollouts,
    prediction_errors,
    quantities,
    termination_calibration,
)
from mbrl_agents.model_dqn.latents import LATENTS
from mbrl_envs import ButtonGrid, FunctionalEnv, FunctionalGymEnv, PanFlute, ProcMaze, Transition


class Shown(gymnasium.Env):
    """Nothing but spaces; the trajectories of these tests are made by hand."""

    action_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.observation_space = space


BITS = spaces.Box(0, 1, (2,), np.bool_)
NUMBERS = spaces.Box(-9, 9, (2,), np.float32)
SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [2], "activation_fn": "relu"}, "seed": 0}


def sigmoid(x: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def constant(agent: Any, **said: Any) -> Any:
    """Makes the networks of a simple model say the same whatever they are given."""
    params = jax.tree.map(np.zeros_like, agent.learner_state.model)
    params["dynamics"]["Dense_1"]["bias"] = np.array(said.get("following", params["dynamics"]["Dense_1"]["bias"]), np.float32)
    for name, head in (("reward", "Dense_1"), ("end", "Dense_2")):
        if name in said:
            params["outcomes"][head]["bias"] = np.array([said[name]], np.float32)
    agent.change_run(learner=agent.learner_state._replace(model=params))
    return agent


def simple(space: spaces.Space[Any] = BITS, **changes: Any) -> SimpleModelDQN:
    return SimpleModelDQN("MlpPolicy", Shown(space), **(SMALL | changes))


def episode(observations: Any, rewards: Any = None, terminated: bool = False, **more: Any) -> Trajectory:
    seen = np.asarray(observations)
    length = len(seen) - 1
    given = np.zeros(length) if rewards is None else np.asarray(rewards, float)
    return Trajectory(seen, np.arange(length) % 2, given, terminated, **more)


def row(table: pd.DataFrame, horizon: int, quantity: str) -> pd.Series:
    found = table[(table["horizon"] == horizon) & (table["quantity"] == quantity)]
    assert len(found) == 1
    return found.iloc[0]


def test_bits_of_known_probability() -> None:
    agent = constant(simple(), following=[1.5, -0.5], reward=2.0, end=-1.0)
    bits = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], bool)
    table = prediction_errors(agent, [episode(bits, [1, 2, 5])], steps=2)
    p = sigmoid([1.5, -0.5])
    for horizon in (1, 2):
        for i in range(2):
            found, real = row(table, horizon, f"observation[{i}]"), bits[horizon:, i]
            assert found["error"] == pytest.approx(np.abs(p[i] - real).mean(), abs=1e-6)
            assert found["nll"] == pytest.approx(-np.log(np.where(real, p[i], 1 - p[i])).mean(), abs=1e-6)
            assert found["baseline"] == (bits[:-horizon, i] != real).mean()
            assert (found["measure"], found["count"]) == ("probability of the wrong value", 4 - horizon)
        rewards = np.array([1, 2, 5.0])[horizon - 1 :]
        found = row(table, horizon, "reward")
        assert found["error"] == pytest.approx(np.square(rewards - 2).mean())
        assert found["baseline"] == pytest.approx(rewards.var())
        assert np.isnan(found["nll"])
        found = row(table, horizon, "termination")
        assert found["error"] == pytest.approx(sigmoid(-1))
        assert found["nll"] == pytest.approx(-np.log(1 - sigmoid(-1)))
        assert found["baseline"] == 0
    assert row(table, 0, "observation[0]")["error"] == 0  # it starts where the trajectory did


def test_two_steps_by_hand() -> None:
    """The next bit depends on the bit before, so two steps on it depends on what was drawn in between."""
    agent = constant(simple())
    weight, bias = 2.5, -1.0
    hidden, last = np.zeros((4, 2), np.float32), np.zeros((2, 2), np.float32)
    hidden[0, 0], last[0, 0] = weight, 1  # a ReLU of a bit is the bit
    agent.learner_state.model["dynamics"] = {
        "Dense_0": {"kernel": hidden, "bias": np.zeros(2, np.float32)},
        "Dense_1": {"kernel": last, "bias": np.array([bias, 50], np.float32)},
    }
    table = prediction_errors(agent, [episode(np.array([[1, 1], [1, 1], [1, 1]], bool))], steps=2, rollouts=4096)
    p = [sigmoid(bias), sigmoid(weight + bias)]
    one_step = (p[1] + p[1]) / 2
    two_steps = p[1] * p[1] + (1 - p[1]) * p[0]
    assert row(table, 1, "observation[0]")["error"] == pytest.approx(1 - one_step, abs=2e-5)  # a float32 sum of 4096
    spread = (p[1] - p[0]) * np.sqrt(p[1] * (1 - p[1]) / 4096)
    assert row(table, 2, "observation[0]")["error"] == pytest.approx(1 - two_steps, abs=5 * spread)
    assert row(table, 2, "observation[0]")["nll"] == pytest.approx(-np.log(two_steps), abs=10 * spread)
    assert row(table, 2, "observation[1]")["error"] == pytest.approx(0, abs=1e-6)


def test_raw_logits_count_as_the_probabilities_they_are_drawn_with() -> None:
    agent = constant(simple(raw_logits=True), following=[0.25, -3.0])
    table = prediction_errors(agent, [episode(np.ones((3, 2), bool))], steps=1)
    assert row(table, 1, "observation[0]")["error"] == pytest.approx(0.75)
    assert row(table, 1, "observation[1]")["error"] == 1
    assert row(table, 1, "observation[1]")["nll"] == pytest.approx(-np.log(SMALLEST_PROBABILITY))


def test_numbers_have_squared_errors() -> None:
    agent = constant(simple(NUMBERS), following=[0.5, -1.0])
    seen = np.array([[0, 1], [2, 3], [4, -1]], np.float32)
    table = prediction_errors(agent, [episode(seen)], steps=1)
    for i, said in enumerate((0.5, -1.0)):
        found = row(table, 1, f"observation[{i}]")
        assert found["error"] == pytest.approx(np.square(seen[1:, i] - said).mean())
        assert found["baseline"] == pytest.approx(np.square(np.diff(seen[:, i])).mean())
        assert np.isnan(found["nll"])
        assert found["measure"] == "squared error"


def test_an_index_has_the_probability_of_other_values() -> None:
    agent = constant(simple(spaces.Discrete(3, start=5)), following=np.log([0.2, 0.3, 0.5]))
    table = prediction_errors(agent, [episode(np.array([5, 6, 7, 7]))], steps=1)
    found = row(table, 1, "observation")
    assert found["error"] == pytest.approx((0.7 + 0.5 + 0.5) / 3)
    assert found["nll"] == pytest.approx(-np.log([0.3, 0.5, 0.5]).mean())
    assert found["baseline"] == pytest.approx(2 / 3)


def test_nothing_after_an_end_counts() -> None:
    agent = constant(simple(), following=[0, 0], end=-1.0)
    ended, cut = (episode(np.zeros((4, 2), bool), terminated=end) for end in (True, False))
    table = prediction_errors(agent, [ended, cut], steps=5)
    # Three steps each; what is seen after the step that ends the task is not what a model has to know.
    assert [row(table, k, "reward")["count"] for k in (1, 2, 3)] == [6, 4, 2]
    assert [row(table, k, "observation[0]")["count"] for k in (0, 1, 2, 3)] == [6, 5, 3, 1]
    assert table["horizon"].max() == 3
    assert row(table, 1, "termination")["error"] == pytest.approx((5 * sigmoid(-1) + 1 - sigmoid(-1)) / 6)
    assert row(table, 1, "termination")["baseline"] == pytest.approx(2 * 1 / 6 * 5 / 6)


def test_calibration_of_a_known_probability() -> None:
    agent = constant(simple(), following=[0, 0], end=-1.0)
    p = sigmoid(-1)  # 0.27
    trajectories = [episode(np.zeros((3, 2), bool), terminated=i < 2) for i in range(5)]
    table = termination_calibration(agent, trajectories)
    assert table is not None
    assert list(table["bin"]) == [f"{i / 10:.1f}–{(i + 1) / 10:.1f}" for i in range(10)] + ["all"]
    assert list(table["count"]) == [0, 0, 10] + 7 * [0] + [10]
    for name in ("0.2–0.3", "all"):
        found = table.set_index("bin").loc[name]
        assert found["predicted"] == pytest.approx(p)
        assert found["observed"] == pytest.approx(0.2)
        assert found["brier"] == pytest.approx((2 * (1 - p) ** 2 + 8 * p**2) / 10)
        assert found["log_loss"] == pytest.approx(-(2 * np.log(p) + 8 * np.log(1 - p)) / 10)
    assert table["observed"].isna().sum() == 9


def test_continuing_tasks_have_no_ends() -> None:
    agent = constant(simple(continuing=True), following=[0, 0])
    trajectories = [episode(np.zeros((3, 2), bool))]
    assert termination_calibration(agent, trajectories) is None
    assert "termination" not in set(prediction_errors(agent, trajectories)["quantity"])


@pytest.mark.parametrize("latent", LATENTS)
def test_latent_models_are_judged_by_what_they_decode(latent: str) -> None:
    agent = LatentModelDQN("MlpPolicy", Shown(BITS), latent=latent, **SMALL)
    params = jax.tree.map(np.array, agent.learner_state.model)
    params["decoder"] = jax.tree.map(np.zeros_like, params["decoder"])
    *_, last = sorted(name for name in params["decoder"] if name.startswith("Dense"))
    params["decoder"][last]["bias"] = np.array([1.0, -2.0], np.float32)
    agent.change_run(learner=agent.learner_state._replace(model=params))
    bits = np.array([[0, 1], [1, 1], [1, 0]], bool)
    table = prediction_errors(agent, [episode(bits)], steps=2)
    for horizon in (0, 1, 2):
        for i, p in enumerate(sigmoid([1.0, -2.0])):
            real = bits[horizon:2, i] if horizon == 0 else bits[horizon:, i]
            assert row(table, horizon, f"observation[{i}]")["error"] == pytest.approx(np.abs(p - real).mean(), abs=1e-6)


def play(env: FunctionalEnv, steps: int) -> list[Trajectory]:
    """Episodes with actions that are drawn uniformly, and the states in which they were."""
    game, rng = FunctionalGymEnv(env), np.random.default_rng(0)
    played: list[Trajectory] = []
    while steps > 0:
        observation, _ = game.reset(seed=steps)
        seen, states, rewards, terminated = [observation], [jax.tree.map(np.array, game.state)], [], False
        actions = rng.integers(env.action_space.n, size=12)
        for action in actions:
            observation, reward, terminated, *_ = game.step(action)
            seen.append(observation)
            states.append(jax.tree.map(np.array, game.state))
            rewards.append(reward)
            if terminated:
                break
        together = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        played.append(Trajectory(np.array(seen), actions[: len(rewards)], np.array(rewards), bool(terminated), together))
        steps -= len(rewards)
    return played


@pytest.mark.parametrize("env", [ProcMaze(2, spontaneous=False), PanFlute(3, spontaneous=False)], ids=repr)
def test_the_perfect_model_makes_no_error_where_nothing_is_random(env: Any) -> None:
    agent = PerfectModelDQN("MlpPolicy", FunctionalGymEnv(env), **SMALL)
    trajectories = play(env, 60)
    table = prediction_errors(agent, trajectories, steps=4)
    assert (table["error"] == 0).all()
    assert (table["nll"].dropna() == 0).all()
    assert (table.loc[table["horizon"] == 4, "baseline"] > 0).any()
    calibration = termination_calibration(agent, trajectories)
    if env.continuing:
        assert calibration is None
    else:
        assert calibration is not None
        assert calibration.set_index("bin").loc["all", "brier"] == 0
    with pytest.raises(ValueError, match="needs the environment's states"):
        prediction_errors(agent, [each._replace(states=None) for each in trajectories])


def test_chance_is_all_that_the_perfect_model_does_not_know() -> None:
    env = PanFlute(2)  # at each step the last cells turn on with probability 1/4
    agent = PerfectModelDQN("MlpPolicy", FunctionalGymEnv(env), **SMALL)
    table = prediction_errors(agent, play(env, 600), steps=1, rollouts=256)
    # Two of three cells may turn on; pipe 0 is blown every second time, and the other is on half of the time.
    expected = 2 * 0.25 * 0.75 * (0.5 + 0.5) / 3
    assert row(table, 1, "on")["error"] == pytest.approx(expected, rel=0.15)


class TrapState(NamedTuple):
    trapped: Any


@dataclasses.dataclass(frozen=True)
class Trap(FunctionalEnv[TrapState, Any]):
    """A trap shuts with probability 1/2 at each step, and is seen; the step after that is the last."""

    env_id, continuing = "Trap", False
    observation_space, action_space = spaces.Box(0, 1, (1,), np.bool_), spaces.Discrete(2)

    def reset(self, key: Any) -> TrapState:
        return TrapState(jnp.bool_(False))

    def events(self, key: Any) -> Any:
        return jax.random.bernoulli(key)

    def transition(self, state: TrapState, action: Any, events: Any) -> Transition:
        return Transition(TrapState(state.trapped | events), state.trapped.astype(jnp.float32), state.trapped)

    def observe(self, state: TrapState) -> Any:
        return state.trapped[None]

    def picture(self, state: TrapState) -> Any:
        raise NotImplementedError


def test_who_has_not_ended_is_compared_with_those_who_have_not() -> None:
    agent = PerfectModelDQN("MlpPolicy", FunctionalGymEnv(Trap()), **SMALL)
    free = episode(np.zeros((4, 1), bool), states=TrapState(np.zeros(4, bool)))
    table = prediction_errors(agent, [free], steps=3, rollouts=4096)
    for horizon in (1, 2, 3):  # else the probability of being trapped would be 1/2, 3/4, 7/8
        assert row(table, horizon, "observation[0]")["error"] == pytest.approx(0.5, abs=0.1)
    for horizon, expected in ((1, 0), (2, 0.5), (3, 0.5)):
        assert row(table, horizon, "termination")["error"] == pytest.approx(expected, abs=0.1)
        assert row(table, horizon, "reward")["error"] == pytest.approx(expected**2, abs=0.1)


def test_planes_have_the_names_that_environments_give_them() -> None:
    for form in ("flat", "planes"):
        env = ButtonGrid(3, 2, observation=form)
        found = quantities(env.observation_space, env)
        assert list(found) == ["player", "button on", "button off"]
        np.testing.assert_array_equal(found["button on"], np.arange(9) * 3 + 1)
    assert list(quantities(ProcMaze(2).observation_space, ProcMaze(2))) == ["player", "goal", "wall", "empty"]
    assert list(quantities(spaces.Box(0, 1, (5,)))) == [f"observation[{i}]" for i in range(5)]
    assert list(quantities(spaces.Box(0, 1, (500,)))) == ["observation"]
    image = quantities(spaces.Box(0, 255, (3, 8, 8), np.uint8))
    assert list(image) == ["plane 0", "plane 1", "plane 2"]
    np.testing.assert_array_equal(image["plane 1"], 64 + np.arange(64))
    assert list(quantities(spaces.Discrete(4))) == ["observation"]


def test_errors_by_plane_of_a_maze() -> None:
    env = ProcMaze(2)
    agent = constant(SimpleModelDQN("MlpPolicy", FunctionalGymEnv(env), **SMALL))
    table = prediction_errors(agent, play(env, 40), steps=2)
    for name in ("player", "goal", "wall", "empty"):
        assert row(table, 1, name)["error"] == pytest.approx(0.5)
    assert row(table, 1, "wall")["baseline"] == 0
    assert row(table, 1, "player")["baseline"] > 0


def test_starts_are_drawn_by_the_seed_and_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ProcMaze(2)
    agent = constant(SimpleModelDQN("MlpPolicy", FunctionalGymEnv(env), **SMALL), end=-1.0)
    trajectories = play(env, 200)

    few = prediction_errors(agent, trajectories, steps=2, max_starts=30)
    assert row(few, 1, "reward")["count"] == 30
    drawn, others, every = (foresight.windows(agent, trajectories, 2, *rest).features for rest in ((30, 0), (30, 1), ()))
    assert not np.array_equal(drawn, others)
    assert not np.array_equal(drawn, every[:, :30])
    pd.testing.assert_frame_equal(few, prediction_errors(agent, trajectories, steps=2, max_starts=30))
    parts, plain = [], foresight._foresee
    monkeypatch.setattr(foresight, "_foresee", lambda *given: parts.append(given) or plain(*given))
    monkeypatch.setattr(foresight, "MOST_NUMBERS", 16 * 16 * 3 * 7)
    pd.testing.assert_frame_equal(few, prediction_errors(agent, trajectories, steps=2, max_starts=30))
    assert len(parts) == 5  # of 7 starts each


def test_one_rollout_is_what_is_drawn() -> None:
    agent = constant(simple(), following=[0.0, 50.0], reward=3.0, end=-1.0)
    found = imagined_rollouts(agent, episode(np.zeros((5, 2), bool)), steps=4)
    assert found.expected.shape == found.drawn.shape == (5, 2)
    assert set(found.drawn.ravel()) == {0, 1}
    np.testing.assert_allclose(found.expected[1:], [[0.5, 1]] * 4, rtol=1e-6)
    np.testing.assert_array_equal(found.expected[0], 0)
    np.testing.assert_allclose(found.reward, 3, rtol=1e-6)
    np.testing.assert_allclose(found.termination, sigmoid(-1), rtol=1e-6)


def test_bad_input() -> None:
    agent, good = simple(), episode(np.zeros((3, 2), bool))
    with pytest.raises(TypeError, match=r"ReplayDQN has no world model: .*PerfectModelDQN, SimpleModelDQN and LatentModelDQN"):
        prediction_errors(ReplayDQN("MlpPolicy", Shown(BITS), **SMALL), [good])
    for name, value in (("steps", 0), ("rollouts", 0), ("max_starts", -1)):
        with pytest.raises(ValueError, match=f"{name} must be an integer from 1 to"):
            prediction_errors(agent, [good], **{name: value})
    with pytest.raises(ValueError, match="bins must be an integer from 1 to"):
        termination_calibration(agent, [good], bins=0)
    with pytest.raises(ValueError, match="trajectories must hold at least one step"):
        prediction_errors(agent, [])
    with pytest.raises(ValueError, match=r"observations must have shape \(steps \+ 1, 2\), got \(3, 3\)"):
        prediction_errors(agent, [episode(np.zeros((3, 3), bool))])
    with pytest.raises(ValueError, match="one action and one reward for each of its 2 steps, got 3 and 2"):
        prediction_errors(agent, [Trajectory(good.observations, np.zeros(3, int), np.zeros(2), False)])
    with pytest.raises(ValueError, match=r"actions must be in Discrete\(2\), got -1 to 5"):
        prediction_errors(agent, [Trajectory(good.observations, np.array([-1, 5]), np.zeros(2), False)])
