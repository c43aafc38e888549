"""What all pictures have in common: colours, axes, and how they become files."""

from __future__ import annotations

import io
import os
import pathlib
from typing import Any

from mbrl_agents.common.files import write_atomically

# Okabe & Ito's colours, which colour-blind people tell apart; the palest one is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
INK, GREY = "#333A45", "#6B7480"
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
