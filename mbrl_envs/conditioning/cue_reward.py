"""CueReward: each cue tells when a reward will come."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from mbrl_envs.checks import integer_in, set_frozen
from mbrl_envs.conditioning import arguments
from mbrl_envs.conditioning.chain import Design, Kind, Slot
from mbrl_envs.conditioning.task import ConditioningTask

MAX_TRIALS = 100


@dataclasses.dataclass(frozen=True)
class CueReward(ConditioningTask):
    """Predict when the reward comes that a cue announces.

    **Reset.** The first of ``num_trials`` trials begins.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with one of the cues, the cue's delay, and the reward as many steps after the cue as its delay says, followed by ``padding``
    steps of nothing. The episode terminates with the last of them, so that a trial has interval + delay + 1 + ``padding``
    observations. There is nothing to decide: the only action does nothing.

    **Reward.** ``reward`` at the end of the delay, unless it is omitted; the trial then ends when the longest delay of its cue
    is over. Before the reward at time T of a cue with one delay the value is γ^(T−t−1).

    The defaults are the public example of *Emergence of belief-like representations through reinforcement learning* (Hennig et
    al., PLOS Computational Biology 2023).

    Args:
        delays: For each of 1 to 32 cues a delay, 1 to 1000 steps, or a distribution: pairs of steps and probability that sum
            to 1.
        omission: Probability that a trial has no reward, 0 to 1.
        reward: Size of the reward, above 0 and up to 1e6.
        cue_probabilities: How often each cue comes; None for equally often.
        iti_min: Least number of steps before the cue, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.
        padding: Steps of a trial after its outcome, 0 to 1000.
        num_trials: Trials of an episode, 1 to 100.

    Observation:
        cue 0: Whether the first cue is shown in this step.
        cue 1: Whether the second one is; with the default arguments there are two.
        reward: The reward that came with this step.
    """

    delays: tuple[Any, ...] = (10, 15)
    omission: float = 0.0
    reward: float = 1.0
    cue_probabilities: tuple[float, ...] | None = None
    iti_min: int = 1
    iti_probability: float = 0.5
    padding: int = 1
    num_trials: int = 1

    env_id: ClassVar[str] = "mbrl/CueReward-v0"
    continuing: ClassVar[bool] = False

    def __post_init__(self) -> None:
        delays = arguments.several("delays", self.delays)
        set_frozen(
            self,
            delays=tuple(arguments.delay(f"delays[{i}]", each) for i, each in enumerate(delays)),
            omission=arguments.number_in("omission", self.omission, 0, 1),
            reward=arguments.number_in("reward", self.reward, 0, 1e6, open_low=True),
            **arguments.interval(self.iti_min, self.iti_probability),
            padding=integer_in("padding", self.padding, 0, arguments.MAX_ITI),
            num_trials=integer_in("num_trials", self.num_trials, 1, MAX_TRIALS),
        )
        if self.cue_probabilities is not None:
            set_frozen(
                self, cue_probabilities=arguments.probabilities("cue_probabilities", self.cue_probabilities, len(delays))
            )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self.delays))))

    def design(self) -> Design:
        shares = arguments.probabilities("cue_probabilities", self.cue_probabilities, len(self.delays))
        kinds = tuple(
            Kind(share, cue, arguments.as_distribution(delay), ((self.reward, 1.0),), self.omission)
            for cue, (share, delay) in enumerate(zip(shares, self.delays, strict=True))
        )
        following = [((i + 1, 1.0),) for i in range(self.num_trials - 1)]
        slots = tuple(Slot(kinds, after) for after in (*following, ()))
        return Design(slots, ((0, 1.0),), self.iti_min, self.iti_probability, self.padding)
