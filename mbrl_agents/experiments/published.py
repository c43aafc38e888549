"""Presets by name: the study's own settings (``"procmaze-high"`` and so on), and those that come with an agent.

*The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222): ``generalization.yaml`` has the settings of five agents
in three environments and two regimes of data, ``tuned_hyperparameters.csv`` what was tuned for each of the 30.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib

from mbrl_agents.experiments import preset_files, study_files
from mbrl_agents.experiments.preset_files import Preset

STUDY = pathlib.Path(__file__).with_name("generalization.yaml")


@functools.cache
def presets() -> dict[str, Preset]:
    """The presets of the study by name."""
    return study_files.read(STUDY)


def preset(name: str | os.PathLike[str]) -> Preset:
    """A preset by its name, or from a file (see :mod:`~mbrl_agents.experiments.preset_files`), whose name ends in ``.yaml``.

    Raises:
        ValueError: There is none.
    """
    if str(name).endswith(preset_files.ENDING):
        return preset_files.read(name)
    known, bundled = presets(), _bundled()
    if str(name).lower() in bundled:
        preset = preset_files.read(bundled[str(name).lower()])
        return dataclasses.replace(preset, name=str(name).lower())
    if str(name).lower() not in known:
        raise ValueError(
            f"there is no preset {str(name)!r}; there are {', '.join(names())}, or files ending in {preset_files.ENDING}"
        )
    return known[str(name).lower()]


def names() -> list[str]:
    """All names that :func:`preset` knows."""
    return [*presets(), *_bundled()]


@functools.cache
def _bundled() -> dict[str, pathlib.Path]:
    """Files of presets that lie beside the agents they are for, by their names."""
    agents = pathlib.Path(__file__).parents[1]
    return {path.stem: path for path in sorted(agents.glob(f"*/*{preset_files.ENDING}")) if preset_files.is_preset(path)}
