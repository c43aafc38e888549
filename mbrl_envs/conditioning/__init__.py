"""Cue–reward tasks for networks that predict: environments, trials as arrays, and the exact values of both.

* :class:`CueReward`, :class:`Starkweather`, :class:`Babayan`, :class:`Contingency`, :class:`VariableMagnitude`,
  :class:`VariableProbability` — the tasks, each also a Gymnasium id.
* :func:`sample_trials` — many episodes as NumPy arrays, drawn from the dynamics.
* :func:`values`, :func:`beliefs`, :func:`prediction_errors`, :func:`state_values` — what a perfect observer knows.
"""

from mbrl_envs.conditioning.babayan import Babayan
from mbrl_envs.conditioning.contingency import Contingency
from mbrl_envs.conditioning.cue_reward import CueReward
from mbrl_envs.conditioning.exact import beliefs, prediction_errors, state_values, values
from mbrl_envs.conditioning.starkweather import Starkweather
from mbrl_envs.conditioning.task import ConditioningTask
from mbrl_envs.conditioning.trials import Trial, sample_trials
from mbrl_envs.conditioning.variable_rewards import VariableMagnitude, VariableProbability

__all__ = [
    "Babayan",
    "ConditioningTask",
    "Contingency",
    "CueReward",
    "Starkweather",
    "Trial",
    "VariableMagnitude",
    "VariableProbability",
    "beliefs",
    "prediction_errors",
    "sample_trials",
    "state_values",
    "values",
]
