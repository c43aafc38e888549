"""Settings of the published studies of TD learning's dynamics, from the package's ``published.yaml``."""

from __future__ import annotations

import copy
import functools
import importlib.resources
from typing import Any, NamedTuple

import yaml

from mbrl_envs.checks import one_of


class PublishedStudy(NamedTuple):
    """Settings of a study (Bordelon, Masset, Kuo & Pehlevan 2023, arXiv 2307.04841).

    Attributes:
        published: What is published, by name.
        ours: What this package's examples add, where nothing is stated.
    """

    published: dict[str, Any]
    ours: dict[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """Both together."""
        return self.published | self.ours


@functools.cache
def _file() -> dict[str, Any]:
    text = importlib.resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def study_names() -> tuple[str, ...]:
    """Names of all studies."""
    return tuple(_file())


def published_study(name: str) -> PublishedStudy:
    """The settings of a study.

    Args:
        name: Such as ``"batch"`` or ``"mountain_car"``; see :func:`study_names`.

    Returns:
        Plain data; a copy of its own.

    Raises:
        ValueError: There is no study of that name.
    """
    one_of("name", name, study_names())
    data = copy.deepcopy(_file()[name])
    return PublishedStudy(data["published"], data["ours"])
