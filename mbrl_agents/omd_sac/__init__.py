"""Soft actor-critic with models that are trained for return, by implicit differentiation, for continuous actions."""
