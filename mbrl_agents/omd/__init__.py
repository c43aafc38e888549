"""Optimal Model Design: models that are trained for the return they lead to, by implicit differentiation.

* :func:`implicit_gradient` — the gradient of an outer loss through the solution of an inner problem.
* :class:`LinearSolver` — how the linear system in it is solved: :class:`ConjugateGradients`, :class:`NormalConjugateGradients`,
  :class:`GMRES`, :class:`Direct`, :class:`Identity`, or by its name, :func:`make_solver`.
* :mod:`mbrl_agents.omd.tabular` — models of bounded size in finite MDPs; :mod:`mbrl_agents.omd.value_bounds` — how wrong their
  values are.
"""

from mbrl_agents.omd.implicit import ImplicitGradient, implicit_gradient, inner_gradient
from mbrl_agents.omd.solvers import (
    GMRES,
    SOLVERS,
    ConjugateGradients,
    Direct,
    Identity,
    LinearSolver,
    NormalConjugateGradients,
    Solution,
    make_solver,
)

__all__ = [
    "GMRES",
    "SOLVERS",
    "ConjugateGradients",
    "Direct",
    "Identity",
    "ImplicitGradient",
    "LinearSolver",
    "NormalConjugateGradients",
    "Solution",
    "implicit_gradient",
    "inner_gradient",
    "make_solver",
]
