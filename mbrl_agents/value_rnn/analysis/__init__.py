"""Analyses of a value RNN: what it has learned beside a perfect observer of the task, and how its state moves.

* :func:`errors`, :func:`rpe_by_delay`, :func:`block_responses`, :func:`exact_values` — values and prediction errors.
* :func:`belief_regression`, :func:`state_decoding`, :func:`exact_beliefs` — beliefs in the hidden units.
* :func:`refit_readout`, :func:`clone`, :func:`untrained`, :func:`with_recurrent_gain` — networks made of a network.
* :func:`fixed_points`, :func:`visited_states`, :func:`memory` — where its state comes to rest, and when.

Trials have observations from the start of an episode: those of :func:`mbrl_envs.conditioning.sample_trials`, of
:func:`mbrl_agents.value_rnn.make_trials`, or arrays (T, F), where an environment is given whose observations they are.

**Noise.** :func:`errors`, :func:`rpe_by_delay`, :func:`belief_regression`, :func:`state_decoding` and :func:`refit_readout`
take ``noise=``: before anything else, an independent Normal number is added to each unit in each step. Its standard deviation
is that fraction of the unit's own in these trials (Hennig et al. 2023: .05). What differs by less can then not be read out. It
is drawn from ``seed=``.

**Burn-in.** A state begins at 0, where no later one comes near. A few such steps spoil a regression: in an untrained network,
whose units hardly leave their resting state, they lie far outside. All of these but :func:`rpe_by_delay` take ``burn_in=``,
which leaves out the first steps of each trial.
"""

from mbrl_agents.value_rnn.analysis.beliefs import (
    Decoding,
    Regression,
    belief_regression,
    exact_beliefs,
    state_decoding,
)
from mbrl_agents.value_rnn.analysis.dynamics import FixedPoints, fixed_points, memory, visited_states, with_recurrent_gain
from mbrl_agents.value_rnn.analysis.readout import clone, refit_readout, untrained
from mbrl_agents.value_rnn.analysis.values import Errors, block_responses, errors, exact_values, rpe_by_delay

__all__ = [
    "Decoding",
    "Errors",
    "FixedPoints",
    "Regression",
    "belief_regression",
    "block_responses",
    "clone",
    "errors",
    "exact_beliefs",
    "exact_values",
    "fixed_points",
    "memory",
    "refit_readout",
    "rpe_by_delay",
    "state_decoding",
    "untrained",
    "visited_states",
    "with_recurrent_gain",
]
