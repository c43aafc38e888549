"""Arguments set on an agent after it was made act from then on and are saved, or are refused."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from mbrl_agents import LinearTD, ReplayDQN
from mbrl_agents.core.chunks import FIRST_CHUNK
from tests.agents.cases import CASES, JAX_CASES, SOME_IN_JAX, make
from tests.agents.comparing import assert_same
from tests.agents.small import TINY, agent, both_loops

VALUES: dict[str, list[Any]] = {
    "learning_rate": [1e-3, 0, LinearSchedule(1e-2, 1e-3, 0.5)],
    "model_learning_rate": [1e-3, 0.5],
    "buffer_size": [90, 200],
    "learning_starts": [0, 30],
    "batch_size": [1, 4, 8],
    "tau": [0.5, 1],
    "gamma": [0.5, 0.25],
    "td_lambda": [0.0, 0.5],
    "train_freq": [1, 3, (2, "step"), (1, "episode")],
    "gradient_steps": [1, 2, -1],
    "n_steps": [1, 3],
    "target_update_interval": [1, 7],
    "exploration": ["softmax", "epsilon_greedy"],
    "temperature": [0.5, LinearSchedule(1.0, 0.1, 0.5)],
    "exploration_fraction": [0.5],
    "exploration_initial_eps": [0.5],
    "exploration_final_eps": [0.25],
    "double_q": [True, False],
    "weight_decay": [0.5, 0.0],
    "max_grad_norm": [None, 0.5],
    "stats_window_size": [3, 5],
    "tensorboard_log": ["somewhere", None],
    "policy_kwargs": [{"net_arch": [8], "activation_fn": "relu"}, {"net_arch": [4]}, {"activation_fn": "tanh"}],
    "verbose": [0, 1],
    "seed": [1, 2],
    "device": ["cpu", "auto"],
    "device_loop": [False, None],
    "rollout_length": [1, 3],
    "rollout_batch_size": [None, 3],
    "continuing": [True, False],
    "published_mask": [True, False],
    "learned_variance": [True, False],
    "raw_logits": [True, False],
    "latent": ["gaussian", "categorical"],
    "model_loss": ["omd", "mle", "none", "vep"],
    "ent_coef": [0.5, "auto", "auto_0.1"],
    "target_entropy": [-1.0, "auto"],
    "inner_steps": [1, 2],
    "inner_tolerance": [0.5],
    "solver": ["cg", "identity"],
    "solver_steps": [3],
    "damping": [0.5],
    "solver_tolerance": [0.5],
    "model_net_arch": [[4], [3]],
    "model_activation_fn": ["tanh"],
    "num_value_networks": [2],
    "policy": ["uniform", lambda observation: (observation[0] > 0).astype(int)],
    "episode_steps": [6, 7],
    "loss": ["asymmetric", "td"],
    "levels": [None, [0.5]],
    "frozen": [["input"], []],
    "hidden_size": [3, 4],
    "sequence_length": [10, 5],
    "burn_in": [2, 3],
    "cell": ["gru", "lstm"],
    "readout": ["linear", "relu_sum"],
    "importance_exponent": [0.5, LinearSchedule(0.4, 1.0, 1.0)],
    "overlap": [1, 2],
    "ladder_base": [0.3],
    "ladder_exponent": [3.0],
    "priority_exponent": [0.5],
    "priority_eta": [0.5],
    "rescaling_epsilon": [0.5],
}
BOOLEANS = [True, False]


def arguments(case: str) -> list[tuple[str, Any]]:
    """Every argument of an agent's constructor, with values."""
    cls = CASES[case][0]
    names = inspect.signature(cls).parameters
    first = getattr(cls, "first_argument", "policy")
    found = []
    for name, parameter in names.items():
        if name not in (first, "env", "_init_setup_model"):
            usual = BOOLEANS if isinstance(parameter.default, bool) else [parameter.default]
            found += [(name, value) for value in VALUES.get(name, usual)]
    return found


def program(agent: Any) -> Any:
    """Everything but arrays of weights and transitions: what an agent does from now on, and what is saved of its arguments."""
    hyper = jax.tree.map(lambda each: np.asarray(each, np.float32), agent._make_hyperparameters())
    schedules = [
        [schedule(progress) for progress in (1.0, 0.7, 0.2)]
        for schedule in (agent.lr_schedule, agent._temperature_schedule, agent._epsilon_schedule)
    ]
    loops = agent.plan, agent.train_freq, agent.target_update_interval, agent.device_loop
    rest = agent.verbose, agent.tensorboard_log, agent._stats_window_size, agent.jax_device
    return (agent.learner, agent.replay, loops, rest), (hyper, schedules)


def in_any_order(case: str) -> Any:
    examples = 2 if case == "replay" else 1
    permuted = given(st.permutations(arguments(case)))
    return lambda function: settings(max_examples=examples, suppress_health_check=list(HealthCheck))(permuted(function))


# Two are of the same class as another one, with the same arguments.
SAME_CLASS = ("gaussian", "sac")
IN_MINUTES = (*SAME_CLASS, "linear")  # whose functions are tried a thousand times whenever one is made


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case in IN_MINUTES else case for case in JAX_CASES]
)
def test_an_agent_is_as_if_made_with_what_is_set_later(case: str) -> None:
    """All arguments, one after the other in any order; those that are refused change nothing."""
    agent, refused, acting = make(case), set(), set()
    given = dict(CASES[case][2])

    @in_any_order(case)
    def check(changes: list[tuple[str, Any]]) -> None:
        for name, value in changes:
            before, arguments = program(agent), dict(agent.arguments)
            message = set_or_refused(agent, name, value)
            if message is not None:
                assert name in message
                assert agent.arguments == arguments
                assert_equal(program(agent), before)
                refused.add(name)
                continue
            acting.add(name)
            given[name] = value
            made = make(case, **given, _init_setup_model=False)
            made._setup_program()
            assert_equal(program(agent), program(made))
            assert_same(agent.learner_state.hyper, program(agent)[1][0])
            if isinstance(agent.arguments[name], (int, float, str)):
                assert agent.arguments[name] == made.arguments[name]
            if name not in ("device", "policy", "train_freq"):
                assert getattr(agent, name) == agent.arguments[name]

    check()
    assert {"gamma", "learning_rate"} <= acting
    assert not refused & {"gamma", "learning_rate", "tau", "temperature", "weight_decay", "learning_starts", "gradient_steps"}


def set_or_refused(agent: Any, name: str, value: Any) -> str | None:
    """Sets an argument; the message if it is refused."""
    try:
        setattr(agent, name, value)
    except (AttributeError, ValueError) as error:
        return str(error)
    return None


def assert_equal(one: Any, other: Any) -> None:
    assert one[0] == other[0]
    assert_same(one[1], other[1])


@both_loops
def test_gamma_set_later_is_learned_with_and_saved(device_loop: bool, tmp_path: pathlib.Path) -> None:
    """From the same weights and transitions: with γ = 0 the loss is that of predicting rewards."""
    learners = [agent(device_loop, gamma=gamma, target_update_interval=1) for gamma in (0.9, 0.0)]
    learners[0].gamma = 0.0
    for each in learners:
        each.learn(90)
    assert_same(learners[0].learner_state, learners[1].learner_state)
    learners[0].save(tmp_path / "agent")
    again = ReplayDQN.load(tmp_path / "agent")
    assert (again.gamma, float(again.learner_state.hyper.gamma)) == (0.0, 0.0)


class Sets(BaseCallback):
    """Sets the step size to 0, and something else that shapes the program, at a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def _on_step(self) -> bool:
        if self.num_timesteps == self.at:
            self.model.learning_rate, self.model.weight_decay, self.model.double_q = 0.0, 0.0, True
            self.weights = self.model.get_parameters()["policy"]
        return True


@both_loops
def test_callbacks_set_arguments(device_loop: bool) -> None:
    learner, sets = agent(device_loop), Sets(60)
    learner.learn(60, callback=sets)  # a chunk's end, so that the device loop is no further than the callback thinks
    learner.learn(40, reset_num_timesteps=False)
    assert_same(learner.get_parameters()["policy"], sets.weights)
    assert learner.learner.q.double_q
    assert learner._n_updates > 30


def test_other_shapes_are_refused_and_change_nothing() -> None:
    learner = agent()
    for name, value in (("buffer_size", 1000), ("policy_kwargs", {"net_arch": [9]})):
        with pytest.raises(AttributeError, match=f"{name} cannot be set to this on an agent that has been made"):
            setattr(learner, name, value)
    with pytest.raises(ValueError, match="gamma must be a finite number of at least 0 and at most 1, got 2"):
        learner.gamma = 2
    assert learner.buffer_size == TINY["buffer_size"]
    learner.learn(60)


REMADE = {
    "learning_rate": lambda agent: agent.lr_schedule,
    "importance_exponent": lambda agent: agent._importance_schedule,
    "exploration_fraction": lambda agent: agent._exploration_schedule,
    "exploration_initial_eps": lambda agent: agent._exploration_schedule,
    "exploration_final_eps": lambda agent: agent._exploration_schedule,
    "train_freq": lambda agent: agent.train_freq,
    "stats_window_size": lambda agent: agent._stats_window_size,
}


def test_r2d2_is_as_if_made_with_what_is_set_later(tmp_path: pathlib.Path) -> None:
    """What it reads at every step, what it makes of arguments before, and what it saves."""
    learner, given = make("r2d2"), dict(CASES["r2d2"][2])
    refused: dict[str, str] = {}
    for name, value in arguments("r2d2"):
        if name == "exploration":
            value = "ladder"
        try:
            setattr(learner, name, value)
        except AttributeError as error:
            refused[name] = str(error)
            continue
        given[name] = value
        made = make("r2d2", **given)
        for each, read in REMADE.items():
            one, other = read(learner), read(made)
            if callable(one):
                one, other = ([schedule(progress) for progress in (1, 0.7, 0.2)] for schedule in (one, other))
            assert one == other, each
        if name not in ("stats_window_size", "train_freq"):
            assert getattr(learner, name) == getattr(made, name) == value
    assert all(f"{name} cannot be set on an agent that has been made" in message for name, message in refused.items())
    assert set(refused) == {
        *("policy_kwargs", "buffer_size", "n_steps", "burn_in", "sequence_length", "overlap", "stored_state", "prioritized"),
        *("priority_exponent", "device"),
    }
    learner.save(tmp_path / "agent")
    again = type(learner).load(tmp_path / "agent")
    assert (again.gamma, again.train_freq, again.priority_eta) == (learner.gamma, learner.train_freq, 0.5)
    with pytest.raises(ValueError, match="tau must be"):
        learner.tau = 3
    learner.learn(60)


def test_r2d2_is_seeded_anew() -> None:
    def run() -> Any:
        learner = make("r2d2", seed=8)
        learner.policy.load_state_dict(first.policy.state_dict())
        learner.set_random_seed(3)
        learner.learn(50)
        return learner.replay_buffer.previous_actions, learner.replay_buffer.sample(4, None, 0.5).indices

    first = make("r2d2")
    assert_same(run(), run())


def test_the_entropy_coefficient_set_later() -> None:
    learner = make("sac")
    learner.ent_coef = 0.25
    assert float(jax.numpy.exp(learner.learner_state.params.log_ent_coef)) == pytest.approx(0.25)
    learner.learn(60)
    assert float(jax.numpy.exp(learner.learner_state.params.log_ent_coef)) == pytest.approx(0.25)


def test_statistics_are_kept_of_as_many_episodes_as_asked_for() -> None:
    learner = agent().learn(200)
    learner.stats_window_size = 2
    assert len(learner.ep_info_buffer) == 2
    learner.learn(200)
    assert len(learner.ep_info_buffer) == 2


# --- train, called by hand --------------------------------------------------------------------------------------------------


def watch_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that replay memories are asked for from now on."""
    from mbrl_agents.core.replay import Replay

    sizes, plain = [], Replay.sample

    def sample(self: Any, state: Any, key: Any, batch_size: int, gamma: Any) -> Any:
        sizes.append(batch_size)
        return plain(self, state, key, batch_size, gamma)

    monkeypatch.setattr(Replay, "sample", sample)
    return sizes


@pytest.mark.parametrize(
    ("case", "changes", "drawn"),
    [
        ("replay", {}, 61),
        ("simple", {}, 61),
        pytest.param("simple", {"separate_rollout_batch": True}, 2 * 61, marks=pytest.mark.slow),
        pytest.param("omd", {}, 61, marks=pytest.mark.slow),
        ("omd", {"model_loss": "mle"}, 2 * 61),
        pytest.param("sac", {}, 61, marks=pytest.mark.slow),
    ],
)
def test_train_takes_batches_of_the_size_asked_for(
    case: str, changes: dict[str, Any], drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of agents that learn from a second batch, two of that size, drawn at once."""
    learner = make(case, **changes).learn(40)
    updates, sizes = learner._n_updates, watch_batches(monkeypatch)
    learner.train(10, 61)
    assert learner._n_updates == updates + 10
    assert set(sizes) - {1} == {drawn}  # with one row it is tried whether drawing changes the memory
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.get_parameters()["policy"]))


def test_train_with_linear_values_takes_its_own_batches() -> None:
    learner: LinearTD = make("linear").learn(6)
    with pytest.raises(ValueError, match="batch_size must be that of the agent, 1, got 2"):
        learner.train(1, 2)


@pytest.mark.parametrize("case", SOME_IN_JAX)
def test_train_without_transitions_is_refused(case: str) -> None:
    learner = make(case)
    before = learner.get_parameters()
    with pytest.raises(ValueError, match="train\\(\\) needs transitions in the replay memory, which is empty"):
        learner.train(3, learner.batch_size)
    assert_same(learner.get_parameters(), before)


# --- seeds ------------------------------------------------------------------------------------------------------------------


@both_loops
def test_seeds_set_later_begin_everything_random_anew(device_loop: bool) -> None:
    first = agent(device_loop)
    weights = first.get_parameters()

    def run(seed: int | None) -> tuple[Any, list[np.ndarray]]:
        learner = agent(device_loop, seed=99)
        learner.set_parameters(weights)
        if seed is not None:
            learner.set_random_seed(seed)
        drawn = [learner.predict(np.zeros((20, 6), bool))[0] for _ in range(2)]
        learner.learn(60)
        return (learner.learner_state, learner.memory.state), drawn

    same, other, unseeded = run(7), run(8), run(None)
    assert_same(same, run(7))
    for different in (other, unseeded):
        assert not np.array_equal(same[1], different[1])
        assert not np.array_equal(same[0][1].stored.action, different[0][1].stored.action)


@both_loops
def test_a_callback_seeds_anew(device_loop: bool) -> None:
    """Learning goes on; in the device loop in new episodes."""
    learner = agent(device_loop)

    def seed(local: dict[str, Any], _: Any) -> bool:
        if local["self"].num_timesteps == FIRST_CHUNK - 20:
            local["self"].seed = 5
        return True

    learner.learn(FIRST_CHUNK + 40, callback=seed)
    assert learner.arguments["seed"] == 5
    assert learner.num_timesteps == FIRST_CHUNK + 40


def test_seed_is_an_argument_that_acts() -> None:
    learner, other = agent(seed=1), agent(seed=1)
    learner.seed = 5
    other.set_random_seed(5)
    assert learner.arguments["seed"] == 5
    assert_same(learner.predict(np.zeros((20, 6), bool))[0], other.predict(np.zeros((20, 6), bool))[0])
    learner.set_random_seed(5)
    again = learner.predict(np.zeros((20, 6), bool))[0]
    learner.set_random_seed(5)
    assert_same(learner.predict(np.zeros((20, 6), bool))[0], again)
