"""Checks of the arguments of OMDSAC."""

from __future__ import annotations

import math
from typing import Any

from mbrl_agents.omd.arguments import check_learning
from mbrl_agents.omd_sac.learner import MODEL_LOSSES
from mbrl_envs.checks import boolean, number_in, one_of

AUTO = "auto"
NETWORK = {"net_arch": [256, 256], "activation_fn": "relu"}


def check(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments, in plain form; those that all agents have are checked already.

    Raises:
        TypeError, ValueError: One is of the wrong kind or out of range.
    """
    given = check_learning(arguments)
    one_of("model_loss", given["model_loss"], MODEL_LOSSES)
    boolean("carry_optimizer", given["carry_optimizer"])
    first_ent_coef(given["ent_coef"])
    if not isinstance(given["ent_coef"], str):
        given["ent_coef"] = float(given["ent_coef"])
    if given["target_entropy"] != AUTO:
        given["target_entropy"] = number_in('target_entropy (if not "auto")', given["target_entropy"], -math.inf)
    return given


def first_ent_coef(ent_coef: Any) -> float:
    """The entropy coefficient at the start: 1 of ``"auto"``, 0.1 of ``"auto_0.1"``, or the number itself.

    Raises:
        TypeError, ValueError: It is none of these, or not above 0.
    """
    if not isinstance(ent_coef, str):
        return number_in('ent_coef (if not "auto" or "auto_0.1")', ent_coef, 0, open_low=True)
    start, _, number = ent_coef.partition("_")
    try:
        first = number_in("the number", float(number or 1.0), 0, open_low=True)
    except ValueError:
        start = ""
    if start != AUTO:
        raise ValueError(f'ent_coef must be "auto", "auto_" and a number above 0, or such a number, got {ent_coef!r}')
    return first
