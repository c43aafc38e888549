"""Pruning: trials that do badly are stopped early, and others take their place.

**Successive halving** (Jamieson & Talwalkar 2016, arXiv 1502.07943; asynchronous: Li et al. 2020, arXiv 1810.05934). There
are a few *rungs*, timesteps at which trials are judged: the end T, and before it T/η, T/η², … At a rung a trial goes on if it
is among the best 1/η of all trials that have come to this rung so far, itself included; at least the best one always does. So
most of the time goes into the trials that deserve it.

Who judges: the study's log, see :mod:`tuning.register`. Which trials go forward together: :mod:`tuning.generations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

NAMES = ("none", "halving")
REDUCTION = 2  # of "halving"
FIRST_PART = 16  # no rung before this part of a run: too little has been learned
_MOST_REDUCTION = 16


class Ladder(NamedTuple):
    """The rungs of a study.

    Attributes:
        rungs: Timesteps at which trials are judged, ascending; the last one is the end of a run.
        reduction: η: one trial of so many goes on.
        sign: 1 where more is better, −1 where less is.
    """

    rungs: tuple[int, ...]
    reduction: int = REDUCTION
    sign: float = 1.0

    @classmethod
    def of(cls, pruning: str | None, total_timesteps: int, eval_interval: int, sign: float) -> Ladder:
        """The ladder of a study; trials are evaluated at every rung.

        Args:
            pruning: ``"none"`` (or None), ``"halving"`` (η = 2) or ``"halving-η"``.
            total_timesteps: Timesteps of a run.
            eval_interval: Timesteps between evaluations.
            sign: 1 where more is better, −1 where less is.

        Raises:
            ValueError: There is no such pruning, or runs have too few evaluations for it.
        """
        reduction = parse(pruning)
        if reduction is None:
            return cls((total_timesteps,), sign=sign)
        rungs: list[int] = []
        wanted = total_timesteps / reduction
        while wanted >= max(total_timesteps / FIRST_PART, eval_interval):
            rungs.append(math.ceil(wanted / eval_interval) * eval_interval)
            wanted /= reduction
        found = sorted({rung for rung in rungs if rung < total_timesteps})
        if not found:
            raise ValueError(
                f"pruning={pruning!r} needs an evaluation in the first 1/{reduction} of a run: give an eval_interval of at "
                f"most {max(total_timesteps // reduction, 1)}, not {eval_interval}"
            )
        return cls((*found, total_timesteps), reduction, sign)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Ladder:
        """Reads what :meth:`to_dict` gave."""
        return cls(tuple(data["rungs"]), data["reduction"], data["sign"])

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"rungs": list(self.rungs), "reduction": self.reduction, "sign": self.sign}

    def after(self, timestep: int) -> int:
        """The next rung of a trial that has come to one, or is at 0."""
        return next(rung for rung in self.rungs if rung > timestep)

    def is_end(self, timestep: int) -> bool:
        """Whether a trial at a timestep is through."""
        return not self.rungs or timestep >= self.rungs[-1]

    def goes_on(self, value: float | None, all_values: Iterable[float | None]) -> bool:
        """Whether a trial goes on from a rung.

        Args:
            value: Its number; None if it has none, which is worse than any.
            all_values: Those of all trials that have come to the rung, its own included. Of equal ones all go on.
        """
        if value is None:
            return False
        everyone = list(all_values)
        better = sum(each is not None and self.sign * each > self.sign * value for each in everyone)
        return better < max(len(everyone) // self.reduction, 1)


def parse(pruning: str | None) -> int | None:
    """η of a pruning by its name; None for ``"none"`` and for None.

    Raises:
        ValueError: There is no such pruning.
    """
    if pruning is None:
        return None
    name, dash, text = pruning.partition("-") if isinstance(pruning, str) else ("", "", "")
    reduction = int(text) if dash and text.isdecimal() else REDUCTION
    if name not in NAMES or (dash and (name == "none" or not text.isdecimal())) or not 2 <= reduction <= _MOST_REDUCTION:
        raise ValueError(f"pruning must be none, halving or halving-N with N from 2 to {_MOST_REDUCTION}, got {pruning!r}")
    return None if name == "none" else reduction
