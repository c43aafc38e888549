"""Contingency: does a reward that comes by itself devalue the cue?"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from mbrl_envs.checks import integer_in, one_of, set_frozen
from mbrl_envs.conditioning import arguments
from mbrl_envs.conditioning.chain import Design, Kind, Slot
from mbrl_envs.conditioning.task import ConditioningTask

PHASES = ("conditioning", "degradation", "cued")
SHARES = (0.4, 0.2, 0.4)  # of trials with odour A, with odour B, and of the others


@dataclasses.dataclass(frozen=True)
class Contingency(ConditioningTask):
    """Predict rewards after a cue while others come uncued, or announced by a cue of their own.

    A continuing task. **Reset.** A trial begins.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with an odour, and a delay of ``delay`` − ``jitter`` to ``delay`` + ``jitter`` steps, drawn uniformly, until the outcome;
    the next trial follows at once. Odour A begins 40 % of the trials, and its outcome is a reward with ``reward_probability``;
    odour B begins 20 %, and no reward follows. The other 40 % depend on ``phase``: in ``"conditioning"`` they are empty; in
    ``"degradation"`` they show no odour, but have the same outcomes as those of odour A; in ``"cued"`` odour C announces these.
    There is nothing to decide: the only action does nothing.

    **Reward.** 1 at the end of a delay, with ``reward_probability``.

    After *Prospective contingency explains behavior and dopamine signals during associative learning* (Qian et al., Nature
    Neuroscience 2025), with the steps of its public model.

    Args:
        phase: ``"conditioning"``, ``"degradation"`` or ``"cued"``.
        reward_probability: Probability of the reward where there is one, 0 to 1.
        delay: Steps from odour to outcome on average, 1 to 1000.
        jitter: Steps by which it varies, 0 to ``delay`` − 1.
        iti_min: Least number of steps before the odour, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.

    Observation:
        odour A: Whether odour A is shown in this step.
        odour B: Whether odour B is.
        odour C: Whether odour C is; only in phase ``"cued"``, but the input has the same size in all.
        reward: The reward that came with this step.
    """

    phase: str = "conditioning"
    reward_probability: float = 0.75
    delay: int = 9
    jitter: int = 1
    iti_min: int = 20
    iti_probability: float = 0.25

    env_id: ClassVar[str] = "mbrl/Contingency-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        delay = integer_in("delay", self.delay, 1, arguments.MAX_DELAY)
        set_frozen(
            self,
            phase=one_of("phase", self.phase, PHASES),
            reward_probability=arguments.number_in("reward_probability", self.reward_probability, 0, 1),
            delay=delay,
            jitter=integer_in("jitter", self.jitter, 0, delay - 1),
            **arguments.interval(self.iti_min, self.iti_probability),
        )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return ("A", "B", "C")

    def design(self) -> Design:
        delays = arguments.jittered(self.delay, self.jitter)
        rewarded = ((1.0, self.reward_probability), (0.0, 1 - self.reward_probability))
        nothing = ((0.0, 1.0),)
        others = nothing if self.phase == "conditioning" else rewarded
        kinds = (
            Kind(SHARES[0], 0, delays, rewarded),
            Kind(SHARES[1], 1, delays, nothing),
            Kind(SHARES[2], 2 if self.phase == "cued" else None, delays, others),
        )
        return Design((Slot(kinds, ((0, 1.0),)),), ((0, 1.0),), self.iti_min, self.iti_probability)
