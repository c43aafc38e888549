"""Value RNNs: networks that learn the value of cues and rewards by temporal-difference learning.

* :class:`ValueRNN` — the network; ``fit`` on trials, ``learn`` on environments.
* :func:`fit_many` — many networks at once.
"""

from mbrl_agents.value_rnn.agent import ValueRNN
from mbrl_agents.value_rnn.many import Fit, fit_many

__all__ = ["Fit", "ValueRNN", "fit_many"]
