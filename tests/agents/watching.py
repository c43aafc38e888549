"""What an agent tells others: progress bars how far it is, its learner what was drawn, any object how it is called."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from stable_baselines3.common import callbacks

from mbrl_agents.core.replay import Batch
from mbrl_agents.sb3.jax_agent import JaxAgent


class _Bar:
    """In the place of tqdm's: counts."""

    def __init__(self, made: list[tuple[int, int]], total: int) -> None:
        self.made, self.total, self.n, self.disable = made, total, 0, False

    def update(self, num: int) -> None:
        self.n += num

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        self.made.append((self.n, self.total))
        self.disable = True


def bars_made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that gets, of each progress bar that is closed from now on, how far it went and where its end is."""
    made: list[tuple[int, int]] = []

    def bar(*, total: int, **other: Any) -> _Bar:
        return _Bar(made, total)

    monkeypatch.setattr(callbacks, "tqdm", bar)
    return made


class Call(NamedTuple):
    """One call.

    Attributes:
        given: Arguments by position.
        result: What came back.
    """

    given: tuple[Any, ...]
    result: Any


def calls_of(owner: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """A list that gets all calls of an object's method from now on; they do what they did."""
    calls: list[Call] = []
    plain = getattr(owner, method)

    def note(*given: Any) -> Any:
        calls.append(Call(given, plain(*given)))
        return calls[-1].result

    monkeypatch.setattr(owner, method, note)
    return calls


def batches_drawn(agent: JaxAgent, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, Batch, Batch]]:
    """A list that gets, of each update in the host loop with a ``VecNormalize``, what was drawn, this normalised as it would
    be at that time, and what the update was given; NumPy arrays.
    """
    found: list[tuple[Batch, Batch, Batch]] = []
    env, functions, drawn = agent.get_vec_normalize_env(), agent._functions, calls_of(agent.memory, "sample", monkeypatch)
    assert env is not None
    update = functions.update

    def note_given(state: Any, batch: Batch, *rest: Any) -> Any:
        raw = drawn[-1].result
        normalized = raw._replace(
            observation=env.normalize_obs(np.array(raw.observation)),
            next_observation=env.normalize_obs(np.array(raw.next_observation)),
            reward=env.normalize_reward(np.array(raw.reward)),
        )
        found.append((jax.device_get(raw), normalized, jax.device_get(batch)))
        return update(state, batch, *rest)

    monkeypatch.setattr(functions, "update", note_given)
    return found


def assert_normalized(found: list[tuple[Batch, Batch, Batch]]) -> None:
    """Observations and rewards of what updates were given are normalised, all else is as it was drawn."""
    for raw, normalized, given in found:
        for name in Batch._fields:
            expected = getattr(normalized, name)
            if expected is not None:
                np.testing.assert_allclose(getattr(given, name), expected, rtol=1e-5, atol=1e-6, err_msg=name)
        for name in ("observation", "next_observation", "reward"):
            assert np.abs(getattr(given, name) - getattr(raw, name)).max() > 0.1
