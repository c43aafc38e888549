"""The published tabular studies of Optimal Model Design, complete, as ``published.yaml`` has them."""

from __future__ import annotations

import importlib.resources
from typing import Any, NamedTuple

import numpy as np
import yaml

from mbrl_agents.omd.finite_mdp import FiniteMDP
from mbrl_agents.omd.solvers import make_solver


class Studies(NamedTuple):
    """Studies of one MDP.

    Attributes:
        mdp: The MDP.
        arguments: Arguments of :func:`mbrl_agents.omd.tabular.solve`, beside the MDP, by study and by run.
    """

    mdp: FiniteMDP
    arguments: dict[str, dict[str, dict[str, Any]]]


def published() -> Studies:
    """The studies of Nikishin et al. 2022 (arXiv 2106.03273): ``"returns"``, ``"noise"`` and ``"value_errors"``."""
    data = yaml.safe_load(importlib.resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8"))
    mdp: dict[str, Any] = {name: np.array(value) if isinstance(value, list) else value for name, value in data["mdp"].items()}
    arguments = {
        study: {run: _arguments(data["common"] | content["shared"] | own) for run, own in content["runs"].items()}
        for study, content in data["studies"].items()
    }
    return Studies(FiniteMDP(**mdp), arguments)


def _arguments(written: dict[str, Any]) -> dict[str, Any]:
    return written | {"solver": make_solver(**written["solver"])} if "solver" in written else written
