"""Observations that belong to whoever gets them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def fresh(observation: Any) -> Any:
    """A copy of an observation, or of several, in NumPy's arrays; dictionaries and tuples stay what they are."""
    # Most are one array, for which it is quicker not to look for others.
    return np.array(observation) if isinstance(observation, jax.Array) else jax.tree.map(np.array, observation)
