"""OMD behind Stable-Baselines3's interface: saving, going on, sweeps, bad input."""

from __future__ import annotations

import pathlib
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents import OMD, train_sweep
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_envs import cli
from tests.agents.comparing import assert_same

TINY: dict[str, Any] = {
    "learning_starts": 20,
    "batch_size": 8,
    "buffer_size": 200,
    "policy_kwargs": {"net_arch": [4]},
    "model_net_arch": [4],
}
ENV = "mbrl/CartPole-v0"


def test_saved_and_gone_on_with_as_if_never_stopped(tmp_path: pathlib.Path) -> None:
    undisturbed = OMD("MlpPolicy", ENV, seed=3, **TINY).learn(60).learn(40, reset_num_timesteps=False)
    first = OMD("MlpPolicy", ENV, seed=3, **TINY).learn(60)
    first.save(tmp_path / "agent")
    first.save_replay_buffer(tmp_path / "replay")
    second = OMD.load(tmp_path / "agent", env=gymnasium.make(ENV))
    second.load_replay_buffer(tmp_path / "replay")
    second.learn(40, reset_num_timesteps=False)
    assert_same(second.learner_state, undisturbed.learner_state)
    assert set(second.get_parameters()) == {"policy", "policy.target", "policy.optimizer", "model", "model.optimizer"}


def test_a_run_of_a_sweep_is_the_run_alone() -> None:
    swept = TINY | {"model_learning_rate": [1e-3, 1e-2], "model_net_arch": [[4], [4]]}
    result = train_sweep(OMD, ENV, swept, seeds=2, total_timesteps=80, eval_interval=80, execution="loop")
    alone = OMD("MlpPolicy", ENV, model_learning_rate=1e-2, seed=1, **TINY).learn(80)
    assert_same(result.agent(3).learner_state, alone.learner_state)


def test_acting() -> None:
    agent = OMD("MlpPolicy", ENV, seed=0, temperature=100.0, exploration_initial_eps=0.0, exploration_final_eps=0.0, **TINY)
    observation = np.zeros((4000, 4), np.float32)
    assert len(np.unique(agent.predict(observation, deterministic=True)[0])) == 1
    assert abs(agent.predict(observation)[0].mean() - 0.5) < 0.04  # softmax at a high temperature
    cold = OMD("MlpPolicy", ENV, seed=0, temperature=1e-8, exploration_initial_eps=0.5, **TINY)  # values are small at first
    actions = cold.predict(np.full((4000, 4), 0.3, np.float32))[0]
    best = cold.predict(np.full(4, 0.3, np.float32), deterministic=True)[0]
    assert abs((actions == best).mean() - 0.75) < 0.04  # half of them uniform


def hot_agent(**changes: Any) -> OMD:
    """Its greedy policy always pushes to the right; its soft one tosses a coin, and training is all uniform."""
    flat = {"temperature": 1e6, "exploration_initial_eps": 1.0, "exploration_final_eps": 1.0}
    agent = OMD("MlpPolicy", ENV, seed=0, **TINY | flat | changes)
    params = jax.tree.map(jnp.zeros_like, agent.learner_state.params)
    params["Dense_1"]["bias"] = params["Dense_1"]["bias"].at[:, 1].set(1.0)
    agent.change_run(learner=agent.learner_state._replace(params=params))
    return agent


def test_evaluations_score_the_policy_that_is_asked_for() -> None:
    """Greedy and drawn actions by their names, in one program; each is "score" where it is the one asked for."""
    evaluator = Evaluator(EnvironmentSpec("mbrl/CartPole-v0"), episodes=200, steps=100)
    greedy, soft = (evaluator.measure(hot_agent(evaluation=name)) for name in ("greedy", "sample"))
    for measured, name in ((greedy, "greedy"), (soft, "sample")):
        assert set(measured) == {"score", "score/greedy", "score/sample"}
        np.testing.assert_array_equal(measured["score"], measured[f"score/{name}"])
    np.testing.assert_array_equal(greedy["score/greedy"], soft["score/greedy"])
    np.testing.assert_array_equal(greedy["score/sample"], soft["score/sample"])
    assert abs(greedy["score/greedy"].mean() - 9.4) < 0.3  # always the same push: Gymnasium's cart, 9.35
    assert abs(soft["score/sample"].mean() - 22.2) < 2.5  # uniform pushes: 22.2


def test_drawn_actions_in_any_environment() -> None:
    """Through SB3's evaluate_policy: softmax(Q/α) at the temperature of now, without the uniform actions of training."""
    evaluator = Evaluator(EnvironmentSpec("CartPole-v1"), episodes=60)
    assert abs(evaluator.scores(hot_agent(evaluation="sample")).mean() - 22.2) < 5
    assert abs(evaluator.scores(hot_agent()).mean() - 9.4) < 0.6
    cold = hot_agent(evaluation="sample", temperature=1e-6)
    observation = np.full((500, 4), 0.3, np.float32)
    actions = cold.evaluation_policy.predict(observation, deterministic=True)[0]
    np.testing.assert_array_equal(actions, cold.predict(observation, deterministic=True)[0])
    assert len(np.unique(cold.predict(observation)[0])) == 2  # training's
    evaluator.close()


def test_the_value_functions_of_vep_are_saved(tmp_path: pathlib.Path) -> None:
    """They are drawn once, and without a seed nothing else tells which ones they were."""
    agent = OMD("MlpPolicy", ENV, model_loss="vep", **TINY)
    agent.save(tmp_path / "agent")
    assert_same(OMD.load(tmp_path / "agent").learner_state.value_networks, agent.learner_state.value_networks)


def test_drawn_actions_where_raw_keys_are_errors() -> None:
    """As everything else of the agents works under JAX's global switches."""
    agent, observation = hot_agent(evaluation="sample"), np.zeros((50, 4), np.float32)
    expected = agent.evaluation_policy.predict(observation)[0]
    agent.change_run(clock=agent.run.clock._replace(predictions=np.int32(0)))
    with jax.legacy_prng_key("error"):
        np.testing.assert_array_equal(agent.evaluation_policy.predict(observation)[0], expected)


@pytest.mark.parametrize("execution", ["loop", pytest.param("vmap", marks=pytest.mark.slow)])
def test_sweeps_and_training_write_both(execution: str, tmp_path: pathlib.Path) -> None:
    """The two trainers write the same numbers."""
    sizes: dict[str, Any] = {"total_timesteps": 40, "eval_interval": 40, "eval_episodes": 4, "execution": execution}
    swept = train_sweep(OMD, ENV, TINY | {"model_net_arch": [[4]]}, seeds=1, folder=tmp_path / "sweep", **sizes)
    table = swept.table().set_index(["timestep", "metric"])["value"]
    command = f"train OMD {ENV} --total-timesteps 40 --eval-interval 40 --eval-episodes 4".split()
    given = [f"{name}={value!r}" for name, value in TINY.items()]
    command += [part for each in given for part in ("--set", each)]
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == 0
    run = RunFolder.open(tmp_path / "run").metrics().set_index(["timestep", "metric"])["value"]
    for timestep in (0, 40):
        for name in ("score", "score/greedy", "score/sample"):
            assert run[timestep, name] == pytest.approx(table[timestep, name], abs=1e-5)


def test_files_with_arguments_that_are_no_more(tmp_path: pathlib.Path) -> None:
    """Before targets moved inside updates there was ``target_update_interval``; the weights of such files can be taken."""
    agent, other = OMD("MlpPolicy", ENV, seed=3, **TINY), OMD("MlpPolicy", ENV, seed=4, **TINY)
    agent.arguments["target_update_interval"] = 1
    agent.save(tmp_path / "old")
    with pytest.raises(ValueError, match=r"arguments that OMD does not have \(any more\): target_update_interval\. Make a new"):
        OMD.load(tmp_path / "old")
    other.set_parameters(tmp_path / "old")
    assert_same(other.get_parameters(), agent.get_parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_loss": "return"}, "model_loss must be one of 'omd', 'mle', 'vep', 'vagram'; got 'return'"),
        ({"model_learning_rate": -1.0}, "model_learning_rate must be"),
        ({"inner_steps": 0}, "inner_steps must be"),
        ({"inner_tolerance": -1.0}, "inner_tolerance must be"),
        ({"warm_start": None}, "warm_start must be"),
        ({"soft_targets": 1.5}, "soft_targets must be"),
        ({"learn_reward": "no"}, "learn_reward must be"),
        ({"num_value_networks": 0}, "num_value_networks must be"),
        ({"solver": "lu"}, "solver must be one of"),
        ({"solver_tolerance": 0.0}, "solver_tolerance must be"),
        ({"solver_steps": 0}, "solver_steps must be"),
        ({"damping": -1.0}, "damping must be"),
        ({"twin": 2}, "twin must be"),
        ({"carry_optimizer": "no"}, "carry_optimizer must be"),
        ({"evaluation": "softmax"}, "evaluation must be one of 'greedy', 'sample'; got 'softmax'"),
        ({"model_net_arch": [0]}, "every width in model_net_arch"),
        ({"model_net_arch": "32"}, "model_net_arch must be"),
        ({"model_activation_fn": "swosh"}, "model_activation_fn must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"policy_kwargs": {"net": [2]}}, "policy_kwargs has no 'net'"),
    ],
    ids=str,
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        OMD("MlpPolicy", ENV, **changes)


def test_bad_spaces() -> None:
    with pytest.raises(ValueError, match="OMD needs a Discrete action space"):
        OMD("MlpPolicy", "Pendulum-v1")
    for name in ("stochastic_model", "predict_change"):
        with pytest.raises(ValueError, match=f"{name} must be False where observations are not real-valued"):
            OMD("MlpPolicy", "mbrl/PanFlute-v0", **{name: True})
