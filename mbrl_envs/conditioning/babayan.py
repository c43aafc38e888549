"""Babayan: how large is the reward in this block?"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from mbrl_envs.checks import integer_in, set_frozen
from mbrl_envs.conditioning import arguments
from mbrl_envs.conditioning.chain import Design, Kind, Slot
from mbrl_envs.conditioning.task import ConditioningTask

MAX_BLOCK, MAX_SIZES = 100, 16


@dataclasses.dataclass(frozen=True)
class Babayan(ConditioningTask):
    """Predict rewards whose size is the same for a block of trials, and drawn anew for the next.

    A continuing task. **Reset.** A block begins, with a size drawn from ``sizes``.

    **Step.** A trial is an interval of ``iti_min`` + Geometric(``iti_probability``) − 1 steps with nothing to see, one step
    with the cue, and a delay of ``delay`` − ``jitter`` to ``delay`` + ``jitter`` steps, drawn uniformly, at whose end the
    reward comes; the next trial follows at once. After ``block_length`` trials the size is drawn anew, independent of the last,
    and nothing tells that: only the first reward of a block does. There is nothing to decide: the only action does nothing.

    **Reward.** The block's size, at the end of a delay.

    From *Belief state representation in the dopamine system* (Babayan, Uchida and Gershman, Nature Communications 2018), as
    studied in *Emergence of belief-like representations through reinforcement learning* (Hennig et al., 2023). Networks were
    trained on sizes 1 and 10 and tested on 1, 2, 4, 6, 8 and 10.

    Args:
        sizes: 1 to 16 sizes of reward, all different, above 0 and up to 1e6.
        size_probabilities: How often a block has each size; None for equally often.
        block_length: Trials of a block, 1 to 100.
        delay: Steps from cue to reward on average, 1 to 1000.
        jitter: Steps by which it varies, 0 to ``delay`` − 1.
        iti_min: Least number of steps before the cue, 0 to 1000.
        iti_probability: Probability per step that an interval of that length ends, above 0 and up to 1.

    Observation:
        cue: Whether the cue is shown in this step.
        reward: The reward that came with this step.
    """

    sizes: tuple[float, ...] = (1.0, 10.0)
    size_probabilities: tuple[float, ...] | None = None
    block_length: int = 5
    delay: int = 10
    jitter: int = 1
    iti_min: int = 10
    iti_probability: float = 0.125

    env_id: ClassVar[str] = "mbrl/Babayan-v0"
    continuing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        sizes = arguments.sizes(self.sizes, MAX_SIZES)
        delay = integer_in("delay", self.delay, 1, arguments.MAX_DELAY)
        set_frozen(
            self,
            sizes=sizes,
            block_length=integer_in("block_length", self.block_length, 1, MAX_BLOCK),
            delay=delay,
            jitter=integer_in("jitter", self.jitter, 0, delay - 1),
            **arguments.interval(self.iti_min, self.iti_probability),
        )
        if self.size_probabilities is not None:
            set_frozen(
                self, size_probabilities=arguments.probabilities("size_probabilities", self.size_probabilities, len(sizes))
            )

    @property
    def cue_names(self) -> tuple[str, ...]:
        return ("A",)

    def design(self) -> Design:
        shares = arguments.probabilities("size_probabilities", self.size_probabilities, len(self.sizes))
        delays = arguments.jittered(self.delay, self.jitter)
        new_block = tuple((i * self.block_length, share) for i, share in enumerate(shares) if share > 0)
        slots: list[Slot] = []
        for size in self.sizes:
            kinds = (Kind(1.0, 0, delays, ((size, 1.0),)),)
            slots += [Slot(kinds, ((len(slots) + j + 1, 1.0),)) for j in range(self.block_length - 1)]
            slots.append(Slot(kinds, new_block))
        return Design(tuple(slots), new_block, self.iti_min, self.iti_probability)
