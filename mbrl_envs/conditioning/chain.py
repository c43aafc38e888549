"""A cue–reward task as a hidden Markov chain: one table from which everything else follows.

A trial is an inter-trial interval, a cue, a delay, an outcome. Cut into its smallest states (one for each step of each), it is
a Markov chain without actions whose states each show one thing: a cue, a reward, or nothing. The environments step along this
chain, the exact values solve it, the beliefs filter it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import numpy as np

MAX_STATES = 200_000

Distribution = tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of trial.

    Attributes:
        probability: How often it comes.
        cue: Index of the cue that begins it; None if nothing is shown.
        delays: Pairs of a number of steps from cue to outcome, at least 1, in rising order, and its probability.
        outcomes: Pairs of a reward, 0 for none, and its probability, drawn when the delay is over.
        omission: Probability that there is no outcome at all: the trial then ends when the longest delay is over.
    """

    probability: float
    cue: int | None
    delays: Distribution
    outcomes: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    omission: float = 0.0


@dataclasses.dataclass(frozen=True)
class Slot:
    """A place in the order of trials.

    Attributes:
        kinds: Kinds of trial that may come here.
        following: Pairs of the slot of the next trial and its probability; empty where the episode ends.
    """

    kinds: tuple[Kind, ...]
    following: Distribution


@dataclasses.dataclass(frozen=True)
class Design:
    """A task.

    Attributes:
        slots: Places in the order of trials.
        start: Pairs of a slot and the probability that an episode begins there.
        iti_min: Least number of steps between trials, before the cue.
        iti_probability: Probability per step that the interval ends once it may: it takes iti_min + Geometric − 1 steps.
        padding: Steps after the outcome that still belong to the trial.
        omission_waits: Whether a trial without outcome lasts as long as its longest delay; else it is over with its cue.
    """

    slots: tuple[Slot, ...]
    start: Distribution
    iti_min: int
    iti_probability: float
    padding: int = 0
    omission_waits: bool = True


class Micro(NamedTuple):
    """A state of the chain.

    Attributes:
        slot: Index of the slot.
        phase: ``"interval"`` before the cue, ``"trial"`` from the cue on, ``"outcome"``, or ``"after"`` it.
        kind: Index of the kind of trial within the slot (phase ``"trial"``), else −1.
        elapsed: Steps spent in the phase; the last state of an interval is the one that repeats.
        omitted: Whether no outcome will come (phase ``"trial"``).
        reward: What is given here (phase ``"outcome"``).
    """

    slot: int
    phase: str
    kind: int = -1
    elapsed: int = 0
    omitted: bool = False
    reward: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """The states of a task and how they follow each other.

    Attributes:
        states: What each state is.
        cue: Index of the cue it shows, −1 for none, int32 (S,).
        reward: Reward that is given when it is entered, float32 (S,).
        last: Whether it is the last step of a trial, bool (S,).
        terminal: Whether the episode ends when it is entered, bool (S,).
        successors: States that may follow, int32 (S+1, K), the last one repeated where there are fewer. Row S is where an
            episode begins. A terminal state is followed by itself.
        probabilities: Their probabilities, float64 (S+1, K), rows sum to 1.
    """

    states: tuple[Micro, ...]
    cue: np.ndarray
    reward: np.ndarray
    last: np.ndarray
    terminal: np.ndarray
    successors: np.ndarray
    probabilities: np.ndarray

    @property
    def num_states(self) -> int:
        """Number of states S."""
        return len(self.states)

    @functools.cached_property
    def thresholds(self) -> np.ndarray:
        """Where to cut the range of a random 32-bit word: the successor's column is how many it reaches, uint32 (S+1, K−1)."""
        cuts = np.cumsum(self.probabilities, axis=1)[:, :-1] * 2**32
        return np.minimum(np.rint(cuts), 2**32 - 1).astype(np.uint32)


def build(design: Design) -> Chain:
    """Lists the states that can be reached, in the order in which they are.

    Raises:
        ValueError: There are more than ``MAX_STATES``.
    """
    start = _merged([(state, p * q) for slot, p in design.start for state, q in _begin(design, slot)])
    index = {state: i for i, state in enumerate(start)}
    rows, queue = [], list(start)
    for state in queue:  # grows while we walk along it
        row = _merged(_successors(design, state))
        for successor in row:
            if index.setdefault(successor, len(index)) == len(queue):
                queue.append(successor)
        if len(queue) > MAX_STATES:
            raise ValueError(f"the task must have at most {MAX_STATES} states: take fewer cues, shorter delays or fewer trials")
        rows.append(row or {state: 1.0})
    return _tabulated(design, tuple(queue), [*rows, start], index)


def _tabulated(design: Design, states: tuple[Micro, ...], rows: list[dict[Micro, float]], index: dict[Micro, int]) -> Chain:
    width = max(2, *map(len, rows))
    successors, probabilities = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        successors[i] = index[next(reversed(row))]
        successors[i, : len(row)] = [index[state] for state in row]
        probabilities[i, : len(row)] = list(row.values())
    cues = [design.slots[s.slot].kinds[s.kind].cue if s.phase == "trial" and s.elapsed == 0 else None for s in states]
    last = np.array([_is_last(design, state) for state in states])
    return Chain(
        states,
        np.array([-1 if cue is None else cue for cue in cues], np.int32),
        np.array([state.reward for state in states], np.float32),
        last,
        last & np.array([not design.slots[state.slot].following for state in states]),
        successors,
        probabilities / probabilities.sum(axis=1, keepdims=True),
    )


def _successors(design: Design, state: Micro) -> list[tuple[Micro, float]]:
    slot = design.slots[state.slot]
    if state.phase == "interval":
        if state.elapsed < design.iti_min:
            return [(state._replace(elapsed=state.elapsed + 1), 1.0)]
        return _after_interval(design, state.slot)
    if state.phase == "trial" and not _ends_at_cue(design, state):
        return _within_trial(slot.kinds[state.kind], state)
    if not _is_last(design, state):
        return [(Micro(state.slot, "after", elapsed=state.elapsed + 1), 1.0)]
    return [(first, p * q) for following, p in slot.following for first, q in _begin(design, following)]


def _begin(design: Design, slot: int) -> list[tuple[Micro, float]]:
    """Where a trial's first step may be."""
    return _after_interval(design, slot) if design.iti_min == 0 else [(Micro(slot, "interval", elapsed=1), 1.0)]


def _after_interval(design: Design, slot: int) -> list[tuple[Micro, float]]:
    p = design.iti_probability
    cues = [(Micro(slot, "trial", kind), p * each.probability, each) for kind, each in enumerate(design.slots[slot].kinds)]
    kept = [(state, q * (1 - each.omission)) for state, q, each in cues]
    omitted = [(state._replace(omitted=True), q * each.omission) for state, q, each in cues]
    return [*kept, *omitted, (Micro(slot, "interval", elapsed=design.iti_min), 1 - p)]


def _within_trial(kind: Kind, state: Micro) -> list[tuple[Micro, float]]:
    now, longest = state.elapsed + 1, kind.delays[-1][0]
    waiting = state._replace(elapsed=now)
    if state.omitted:
        return [(Micro(state.slot, "outcome"), 1.0)] if now == longest else [(waiting, 1.0)]
    # The hazard: that the outcome comes now, given that it has not come before.
    hazard = dict(kind.delays).get(now, 0.0) / sum(p for delay, p in kind.delays if delay >= now) if now < longest else 1.0
    outcomes = [(Micro(state.slot, "outcome", reward=reward), hazard * p) for reward, p in kind.outcomes]
    return [*outcomes, (waiting, 1 - hazard)]


def _is_last(design: Design, state: Micro) -> bool:
    over = state.phase in ("outcome", "after") or _ends_at_cue(design, state)
    return over and state.elapsed == design.padding


def _ends_at_cue(design: Design, state: Micro) -> bool:
    return state.omitted and not design.omission_waits


def _merged(pairs: list[tuple[Micro, float]]) -> dict[Micro, float]:
    """Successors with their probabilities; the same one twice becomes one, and the impossible none."""
    merged: dict[Micro, float] = {}
    for state, p in pairs:
        if p > 0:
            merged[state] = merged.get(state, 0.0) + p
    return merged
