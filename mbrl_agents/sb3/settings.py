"""Checks of the arguments that all agents share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mbrl_agents.core import exploration, networks, schedules
from mbrl_agents.core.program import WARMUPS
from mbrl_envs.checks import boolean, integer_in, number_in, one_of

POLICY_KWARGS = {"net_arch": [200, 200, 200], "activation_fn": "elu"}
_MANY = 2**31 - 1
NOT_OFFERED: dict[str, Any] = {
    "buffer_size": _MANY,
    "learning_starts": 0,
    "warmup": "uniform",
    "train_freq": 1,
    "gradient_steps": 1,
    "n_steps": 1,
    "tau": 1.0,
    "target_update_interval": _MANY,
    "exploration": "softmax",
    "temperature": 1.0,
    "exploration_fraction": 1.0,
    "exploration_initial_eps": 1.0,
    "exploration_final_eps": 1.0,
    "double_q": False,
    "weight_decay": 0.0,
    "max_grad_norm": None,
    "policy_kwargs": None,
}
"""What stands in for an argument that an agent does not offer, because it has no choice, no target network, no optimiser …"""
# Smallest values of integers.
_INTEGERS = {
    "buffer_size": 1,
    "batch_size": 1,
    "learning_starts": 0,
    "gradient_steps": -1,
    "target_update_interval": 1,
    "n_steps": 1,
    "stats_window_size": 1,
    "verbose": 0,
}
# Smallest and largest values of numbers, and whether the smallest is excluded.
_NUMBERS = {
    "tau": (0, 1, False),
    "gamma": (0, 1, False),
    "exploration_initial_eps": (0, 1, False),
    "exploration_final_eps": (0, 1, False),
    "weight_decay": (0, 1, False),
}


def of_constructor(scope: dict[str, Any], first: str = "policy") -> dict[str, Any]:
    """A constructor's arguments by name, as given, from its ``locals()``: all but the first one and the environment."""
    others = {"self", first, "env", "_init_setup_model", "__class__"}
    return {name: value for name, value in scope.items() if name not in others}


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns a JAX agent's arguments in plain form; it need not offer those of :data:`NOT_OFFERED`.

    Raises:
        TypeError, ValueError: One is of the wrong kind, out of range, or does not go with another.
    """
    given = check_shared(arguments)
    if given["batch_size"] > given["buffer_size"]:
        warnings.warn(
            f"batch_size = {given['batch_size']} is above buffer_size = {given['buffer_size']}: transitions are drawn with "
            "replacement, so that some come more than once in every batch",
            stacklevel=2,
        )
    given["exploration_fraction"] = number_in("exploration_fraction", given["exploration_fraction"], 0, 1, open_low=True)
    one_of("exploration", given["exploration"], exploration.KINDS)
    one_of("warmup", given["warmup"], WARMUPS)
    if given.get("device_loop") is not None:
        boolean("device_loop", given["device_loop"])
    jax_device(given["device"])
    given["policy_kwargs"] = check_policy_kwargs(given["policy_kwargs"])
    return {name: given[name] for name in arguments}


def check_shared(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments, and what stands in for those not offered, with all that R2D2 has too in plain form.

    Raises:
        TypeError, ValueError: One of these is of the wrong kind or out of range.
    """
    given = NOT_OFFERED | arguments
    for name, low, open_low in (("learning_rate", 0, False), ("temperature", 0, True)):
        schedule = schedules.check(name, given[name], low, open_low=open_low)
        given[name] = given[name] if callable(given[name]) else schedule(1.0)
    for name, low in _INTEGERS.items():
        given[name] = whole_number(name, given[name], low)
    given["train_freq"] = _check_train_freq(given["train_freq"])
    for name, (low, high, open_low) in _NUMBERS.items():
        given[name] = number_in(name, given[name], low, high, open_low=open_low)
    boolean("double_q", given["double_q"])
    if given["max_grad_norm"] is not None:
        given["max_grad_norm"] = number_in("max_grad_norm", given["max_grad_norm"], 0, open_low=True)
    if given["seed"] is not None:
        given["seed"] = integer_in("seed", given["seed"], 0, 2**32 - 1)
    return given


def check_policy_kwargs(policy_kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Returns the policy's arguments, completed.

    Raises:
        TypeError, ValueError: One is unknown or out of range.
    """
    given = dictionary("policy_kwargs", policy_kwargs)
    if unknown := sorted(set(given) - set(POLICY_KWARGS)):
        raise TypeError(f"policy_kwargs has no {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, POLICY_KWARGS))}")
    given = {**POLICY_KWARGS, **given}
    return {
        "net_arch": list(networks.check_net_arch(given["net_arch"])),
        "activation_fn": networks.activation_name(given["activation_fn"]),
    }


def dictionary(name: str, value: Any) -> dict[str, Any]:
    """A copy of a dictionary that was given for an argument; empty for None.

    Raises:
        TypeError: It is no dictionary.
    """
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary such as {POLICY_KWARGS}, got {value!r} of type {type(value).__name__}")
    return dict(value or {})


def whole_number(name: str, value: Any, low: int, high: int = _MANY) -> int:
    """As :func:`~mbrl_envs.checks.integer_in`; floats without a fraction such as ``1e5`` will do, as they do for SB3.

    Raises:
        TypeError, ValueError: It is no integer, or out of range.
    """
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    return integer_in(name, value, low, high)


def _check_train_freq(train_freq: Any) -> int | tuple[int, str]:
    if isinstance(train_freq, (tuple, list)) and len(train_freq) == 2:
        frequency, unit = train_freq
        unit = one_of("the unit of train_freq", getattr(unit, "value", unit), ("step", "episode"))
        return integer_in("train_freq", frequency, 1, _MANY), unit
    return integer_in("train_freq", train_freq, 1, _MANY)


def jax_device(device: Any) -> jax.Device | None:
    """The JAX device of a name such as ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; None for ``"auto"`` (JAX's default).

    Raises:
        ValueError: There is no such device.
    """
    name = str(device)
    if name == "auto":
        return None
    kind, _, index = name.partition(":")
    try:
        return jax.devices("gpu" if kind == "cuda" else kind)[int(index or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        available = ", ".join(sorted({each.platform for each in jax.devices()} | {"auto", "cpu"}))
        raise ValueError(f"device must be one of {available} (with an index, as in cuda:1), got {name!r}") from error
