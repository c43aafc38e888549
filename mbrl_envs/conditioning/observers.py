"""What an observer of a cue–reward task takes a trial without reward to be.

* ``"late"``    as it is: such a trial lasts as long as its longest delay, and only then does the next interval begin.
* ``"at_cue"``  as in the published study (Hennig et al. 2023): it is decided at the cue, and the interval begins at once.
                What is seen there belongs to the way from state to state, so that states with the same future are one.

Starkweather's second task has 40 states with the first, and 25 with the second: 10 of the interval, 14 from the cue on, and one
in which the trial has ended.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mbrl_envs.checks import one_of
from mbrl_envs.conditioning.chain import Chain, build
from mbrl_envs.conditioning.task import ConditioningTask

if TYPE_CHECKING:
    from scipy.sparse import csr_array

OMISSIONS = ("late", "at_cue")


class Observer(NamedTuple):
    """A model of the task, in which beliefs are kept.

    Attributes:
        chain: Its S states and how they follow each other.
        groups: Which of them count as one, 0 and 1, sparse (G, S): a belief over states becomes one over groups, in the order
            of the first state of each.
    """

    chain: Chain
    groups: csr_array


@functools.lru_cache(maxsize=64)
def observer(task: ConditioningTask, omission: str) -> Observer:
    """The model of an observer, by the name of what it thinks of omissions.

    Raises:
        ValueError: There is no such name.
    """
    from scipy.sparse import csr_array, eye_array

    if one_of("omission", omission, OMISSIONS) == "late":
        return Observer(task.chain, csr_array(eye_array(task.chain.num_states)))
    chain = build(dataclasses.replace(task.design(), omission_waits=False))
    rows = [
        tuple(zip(after[share > 0].tolist(), share[share > 0].tolist(), strict=True))
        for after, share in zip(chain.successors[:-1], chain.probabilities[:-1], strict=True)
    ]
    numbers: dict[object, int] = {}
    group = [numbers.setdefault(row, len(numbers)) for row in rows]
    shape = (len(numbers), chain.num_states)
    return Observer(chain, csr_array((np.ones(len(group)), (group, range(len(group)))), shape))
