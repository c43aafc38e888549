"""Value RNNs: networks that learn the value of cues and rewards by temporal-difference learning.

* :class:`ValueRNN` — the network; ``fit`` on trials, ``learn`` on environments.
* :func:`fit_many` — many networks at once.
* :func:`make_trials` — trials of one's own, from arrays.
* :mod:`~mbrl_agents.value_rnn.analysis` — what networks have learned, beside a perfect observer.
"""

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.many import Fit, fit_many
from mbrl_agents.value_rnn.trial_arrays import OwnTrial, make_trials

__all__ = ["Fit", "OwnTrial", "ValueRNN", "fit_many", "make_trials"]
