"""A run's ``metrics.csv`` and ``times.csv``, appended as the run goes on.

``metrics.csv`` has ``seed, timestep, metric, value``, one row a number, and depends on the run's configuration alone;
``times.csv`` has ``timestep, seconds``, the time spent up to each evaluation.
"""

from __future__ import annotations

import csv
import io
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from mbrl_agents.core.files import write_atomically

COLUMNS = ["seed", "timestep", "metric", "value"]
TIMES_COLUMNS = ["timestep", "seconds"]
SCORE = "score"  # the metric that is the mean of an evaluation
DIVERGENCE = "diverged"  # the metric of a run whose loss or weights are no longer finite; its value is 1


def create(path: pathlib.Path, columns: Sequence[str] = COLUMNS) -> None:
    """Writes an empty table."""
    write_atomically(path, _text([columns]))


def append(path: pathlib.Path, rows: Iterable[Sequence[Any]], *, wait: bool = True) -> None:
    """Appends rows; all of them are on the disk when this returns, or none.

    Args:
        path: The table's file.
        rows: The rows.
        wait: Whether to wait for the disk. Otherwise a crash of the system may lose them.

    Raises:
        OSError: Writing failed.
    """
    with path.open("ab") as file:
        before = file.tell()
        try:
            file.write(_text(rows))
            file.flush()
            if wait:
                os.fsync(file.fileno())
        except OSError:
            os.truncate(path, before)
            raise


def read(path: pathlib.Path) -> pd.DataFrame:
    """The whole table of metrics; a last line that a crash has cut short is left out.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or it is damaged.
    """
    table = _read(path, COLUMNS, lambda seed, timestep, name, value: (int(seed), int(timestep), name, float(value)))
    return table.astype({"seed": int, "timestep": int, "value": float})


def read_times(path: pathlib.Path) -> pd.DataFrame:
    """The whole table of times; as :func:`read`."""
    table = _read(path, TIMES_COLUMNS, lambda timestep, seconds: (int(timestep), float(seconds)))
    return table.astype({"timestep": int, "seconds": float})


def _read(path: pathlib.Path, columns: list[str], row: Callable[..., tuple[Any, ...]]) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8")
    header, *rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1])) if "\n" in text else [[]]
    if header != columns:
        raise ValueError(f"{path} is damaged: its columns must be {columns}, got {header}")
    try:
        # Python reads exactly what it wrote, which pandas does not promise; it may be written again.
        return pd.DataFrame([row(*each) for each in rows], columns=columns)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def scores(path: pathlib.Path) -> pd.Series:
    """Mean score of each evaluation, by timestep."""
    table = read(path)
    return table[table["metric"] == SCORE].set_index("timestep")["value"]


def drop_after(path: pathlib.Path, timestep: int, table: pd.DataFrame) -> None:
    """Writes a table to its file again without the rows after a timestep."""
    kept = table[table["timestep"] <= timestep]
    write_atomically(path, _text([list(table.columns), *kept.itertuples(index=False)]))


def _text(rows: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
