"""Keys of random streams outside of programs: raw ones of Threefry, whatever generator JAX's configuration names."""

from __future__ import annotations

import jax

from mbrl_agents.core.compilation import by_usual_rules
from mbrl_envs import draws

fold_in = by_usual_rules(jax.random.fold_in)
"""As ``jax.random.fold_in``, of raw keys."""


def from_seed(seed: int) -> jax.Array:
    """The raw key of a seed from 0 to 2³² − 1, uint32 (2,); that of ``jax.random.PRNGKey``."""
    return jax.numpy.asarray(draws.raw_key(seed))
