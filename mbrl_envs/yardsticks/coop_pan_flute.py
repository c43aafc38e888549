"""Yardsticks of the cooperative PanFlute: closed forms, as with one player (:mod:`mbrl_envs.yardsticks.pan_flute`).

A chord that sounds in step t takes a note of pipe i in step t − 1 − i, for every i: one note in each of the P steps before. So
chords within P steps of each other share steps, and A players can play at most A of them in any P consecutive steps. Nothing
but time tells them when: the scores hold for players who see only a part (``split``), if they can remember.
"""

from __future__ import annotations

from mbrl_envs.multi_agent.coop_pan_flute import CoopPanFlute
from mbrl_envs.yardsticks.scores import Score, optimal_solver, uniform_solver


@optimal_solver.register(CoopPanFlute)
def _optimal(env: CoopPanFlute, steps: int | None) -> Score:
    """A/P + (1 − A/P)·q in the long run; [c + (S − 1 − c)·q] / S over S steps with c chords.

    The first chord sounds in step P + 1; A chords in a row may begin every P steps, of which S steps have room for c.
    """
    pipes, players, event = env.num_pipes, env.num_agents, env.all_on_probability
    if steps is None:
        return Score(players / pipes + (1 - players / pipes) * event)
    cycles, rest = divmod(steps - 1, pipes)
    chords = (cycles - 1) * players + min(players, rest + 1) if cycles else 0
    return Score((chords + (steps - 1 - chords) * event) / steps)


@uniform_solver.register(CoopPanFlute)
def _uniform(env: CoopPanFlute, steps: int | None) -> Score:
    """In the long run q + (1 − q)·b^P; over S steps [(S − 1)·q + max(0, S − P)·(1 − q)·b^P] / S.

    A given pipe is blown in a given step by any of A players, each of whom blows it with probability 1 / (P + 1), with
    probability b = 1 − (1 − 1 / (P + 1))^A; a chord takes P such notes in different steps.
    """
    pipes, event = env.num_pipes, env.all_on_probability
    blown = 1 - (1 - 1 / (pipes + 1)) ** env.num_agents
    by_chord = (1 - event) * blown**pipes
    if steps is None:
        return Score(event + by_chord)
    return Score(((steps - 1) * event + max(0, steps - pipes) * by_chord) / steps)
