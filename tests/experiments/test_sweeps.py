"""A run of a sweep is the run that ``learn()`` makes alone, whichever way it is executed, whoever is beside it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.utils import LinearSchedule

import mbrl_envs
from mbrl_agents import ReplayDQN, SweepResult
from mbrl_agents.core import chunks
from mbrl_agents.experiments.sweeps.specification import specify
from mbrl_agents.replay_dqn import DQNLearner
from mbrl_agents.runs import checkpoints, scheduler, training
from mbrl_agents.runs import executor as executions
from mbrl_agents.runs.evaluation import Evaluator
from mbrl_agents.runs.programs import Programs
from mbrl_agents.runs.run_folder import RunFolder
from mbrl_agents.runs.training_groups import GroupInTraining
from mbrl_agents.sb3 import device_training
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import FunctionalGymEnv
from mbrl_envs.pan_flute import PanFlute
from tests.experiments.sweep_runs import (
    EXECUTIONS,
    FLUTE,
    SMALL,
    TOLERANCE,
    alone,
    same_parameters,
    same_runs,
    same_sweeps,
    sweep,
)

UPDATES = 1000
TOTAL = SMALL["learning_starts"] + UPDATES
# Every hyperparameter in which runs of one program may differ, with two values that make a difference.
# Step sizes are moderate: with large ones rounding would soon flip a greedy action, and runs would part for no fault.
BASE: dict[str, dict[str, Any]] = {
    "softmax": {
        "learning_rate": 5e-4,
        "temperature": 0.1,
        "gamma": 0.9,
        "tau": 1.0,
        "adam_b1": 0.9,
        "adam_b2": 0.99,
        "adam_eps": 1e-5,
        "weight_decay": 1e-6,
        "target_update_interval": 100,
        "max_grad_norm": 10.0,
    },
    "epsilon_greedy": {"exploration_initial_eps": 1.0, "exploration_final_eps": 0.05, "exploration_fraction": 0.5},
}
OTHER: dict[str, dict[str, Any]] = {
    "softmax": {
        "learning_rate": 1e-3,
        "temperature": 0.3,
        "gamma": 0.7,
        "tau": 0.5,
        "adam_b1": 0.8,
        "adam_b2": 0.9,
        "adam_eps": 1e-3,
        "weight_decay": 1e-4,
        "target_update_interval": 30,
        "max_grad_norm": 0.05,
    },
    "epsilon_greedy": {"exploration_initial_eps": 0.4, "exploration_final_eps": 0.5, "exploration_fraction": 0.9},
}
NUMBERS = [(exploration, name) for exploration, values in OTHER.items() for name in values]


def settings(exploration: str) -> list[dict[str, Any]]:
    """The base, and then for each hyperparameter the base with another value of that."""
    base, other = BASE[exploration], OTHER[exploration]
    return [base, *({**base, name: value} for name, value in other.items())]


@functools.cache
def swept(execution: str, exploration: str, four: int = 0) -> SweepResult:
    """Four of these side by side in one sweep; where less are left the base fills up, as other numbers are other programs."""
    some = settings(exploration)[4 * four : 4 * four + 4]
    some += [BASE[exploration]] * (4 - len(some))
    lists = {name: [each[name] for each in some] for name in BASE[exploration]}
    sizes = {"total_timesteps": TOTAL, "eval_interval": 500}
    return sweep(lists | {"exploration": exploration}, [5], execution=execution, **sizes)


@functools.cache
def lone(exploration: str, index: int) -> ReplayDQN:
    return alone(settings(exploration)[index] | {"exploration": exploration}, 5, TOTAL)


# ---------------------------------------------------------------------- run by run


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize(("exploration", "name"), NUMBERS)
def test_a_run_is_the_one_that_learn_makes_alone(execution: str, exploration: str, name: str) -> None:
    index = 1 + list(OTHER[exploration]).index(name)
    result, run = swept(execution, exploration, index // 4), index % 4
    assert result.setting(run) == settings(exploration)[index]
    agent = result.agent(run)
    assert agent._n_updates == UPDATES
    same_runs(agent, lone(exploration, index), TOLERANCE[execution])
    # The value does make a difference, and more than rounding does.
    with pytest.raises(AssertionError):
        same_parameters(agent, lone(exploration, 0), 10 * TOLERANCE[execution])


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_so_is_the_base(execution: str) -> None:
    for exploration in BASE:
        same_runs(swept(execution, exploration).agent(0), lone(exploration, 0), TOLERANCE[execution])


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_no_number_compiles_a_program_again(execution: str) -> None:
    """Not even one of another type."""
    program = Programs().of(swept(execution, "softmax").first.config)
    if execution == "loop":
        compiled = chunks.compiled(program).cycles.function.function
    else:
        compiled = executions._mapped_programs(program, executions.make_execution("vmap").mesh).cycles  # type: ignore[attr-defined]
    before = compiled._cache_size()
    assert before >= 1
    numbers = {"gamma": np.linspace(0, 1, 4), "tau": [1, 0.5, 1, 0.25], "learning_rate": [0, np.float32(1e-3), 1e-4, 1]}
    sweep(numbers | {"target_update_interval": np.arange(50, 54)}, [5], execution=execution)
    assert compiled._cache_size() == before


@pytest.mark.parametrize("execution", ["loop", pytest.param("vmap", marks=pytest.mark.slow)])
def test_no_more_programs_are_gone_round_than_are_kept(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many at once as there are none is left for another; with one, one is done before the next begins."""
    advanced: list[Any] = []
    original = GroupInTraining.step

    def step(group: GroupInTraining) -> None:
        advanced.append(group.runs[0].program)
        original(group)

    monkeypatch.setattr(GroupInTraining, "step", step)
    monkeypatch.setattr(chunks, "SECONDS_PER_CHUNK", np.inf)
    monkeypatch.setattr(executions, "usable_cores", lambda: 1)
    swept: dict[int, SweepResult] = {}
    changes: dict[int, int] = {}
    for most in (1, 2):
        monkeypatch.setattr(scheduler, "KEPT_PROGRAMS", most)
        advanced.clear()
        architectures = {"policy_kwargs": [{"net_arch": [3]}, {"net_arch": [5]}]}
        swept[most] = sweep(architectures, [0, 1], execution=execution, total_timesteps=150, eval_interval=50)
        changes[most] = sum(one != other for one, other in itertools.pairwise(advanced))
        assert len(advanced) == 6 * (2 if execution == "loop" else 1)
    assert changes[1] == 1
    assert changes[2] >= 3
    same_sweeps(swept[1], swept[2])


def num_programs(hyperparameters: dict[str, Any], **changes: Any) -> int:
    spec = specify("ReplayDQN", FLUTE, hyperparameters=SMALL | hyperparameters, seeds=2, total_timesteps=10, **changes)
    programs = Programs()
    for config in spec.configs:
        programs.of(config)
    return len(programs.agents)


@pytest.mark.parametrize(("exploration", "name"), NUMBERS)
def test_numbers_share_a_program(exploration: str, name: str) -> None:
    values = [BASE[exploration][name], OTHER[exploration][name]]
    assert num_programs({**BASE[exploration], name: values, "exploration": exploration}) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch_size", [16, 32]),
        ("policy_kwargs", [{"net_arch": [16]}, {"net_arch": [16, 16]}]),
        ("policy_kwargs", [{"activation_fn": "elu"}, {"activation_fn": "relu"}]),
        ("buffer_size", [1200, 2000]),
        ("double_q", [False, True]),
        ("n_steps", [1, 3]),
        ("max_grad_norm", [None, 1.0]),
        ("exploration", ["softmax", "epsilon_greedy"]),
        ("learning_starts", [100, 200]),
        ("warmup", ["uniform", "policy"]),
        ("train_freq", [1, (2, "step")]),
        ("gradient_steps", [1, 2]),
    ],
)
def test_what_shapes_a_program_makes_two(name: str, values: list[Any]) -> None:
    assert num_programs({name: values}) == 2


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_runs_of_several_programs_side_by_side(execution: str) -> None:
    explorations = ["softmax", "epsilon_greedy"]
    result = sweep({"exploration": explorations}, 4, execution=execution)
    for run in range(8):
        arguments = {"exploration": explorations[run // 4]}
        same_runs(result.agent(run), alone(arguments, run % 4, 400), TOLERANCE[execution])


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_what_a_sweep_constructs(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent without networks for each setting, one environment to look at; agents with networks when they are asked for."""
    made: list[tuple[str, bool]] = []
    agent, env = JaxAgent._construct, FunctionalGymEnv.__init__

    def counted_agent(self: Any, policy: Any, env: Any, given: Any, setup: bool) -> None:
        made.append(("agent", setup))
        agent(self, policy, env, given, setup)

    def counted_env(self: Any, *given: Any, **more: Any) -> None:
        made.append(("environment", True))
        env(self, *given, **more)

    monkeypatch.setattr(JaxAgent, "_construct", counted_agent)
    monkeypatch.setattr(FunctionalGymEnv, "__init__", counted_env)
    result = sweep({"learning_rate": [1e-3, 1e-4]}, 2, execution=execution)
    assert sorted(made) == [("agent", False), ("agent", False), ("environment", True)]
    made.clear()
    result.agent(3)
    assert sorted(made) == [("agent", False), ("environment", True)]  # its run is loaded


# ---------------------------------------------------------------------- seeds, order


def first_weights(agent: JaxAgent) -> np.ndarray:
    return agent.get_parameters()["policy"]["Dense_0/kernel"]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_seeds_differ_from_the_first_weight_on(execution: str) -> None:
    seeds = [0, 1, 77, 2**32 - 1]
    result = sweep(seeds=seeds, execution=execution, total_timesteps=1)
    for i, seed in enumerate(seeds):
        fresh = ReplayDQN("MlpPolicy", FLUTE, seed=seed, **SMALL)
        np.testing.assert_array_equal(first_weights(result.agent(i)), first_weights(fresh))
        for j in range(i):
            assert (first_weights(result.agent(i)) != first_weights(result.agent(j))).all()


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_the_order_of_runs_changes_no_number(execution: str) -> None:
    rates, gammas = [1e-3, 5e-4], [0.9, 0.7]
    one = sweep({"learning_rate": rates, "gamma": gammas}, [4, 2], execution=execution)
    other = sweep({"learning_rate": rates[::-1], "gamma": gammas[::-1]}, [2, 4], execution=execution)
    same_sweeps(one, other, runs={0: 3, 1: 2, 2: 1, 3: 0})
    assert one.values("mean").tolist() == other.values("mean").tolist()[::-1]
    assert one.values("mean", "train/loss").nunique() == 4


# ---------------------------------------------------------------------- what is measured


# Everything at once: several environments with a time limit, rare training, schedules; evaluations fall between two trainings,
# the end between two steps of all environments. Two pipes, so that scores tell policies apart.
RHYTHM = {"train_freq": 4, "gradient_steps": 2, "max_grad_norm": None}
RATES = [LinearSchedule(2e-3, 1e-5, 0.8), 1e-3]
SEEDS = (4, 14)  # with these, the policies of both rates score differently
GRID = [0, 332, 660, 992]


@functools.cache
def measured(execution: str) -> SweepResult:
    env = gymnasium.make(FLUTE, num_pipes=2, max_episode_steps=40)
    sizes = {"n_envs": 4, "total_timesteps": 990, "eval_interval": 330, "eval_steps": 30}
    return sweep(RHYTHM | {"learning_rate": RATES}, list(SEEDS), env=env, execution=execution, **sizes)


def four_flutes() -> Any:
    return mbrl_envs.FunctionalVecEnv(FLUTE, num_envs=4, max_episode_steps=40, num_pipes=2)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_schedules_several_environments_and_rare_training(execution: str) -> None:
    result = measured(execution)
    assert result.first.config.environment.arguments == {"num_pipes": 2}
    shown = {"schedule": "linear", "start": 2e-3, "end": 1e-5, "end_fraction": 0.8}
    assert [result.setting(run)["learning_rate"] for run in range(4)] == [shown, shown, 1e-3, 1e-3]
    for run in range(4):
        other = alone(RHYTHM | {"learning_rate": RATES[run // 2]}, SEEDS[run % 2], 990, four_flutes())
        assert other._n_updates == 2 * len(range(112, 993, 16)) == 112
        same_runs(result.agent(run), other, TOLERANCE[execution])
    with pytest.raises(AssertionError):
        same_parameters(result.agent(0), result.agent(2), 1e-4)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_evaluations_are_those_of_a_run_trained_alone(execution: str, tmp_path: pathlib.Path) -> None:
    """`mbrl train` plays the same episodes at the same timesteps, and so does anybody who evaluates the agent."""
    result = measured(execution)
    for i, run in enumerate(result._folders):
        single = RunFolder.create(tmp_path / str(i), run.config)
        training.train(single)
        assert run.scores().index.tolist() == GRID
        assert run.scores().equals(single.scores())
        if execution == "loop":
            assert run.metrics().equals(single.metrics())
        agent, _ = checkpoints.restore(single, four_flutes())
        same_runs(result.agent(i), agent, TOLERANCE[execution])  # type: ignore[arg-type]
        sizes = run.config.evaluation
        evaluator = Evaluator(run.config.environment, sizes.episodes, sizes.steps)
        assert evaluator.scores(agent, run.config.seed, GRID[-1]).mean() == pytest.approx(run.scores().iloc[-1])
    assert len({tuple(run.scores()) for run in result._folders}) == 4


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_metrics_are_means_over_what_happened_since_the_last_evaluation(execution: str) -> None:
    result = measured(execution)
    table = result.table().query("run == 2")
    stored = result.agent(2).memory.state.stored
    reward, ended = np.asarray(stored.reward), np.asarray(stored.truncated)  # (steps, environments)
    # The same run once more, a step at a time.
    agent = ReplayDQN("MlpPolicy", four_flutes(), seed=SEEDS[0], **(SMALL | RHYTHM))
    program = device_training.start_environments(agent, mbrl_envs.functional_task(agent.env), reset=False)
    losses: dict[int, list[float]] = {}
    while agent.num_timesteps < 990:
        chunk = device_training.run_chunk(agent, program, 1, 990)
        losses[agent.num_timesteps] = [float(each) for each in chunk.metrics.get("loss", [])]
    assert table[table["timestep"] == 0]["metric"].tolist() == ["score"]
    trainings = 0
    for begin, end in itertools.pairwise(GRID):
        now: dict[Any, float] = table[table["timestep"] == end].set_index("metric")["value"].to_dict()
        span = range(begin // 4, end // 4)
        assert now["rollout/reward_per_step"] == pytest.approx(reward[span].mean())
        # An episode's return is that of its last forty steps, wherever the last evaluation was.
        returns = [reward[i - 39 : i + 1].sum(axis=0) for i in span if ended[i].all()]
        assert now["rollout/ep_rew_mean"] == pytest.approx(np.mean(returns))
        assert now["rollout/ep_len_mean"] == 40
        known = [loss for i in span for loss in losses[4 * i + 4]]
        trainings += len(known)
        assert now["train/loss"] == pytest.approx(np.mean(known), rel=1e-4)
    assert trainings == 56


# ---------------------------------------------------------------------- agents and environments of users


class Frozen(DQNLearner):
    """A learner whose target network stays what it was."""

    def update_target(self, state: Any) -> Any:
        return state


class FrozenDQN(ReplayDQN):
    """A user's own agent."""

    def _make_learner(self, codec: Any, actions: Any) -> DQNLearner:
        given = super()._make_learner(codec, actions)
        return Frozen(**{field.name: getattr(given, field.name) for field in dataclasses.fields(given)})


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_subclass_in_dynamics_without_an_id(execution: str) -> None:
    dynamics = PanFlute(num_pipes=3, spontaneous=False)
    result = sweep({"gamma": [0.9, 0.5]}, 1, env=dynamics, agent=FrozenDQN, execution=execution)
    for run, gamma in enumerate((0.9, 0.5)):
        agent = result.agent(run)
        assert type(agent) is FrozenDQN
        env = mbrl_envs.FunctionalGymEnv(dynamics)
        same_runs(agent, alone({"gamma": gamma}, 0, 400, env, FrozenDQN), TOLERANCE[execution])
        fresh = FrozenDQN("MlpPolicy", env, seed=0, **SMALL).get_parameters()["policy"]
        for name, now in agent.get_parameters()["policy.target"].items():
            np.testing.assert_array_equal(now, fresh[name])  # ours would have copied the network
        assert not np.asarray(agent.memory.state.stored.truncated).any()  # no time limit
    assert repr(dynamics) in repr(result)
