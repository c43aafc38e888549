"""Yardsticks of PanFlute: closed forms.

A step succeeds if the ends of all pipes were on after the step before. The random event (probability q = 1/P², 0 without
``spontaneous``) does that whatever the agent plays, and leaves no trace: an end's sound is gone one step later. Otherwise it
takes P notes, pipe i having been blown i steps ago, for every i. So the success of step t has probability 1 if the notes line
up, else q.
"""

from __future__ import annotations

from mbrl_envs.pan_flute import PanFlute
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


@optimal_solver.register(PanFlute)
def _optimal(env: PanFlute, steps: int | None) -> Score:
    """1/P + (1 − 1/P)·q in the long run; [k + (S − 1 − k)·q] / S over S steps, with k = ⌊(S − 1)/P⌋.

    A note serves one chord only, and a chord needs P notes, so S − 1 notes (the last is never heard) make at most k chords; the
    cycle P−1, …, 1, 0 makes them. The first step cannot succeed, every other one without a chord does with probability q.
    """
    num_pipes, event = env.num_pipes, env.all_on_probability
    if steps is None:
        return Score(1 / num_pipes + (1 - 1 / num_pipes) * event)
    chords = (steps - 1) // num_pipes
    return Score((chords + (steps - 1 - chords) * event) / steps)


@uniform_solver.register(PanFlute)
def _uniform(env: PanFlute, steps: int | None) -> Score:
    """In the long run q + (1 − q)·P^−P; over S steps [(S − 1)·q + max(0, S − P)·(1 − q)·P^−P] / S.

    The last P notes are the right ones with probability P^−P, once there are P of them.
    """
    num_pipes, event = env.num_pipes, env.all_on_probability
    by_chord = (1 - event) * float(num_pipes) ** -num_pipes
    if steps is None:
        return Score(event + by_chord)
    return Score(((steps - 1) * event + max(0, steps - num_pipes) * by_chord) / steps)
