"""VariableMagnitude and VariableProbability: rewards of which more than the mean can be learned."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from mbrl_envs.checks import boolean, integer_in, set_frozen
from mbrl_envs.conditioning import arguments
from mbrl_envs.conditioning.chain import Design, Kind, Slot
from mbrl_envs.conditioning.task import ConditioningTask

MAX_SIZES = 64

# Microlitres and how often they were given in the recordings: what analyses of Dabney et al. (2020) work with.
JUICE = (0.1, 0.3, 1.2, 2.5, 5.0, 10.0, 20.0)
JUICE_PROBABILITIES = (0.06612594, 0.09090909, 0.14847358, 0.15489467, 0.31159175, 0.1509519, 0.07705306)


def _timing(delay: Any, iti_min: Any, iti_probability: Any) -> dict[str, Any]:
    """The arguments that both tasks share, checked."""
    return {
        "delay": integer_in("delay", delay, 1, arguments.MAX_DELAY),
        **arguments.interval(iti_min, iti_probability),
    }


@dataclasses.dataclass(frozen=True)
class VariableMagnitude(ConditioningTask):
    """Predict rewards of seven sizes, of which nothing tells which one comes.

    A continuing task. **Reset.** A trial begins.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with the cue (unless ``cued`` is False), and a delay at whose end the reward comes; the next trial follows at once. There is
    nothing to decide: the only action does nothing.

    **Reward.** One of ``sizes`` at the end of the delay, drawn with ``size_probabilities``.

    From *A distributional code for value in dopamine-based reinforcement learning* (Dabney et al., Nature 2020), on recordings
    of Eshel et al. (2016): microlitres of juice, and how often each was given. Times in steps are ours.

    Args:
        sizes: 1 to 64 sizes of reward, all different, above 0 and up to 1e6.
        size_probabilities: How often each comes; they sum to 1.
        cued: Whether the cue is shown.
        delay: Steps from cue to reward, 1 to 1000.
        iti_min: Least number of steps before the cue, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.

    Observation:
        cue: Whether the cue is shown in this step.
        reward: The reward that came with this step.
    """

    sizes: tuple[float, ...] = JUICE
    size_probabilities: tuple[float, ...] = JUICE_PROBABILITIES
    cued: bool = True
    delay: int = 10
    iti_min: int = 10
    iti_probability: float = 0.125

    env_id: ClassVar[str] = "mbrl/VariableMagnitude-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sizes = arguments.sizes(self.sizes, MAX_SIZES)
        boolean("cued", self.cued)
        set_frozen(
            self,
            sizes=sizes,
            size_probabilities=arguments.probabilities("size_probabilities", self.size_probabilities, len(sizes)),
            **_timing(self.delay, self.iti_min, self.iti_probability),
        )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return ("A",)

    def design(self) -> Design:
        outcomes = tuple(zip(self.sizes, self.size_probabilities, strict=True))
        kind = Kind(1.0, 0 if self.cued else None, ((self.delay, 1.0),), outcomes)
        return Design((Slot((kind,), ((0, 1.0),)),), ((0, 1.0),), self.iti_min, self.iti_probability)


@dataclasses.dataclass(frozen=True)
class VariableProbability(ConditioningTask):
    """Predict rewards of which each cue tells how likely they are.

    A continuing task. **Reset.** A trial begins.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with one of the cues, drawn uniformly, and a delay at whose end the outcome comes; the next trial follows at once. There is
    nothing to decide: the only action does nothing.

    **Reward.** 1 at the end of the delay with the probability that belongs to the cue, else 0.

    From *A distributional code for value in dopamine-based reinforcement learning* (Dabney et al., Nature 2020): 10 %, 50 % and
    90 %, the outcome 2 s after the cue, which are 10 steps here. Times of the interval are ours.

    Args:
        probabilities: For each of 1 to 32 cues the probability of its reward, 0 to 1.
        delay: Steps from cue to outcome, 1 to 1000.
        iti_min: Least number of steps before the cue, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.

    Observation:
        cue 0: Whether the first cue is shown in this step.
        cue 1: Whether the second one is.
        cue 2: Whether the third one is; with the default arguments there are three.
        reward: The reward that came with this step.
    """

    probabilities: tuple[float, ...] = (0.1, 0.5, 0.9)
    delay: int = 10
    iti_min: int = 10
    iti_probability: float = 0.125

    env_id: ClassVar[str] = "mbrl/VariableProbability-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        given = arguments.several("probabilities", self.probabilities)
        set_frozen(
            self,
            probabilities=tuple(arguments.number_in("every entry of probabilities", p, 0, 1) for p in given),
            **_timing(self.delay, self.iti_min, self.iti_probability),
        )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self.probabilities))))

    def design(self) -> Design:
        kinds = tuple(
            Kind(1 / len(self.probabilities), cue, ((self.delay, 1.0),), ((1.0, p), (0.0, 1 - p)))
            for cue, p in enumerate(self.probabilities)
        )
        return Design((Slot(kinds, ((0, 1.0),)),), ((0, 1.0),), self.iti_min, self.iti_probability)
