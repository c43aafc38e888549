"""What all pictures have in common: colours, axes, and how they become files."""

from __future__ import annotations

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.statistics import mean_band

if TYPE_CHECKING:
    import pandas as pd

    from mbrl_agents.runs.scores import Yardsticks

# Okabe & Ito's colours, which colour-blind people tell apart; the palest one is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
INK, GREY, FRAME = "#333A45", "#6B7480", "#D55E00"
DOTS_PER_INCH = 150


def new_figure(width: float, height: float, title: str | None = None) -> Any:
    """An empty figure, of a size in inches."""
    from matplotlib.figure import Figure  # takes a second to import; needs no display

    figure = Figure(figsize=(width, height), layout="constrained")
    if title is not None:
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
    return figure


def plain(axis: Any) -> None:
    """No frame but the axes, and faint lines to read values from."""
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.grid(axis="y", color="#E3E7EC", linewidth=0.8, zorder=0)


def is_logarithmic(values: Sequence[float] | np.ndarray) -> bool:
    """Whether numbers are spread over factors rather than differences."""
    numbers = np.asarray(values, float)
    return bool((numbers > 0).all() and numbers.max() / numbers.min() >= 8)


def draw_curve(axis: Any, table: pd.DataFrame, style: str, colour: str, band: float, **line: Any) -> Any:
    """Draws the mean over runs, with a band of its 95 % bootstrap intervals; returns the line.

    Args:
        axis: Where to.
        table: Scores by timestep, a column for each run.
        style: Of the line.
        colour: Of both.
        band: How opaque the band is.
        line: What else there is to say about the line.
    """
    low, high = mean_band(table.to_numpy())
    axis.fill_between(table.index, low, high, color=colour, alpha=band, linewidth=0)
    return axis.plot(table.index, table.mean(axis=1), style, color=colour, **line)[0]


def draw_yardsticks(axis: Any, reference: Yardsticks, *, beside: bool) -> None:
    """Dashed lines, named and numbered beside the axes, where no curve is; or only named, at their right ends."""
    for name, value in (("best policy", reference.optimal), ("uniform policy", reference.uniform)):
        axis.axhline(value, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        place: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 8}
        if beside:
            name = f"{name}\n{value:.3g}".replace("-", "−")
            place = {"ha": "left", "va": "center", "fontsize": 8.5, "textcoords": "offset points", "xytext": (5, 0)}
        axis.annotate(name, (1, value), xycoords=("axes fraction", "data"), color=GREY, **place)


def draw_cells(
    axis: Any,
    cells: pd.DataFrame,
    notes: Mapping[tuple[int, ...], str],
    framed: tuple[int, ...] | None,
    what: str,
    *,
    less_is_better: bool = False,
    font_size: float = 8,
) -> None:
    """A heat map, lighter is better.

    Args:
        axis: Where to.
        cells: The numbers, NaN where there is none; the first row is drawn at the bottom. Rows and columns are called as in the
            table.
        notes: What is written into cells, by row and column.
        framed: The cell with a frame around it.
        what: What the numbers are.
        less_is_better: Whether the smallest number is the best.
        font_size: Of the notes.
    """
    from matplotlib.patches import Rectangle

    values = cells.to_numpy()
    image = axis.imshow(values, origin="lower", aspect="auto", cmap="viridis_r" if less_is_better else "viridis")
    axis.set_xticks(range(values.shape[1]), cells.columns, rotation=45, ha="right")
    axis.set_yticks(range(values.shape[0]), cells.index)
    axis.set(xlabel=cells.columns.name, ylabel=cells.index.name)
    known = values[~np.isnan(values)]
    middle = (known.min() + known.max()) / 2 if known.size else 0.0
    for (row, column), note in notes.items():
        value = values[row, column]
        light = value < middle if less_is_better else value > middle
        colour = GREY if np.isnan(value) else "black" if light else "white"
        axis.text(column, row, note, ha="center", va="center", fontsize=font_size, color=colour)
    if framed is not None:
        corner = (framed[1] - 0.5, framed[0] - 0.5)
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=FRAME, linewidth=2.5))
    axis.figure.colorbar(image, label=what)


def image_kind(path: str | os.PathLike[str]) -> str:
    """The kind of picture that a file's name asks for.

    Raises:
        ValueError: It cannot be drawn.
    """
    kind = pathlib.Path(path).suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise ValueError(f"a plot's name must end in .png, .pdf or .svg, got {os.fspath(path)!r}")
    return kind


def as_bytes(figure: Any, kind: str = "png", dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """A figure as a file's content."""
    picture = io.BytesIO()
    figure.savefig(picture, format=kind, dpi=dots_per_inch)
    return picture.getvalue()


def save(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a figure to a PNG, PDF or SVG file, whole or not at all."""
    write_atomically(path, as_bytes(figure, image_kind(path)))


def saved(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """The figure, written to a file if one is named."""
    if path is not None:
        save(figure, path)
    return figure
