"""Optimal Model Design: models that are trained for the return they lead to, by implicit differentiation.

* :func:`implicit_gradient` — the gradient of an outer loss through the solution of an inner problem.
* :class:`LinearSolver` — how the linear system in it is solved.
* :mod:`mbrl_agents.omd.tabular` — models of bounded size in finite MDPs; :mod:`mbrl_agents.omd.value_bounds` — how wrong their
  values are.
"""

from mbrl_agents.omd.implicit import ImplicitGradient, implicit_gradient, inner_gradient
from mbrl_agents.omd.linear_solvers import SOLVERS, LinearSolver, Solution

__all__ = ["SOLVERS", "ImplicitGradient", "LinearSolver", "Solution", "implicit_gradient", "inner_gradient"]
