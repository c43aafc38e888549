"""The cue–reward tasks told again with NumPy: trials are drawn whole (interval, kind, delay, reward) and laid end to end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl_envs.conditioning import (
    Babayan,
    ConditioningTask,
    Contingency,
    CueReward,
    Starkweather,
    VariableMagnitude,
    VariableProbability,
)


class Drawn(NamedTuple):
    """Whole trials: steps before the cue, cue (−1 for none), steps from cue to outcome, reward; each of shape (trials,)."""

    iti: np.ndarray
    cue: np.ndarray
    delay: np.ndarray
    reward: np.ndarray


def draw(env: ConditioningTask, num: int, rng: np.random.Generator) -> Drawn:
    iti = env.iti_min + rng.geometric(env.iti_probability, num) - 1
    if isinstance(env, CueReward):
        cue = rng.choice(len(env.delays), num, p=env.cue_probabilities)
        pairs = [((d, 1.0),) if isinstance(d, int) else d for d in env.delays]
        delay = np.array([rng.choice([d for d, _ in pairs[c]], p=[p for _, p in pairs[c]]) for c in cue])
        kept = rng.random(num) >= env.omission
        longest = np.array([pair[-1][0] for pair in pairs])[cue]
        return Drawn(iti, cue, np.where(kept, delay, longest), kept * env.reward)
    if isinstance(env, Starkweather):
        cue = rng.integers(len(env.odours), size=num)
        odour = np.array(list(env.odours))[cue]
        seconds = np.array([1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8])
        weights = np.exp(-((seconds - 2) ** 2) / (2 * 0.5**2))
        varying = rng.choice(np.round(seconds / 0.2).astype(int), num, p=weights / weights.sum())
        kept = (rng.random(num) >= (0.1 if env.task == 2 else 0)) & (odour != "D")
        delay = np.select([odour == "A", odour == "C"], [np.where(kept, varying, 14), 14], 6)
        return Drawn(iti, cue, delay, kept * 1.0)
    if isinstance(env, Babayan):
        blocks = rng.choice(env.sizes, -(-num // env.block_length), p=env.size_probabilities)
        delay = env.delay + rng.integers(-env.jitter, env.jitter + 1, num)
        return Drawn(iti, np.zeros(num, int), delay, np.repeat(blocks, env.block_length)[:num])
    if isinstance(env, Contingency):
        kind = rng.choice(3, num, p=[0.4, 0.2, 0.4])
        rewarded = (kind == 0) | ((kind == 2) & (env.phase != "conditioning"))
        reward = rewarded & (rng.random(num) < env.reward_probability)
        delay = env.delay + rng.integers(-env.jitter, env.jitter + 1, num)
        return Drawn(iti, np.where((kind == 2) & (env.phase != "cued"), -1, kind), delay, reward * 1.0)
    if isinstance(env, VariableMagnitude):
        p = np.array(env.size_probabilities)
        cue = np.zeros(num, int) if env.cued else np.full(num, -1)
        return Drawn(iti, cue, np.full(num, env.delay), rng.choice(env.sizes, num, p=p / p.sum()))
    assert isinstance(env, VariableProbability)
    cue = rng.integers(len(env.probabilities), size=num)
    return Drawn(iti, cue, np.full(num, env.delay), 1.0 * (rng.random(num) < np.array(env.probabilities)[cue]))


def lay_out(env: ConditioningTask, drawn: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """Trials end to end: observations, float32 (T, F), and the number of the trial that each step belongs to, int (T,)."""
    length = drawn.iti + drawn.delay + 1 + getattr(env, "padding", 0)
    onset = np.cumsum(length) - length + drawn.iti
    observations = np.zeros((length.sum(), len(env.cue_names) + 1), np.float32)
    shown = drawn.cue >= 0
    observations[onset[shown], drawn.cue[shown]] = 1
    observations[onset + drawn.delay, -1] = drawn.reward
    return observations, np.repeat(np.arange(len(length)), length)
