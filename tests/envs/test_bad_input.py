"""Bad constructor arguments are refused by a message that names the argument, what is allowed, and what was given."""

from __future__ import annotations

import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_envs import checks
from mbrl_envs.button_grid import ButtonGrid
from mbrl_envs.multi_agent import ButtonContest, CoopButtonGrid
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.proc_maze import ProcMaze

SIZES = [
    (ProcMaze, "grid_size", 2, 32),
    (OpenGrid, "grid_size", 2, 32),
    (ButtonGrid, "grid_size", 2, 32),
    (ButtonGrid, "num_buttons", 1, 16),
    (PanFlute, "num_pipes", 1, 32),
]
ALL = [ProcMaze, OpenGrid, ButtonGrid, PanFlute]


def case_name(value: Any) -> str | None:
    return value.__name__ if isinstance(value, type) else None


def message_of(error: type[Exception], environment: type, **arguments: Any) -> str:
    with pytest.raises(error) as caught:
        environment(**arguments)
    assert type(caught.value) is error
    return str(caught.value)


def names_all(message: str, argument: str, *parts: str) -> None:
    assert message.startswith(f"{argument} must be "), message
    for part in parts:
        assert re.search(rf"(?<!\w){re.escape(part)}(?!\w)", message), (part, message)


@pytest.mark.parametrize(("environment", "argument", "low", "high"), SIZES, ids=case_name)
@pytest.mark.parametrize("wrong", ["below", 0, -1, -(10**6), "above", 10**9, 10**30], ids=str)
def test_sizes_out_of_range(environment: type, argument: str, low: int, high: int, wrong: Any) -> None:
    value = {"below": low - 1, "above": high + 1}.get(wrong, wrong)
    message = message_of(ValueError, environment, **{argument: value})
    names_all(message, argument, f"an integer from {low} to {high}", f"got {value}")


@pytest.mark.parametrize(("environment", "argument", "low", "high"), SIZES, ids=case_name)
@pytest.mark.parametrize(
    "value",
    [4.0, 4.5, float("nan"), float("inf"), True, False, "4", None, [4], (4,), np.float64(4), np.bool_(True), np.array(4), 4j],
    ids=lambda value: f"{type(value).__name__}-{value}",
)
def test_sizes_that_are_no_integers(environment: type, argument: str, low: int, high: int, value: Any) -> None:
    message = message_of(TypeError, environment, **{argument: value})
    names_all(message, argument, f"an integer from {low} to {high}", type(value).__name__)
    assert f"got {value!r} of type" in message


@pytest.mark.parametrize("environment", ALL, ids=case_name)
@pytest.mark.parametrize(
    "value",
    [
        "",
        "Flat",
        "plane",
        "image",
        b"flat",
        None,
        True,
        0,
        1.5,
        ["flat"],
        ("flat", "planes"),
        {"flat"},
        np.array(["flat", "planes"]),
    ],
    ids=repr,
)
def test_unknown_observation_forms(environment: type, value: Any) -> None:
    message = message_of(ValueError, environment, observation=value)
    names_all(message, "observation", type(value).__name__)
    assert "one of 'flat', 'planes'" in message
    assert f"got {value!r} of type" in message


SWITCHES = [
    *[(environment, "spontaneous") for environment in ALL],
    *[(environment, "teleport_on_termination") for environment in (ProcMaze, OpenGrid)],
    *[(environment, "activate_on_reset") for environment in (ButtonGrid, CoopButtonGrid, ButtonContest)],
]


@pytest.mark.parametrize(("environment", "argument"), SWITCHES, ids=case_name)
@pytest.mark.parametrize("value", [0, 1, 0.1, "True", None, [], np.bool_(True), jnp.bool_(True)], ids=repr)
def test_switches_that_are_no_booleans(environment: type, argument: str, value: Any) -> None:
    message = message_of(TypeError, environment, **{argument: value})
    names_all(message, argument, "True or False", type(value).__qualname__)
    assert f"got {value!r} of type" in message


@pytest.mark.parametrize(("n", "k"), [(2, 5), (3, 10), (2, 16), (4, 17)])
def test_more_buttons_than_cells(n: int, k: int) -> None:
    message = message_of(ValueError, ButtonGrid, grid_size=n, num_buttons=k)
    names_all(message, "num_buttons", f"an integer from 1 to {min(16, n * n)}", f"got {k}")


@pytest.mark.parametrize(("environment", "argument", "low", "high"), SIZES, ids=case_name)
def test_the_ends_of_the_range_are_allowed(environment: type, argument: str, low: int, high: int) -> None:
    for value in (low, high):
        made = environment(**({"num_buttons": 1} if environment is ButtonGrid else {}) | {argument: value})
        assert getattr(made, argument) == value


@pytest.mark.parametrize("environment", ALL, ids=case_name)
def test_arguments_that_do_not_exist(environment: type) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        environment(nonsense=1)


# --- The checks themselves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_of_any_make_become_plain(kind: type) -> None:
    value = checks.integer_in("size", kind(20), 1, 32)
    assert value == 20
    assert type(value) is int


@pytest.mark.parametrize(("environment", "argument"), [(e, a) for e, a, _, high in SIZES if high == 32], ids=case_name)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64])
def test_narrow_integers_do_not_overflow(environment: type, argument: str, kind: type) -> None:
    """20 cells squared do not fit into eight bits."""
    made, plain = environment(**{argument: kind(20)}), environment(**{argument: 20})
    assert made == plain
    assert type(getattr(made, argument)) is int
    assert made.num_cells == plain.num_cells
    assert made.observation_space == plain.observation_space


def test_one_of_keeps_booleans_and_numbers_apart() -> None:
    assert checks.one_of("task", 1, (1, 2)) == 1
    assert type(checks.one_of("task", np.int64(2), (1, 2))) is int
    assert type(checks.one_of("form", np.str_("flat"), ("flat", "planes"))) is str
    assert checks.one_of("mode", None, (None, "a")) is None
    assert checks.one_of("flag", True, (True, "auto")) is True
    for value, allowed in [(True, (1, 2)), (1, (True, False)), ("1", (1, 2)), (3, (1, 2)), (np.array([1]), (1, 2)), ({}, (1,))]:
        with pytest.raises(ValueError, match=r"^task must be one of .*; got .* of type "):
            checks.one_of("task", value, allowed)


def test_long_values_do_not_drown_the_message() -> None:
    for value in (10**4000, 10**10_000, -(10**10_000)):  # Python refuses to print the latter two in decimals
        with pytest.raises(ValueError, match=r"^size must be an integer from 1 to 32, got -?(1000|0x)") as caught:
            checks.integer_in("size", value, 1, 32)
        assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match=r"^form must be one of 'flat'; got ") as caught:
        checks.one_of("form", np.zeros(5000), ("flat",))
    assert len(str(caught.value)) < 200


def test_the_type_is_told_with_its_module_unless_built_in() -> None:
    with pytest.raises(TypeError, match=r"^flag must be True or False, got np\.True_ of type numpy\.bool$"):
        checks.boolean("flag", np.bool_(True))
    with pytest.raises(TypeError, match=r"^flag must be True or False, got 1 of type int$"):
        checks.boolean("flag", 1)
