"""Journals: every damage is refused with the number of its line, and lines that say nothing cost nothing."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mbrl_envs import cli
from tests.tuning.fakes import study_in, work
from tuning import Study, curves, open_study
from tuning.register import entry_damage


class Case:
    """A journal's folder, its lines, and what the study in it says."""

    def __init__(self, folder: pathlib.Path, study: Study) -> None:
        self.folder, self.table = folder, study.table()
        self.lines = (folder / "whole.journal").read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("journal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "_picture", lambda table, title: b"")
        study = study_in(folder, folder / "whole.journal", pruning="halving")
        work(study)
        yield Case(folder, study)


def opened(case: Case, lines: list[bytes]) -> Study:
    """The study in a journal of other lines."""
    path = case.folder / "study.journal"
    path.write_bytes(b"".join(lines))
    return open_study(path, "small", case.folder)


def is_named(error: Exception | None, number: int) -> bool:
    return f"study.journal is damaged in line {number} (" in str(error)


def without_a_field(record: dict[str, Any], data: st.DataObject) -> bytes:
    gone = data.draw(st.sampled_from(sorted(record)))
    return json.dumps({name: value for name, value in record.items() if name != gone}).encode()


def with_a_wrong_field(record: dict[str, Any], data: st.DataObject) -> bytes:
    changed = data.draw(st.sampled_from(sorted(record)))
    value = data.draw(st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2) | st.floats(allow_nan=False))
    return json.dumps(record | {changed: value}).encode()


def cut_short(record: dict[str, Any], data: st.DataObject) -> bytes:
    line = json.dumps(record).encode()
    return line[: data.draw(st.integers(1, len(line) - 1))]


def something_else(record: dict[str, Any], data: st.DataObject) -> bytes:
    values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3)
    noise = st.binary(max_size=9).map(lambda raw: b"{" + raw.translate(None, b"\r\n"))
    return data.draw(values.map(lambda value: json.dumps(value).encode()) | noise)


def refusal(case: Case, lines: list[bytes]) -> Exception | None:
    """How a journal is refused, or the study in it; None if it can be read."""
    try:
        study = opened(case, lines)
        study.table()
        study.register.read()
    except (FileNotFoundError, ValueError) as error:
        return error
    return None


# Of records that are whole, but say something else; what does not go with that may be a later line.
IN_WORDS = (
    "study.journal is damaged in line ",
    *("there is no study 'small'", "some of its trials were deleted", "is not one of our", "has an incomplete description"),
    "is damaged: entry",
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("damage", [without_a_field, with_a_wrong_field, cut_short, something_else])
def test_every_damaged_line(damage: Any, case: Case, data: st.DataObject) -> None:
    """Refused with its number; or, where Optuna reads past it, the study is read, or refused in words of ours."""
    lines = case.lines
    place = data.draw(st.integers(0, len(lines) - 1), label="line")
    damaged = damage(json.loads(lines[place]), data) + b"\n"
    found = refusal(case, [*lines[:place], damaged, *lines[place + 1 :]])
    whole = damage in (without_a_field, with_a_wrong_field)
    assert (whole and found is None) or is_named(found, place + 1) or (whole and any(text in str(found) for text in IN_WORDS))


def test_every_field_that_a_record_needs(case: Case) -> None:
    """All records, each without each of its fields: none is a bare KeyError."""
    lines = case.lines
    refused = 0
    seen: set[tuple[Any, ...]] = set()
    for place, line in enumerate(lines):
        record = json.loads(line)
        for gone in record:
            if (kind := (record["op_code"], gone, tuple(record))) in seen:
                continue
            seen.add(kind)
            damaged = json.dumps({name: value for name, value in record.items() if name != gone}).encode() + b"\n"
            found = refusal(case, [*lines[:place], damaged, *lines[place + 1 :]])
            refused += is_named(found, place + 1)
            assert found is None or is_named(found, place + 1) or any(text in str(found) for text in IN_WORDS)
    assert refused > 20


def test_lines_that_say_nothing_cost_nothing(case: Case) -> None:
    folder, lines, whole = case.folder, case.lines, case.table
    to_nobody = b'{"op_code":2,"worker_id":"somebody","study_id":99,"user_attr":{"a":1}}\n'
    harmless = [b"\n", b"   \n", lines[0], to_nobody, *lines[1:5], b"\r\n", *lines[5:], b"\n"]
    study = opened(case, harmless)
    pd.testing.assert_frame_equal(study.table(), whole)
    expected = b"".join([lines[0], to_nobody, *lines[1:]])
    assert (folder / "study.journal").read_bytes()[: len(expected)] == expected  # what follows says that somebody looked
    study.register.append("trials", number=12)  # and it is written to as before
    pd.testing.assert_frame_equal(open_study(folder / "study.journal", "small", folder).table(), whole)


def test_an_entry_of_the_register_without_its_fields(case: Case, capsys: pytest.CaptureFixture) -> None:
    """By the user's route: the command names the line."""
    folder, lines = case.folder, case.lines
    place = next(i for i, line in enumerate(lines) if b'"kind":"open"' in line)
    record = json.loads(lines[place])
    del record["user_attrs"]["entry"]["slots"]
    (folder / "study.journal").write_bytes(b"".join([*lines[:place], json.dumps(record).encode() + b"\n", *lines[place + 1 :]]))
    assert cli.main(["tune", "status", "--storage", str(folder / "study.journal"), "--study", "small"]) != 0
    error = capsys.readouterr().err
    assert f"study.journal is damaged in line {place + 1} (it is of kind 'open' and has no slots)" in error
    assert "delete that line and all after it" in error


@pytest.mark.parametrize(
    ("entry", "damage"),
    [
        (None, "it is none of ours"),
        ({"kind": "open"}, "it is none of ours"),
        ({"kind": "report", "mark": "a", "epochs": {}, "timestep": 1}, "it is of kind 'report' and has no outcomes"),
        ({"kind": "trials", "mark": "a", "number": None}, "it is of kind 'trials' and has no number"),
        ({"kind": "trials", "mark": "a", "number": 3}, None),
        ({"kind": "of another version", "mark": "a"}, None),
    ],
)
def test_what_is_wrong_with_an_entry_of_the_register(entry: Any, damage: str | None) -> None:
    assert entry_damage(entry) == damage
