"""R2D2 as pure JAX functions, which both loops, sweeps and studies take."""

from mbrl_agents.r2d2_jax.agent import JaxR2D2

__all__ = ["JaxR2D2"]
