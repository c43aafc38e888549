"""The arguments that concern OMD's model, and what is made of them."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from mbrl_agents.core import networks
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.omd import solvers
from mbrl_agents.omd.dynamics_model import DynamicsModel
from mbrl_agents.omd.solvers import LinearSolver
from mbrl_agents.sb3.arguments import Kind, Rule, boolean, integer, number

EVALUATIONS = ("greedy", "sample")
MANY = 2**20

LEARNING_STARTS = integer(0, doc="Transitions collected with uniform actions before learning, at least 0.")
MODEL_LEARNING_RATE = number(0, doc="Step size of the model, at least 0.")
INNER_STEPS = integer(1, MANY)
DAMPING = number(0, doc="Added to the Hessian's diagonal, at least 0.", kind=Kind.PROGRAM)
SOLVER_TOLERANCE = number(0, open_low=True, doc="Relative residual at which iterations stop, above 0.", kind=Kind.PROGRAM)
SOLVER_STEPS = integer(1, MANY, doc="Most iterations, at least 1.")
MODEL_NET_ARCH = Rule(
    lambda name, value: list(networks.check_net_arch(value, name)), "Hidden layers of the model: how much it can hold."
)
MODEL_ACTIVATION_FN = Rule(lambda name, value: networks.activation_name(value, name), "Their activation function.")
STOCHASTIC_MODEL = boolean("Whether the model predicts a diagonal Gaussian; else one observation. Only for real-valued ones.")
PREDICT_CHANGE = boolean("Whether it predicts the difference to the observation before. Only for real-valued ones.")


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
