"""Soft actor-critic with models that are trained for return, by implicit differentiation, for continuous actions."""

from mbrl_agents.omd_sac.agent import OMDSAC

__all__ = ["OMDSAC"]
