"""Pictures of observations, also of those that no state has, such as a learned model imagines."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mbrl_envs.docstrings import parse
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.pan_flute import PanFlute, PanFluteState
from mbrl_envs.rendering import STYLES, Picture

CONTRADICTION = "contradiction"


def plane_names(kind: type[FunctionalEnv]) -> tuple[str, ...]:
    """Names of the planes of an environment's observations, as documented under "Observation planes"; empty if it has none.

    Args:
        kind: Class of the dynamics.
    """
    return tuple(parse(kind).sections.get("Observation planes", ())) if kind.__doc__ else ()


@functools.singledispatch
def cells_of(env: Any, values: np.ndarray) -> np.ndarray | None:
    """Puts the entries of an observation where an environment's pictures have their cells.

    Args:
        env: The dynamics.
        values: A number for each entry of the observation, in its order.

    Returns:
        Values of shape (rows, columns, planes), NaN where a cell has none; None where observations cannot be drawn.
    """
    side, names = getattr(env, "grid_size", None), plane_names(env.__class__)
    if side is None or not names or values.size != side * side * len(names):
        return None
    return np.asarray(values, float).reshape(side, side, len(names))


@cells_of.register
def _(env: PanFlute, values: np.ndarray) -> np.ndarray | None:
    rows, columns = np.tril_indices(env.num_pipes)
    cells = np.full((env.num_pipes, env.num_pipes, 1), np.nan)
    cells[rows, env.num_pipes - 1 - rows + columns, 0] = _pipes(env, values)
    return cells


@functools.singledispatch
def picture_of(env: Any, observation: np.ndarray) -> Picture | None:
    """Describes an observation as cells with a legend, as :meth:`FunctionalEnv.picture` describes a state.

    Planes that are on in a cell together name it, such as "player on goal"; combinations that no state has are shown as
    contradictions. Planes "wall" and "empty" are complements: "empty" is also on under what stands on an open cell.

    Args:
        env: The dynamics.
        observation: Booleans, one for each entry of an observation, in its order.

    Returns:
        The picture, or None where observations cannot be drawn.
    """
    planes, names = cells_of(env, observation), plane_names(env.__class__)
    if planes is None:
        return None
    cells = np.empty(planes.shape[:2], dtype=object)
    for place in np.ndindex(cells.shape):
        cells[place] = _cell([name for name, on in zip(names, planes[place], strict=True) if on], names)
    both = [f"{names[0]} on {name}" for name in names[1:]]
    legend = dict.fromkeys(name for name in (*names, *both, "empty", CONTRADICTION) if name in STYLES)
    return Picture(cells, tuple(legend))


@picture_of.register
def _(env: PanFlute, observation: np.ndarray) -> Picture | None:
    return env.picture(PanFluteState(_pipes(env, observation).astype(bool)))  # type: ignore[arg-type]  # NumPy's arrays do


def _pipes(env: PanFlute, values: np.ndarray) -> np.ndarray:
    """Entries as in the state: pipe after pipe."""
    flat = np.asarray(values)
    if env.observation == "planes":
        flat = flat.reshape(env.num_pipes, env.num_pipes)[np.tril_indices(env.num_pipes)]
    return flat.ravel()


def _cell(on: list[str], names: tuple[str, ...]) -> str:
    if {"wall", "empty"} <= {*names}:
        if ("wall" in on) == ("empty" in on):
            return CONTRADICTION
        on = [name for name in on if name != "empty"] or ["empty"]
    name = " on ".join(on) if on or "empty" in names else "empty"
    return name if name in STYLES else CONTRADICTION
