"""What scores mean: the best possible score of an environment, that of the uniform policy, and a scale between them.

* :func:`optimal_score`, :func:`uniform_score` — the numbers.
* :func:`normalised_score` — puts a score on the scale on which the uniform policy has 0 and the best policy 1.
* :func:`optimal`, :func:`uniform` — the numbers with their standard errors, as a :class:`Score`. Most are exact (error 0);
  where the layouts are too many to enumerate, the average is over a fixed random sample of them, each solved exactly.

In episodic tasks (ProcMaze, OpenGrid, CueRecall) a score is the expected return of an episode, in continuing tasks (ButtonGrid,
PanFlute, RandomWalk2D) the expected reward per step; each in the long run, or for ``steps`` steps from reset. In the cue–reward
tasks of :mod:`mbrl_envs.conditioning`, where nothing is decided, every policy has the same.

With several agents (:mod:`mbrl_envs.multi_agent`) a score is one agent's, who shares the reward with the others; the best one
is that of players who decide together and see everything. In ButtonContest, where what one team wins the other loses, it is the
score of team on against a team that acts uniformly.

A new environment gets yardsticks by a new module here that registers two functions of (env, steps) under the environment's
class, with ``scores.optimal_solver`` and ``scores.uniform_solver``, and by its import below.
"""

from mbrl_envs.yardsticks import (
    button_contest,
    button_grid,
    conditioning,
    coop_button_grid,
    coop_pan_flute,
    cue_recall,
    open_grid,
    pan_flute,
    proc_maze,
    random_walk_2d,
)
from mbrl_envs.yardsticks.scores import (
    Score,
    normalised_score,
    optimal,
    optimal_score,
    uniform,
    uniform_score,
)

__all__ = ["Score", "normalised_score", "optimal", "optimal_score", "uniform", "uniform_score"]

# Imported for their registration.
_FAMILIES = (
    button_contest,
    button_grid,
    conditioning,
    coop_button_grid,
    coop_pan_flute,
    cue_recall,
    open_grid,
    pan_flute,
    proc_maze,
    random_walk_2d,
)
