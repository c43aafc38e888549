"""OMDSAC's arguments that take words or numbers, and what is made of those that concern the model."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.omd import arguments as of_omd
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.solvers import LinearSolver
from mbrl_agents.omd_sac.gauss_newton import GaussNewton
from mbrl_agents.sb3.arguments import Kind, Rule
from mbrl_envs.checks import number_in

AUTO, GAUSS_NEWTON = "auto", "gauss_newton"


class Weights(NamedTuple):
    """First weights of actor and critics, and of the model, keys of :data:`mbrl_agents.core.networks.INITIALIZERS`."""

    policy: str
    model: str


INITIALIZERS = {"torch": Weights("torch", "orthogonal"), "orthogonal": Weights("orthogonal_sqrt2", "orthogonal_sqrt2")}


def num_inner_steps(arguments: dict[str, Any]) -> Any:
    """Inner steps in each update: what was given, or by what the model is trained for."""
    if arguments["inner_steps"] is not None:
        return arguments["inner_steps"]
    return 3 if arguments["model_loss"] == "omd" else 1


def first_ent_coef(ent_coef: Any) -> float:
    """The entropy coefficient at the start: 1 of ``"auto"``, 0.1 of ``"auto_0.1"``, or the number itself.

    Raises:
        TypeError, ValueError: It is none of these, or not above 0.
    """
    if not isinstance(ent_coef, str):
        return number_in('ent_coef (if not "auto" or "auto_0.1")', ent_coef, 0, open_low=True)
    start, _, number = ent_coef.partition("_")
    try:
        first = number_in("the number", float(number or 1.0), 0, open_low=True)
    except ValueError:
        start = ""
    if start != AUTO:
        raise ValueError(f'ent_coef must be "auto", "auto_" and a number above 0, or such a number, got {ent_coef!r}')
    return first


def _ent_coef(name: str, value: Any) -> str | float:
    del name
    first = first_ent_coef(value)
    return value if isinstance(value, str) else first


def _target_entropy(name: str, value: Any) -> str | float:
    return AUTO if value == AUTO else number_in(f'{name} (if not "auto")', value, -math.inf)


ENT_COEF, TARGET_ENTROPY = Rule(_ent_coef, kind=Kind.NUMBER), Rule(_target_entropy, kind=Kind.NUMBER)


def make_model(arguments: dict[str, Any], codec: ObservationCodec, num_actions: int) -> DynamicsModel:
    """The model that checked arguments ask for."""
    model = of_omd.make_model(arguments, codec, num_actions, INITIALIZERS[arguments["initializer"]].model)
    return dataclasses.replace(model, trunk=arguments["model_trunk"])


def make_solver(arguments: dict[str, Any]) -> LinearSolver | GaussNewton:
    """The solver that checked arguments ask for."""
    return GaussNewton(arguments["damping"]) if arguments["solver"] == GAUSS_NEWTON else of_omd.make_solver(arguments)
