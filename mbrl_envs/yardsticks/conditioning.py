"""Yardsticks of the cue–reward tasks: as nothing is decided there, every policy has the same score, and it is exact."""

from __future__ import annotations

import numpy as np

from mbrl_envs.conditioning.exact import transition_matrix
from mbrl_envs.conditioning.task import ConditioningTask
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


@optimal_solver.register(ConditioningTask)
@uniform_solver.register(ConditioningTask)
def _score(env: ConditioningTask, steps: int | None) -> Score:
    if steps is not None:
        total = _expected_total(env, steps)
        return Score(total / steps if env.continuing else total)
    return Score(_long_run_rate(env) if env.continuing else _expected_return(env))


def _expected_total(env: ConditioningTask, steps: int) -> float:
    """Expected sum of rewards of the first steps from reset."""
    matrix = transition_matrix(env)
    share, total = matrix[[env.chain.num_states]].toarray()[0], 0.0
    for _ in range(steps):
        share = share @ matrix[: env.chain.num_states]
        total += float(share @ env.chain.reward)
    return total


def _expected_return(env: ConditioningTask) -> float:
    from mbrl_envs.conditioning.exact import state_values

    return float((transition_matrix(env)[[env.chain.num_states]] @ state_values(env, 1.0))[0])


def _long_run_rate(env: ConditioningTask) -> float:
    """Expected reward per step under the stationary distribution π, which solves π (P − I) = 0 and sums to 1."""
    from scipy.sparse import eye_array
    from scipy.sparse.linalg import spsolve

    size = env.chain.num_states
    system = (transition_matrix(env)[:size] - eye_array(size)).T.tolil()
    system[size - 1] = 1.0  # One of the equations follows from the others; in its place comes the sum.
    share = spsolve(system.tocsc(), np.eye(size)[size - 1])
    return float(share @ env.chain.reward)
