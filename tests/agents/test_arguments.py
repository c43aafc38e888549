"""One declaration of each argument: the signature, the documentation, the checks and the hyperparameters follow from it."""

from __future__ import annotations

import inspect
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from stable_baselines3 import DQN, SAC

from mbrl_agents import OMDSAC, PerfectModelDQN, ReplayDQN
from mbrl_agents.core.learner import Hyperparameters
from mbrl_agents.sb3.arguments import HasArguments, Kind, argument, boolean, choice, integer, number
from tests.agents.cases import CASES, JAX_CASES, make
from tests.agents.comparing import assert_same
from tests.agents.small import TINY, agent, flute

AGENTS = sorted({cls for cls, _, _ in CASES.values()}, key=lambda cls: cls.__name__)
agents = pytest.mark.parametrize("cls", AGENTS)


# --- order, signature, documentation ----------------------------------------------------------------------------------------


class Given(HasArguments):
    """Takes a policy and an environment.

    Raises:
        ValueError: Never.
    """

    policy: str = argument(doc="A policy.", kind=Kind.CONSTRUCTION)
    env: int | None = argument(kind=Kind.CONSTRUCTION)
    gamma: float = argument(number(0, 1), default=0.9, doc="Discount factor.")
    steps: int = argument(integer(1), default=3, doc="Steps.")
    verbose: int = argument(integer(0), default=0, kw_only=True)
    _init_setup_model: bool = argument(default=True, kind=Kind.CONSTRUCTION, kw_only=True)

    def _construct(self, policy: Any, env: Any, given: dict[str, Any], setup: bool) -> None:
        self.given = policy, env, self.check_declared(given), setup


class More(Given):
    """Takes more."""

    first: str = argument(choice(("a", "b")), default="a", after="env")
    second: bool = argument(boolean(), default=False)
    gamma: float = argument(number(0, 1), default=0.5, doc="Another one.")
    last: int | None = argument(integer(1) | None, default=None, after="steps")


class Less(More):
    second: bool = argument(init=False, default=True)


def test_order_and_defaults() -> None:
    assert [*inspect.signature(Given).parameters] == ["policy", "env", "gamma", "steps", "verbose", "_init_setup_model"]
    names = ["policy", "env", "first", "second", "gamma", "steps", "last", "verbose", "_init_setup_model"]
    assert [*inspect.signature(More).parameters] == names
    assert [*inspect.signature(Less).parameters] == [name for name in names if name != "second"]
    found = inspect.signature(More).parameters
    assert (found["gamma"].default, found["gamma"].annotation) == (0.5, "float")
    assert found["policy"].default is inspect.Parameter.empty
    assert Less.second is True


def test_arguments_are_taken_by_place_and_name() -> None:
    made = More("p", None, "b", True, steps=7.0)
    checked = {"first": "b", "second": True, "gamma": 0.5, "steps": 7, "last": None, "verbose": 0}
    assert made.given == ("p", None, checked, True)
    with pytest.raises(TypeError, match=r"More\(\) got an unexpected keyword argument 'gama'"):
        More("p", None, gama=0.3)
    with pytest.raises(TypeError, match=r"Given\(\) missing a required argument: 'env'"):
        Given("p")
    with pytest.raises(ValueError, match="last must be an integer from 1 to 2147483647, got 0"):
        More("p", None, last=0)


def test_documentation_lists_what_has_a_sentence() -> None:
    assert (Given.__doc__ or "").split("\n\n") == [
        "Takes a policy and an environment.",
        "Args:\n    policy: A policy.\n    gamma: Discount factor.\n    steps: Steps.",
        "Raises:\n    ValueError: Never.",
    ]
    assert "gamma: Another one." in (More.__doc__ or "")


@agents
def test_every_argument_is_documented(cls: Any) -> None:
    """And taken by the constructor: as Stable-Baselines3's are, first a policy and an environment."""
    section = cls.__doc__.split("\nArgs:\n")[1].split("\n\n")[0]
    documented = [line.split(":")[0].strip() for line in section.splitlines() if not line.startswith(" " * 5)]
    signature = inspect.signature(cls)
    assert documented == [name for name in signature.parameters if name != "_init_setup_model"] == [*cls.declared][:-1]
    assert list(signature.parameters)[1] == "env"
    assert str(inspect.signature(cls.__init__)).startswith("(self, ")
    for parameter in signature.parameters.values():
        assert parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize(("ours", "theirs"), [(ReplayDQN, DQN), (OMDSAC, SAC)])
def test_names_and_order_are_those_of_stable_baselines3(ours: Any, theirs: Any) -> None:
    own, other = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    common = [name for name in own if name in other]
    assert len(common) > 15
    assert common[:7] == ["policy", "env", "learning_rate", "buffer_size", "learning_starts", "batch_size", "tau"]
    assert [name for name in other if name in own and name not in ("n_steps", "max_grad_norm", "stats_window_size")] == [
        name for name in common if name not in ("n_steps", "max_grad_norm", "stats_window_size")
    ]


# --- kinds ------------------------------------------------------------------------------------------------------------------


def parts(case: str, **changes: Any) -> tuple[Any, Any]:
    """Learner, memory and plan of an agent's program, and its numbers."""
    made = make(case, **changes, _init_setup_model=False)
    made._setup_program()
    return (made.learner, made.replay, made.plan), made._make_hyperparameters()


@pytest.mark.parametrize("case", JAX_CASES)
def test_numbers_are_hyperparameters_and_shape_no_program(case: str) -> None:
    for name, each in CASES[case][0].declared.items():
        default = each.default
        if name in ("ent_coef", "max_grad_norm"):  # "auto" and None shape the program, numbers do not
            default = 1.0
        if each.rule.kind in (Kind.NUMBER, Kind.SCHEDULE) and isinstance(default, float):
            (one, before), (other, after) = (parts(case, **{name: value}) for value in (0.5, 0.25))
            assert one == other, name
            moved = not all(jax.tree.leaves(jax.tree.map(np.array_equal, before, after)))
            assert moved == (each.rule.kind is Kind.NUMBER), name


def test_hyperparameters_are_a_pytree() -> None:
    hyper = Hyperparameters(gamma=0.5, adam=(1.0, 2.0))
    assert jax.tree.leaves(hyper) == [0.5, 1.0, 2.0]
    doubled = jax.tree.map(lambda each: 2 * each, hyper)
    assert (doubled.gamma, doubled.adam, hyper.gamma) == (1.0, (2.0, 4.0), 0.5)
    assert hyper._replace(gamma=3).gamma == 3
    assert hyper == Hyperparameters(gamma=0.5, adam=(1.0, 2.0)) != doubled
    assert next(jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(hyper)[0]) == ".gamma"
    assert repr(hyper) == "Hyperparameters(gamma=0.5, adam=(1.0, 2.0))"
    with pytest.raises(AttributeError, match="use _replace"):
        hyper.gamma = 1
    with pytest.raises(AttributeError):
        hyper.gama  # noqa: B018


# --- subclasses -------------------------------------------------------------------------------------------------------------


class SharpDQN(ReplayDQN):
    """With a number of its own."""

    sharpness: float = argument(number(0), default=1.5, doc="Sharpness, at least 0.", kind=Kind.NUMBER)


class NotedDQN(SharpDQN):
    """Takes something more, in a constructor of its own."""

    def __init__(self, *args: Any, note: str = "none", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.note = note


class QuietDQN(ReplayDQN):
    """Only has another method."""

    def _record_exploration(self) -> None:
        return


def test_a_number_of_a_subclass_acts_and_is_saved(tmp_path: pathlib.Path) -> None:
    learner = SharpDQN("MlpPolicy", flute(), sharpness=2.0, **TINY)
    assert float(learner.learner_state.hyper.sharpness) == learner.sharpness == 2.0
    learner.learn(40)
    learner.sharpness = 3
    assert (float(learner.learner_state.hyper.sharpness), learner.sharpness) == (3.0, 3.0)
    with pytest.raises(ValueError, match="sharpness must be a finite number of at least 0, got -1"):
        learner.sharpness = -1
    learner.save(tmp_path / "agent")
    loaded = SharpDQN.load(tmp_path / "agent")
    assert (float(loaded.learner_state.hyper.sharpness), loaded.sharpness) == (3.0, 3.0)
    names = [*inspect.signature(SharpDQN).parameters]
    assert names.index("sharpness") == names.index("max_grad_norm") + 1  # before what concerns reports and devices
    assert "sharpness: Sharpness, at least 0." in (SharpDQN.__doc__ or "")


def test_subclasses_with_constructors_and_methods_of_their_own(tmp_path: pathlib.Path) -> None:
    noted = NotedDQN("MlpPolicy", flute(), 1e-3, note="here", sharpness=0.5, **TINY)
    assert (noted.note, noted.sharpness, noted.learning_rate) == ("here", 0.5, 1e-3)
    assert [*inspect.signature(NotedDQN).parameters] == ["args", "note", "kwargs"]
    noted.save(tmp_path / "noted")
    assert NotedDQN.load(tmp_path / "noted").sharpness == 0.5
    assert inspect.signature(QuietDQN) == inspect.signature(ReplayDQN)
    assert QuietDQN("MlpPolicy", flute(), **TINY).learn(40).num_timesteps == 40


def test_what_an_agent_does_not_list_it_does_not_take() -> None:
    with pytest.raises(TypeError, match=r"PerfectModelDQN\(\) got an unexpected keyword argument 'device_loop'"):
        PerfectModelDQN("MlpPolicy", flute(), device_loop=False)
    perfect = make("perfect")
    assert (perfect.device_loop, perfect.n_steps) == (True, 1)
    assert "device_loop" not in perfect.arguments


def test_attributes_are_arguments_in_plain_form() -> None:
    learner = agent(batch_size=16.0, max_grad_norm=1)
    for name in set(learner.arguments) - {"device", "train_freq"}:
        assert getattr(learner, name) == learner.arguments[name]
    assert (learner.batch_size, type(learner.batch_size), learner.max_grad_norm) == (16, int, 1.0)
    assert ReplayDQN.gamma.rule.doc == "Discount factor, in [0, 1]."
    assert_same(learner.learner_state.hyper.adam.max_grad_norm, np.float32(1))
