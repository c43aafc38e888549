"""A study's folder is its own: others are refused before anything is written."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from tests.tuning.fakes import FakeTrainer, study_in, work
from tuning import open_study
from tuning.confirm import confirm
from tuning.folders import MARKER, claim_folder

pytestmark = pytest.mark.usefixtures("no_pictures")


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_two_studies_in_one_folder(tmp_path: pathlib.Path) -> None:
    """Their files are numbered alike: the second one would show the first one's curves, and delete its own."""
    folder, storage = tmp_path / "folder", tmp_path / "study.journal"
    first = study_in(folder, storage)
    work(first)
    study_in(tmp_path / "elsewhere", storage, name="other", total_timesteps=50, eval_interval=25)
    before = contents(folder)
    with pytest.raises(ValueError, match=r"folder .*folder belongs to another study \(called 'small'\): choose another folder"):
        study_in(folder, storage, name="third")
    with pytest.raises(ValueError, match="belongs to another study"):
        study_in(folder)  # of the same name, in a storage of its own
    with pytest.raises(ValueError, match="belongs to another study"):
        open_study(storage, "other", folder)
    assert contents(folder) == before
    assert b"third" not in storage.read_bytes()


def test_a_storage_that_was_deleted(tmp_path: pathlib.Path) -> None:
    work(study_in(tmp_path))
    (tmp_path / "study.db").unlink()
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="belongs to another study"):
        study_in(tmp_path, total_timesteps=50, eval_interval=25)
    assert contents(tmp_path) == before


def test_folders_without_a_marker(tmp_path: pathlib.Path) -> None:
    """Those of old studies, which go on in theirs, and of nobody else."""
    study = study_in(tmp_path / "old", tmp_path / "study.journal")

    def press() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, FakeTrainer(before=press))
    (study.folder / MARKER).unlink()
    with pytest.raises(ValueError, match="holds batches of another study: choose another folder"):
        study_in(study.folder, name="new")
    again = open_study(tmp_path / "study.journal")
    assert again.folder == study.folder
    assert not (study.folder / MARKER).exists()  # it might be somebody who only looks
    work(again)
    assert (study.folder / MARKER).read_text().split() == [study.register.read().study, "small"]
    assert len(study.curves.read_all()) == 12 * 2 * 3


@pytest.mark.parametrize("shared", [True, False])
def test_several_machines(shared: bool, tmp_path: pathlib.Path) -> None:
    """The same study is at home in every folder, a moved one included."""
    storage = tmp_path / "study.journal"
    study = study_in(tmp_path / "one", storage)
    study.set_trials(4)
    work(study)
    other = open_study(storage, folder=study.folder if shared else tmp_path / "two")
    other.set_trials(12)
    work(other)
    confirm(other, 2, FakeTrainer())
    assert len(other.curves.read_all()["slot"].unique()) == (12 if shared else 8)
    assert (other.folder / MARKER).read_text() == (study.folder / MARKER).read_text()
    shutil.move(study.folder, tmp_path / "moved")
    assert work(open_study(storage, folder=tmp_path / "moved")).batches == []


def test_claimed_in_the_meantime(tmp_path: pathlib.Path) -> None:
    """Two studies were opened with one folder that did not exist: the first one that works has it."""
    study = study_in(tmp_path / "one", tmp_path / "study.journal")
    work(study)
    opened = open_study(tmp_path / "study.journal", folder=tmp_path / "two")
    claim_folder(opened.folder, "somebody", "else")
    with pytest.raises(ValueError, match=r"belongs to another study \(called 'else'\)"):
        work(opened)
    with pytest.raises(ValueError, match=r"belongs to another study \(called 'else'\)"):
        confirm(opened, 2, FakeTrainer())
    assert [file.name for file in opened.folder.iterdir()] == [MARKER]
