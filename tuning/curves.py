"""Learning curves of trials: a Parquet file for each, beside the study, and a picture and a table that the dashboard shows."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence

import pandas as pd
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.figures import as_bytes, new_figure
from tuning.objectives import Curve

COLUMNS = ["slot", "seed", "timestep", "score", "diverged"]
TABLE, PICTURE = "curve.csv", "curve.png"


class Curves:
    """The curves of a study's trials.

    A file's name says how far its curve goes, and the longest one counts: so a worker that was frozen, and thaws when another
    has gone on with its trial, does not put its shorter curve in the place of the other's.

    Args:
        folder: The study's folder: ``curves/slot-<n>-<last timestep>.parquet``, and ``artifacts/`` for the dashboard.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.artifacts = folder / "curves", folder / "artifacts"

    def write(self, slot: int, curves: Sequence[Curve]) -> None:
        """Writes the curves of a trial, whole or not at all; shorter ones go."""
        last = max((timestep for curve in curves for timestep in curve.timesteps), default=0)
        path = self.folder / f"slot-{slot:05d}-{last}.parquet"
        write_atomically(path, as_table(slot, curves).to_parquet(index=False))
        for file in self._files(f"slot-{slot:05d}-*").get(slot, [])[:-1]:
            file.unlink(missing_ok=True)

    def read(self, slot: int) -> pd.DataFrame | None:
        """The curves of a trial; None if they are not here (but with the worker that trained it)."""
        files = self._files(f"slot-{slot:05d}-*").get(slot)
        return pd.read_parquet(files[-1]) if files else None

    def read_all(self) -> pd.DataFrame:
        """All curves that are here, as one table: ``slot, seed, timestep, score, diverged``."""
        files = [several[-1] for _, several in sorted(self._files("slot-*").items())]
        return pd.concat([pd.read_parquet(file) for file in files], ignore_index=True) if files else _empty()

    def _files(self, pattern: str) -> dict[int, list[pathlib.Path]]:
        """Files of slots, the longest curve last."""
        found: dict[int, list[tuple[int, pathlib.Path]]] = {}
        for file in self.folder.glob(f"{pattern}.parquet"):
            _, slot, last = file.stem.split("-")
            found.setdefault(int(slot), []).append((int(last), file))
        return {slot: [file for _, file in sorted(several)] for slot, several in found.items()}

    def attach(self, storage: BaseStorage, trial: FrozenTrial, slot: int, title: str) -> None:
        """Gives an unfinished trial its curve as artifacts, if it is here and the trial has none yet."""
        table = self.read(slot)
        if table is None:
            return
        there = {meta.filename for meta in get_all_artifact_meta(trial, storage=storage)}
        self.artifacts.mkdir(parents=True, exist_ok=True)
        store = FileSystemArtifactStore(self.artifacts)
        contents = {PICTURE: lambda: _picture(table, title), TABLE: lambda: table.to_csv(index=False).encode()}
        with tempfile.TemporaryDirectory() as folder:
            for name, content in contents.items():
                if name not in there:
                    path = os.path.join(folder, name)
                    pathlib.Path(path).write_bytes(content())
                    upload_artifact(artifact_store=store, file_path=path, study_or_trial=trial, storage=storage)


def as_table(slot: int, curves: Sequence[Curve]) -> pd.DataFrame:
    """Curves as a tidy table."""
    rows = [
        (slot, curve.seed, timestep, score, curve.diverged)
        for curve in curves
        for timestep, score in zip(curve.timesteps, curve.scores, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict(zip(COLUMNS, (int, int, int, float, bool), strict=True)))


def _empty() -> pd.DataFrame:
    return as_table(0, [])


def _picture(table: pd.DataFrame, title: str) -> bytes:
    figure = new_figure(5, 3.2)
    axis = figure.subplots()
    for seed, curve in table.groupby("seed"):
        axis.plot(curve["timestep"], curve["score"], linewidth=1.2, label=f"seed {seed}")
    axis.set(title=title, xlabel="timesteps", ylabel="score")
    axis.title.set_fontsize(9)
    axis.legend(fontsize=8, frameon=False)
    return as_bytes(figure, dots_per_inch=100)
