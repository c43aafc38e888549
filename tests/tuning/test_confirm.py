"""The winner on fresh seeds, when several workers come to the end at once, or one is killed on the way."""

from __future__ import annotations

import pathlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mbrl_agents.core.processes import this_host
from tests.tuning.fakes import FakeTrainer, study_in, work
from tuning import Study, open_study, turns
from tuning.confirm import confirm, read_confirmation
from tuning.leases import LeaseLostError
from tuning.register import Register

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def study(tmp_path: pathlib.Path) -> Study:
    study = study_in(tmp_path, tmp_path / "study.journal")
    work(study)
    return study


def again(study: Study) -> Study:
    """As another process would open it."""
    return open_study(study.folder / "study.journal", study.name, study.folder)


def test_several_at_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trains; the others wait, and have the same numbers."""
    waiting = threading.Semaphore(0)
    trainer = FakeTrainer(before=lambda: [waiting.acquire(timeout=30) for _ in range(2)] and None)

    def work_and_wait(_: int) -> object:
        return confirm(again(study), 4, trainer, say=lambda text: waiting.release())

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(work_and_wait, range(3))
    assert others == [first, first]
    assert read_confirmation(study) == first
    assert len(trainer.batches) == 1
    assert [path.name for path in (study.folder / "confirmation").iterdir()] == ["slot-00007-4"]
    names = {path.name for path in (study.folder / "confirmation" / "slot-00007-4").iterdir()}
    assert names == {"runs", "curves.parquet", "result.json"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_stopped_on_the_way(error: type[BaseException], study: Study) -> None:
    """The next one takes over at once, with what there is."""

    def stop() -> None:
        (runs,) = (study.folder / "confirmation" / "slot-00007-4").iterdir()
        (runs / "checkpoint").write_text("half")
        raise error

    with pytest.raises(error):
        confirm(study, 4, FakeTrainer(before=stop))
    assert read_confirmation(study) is None
    trainer = FakeTrainer()
    found = confirm(again(study), 4, trainer)
    assert len(trainer.batches) == 1
    assert (study.folder / "confirmation" / "slot-00007-4" / "runs" / "checkpoint").read_text() == "half"
    assert confirm(study, 4, trainer) == found
    assert confirm(study, 5, trainer).seeds == (2, 3, 4, 5, 6)
    assert len(trainer.batches) == 2
    assert confirm(study, 4, trainer) == found == read_confirmation(study)
    assert len(trainer.batches) == 2


def test_one_that_thaws(study: Study) -> None:
    """Its turn was taken over, and its files with it: it waits for the other one, like anybody."""
    others = []

    def freeze() -> None:
        if others:
            return
        register = Register(study.storage, f"{study.name}.confirmation-00007-4")
        (batch,) = register.read().open
        register.append("worker", worker="thief", host=this_host(), pid=0, process="")
        register.adopt(batch, "thief")
        others.append(batch)
        runs = study.folder / "confirmation" / "slot-00007-4"
        (runs / "runs-1").rename(runs / "runs-2")

    trainer = FakeTrainer(before=freeze)
    found = confirm(study, 4, trainer)
    assert len(trainer.batches) == 2  # its own, which came too late, and that of the thief, which is gone
    assert found == read_confirmation(again(study))
    names = {path.name for path in (study.folder / "confirmation" / "slot-00007-4").iterdir()}
    assert names == {"runs", "curves.parquet", "result.json"}


def test_turns(study: Study) -> None:
    """Whoever is too late learns it, whatever went wrong; an error leaves the turn to the next; and then it has been done."""
    seen = []

    def take(rob: bool = False, fail: bool = False) -> None:
        with turns.turn(study.storage, "t") as epoch:
            seen.append(epoch)
            if rob:
                register = Register(study.storage, "t")
                register.append("worker", worker="thief", host=this_host(), pid=0, process="")
                register.adopt(register.read().open[0], "thief")
            if fail:
                raise FileNotFoundError

    with pytest.raises(LeaseLostError):
        take(rob=True, fail=True)
    with pytest.raises(FileNotFoundError):
        take(fail=True)
    take()
    take()
    assert seen == [1, 3, 4, None]
