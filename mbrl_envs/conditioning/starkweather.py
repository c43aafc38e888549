"""Starkweather: is the reward late, or has it been left out?"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from mbrl_envs.checks import one_of, set_frozen
from mbrl_envs.conditioning import arguments
from mbrl_envs.conditioning.chain import Design, Kind, Slot
from mbrl_envs.conditioning.task import ConditioningTask

BIN, SPREAD = 0.2, 0.5  # seconds: length of a step, standard deviation of the delay
FIRST, LAST = 6, 14  # steps: 1.2 and 2.8 s. As integers, because 2.8 / 0.2 is not 14 to a computer, and cutting it gives 13.
OMISSION = 0.1  # of task 2


def normal_delays() -> tuple[tuple[int, float], ...]:
    """The delays of odour A: 6 to 14 steps, weighted by a Normal around their middle; pairs of steps and probability."""
    steps = np.arange(FIRST, LAST + 1)
    weights = np.exp(-0.5 * ((steps - (FIRST + LAST) / 2) * BIN / SPREAD) ** 2)
    return tuple(zip(steps.tolist(), (weights / weights.sum()).tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class Starkweather(ConditioningTask):
    """Predict a reward whose delay varies, and which in task 2 may not come at all.

    A continuing task in steps of 0.2 s. **Reset.** A trial begins.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with one of the odours, drawn uniformly, and a delay at whose end the reward comes; the next trial follows at once. Odour A
    has delays of 6 to 14 steps, weighted by a Normal with a standard deviation of 0.5 s; B always 6 steps, C always 14; after D
    nothing comes (for 6 steps). In task 2 a tenth of the trials of A, B and C have no reward either; they last as long as the
    odour's longest delay. There is nothing to decide: the only action does nothing.

    **Reward.** 1 at the end of a delay. When it comes late in task 1, it is expected ever more, so that the prediction error
    falls with the delay; in task 2 waiting also makes an omission likelier, and the error rises again.

    From *Dopamine reward prediction errors reflect hidden-state inference across time* (Starkweather et al., Nature
    Neuroscience 2017), as studied in *Emergence of belief-like representations through reinforcement learning* (Hennig et al.,
    2023).

    Args:
        task: 1, where every trial of A, B and C has a reward, or 2, where a tenth of them has none.
        odours: Which of the four odours there are, some of the letters ``"ABCD"``, in this order.
        iti_min: Least number of steps before the odour, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.

    Observation:
        odour A: Whether odour A is shown in this step; with the default arguments it is the only one.
        reward: The reward that came with this step.
    """

    task: int = 1
    odours: str = "A"
    iti_min: int = 10
    iti_probability: float = 0.125

    env_id: ClassVar[str] = "mbrl/Starkweather-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.odours, str) or not self.odours or self.odours != "".join(o for o in "ABCD" if o in self.odours):
            raise ValueError(f"odours must be some of the letters 'ABCD', in this order, got {self.odours!r}")
        set_frozen(
            self,
            task=one_of("task", self.task, (1, 2)),
            **arguments.interval(self.iti_min, self.iti_probability),
        )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return tuple(self.odours)

    def design(self) -> Design:
        delays = {"A": normal_delays(), "B": ((FIRST, 1.0),), "C": ((LAST, 1.0),), "D": ((FIRST, 1.0),)}
        omission = OMISSION if self.task == 2 else 0.0
        kinds = tuple(
            Kind(1 / len(self.odours), cue, delays[odour], omission=1.0 if odour == "D" else omission)
            for cue, odour in enumerate(self.odours)
        )
        return Design((Slot(kinds, ((0, 1.0),)),), ((0, 1.0),), self.iti_min, self.iti_probability)
