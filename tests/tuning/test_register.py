"""The register: which entries count, and what comes of workers that are killed, freeze and thaw at any moment."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from tests.tuning.fakes import value_at
from tests.tuning.interleaved import Simulation
from tuning.register import Batch, Register, fold


def opened(worker: str, *slots: int) -> dict[str, Any]:
    return {"kind": "open", "worker": worker, "slots": list(slots)}


def adopted(worker: str, batch: int, epoch: int) -> dict[str, Any]:
    return {"kind": "adopt", "worker": worker, "batch": batch, "epoch": epoch}


def done(batch: int, epoch: int, value: float) -> dict[str, Any]:
    return {"kind": "done", "batch": batch, "epoch": epoch, "results": {"0": {"value": value}}}


def test_a_slot_belongs_to_the_first() -> None:
    ledger = fold([{"kind": "trials", "number": 5}, opened("a", 0, 1), opened("b", 1, 2), opened("c", 0, 2)])
    assert [batch.slots for batch in ledger.batches.values()] == [(0, 1), (2,), ()]
    assert ledger.free == [3, 4]
    assert [batch.worker for batch in ledger.open] == ["a", "b"]


def test_the_first_adoption_counts() -> None:
    ledger = fold([opened("a", 0), adopted("b", 0, 2), adopted("c", 0, 2), adopted("d", 0, 4)])
    assert ledger.batches[0] == Batch(0, (0,), 2, "b")
    ledger = fold([opened("a", 0), adopted("b", 0, 2), adopted("c", 0, 3)])
    assert ledger.batches[0] == Batch(0, (0,), 3, "c")


def test_an_end_of_an_old_epoch_does_not_count() -> None:
    ledger = fold([opened("a", 0), adopted("b", 0, 2), done(0, 1, 1.0)])
    assert ledger.batches[0].results is None
    ledger = fold([opened("a", 0), adopted("b", 0, 2), done(0, 1, 1.0), done(0, 2, 2.0), done(0, 2, 3.0), adopted("c", 0, 3)])
    assert ledger.batches[0].results == {"0": {"value": 2.0}}
    assert ledger.batches[0].worker == "b"


def test_an_adoption_after_the_end_does_not_count() -> None:
    ledger = fold([opened("a", 0), done(0, 1, 1.0), adopted("b", 0, 2), done(0, 2, 2.0)])
    assert ledger.batches[0] == Batch(0, (0,), 1, "a", {"0": {"value": 1.0}})
    assert ledger.open == []


def test_the_first_description_and_the_last_number() -> None:
    entries = [{"kind": "study", "spec": {"a": 1}}, {"kind": "study", "spec": {"a": 2}}]
    ledger = fold([*entries, {"kind": "trials", "number": 2}, {"kind": "trials", "number": 1}])
    assert (ledger.spec, ledger.trials, ledger.length) == ({"a": 1}, 1, 4)


def test_as_a_worker_sees_it() -> None:
    storage = InMemoryStorage()
    one, two = Register(storage, "s"), Register(storage, "s")
    batch = one.open("a", [0, 1])
    assert batch is not None
    assert batch.slots == (0, 1)
    assert two.open("b", [1, 0]) is None
    taken = two.adopt(batch, "b")
    assert taken is not None
    assert one.adopt(batch, "c") is None
    assert one.finish(batch, {"0": {}, "1": {}}) is None
    finished = two.finish(taken, {"0": {"value": 1}, "1": {}})
    assert finished is not None
    assert finished.results == {"0": {"value": 1}, "1": {}}
    assert one.read().batches[batch.number] == finished
    assert one.adopt(taken, "c") is None
    one.beat("a", {"count": 1})
    two.beat("b", {"count": 1})
    one.beat("a", {"count": 2})
    assert two.beats() == {"a": {"count": 2}, "b": {"count": 1}}


def test_an_end_that_was_written_between_looking_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen just before it writes: the order in the log decides, not what was seen."""
    storage = InMemoryStorage()
    one, two = Register(storage, "s"), Register(storage, "s")
    batch = one.open("a", [0])
    assert batch is not None
    append = one.append

    def frozen(kind: str, **content: Any) -> Any:
        assert two.adopt(batch, "b") is not None
        return append(kind, **content)

    monkeypatch.setattr(one, "append", frozen)
    assert one.finish(batch, {"0": {"value": 1}}) is None
    assert [entry.epoch for entry in two.read().open] == [2]


def test_a_batch_that_is_adopted_before_its_worker_has_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = InMemoryStorage()
    one, two = Register(storage, "s"), Register(storage, "s")
    entries = one._entries

    def frozen() -> Any:
        if batches := two.read().open:
            assert two.adopt(batches[0], "b") is not None
        return entries()

    monkeypatch.setattr(one, "_entries", frozen)
    assert one.open("a", [0]) is None
    assert [(batch.worker, batch.epoch) for batch in two.read().open] == [("b", 2)]


def simulate(seed: int, folder: pathlib.Path) -> Simulation:
    """Workers in an order of chance; whatever it is, each slot is complete once, with the numbers of the worker that counts."""
    simulation = Simulation(seed, folder)
    simulation.run()
    ledger = Register(simulation.storage, "s").read()
    results = {slot: result for batch in ledger.done for slot, result in (batch.results or {}).items()}
    assert sorted(map(int, results)) == list(range(12))
    study_id = simulation.storage.get_study_id_from_name("s")
    trials = simulation.storage.get_all_trials(study_id)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs["slot"] for trial in complete) == list(range(12))
    assert len({tuple(trial.params.items()) for trial in complete}) == 12
    holders = {slot: batch.worker for batch in ledger.done for slot in batch.slots}
    for trial in complete:
        slot = trial.user_attrs["slot"]
        assert trial.value == results[str(slot)]["value"]
        author = round(100 * (trial.value - value_at(trial.params))) - 1
        assert simulation.players[author].id == holders[slot]
    # What came too late has failed, and nothing is left running, at the latest when the next one looks.
    simulation.look_again()
    trials = simulation.storage.get_all_trials(study_id)
    assert [trial for trial in trials if trial.state == TrialState.COMPLETE] == complete
    assert {trial.state for trial in trials if trial not in complete} <= {TrialState.FAIL}
    # What is trained again was in a batch that somebody lost.
    lost = sum(len(batch.slots) * (batch.epoch - 1) for batch in ledger.done)
    assert len(simulation.trained) <= 12 + lost
    return simulation


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_whatever_the_order(count: int, tmp_path: pathlib.Path) -> None:
    killed = late = 0
    for seed in range(count):
        simulation = simulate(seed, tmp_path)
        killed += sum(player.killed for player in simulation.players)
        late += len(simulation.trained) > 12
    assert killed > count / 4
    assert late > count / 4
