"""The register: which entries count, and what comes of workers that are killed, freeze and thaw at any moment."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from tests.tuning.fakes import value_at
from tests.tuning.interleaved import Simulation
from tuning.pruning import Ladder
from tuning.register import Batch, Ledger, Register, fold


def opened(worker: str, *slots: int) -> dict[str, Any]:
    return {"kind": "open", "worker": worker, "slots": list(slots)}


def adopted(worker: str, batch: int, epoch: int) -> dict[str, Any]:
    return {"kind": "adopt", "worker": worker, "batch": batch, "epoch": epoch}


def reported(epochs: dict[int, int], timestep: int, **values: float | None) -> dict[str, Any]:
    """A report; ``s3=0.5`` says that slot 3 is worth 0.5."""
    outcomes = {name.removeprefix("s"): {"value": value} for name, value in values.items()}
    by_batch = {str(batch): epoch for batch, epoch in epochs.items()}
    return {"kind": "report", "epochs": by_batch, "timestep": timestep, "outcomes": outcomes}


def described(*rungs: int) -> dict[str, Any]:
    return {"kind": "study", "spec": {}, "ladder": Ladder(rungs, 2).to_dict()}


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


def values(ledger: Ledger) -> dict[int, float | None]:
    """The values of slots that have ended."""
    return {slot: progress.outcome["value"] for slot, progress in ledger.ended.items()}


def test_a_report_of_an_old_epoch_does_not_count() -> None:
    ledger = fold([opened("a", 0), adopted("b", 0, 2), reported({0: 1}, 100, s0=1.0)])
    assert values(ledger) == {}
    assert ledger.progress(0).timestep == 0
    entries = [opened("a", 0), adopted("b", 0, 2), reported({0: 1}, 100, s0=1.0), reported({0: 2}, 100, s0=2.0)]
    ledger = fold([*entries, reported({0: 2}, 100, s0=3.0), adopted("c", 0, 3)])
    assert values(ledger) == {0: 2.0}
    assert ledger.batches[0].worker == "b"


def test_an_adoption_after_the_end_does_not_count() -> None:
    ledger = fold([opened("a", 0), reported({0: 1}, 100, s0=1.0), adopted("b", 0, 2), reported({0: 2}, 100, s0=2.0)])
    assert ledger.batches[0] == Batch(0, (0,), 1, "a")
    assert values(ledger) == {0: 1.0}
    assert ledger.open == []


def test_a_report_on_slots_of_others_does_not_count() -> None:
    ledger = fold([opened("a", 0, 1), opened("b", 2), reported({0: 1}, 100, s0=1.0, s2=1.0, s7=1.0)])
    assert values(ledger) == {0: 1.0}
    assert [batch.number for batch in ledger.open] == [0, 1]


def test_a_report_on_several_batches_of_which_one_is_lost() -> None:
    entries = [opened("a", 0, 1), opened("a", 2), adopted("b", 0, 2)]
    ledger = fold([*entries, reported({0: 1, 1: 1}, 100, s0=1.0, s1=2.0, s2=3.0)])
    assert values(ledger) == {2: 3.0}


def test_the_worse_half_ends_at_a_rung() -> None:
    entries = [described(25, 50, 100), opened("a", 0, 1, 2, 3), reported({1: 1}, 25, s0=1.0, s1=4.0, s2=None, s3=2.0)]
    ledger = fold(entries)
    assert values(ledger) == {0: 1.0, 2: None}
    assert all(progress.pruned for progress in ledger.ended.values())
    assert [ledger.progress(slot).timestep for slot in range(4)] == [25] * 4
    # Of all that have come so far: the better half of 4, 3, 2, 1.5, 1.2, 1.1, 1 and none.
    later = [opened("b", 4, 5, 6, 7), reported({3: 1}, 25, s4=1.1, s5=3.0, s6=1.5, s7=1.2)]
    assert values(fold([*entries, *later])) == {0: 1.0, 2: None, 4: 1.1, 7: 1.2}
    # Whoever has gone on has gone on, whatever comes later.
    better = [opened("b", 4, 5), reported({3: 1}, 25, s4=9.0, s5=8.0)]
    assert values(fold([*entries, *better])) == {0: 1.0, 2: None}


def test_the_last_rung_is_the_end() -> None:
    entries = [described(50, 100), opened("a", 0, 1), reported({1: 1}, 50, s0=1.0, s1=2.0), reported({1: 1}, 100, s1=0.5)]
    ledger = fold(entries)
    assert {slot: (each.outcome["value"], each.pruned) for slot, each in ledger.ended.items()} == {
        0: (1.0, True),
        1: (0.5, False),
    }
    assert ledger.progress(1).reports == {50: {"value": 2.0}, 100: {"value": 0.5}}
    assert ledger.is_over(ledger.batches[1])
    # A rung is reported once, in order; what has ended has ended.
    again = fold([*entries[:3], reported({1: 1}, 50, s1=7.0), reported({1: 1}, 25, s1=7.0), reported({1: 1}, 100, s0=7.0)])
    assert again.progress(1).reports == {50: {"value": 2.0}}
    assert values(again) == {0: 1.0}


def test_the_first_description_and_the_last_number() -> None:
    ladder = Ladder((10,)).to_dict()
    entries = [{"kind": "study", "spec": {"a": number}, "ladder": ladder} for number in (1, 2)]
    ledger = fold([*entries, {"kind": "trials", "number": 2}, {"kind": "trials", "number": 1}])
    assert (ledger.spec, ledger.trials, ledger.length) == ({"a": 1}, 1, 4)


def test_as_a_worker_sees_it() -> None:
    storage = InMemoryStorage()
    one, two = Register(storage, "s"), Register(storage, "s")
    (batch,) = one.open("a", [0, 1]).open
    assert batch == Batch(batch.number, (0, 1), 1, "a")
    assert [each.slots for each in two.open("b", [1, 0]).open] == [(0, 1)]
    (taken,) = two.adopt(batch, "b").open
    assert taken == batch._replace(worker="b", epoch=2)
    assert one.adopt(batch, "c").open == [taken]
    outcomes: dict[int, dict[str, Any]] = {0: {"value": 1}, 1: {"value": 2}}
    assert one.report([batch], 100, outcomes).open == [taken]
    assert values(two.report([taken], 100, outcomes)) == {0: 1, 1: 2}
    assert one.adopt(taken, "c").batches[batch.number] == taken
    one.beat("a", {"count": 1})
    two.beat("b", {"count": 1})
    one.beat("a", {"count": 2})
    assert two.beats() == {"a": {"count": 2}, "b": {"count": 1}}


def holders_of(simulation: Simulation, slot: int) -> set[str]:
    """All workers that have had a slot; with pruning, its batch may go on to another one when it has ended."""
    register = Register(simulation.storage, "s")
    batch = next(batch for batch in register.read().batches.values() if slot in batch.slots)
    adoptions = (entry for entry in register._entries() if entry.get("batch") == batch.number)
    return {register._entries()[batch.number]["worker"], *(entry["worker"] for entry in adoptions)}


def simulate(seed: int, folder: pathlib.Path, pruning: str = "none") -> Simulation:
    """Workers in an order of chance; whatever it is, each slot is told once, with the numbers of the worker that counts."""
    simulation = Simulation(seed, folder, pruning=pruning)
    simulation.run()
    ledger = Register(simulation.storage, "s").read()
    assert sorted(ledger.ended) == list(range(12))
    study_id = simulation.storage.get_study_id_from_name("s")
    trials = simulation.storage.get_all_trials(study_id)
    told = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert sorted(trial.user_attrs["slot"] for trial in told) == list(range(12))
    assert len({tuple(trial.params.items()) for trial in told}) == 12
    for trial in told:
        progress = ledger.ended[slot := trial.user_attrs["slot"]]
        assert trial.value == progress.outcome["value"]
        assert trial.state == (TrialState.PRUNED if progress.pruned else TrialState.COMPLETE)
        if not progress.pruned:
            author = simulation.players[round(100 * (trial.value - value_at(trial.params))) - 1].id
            assert author == ledger.holder(slot) or (pruning != "none" and author in holders_of(simulation, slot))
    # What came too late has failed, and nothing is left running, at the latest when the next one looks.
    simulation.look_again()
    trials = simulation.storage.get_all_trials(study_id)
    assert [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)] == told
    assert {trial.state for trial in trials if trial not in told} <= {TrialState.FAIL}
    # What is trained again was in a batch that somebody lost.
    lost = sum(len(batch.slots) * (batch.epoch - 1) for batch in ledger.batches.values())
    assert len(simulation.trained) <= sum(len(progress.reports) for progress in ledger.ended.values()) + 2 * lost
    return simulation


@pytest.mark.parametrize("pruning", ["none", "halving"])
@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_whatever_the_order(count: int, pruning: str, tmp_path: pathlib.Path) -> None:
    killed = late = pruned = 0
    for seed in range(count):
        simulation = simulate(seed, tmp_path / str(seed), pruning)
        killed += sum(player.killed for player in simulation.players)
        late += len(simulation.trained) > len(set(map(str, simulation.trained)))
        ledger = Register(simulation.storage, "s").read()
        pruned += sum(progress.pruned for progress in ledger.ended.values())
    assert killed > count / 4
    assert late > count / 4
    assert (pruned > 3 * count) == (pruning == "halving")


def test_a_diverged_trial_goes_no_further_and_is_better_than_none() -> None:
    """Four at a rung, of which the better half goes on: the diverged one has the largest number, but does not."""
    report = reported({0: 1}, 50, s0=9.0, s1=3.0, s2=2.0, s3=1.0)
    report["outcomes"]["0"]["diverged"] = 1
    ledger = fold([described(50, 100), opened("a", 0, 1, 2, 3), {**report, "epochs": {"1": 1}}])
    assert {slot: progress.ended for slot, progress in ledger.slots.items()} == {0: True, 1: False, 2: False, 3: True}
