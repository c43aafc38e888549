"""A run's ``metrics.csv``: ``seed, timestep, metric, value``, one row a number, appended as the run goes on."""

from __future__ import annotations

import csv
import io
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from mbrl_agents.core.files import write_atomically

COLUMNS = ["seed", "timestep", "metric", "value"]
SCORE = "score"  # the metric that is the mean of an evaluation
DIVERGENCE = "diverged"  # the metric of a run whose loss or weights are no longer finite; its value is 1


def create(path: pathlib.Path) -> None:
    """Writes an empty table."""
    write_atomically(path, _text([COLUMNS]))


def append(path: pathlib.Path, seed: int, timestep: int, values: Mapping[str, float]) -> None:
    """Appends a row for each metric; all of them are on the disk when this returns, or none.

    Raises:
        OSError: Writing failed.
    """
    rows = _text([seed, timestep, name, float(value)] for name, value in values.items())
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(rows)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def read(path: pathlib.Path) -> pd.DataFrame:
    """The whole table; a last line that a crash has cut short is left out.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is damaged.
    """
    text = path.read_text(encoding="utf-8")
    header, *rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1])) if "\n" in text else [[]]
    if header != COLUMNS:
        raise ValueError(f"{path} is damaged: its columns must be {COLUMNS}, got {header}")
    try:
        # Python reads exactly what it wrote, which pandas does not promise; it may be written again.
        typed = [(int(seed), int(timestep), name, float(value)) for seed, timestep, name, value in rows]
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    table = pd.DataFrame(typed, columns=COLUMNS)
    return table.astype({"seed": int, "timestep": int, "value": float})


def scores(path: pathlib.Path) -> pd.Series:
    """Mean score of each evaluation, by timestep."""
    table = read(path)
    return table[table["metric"] == SCORE].set_index("timestep")["value"]


def drop_after(path: pathlib.Path, timestep: int) -> None:
    """Forgets all rows after a timestep."""
    table = read(path)
    kept = table[table["timestep"] <= timestep]
    write_atomically(path, _text([COLUMNS, *kept.itertuples(index=False)]))


def _text(rows: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
