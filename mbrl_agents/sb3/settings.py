"""The arguments that several agents have: what is allowed, and their documentation; see :mod:`mbrl_agents.sb3.arguments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from mbrl_agents.core import exploration
from mbrl_agents.core.program import WARMUPS
from mbrl_agents.sb3.arguments import LARGEST, Kind, Rule, boolean, choice, integer, number, schedule
from mbrl_envs.checks import integer_in, one_of


def _train_freq(name: str, value: Any) -> int | tuple[int, str]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        frequency, unit = value
        unit = one_of(f"the unit of {name}", getattr(unit, "value", unit), ("step", "episode"))
        return integer_in(name, frequency, 1, LARGEST), unit
    return integer_in(name, value, 1, LARGEST)


def _device(name: str, value: Any) -> Any:
    del name
    jax_device(value)
    return value


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


def dictionary(name: str, value: Any, example: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a dictionary that was given for an argument; empty for None.

    Raises:
        TypeError: It is no dictionary.
    """
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dictionary such as {example}, got {value!r} of type {type(value).__name__}")
    return dict(value or {})


POLICY = Rule(
    lambda name, value: value,
    '``"MlpPolicy"``, ``"CnnPolicy"`` (images, grids) or ``"MultiInputPolicy"`` (dictionaries, tuples).',
    Kind.CONSTRUCTION,
)
ENV = Rule(lambda name, value: value, "Gymnasium environment, its id, or a ``VecEnv``; None for loading.", Kind.CONSTRUCTION)

# ---------------------------------------------------------------------- learning

LEARNING_RATE = schedule(
    0, doc="Step size of the optimiser, at least 0; a number or a schedule of the progress remaining (1 to 0)."
)
BUFFER_SIZE = integer(1, doc="Transitions kept for replay, over all environments, at least 1.")
LEARNING_STARTS = integer(0, doc="Transitions collected before learning, at least 0.")
BATCH_SIZE = integer(1, doc="Transitions per gradient step, drawn with replacement, at least 1.")
TAU = number(0, 1, doc="Fraction of the way the target network goes at a target update, in [0, 1]; 1 copies the network.")
GAMMA = number(0, 1, doc="Discount factor, in [0, 1].")
TRAIN_FREQ = Rule(_train_freq, 'Steps between trainings, at least 1, or ``(number, "step" | "episode")``.')
GRADIENT_STEPS = integer(-1, doc="Gradient steps per training; −1 for as many as there were transitions.")
N_STEPS = integer(1, doc="Steps of a return before it bootstraps, at least 1.")
TARGET_UPDATE_INTERVAL = integer(1, doc="Transitions between target updates, at least 1.")
WARMUP = choice(
    WARMUPS, 'Actions before learning: ``"uniform"``, or ``"policy"``, the untrained agent\'s exploration (as published).'
)
DOUBLE_Q = boolean("Whether the network chooses the action that the target network values (arXiv 1509.06461).")

# ---------------------------------------------------------------------- exploring

EXPLORATION = choice(exploration.KINDS, '``"softmax"`` (actions ~ softmax(Q/temperature)) or ``"epsilon_greedy"``.')
TEMPERATURE = schedule(0, open_low=True, doc="Of the softmax, above 0; a number or a schedule.")
EXPLORATION_FRACTION = number(
    0, 1, open_low=True, doc="Part of the training over which ε falls, in (0, 1].", kind=Kind.SCHEDULE
)
EXPLORATION_INITIAL_EPS = number(0, 1, doc="ε at the start, in [0, 1].", kind=Kind.SCHEDULE)
EXPLORATION_FINAL_EPS = number(0, 1, doc="ε at the end, in [0, 1].", kind=Kind.SCHEDULE)

# ---------------------------------------------------------------------- the optimiser

ADAM_B1 = number(0, 1, open_high=True, doc="Decay of AdamW's mean of gradients, in [0, 1).")
ADAM_B2 = number(0, 1, open_high=True, doc="Decay of its mean of squared gradients, in [0, 1).")
ADAM_EPS = number(0, open_low=True, doc="Added to the root of the latter, above 0.")
WEIGHT_DECAY = number(0, 1, doc="Fraction of each weight taken away per gradient step, in [0, 1], whatever the step size.")
MAX_GRAD_NORM = number(0, open_low=True, doc="Largest norm of a gradient, above 0; None for no clipping.") | None

# ---------------------------------------------------------------------- bookkeeping

STATS_WINDOW_SIZE = integer(1, doc="Episodes over which reported statistics are averaged, at least 1.", kind=Kind.BOOKKEEPING)
TENSORBOARD_LOG = Rule(lambda name, value: value, "Folder for TensorBoard, or None.", Kind.BOOKKEEPING)
VERBOSE = integer(0, doc="0 silent, 1 reports, 2 debug messages.", kind=Kind.BOOKKEEPING)
SEED = Rule(
    lambda name, value: None if value is None else integer_in(name, value, 0, 2**32 - 1),
    "Seed of everything random in the agent and its environments, from 0 to 2³² − 1; None draws one.",
    Kind.BOOKKEEPING,
)
DEVICE = Rule(_device, '``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.', Kind.BOOKKEEPING)
DEVICE_LOOP = boolean("Whether to learn in the device loop; None where the environment allows it.") | None
