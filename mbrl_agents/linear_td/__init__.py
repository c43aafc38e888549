"""Linear TD: the value of a given policy, linear in features of observations.

* :class:`LinearTD` — the agent; ``learn`` on environments, ``value`` of observations, ``predict_curve`` of its own learning.
"""

from mbrl_agents.linear_td.agent import LinearTD

__all__ = ["LinearTD"]
