"""Checks of the arguments of OMD, and what is made of those that concern the model."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from mbrl_agents.core import networks
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.omd import solvers
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.losses import MODEL_LOSSES
from mbrl_agents.omd.solvers import SOLVERS, LinearSolver
from mbrl_agents.sb3 import settings
from mbrl_envs.checks import boolean, integer_in, number_in, one_of

EVALUATIONS = ("greedy", "sample")
_MANY = 2**20
_NETWORK = {"net_arch": [32, 32], "activation_fn": "relu"}


def with_networks(arguments: dict[str, Any], default: dict[str, Any] = _NETWORK) -> dict[str, Any]:
    """The arguments, with the default networks (OMD's Q-networks) filled in."""
    return arguments | {"policy_kwargs": default | settings.dictionary("policy_kwargs", arguments["policy_kwargs"])}


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments, in plain form; those that all agents have are checked already.

    Raises:
        TypeError, ValueError: One is of the wrong kind or out of range.
    """
    given = check_learning(arguments)
    one_of("model_loss", given["model_loss"], MODEL_LOSSES)
    given["inner_tolerance"] = number_in("inner_tolerance", given["inner_tolerance"], 0)
    for name in ("warm_start", "soft_targets", "learn_reward"):
        boolean(name, given[name])
    if given["carry_optimizer"] is not None:
        boolean("carry_optimizer", given["carry_optimizer"])
    one_of("evaluation", given["evaluation"], EVALUATIONS)
    given["num_value_networks"] = integer_in("num_value_networks", given["num_value_networks"], 1, _MANY)
    boolean("twin", given["twin"])
    return given


def check_learning(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments, in plain form, with those of the model and of learning on it checked, whatever the actions are.

    Raises:
        TypeError, ValueError: One is of the wrong kind or out of range.
    """
    given = dict(arguments)
    given["model_learning_rate"] = number_in("model_learning_rate", given["model_learning_rate"], 0)
    given["inner_steps"] = integer_in("inner_steps", given["inner_steps"], 1, _MANY)
    for name in ("stochastic_model", "predict_change"):
        boolean(name, given[name])
    one_of("solver", given["solver"], SOLVERS)
    given["damping"] = number_in("damping", given["damping"], 0)
    given["solver_tolerance"] = number_in("solver_tolerance", given["solver_tolerance"], 0, open_low=True)
    given["solver_steps"] = integer_in("solver_steps", given["solver_steps"], 1, _MANY)
    given["model_net_arch"] = list(networks.check_net_arch(given["model_net_arch"], "model_net_arch"))
    given["model_activation_fn"] = networks.activation_name(given["model_activation_fn"], "model_activation_fn")
    return given


def check_model(arguments: dict[str, Any], space: spaces.Space[Any]) -> None:
    """Checks what the model predicts against the observations there are.

    Raises:
        ValueError: A Gaussian, or a difference, is asked of observations that are not real numbers.
    """
    if ObservationCodec.of(space).kind != "float":
        for name in ("stochastic_model", "predict_change"):
            if arguments[name]:
                raise ValueError(f"{name} must be False where observations are not real-valued, got True for {space}")


def make_model(
    arguments: dict[str, Any], codec: ObservationCodec, num_actions: int, initializer: str = "orthogonal"
) -> DynamicsModel:
    """The model that checked arguments ask for, with initial kernels of a kind."""
    return DynamicsModel(
        codec,
        num_actions,
        hidden=tuple(arguments["model_net_arch"]),
        activation=arguments["model_activation_fn"],
        stochastic=arguments["stochastic_model"],
        predicts_change=arguments["predict_change"],
        initializer=initializer,
    )


def make_solver(arguments: dict[str, Any]) -> LinearSolver:
    """The solver that checked arguments ask for."""
    return solvers.make_solver(*(arguments[name] for name in ("solver", "damping", "solver_tolerance", "solver_steps")))
