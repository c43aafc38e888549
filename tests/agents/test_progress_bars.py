"""Progress bars are closed however a training ends: a bar that stays alive takes in what is printed later."""

from __future__ import annotations

from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback, ProgressBarCallback

from mbrl_agents.sb3 import progress_bars
from tests.agents import test_interruptions
from tests.agents.small import agent as small_agent
from tests.agents.small import both_loops

MADE: list[Recorded] = []


class Recorded(ProgressBarCallback):
    def __init__(self) -> None:
        super().__init__()
        MADE.append(self)


@pytest.fixture(autouse=True)
def bars(monkeypatch: pytest.MonkeyPatch) -> None:
    MADE.clear()
    monkeypatch.setattr(progress_bars, "ProgressBarCallback", Recorded)


class Raises(BaseCallback):
    """Raises at a step."""

    def __init__(self, error: type[BaseException], step: int) -> None:
        super().__init__()
        self.error, self.step = error, step

    def _on_step(self) -> bool:
        if self.n_calls == self.step:
            raise self.error
        return True


def is_alive(bar: Any) -> bool:
    return not bar.pbar.disable or bar.pbar._prog.live.is_started


@both_loops
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_bars_are_closed_by_an_interruption(device_loop: bool, error: type[BaseException]) -> None:
    learner = small_agent(device_loop)
    with pytest.raises(error):
        learner.learn(50, callback=Raises(error, 5), progress_bar=True)
    (bar,) = MADE
    assert bar.n_calls >= 4
    assert not is_alive(bar)


def test_bars_of_r2d2_are_closed_by_an_interruption() -> None:
    learner = test_interruptions.make("r2d2", False)
    with pytest.raises(KeyboardInterrupt):
        learner.learn(50, callback=[Raises(KeyboardInterrupt, 5)], progress_bar=True)
    (bar,) = MADE
    assert not is_alive(bar)


@both_loops
def test_at_the_end_a_bar_is_full_and_closed(device_loop: bool) -> None:
    steps: list[int] = []
    learner = small_agent(device_loop)
    learner.learn(40, callback=lambda local, _: bool(steps.append(local["self"].num_timesteps)) or True, progress_bar=True)
    (bar,) = MADE
    assert (bar.pbar.n, bar.pbar.total) == (40, 40)
    assert not is_alive(bar)
    assert len(steps) == 40
    learner.learn(5)
    assert len(MADE) == 1
