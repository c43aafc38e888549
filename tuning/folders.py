"""Whose a study's folder is: a marker says so, as the files of trials are numbered alike in every study.

Each worker may have a folder of its own, and several may share one: each of them is marked with the same study's id.
"""

from __future__ import annotations

import pathlib

from mbrl_agents.core.files import write_atomically

MARKER = "study.id"
_RESULTS = ("curves", "batches", "confirmation")  # what trials leave in a folder


def check_folder(folder: pathlib.Path, study: str | None) -> None:
    """Makes sure that a folder is not another study's; nothing is written. Old studies have left no marker in theirs.

    Args:
        folder: The folder, which need not exist.
        study: The study's id; None if it is still to be made.

    Raises:
        ValueError: It is another study's.
    """
    marker = folder / MARKER
    if marker.is_file():
        owner, _, name = marker.read_text(encoding="utf-8", errors="replace").strip().partition(" ")
        if owner != study:
            raise ValueError(f"folder {folder} belongs to another study (called {name!r}): choose another folder")
    elif study is None and (found := [name for name in _RESULTS if any((folder / name).glob("*"))]):
        raise ValueError(f"folder {folder} holds {' and '.join(found)} of another study: choose another folder")


def claim_folder(folder: pathlib.Path, study: str, name: str) -> None:
    """Marks a folder as a study's.

    Args:
        folder: The folder; made if it is not there.
        study: The study's id.
        name: Its name, for people.

    Raises:
        ValueError: It is another study's.
    """
    check_folder(folder, study)
    if not (folder / MARKER).is_file():
        write_atomically(folder / MARKER, f"{study} {name}\n".encode())
