"""Yardsticks of CueRecall: closed forms.

Whoever remembers is right every time; whoever draws answers is right once in ``num_cues`` times, and so is every policy without
memory, because what it sees when asked does not depend on the cue. Nobody has been asked before the last step.
"""

from __future__ import annotations

from mbrl_envs.cue_recall import CueRecall
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


@optimal_solver.register(CueRecall)
def _optimal(env: CueRecall, steps: int | None) -> Score:
    return Score(1.0 if steps is None or steps >= env.num_steps else 0.0)


@uniform_solver.register(CueRecall)
def _uniform(env: CueRecall, steps: int | None) -> Score:
    return Score(1 / env.num_cues if steps is None or steps >= env.num_steps else 0.0)
