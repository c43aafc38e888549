"""How well a network predicts in an environment: the score by which training is followed and runs are compared.

A score is that of :mod:`mbrl_agents.core.predictions`: minus the root mean square of V̂(t) − V(t), so that 0 is perfect. In
cue–reward tasks V is exact, the value that a perfect observer gives; elsewhere V(t) is the return that followed in the same
episode (bootstrapped by the network itself where the episode was cut), whose chance is part of the score.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mbrl_envs.conditioning import ConditioningTask, state_values
from mbrl_envs.conditioning.filtering import Filter


def exact_values(env: ConditioningTask, observations: jax.Array, gamma: jax.Array) -> jax.Array:
    """What a perfect observer expects after each step, float32 (T, B): :func:`mbrl_envs.conditioning.values` on the device."""
    # γ may differ between runs of one program: the values of states are solved for on the host, when it runs.
    shape = jax.ShapeDtypeStruct((env.chain.num_states,), jnp.float32)
    of_states = jax.pure_callback(lambda given: _state_values(env, given), shape, gamma, vmap_method="sequential")
    return Filter(env).beliefs(observations) @ of_states


def _state_values(env: ConditioningTask, gamma: Any) -> np.ndarray:
    # A γ of 1 is refused in continuing tasks (ValueRNN); one just below may have been rounded to it.
    return state_values(env, min(float(gamma), 1.0 - 1e-6 if env.continuing else 1.0)).astype(np.float32)
