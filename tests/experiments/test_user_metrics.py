"""Metrics of users: what they are given, where their numbers come, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from stable_baselines3.common.logger import KVWriter, Logger

from mbrl_agents import ReplayDQN
from tests.experiments.sweep_runs import EXECUTIONS, FLUTE, SMALL, sweep


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_numbers_come_in_the_table(execution: str) -> None:
    def measured(learner: Any, state: Any, env: Any, key: jax.Array) -> Any:
        draw = jax.random.uniform(key)
        return {"weights": {"norm": optax.tree.norm(state.params)}, "pair": (draw, env.num_pipes), "big": draw > 2}

    result = sweep({"learning_rate": [1e-3, 1e-4]}, [0, 1], total_timesteps=200, execution=execution, metrics=measured)
    table = result.table()
    for name in ("weights/norm", "pair/0", "pair/1", "big"):
        assert (table["metric"] == name).sum() == 4 * 3, name
    values = {name: part.set_index(["run", "timestep"])["value"] for name, part in table.groupby("metric")}
    for run in range(4):
        norm = optax.tree.norm(result.agent(run).learner_state.params)
        assert values["weights/norm"][run, 200] == pytest.approx(float(norm), rel=1e-5)
    assert (values["pair/1"] == 5).all()
    assert (values["big"] == 0).all()
    # Keys are those of the run's seed at the timestep.
    assert values["pair/0"].nunique() == 2 * 3
    assert values["pair/0"][0].equals(values["pair/0"][2])
    assert result.values("last-1", "weights/norm").nunique() == 4


class Notes(KVWriter):
    """Writes down what is logged."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, Any]]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.rows.append((step, dict(key_values)))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("device_loop", [True, False])
def test_learn_logs_them(device_loop: bool) -> None:
    def norm(learner: Any, state: Any, env: Any, key: jax.Array) -> Any:
        return optax.tree.norm(state.params)

    env = gymnasium.make(FLUTE, max_episode_steps=20)
    agent, notes = ReplayDQN("MlpPolicy", env, seed=0, device_loop=device_loop, **SMALL), Notes()
    agent.set_logger(Logger(None, [notes]))
    agent.learn(160, log_interval=1, metrics=norm)
    logged = [values["norm"] for _, values in notes.rows]
    assert len(set(logged)) > 1
    step, last = notes.rows[-1]
    assert step == 160
    if device_loop:  # the host loop logs before the training that follows the step
        assert last["norm"] == pytest.approx(float(optax.tree.norm(agent.learner_state.params)))
    # The next call is another one's.
    notes.rows.clear()
    agent.learn(40, log_interval=1)
    assert notes.rows
    assert not any("norm" in values for _, values in notes.rows)


def test_environments_without_dynamics_have_none() -> None:
    given: list[Any] = []

    def measured(learner: Any, state: Any, env: Any, key: jax.Array) -> Any:
        given.append(env)
        return 1

    ReplayDQN("MlpPolicy", "CartPole-v1", **SMALL).learn(30, metrics=measured)
    assert given
    assert set(given) == {None}


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (3, TypeError, "metrics must be a function"),
        (lambda *given: {}, ValueError, "at least one number, got none"),
        (lambda *given: {"a": jnp.zeros(3)}, ValueError, r"a pytree of numbers, got float32\[3\] for 'a'"),
        (lambda *given: {"a": {"b": "text"}}, ValueError, "a pytree of numbers, got 'text' for 'a/b'"),
        (lambda *given: {"a": jnp.complex64(1)}, ValueError, "a pytree of numbers, got complex64"),
        (lambda *given: {"score": 1.0}, ValueError, "other names than score, .* got 'score'"),
        (lambda *given: {"train": {"loss": 1.0}}, ValueError, "got 'train/loss'"),
        (lambda learner: 1.0, TypeError, "positional argument"),
    ],
    ids=range(8),
)
def test_what_gives_no_numbers_is_refused_before_anything_is_done(
    metrics: Any, error: type[Exception], message: str, tmp_path: Any
) -> None:
    with pytest.raises(error, match=message):
        sweep(folder=tmp_path / "sweep", metrics=metrics)
    assert not (tmp_path / "sweep").exists()
    agent = ReplayDQN("MlpPolicy", FLUTE, seed=0, **SMALL)
    with pytest.raises(error, match=message):
        agent.learn(100, metrics=metrics)
    assert agent.num_timesteps == 0


def test_weights_are_what_they_are_without() -> None:
    def drawn(learner: Any, state: Any, env: Any, key: jax.Array) -> Any:
        return jax.random.uniform(key)

    one, other = (ReplayDQN("MlpPolicy", FLUTE, seed=0, **SMALL).learn(200, metrics=each) for each in (None, drawn))
    for name, array in one.get_parameters()["policy"].items():
        np.testing.assert_array_equal(array, other.get_parameters()["policy"][name])
