"""Workers that take turns at every call to the storage, in an order of chance: killed, frozen and thawed on the way."""

from __future__ import annotations

import pathlib
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from mbrl_agents.runs.environments import EnvironmentSpec
from tests.tuning.fakes import FLUTE, SPACE, STEPS, curve_at
from tuning import Space, Study, StudySpec, Worker
from tuning.objectives import Curve
from tuning.register import Register, WorkerInfo
from tuning.training import Portion


class Killed(BaseException):
    """As SIGKILL: nobody tidies up."""


class Player:
    """A worker's thread; it goes on only while it has the turn."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.killed = self.over = False
        self.thaws = 0  # the turn from which it may go on
        self.worker: Worker | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._main, args=(work,), daemon=True)
        self.thread.start()

    @property
    def id(self) -> str:
        """Its name in the register; nothing before it has begun."""
        return "" if self.worker is None else self.worker.lease.worker

    def _main(self, work: Callable[[], None]) -> None:
        self.go.acquire()
        try:
            work()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.over = True
        self.back.release()

    def turn(self) -> None:
        """Goes on up to the next call."""
        self.go.release()
        self.back.acquire()

    def wait(self) -> None:
        """Called in the thread, before a call."""
        if threading.current_thread() is self.thread:
            self.back.release()
            self.go.acquire()
            if self.killed:
                raise Killed


class Stepping:
    """A storage at which a worker waits for its turn before every call."""

    def __init__(self, storage: Any, wait: Callable[[], None]) -> None:
        self._of, self._wait = storage, wait

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._of, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._wait()
            return method(*args, **kwargs)

        return call if callable(method) else method


class NoFiles:
    """Curves that nobody keeps."""

    def write(self, slot: int, curves: Any) -> None:
        """Nothing."""

    def attach(self, *args: Any) -> None:
        """Nothing."""


class Simulation:
    """A study with several workers.

    Args:
        seed: Decides everything.
        folder: For files.
        players: How many workers; the first is never killed.
        kills: How often a worker is killed at its turn.
        freezes: How often one is frozen.
        pruning: That of the study.
    """

    def __init__(
        self,
        seed: int,
        folder: pathlib.Path,
        players: int = 4,
        kills: float = 0.01,
        freezes: float = 0.03,
        pruning: str = "none",
    ) -> None:
        self.random, self.folder, self.kills, self.freezes = random.Random(seed), folder, kills, freezes
        self.storage, self.turns = InMemoryStorage(), 0
        self.spec = StudySpec(
            "ReplayDQN", EnvironmentSpec(FLUTE), Space.of(SPACE), STEPS, seeds_per_trial=1, eval_interval=50, pruning=pruning
        )
        register = Register(self.storage, "s")
        register.append("study", spec=self.spec.to_dict(), ladder=self.spec.ladder.to_dict())
        register.append("trials", number=12)
        optuna.create_study(storage=self.storage, study_name="s", direction="maximize")
        self.trained: list[tuple[int, dict[str, Any]]] = []
        self.told: list[tuple[str, int]] = []
        self.players = [Player(lambda i=i: self._work(i)) for i in range(players)]

    def _work(self, index: int) -> None:
        player = self.players[index]
        storage: Any = Stepping(self.storage, player.wait)
        study = Study("s", self.spec, storage, Register(storage, "s"), self.folder)
        study.curves = NoFiles()  # type: ignore[assignment]
        worker = Worker(study, 3, self._trainer(index), lease_seconds=1e6, poll_seconds=0.0)
        player.worker = worker
        worker.watch.gone = self.gone  # type: ignore[method-assign]
        worker.run()

    def _trainer(self, index: int) -> Any:
        def train(spec: StudySpec, portions: Sequence[Portion], seeds: Sequence[int], until: int) -> list[list[Curve]]:
            points = [portion.points[i] for portion in portions for i in portion.chosen]
            for point in points:
                self.trained.append((until, point))
            # Whose numbers they are can be seen from their last digits.
            return [[curve_at(point, index + 1, until) for seed in seeds] for point in points]

        return train

    def look_again(self) -> None:
        """A worker that comes when all is over: it trains nothing."""
        study = Study("s", self.spec, self.storage, Register(self.storage, "s"), self.folder)
        study.curves = NoFiles()  # type: ignore[assignment]

        def nothing(*args: Any) -> Any:
            raise AssertionError("there is nothing to train")

        Worker(study, 3, nothing).run()

    def gone(self, info: WorkerInfo | None, beat: Any) -> bool:
        """Everybody knows at once who is killed, and takes a frozen one for dead."""
        assert info is not None
        player = next(each for each in self.players if each.id == info.worker)
        return player.over or player.killed or player.thaws > self.turns

    def run(self) -> None:
        """Until all are through."""
        while live := [player for player in self.players if not player.over]:
            self.turns += 1
            able = [player for player in live if player.thaws <= self.turns]
            if not able:
                continue
            player = self.random.choice(able)
            chance = self.random.random()
            if chance < self.kills and player is not self.players[0]:
                player.killed = True
            elif chance < self.kills + self.freezes:
                player.thaws = self.turns + self.random.randrange(1, 80)
                continue
            player.turn()
        for player in self.players:
            if player.error is not None:
                raise player.error
