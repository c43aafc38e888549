"""Pictures from state: cells with a legend and a caption, as an RGB array or as text.

An environment says only *what* each cell shows, by name (:class:`Picture`). How a name looks, drawn or as a character, and
what the legend calls it, is one row of :data:`STYLES`. Nothing is told by colour alone: shapes differ too, and the colours are
those of Okabe and Ito, which colour-blind people tell apart.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

INK, PAPER, LINE, SHADE = "#333A45", "#FFFFFF", "#D5D9DF", "#E6EBF1"
BLUE, ORANGE, VERMILION, YELLOW = "#0072B2", "#E69F00", "#D55E00", "#F7EDA0"

MARGIN, LEGEND_GAP, LEGEND_TILE, LEGEND_ROW = 14, 22, 26, 34
LABEL_WIDTH = 30
CAPTION_HEIGHT = 32
MIN_WIDTH = 384
SIZE_MULTIPLE = 16  # Video encoders want sides that are multiples of 16.
TARGET_SIDE, MAX_CELL, MIN_CELL = 512, 96, 20
OVERSAMPLING = 4


@dataclasses.dataclass(frozen=True)
class Layer:
    """One shape of a cell's drawing.

    Attributes:
        shape: Key of ``SHAPES``.
        colour: What fills it.
        radius: Half the shape's width, in cells; 0.5 fills the cell.
    """

    shape: str
    colour: str
    radius: float = 0.5


@dataclasses.dataclass(frozen=True)
class Style:
    """How one name of a cell looks.

    Attributes:
        character: What stands for it in text.
        words: What the legend says.
        layers: Shapes, the lowest first.
    """

    character: str
    words: str
    layers: tuple[Layer, ...]


_EMPTY = (Layer("square", LINE), Layer("square", PAPER, 0.485))
_PLAYER = (Layer("disc", INK, 0.37), Layer("disc", BLUE, 0.33))
_SMALL_PLAYER = (Layer("disc", PAPER, 0.21), Layer("disc", BLUE, 0.18))
_PLAYERS = (*_PLAYER, Layer("disc", PAPER, 0.24), Layer("disc", BLUE, 0.14))
_FOR_ON = (Layer("disc", INK, 0.37), Layer("disc", ORANGE, 0.29), Layer("disc", PAPER, 0.10))
_FOR_OFF = (Layer("disc", INK, 0.37), Layer("disc", PAPER, 0.25))
_BOTH = (*_FOR_ON, Layer("disc", PAPER, 0.18), Layer("disc", INK, 0.08))
_SMALL_BOTH = (Layer("disc", INK, 0.22), Layer("disc", ORANGE, 0.17), Layer("disc", INK, 0.09))
_GOAL = (Layer("star", INK, 0.48), Layer("star", ORANGE, 0.40))
_BUTTON_ON = (Layer("square", INK, 0.38), Layer("square", ORANGE, 0.33))
_BUTTON_OFF = (Layer("square", INK, 0.38), Layer("square", PAPER, 0.30))
_CONTRADICTION = (Layer("disc", VERMILION, 0.30), Layer("disc", PAPER, 0.20), Layer("square", VERMILION, 0.10))
_PIPE = (Layer("tube", INK, 0.34), Layer("tube", SHADE, 0.29))
_LAMP_OFF = (Layer("disc", INK, 0.42), Layer("disc", PAPER, 0.36))
_LAMP_ON = (Layer("disc", INK, 0.42), Layer("disc", ORANGE, 0.36))
_RASTER = Layer("tube", LINE, 0.05)
_CAR = (Layer("disc", INK, 0.46), Layer("disc", BLUE, 0.40))
_SOUND = (Layer("disc", INK, 0.24), Layer("disc", VERMILION, 0.21))

STYLES: dict[str, Style] = {
    "empty": Style(".", "empty", _EMPTY),
    "wall": Style("#", "wall", (Layer("square", INK),)),
    "player": Style("@", "player", _EMPTY + _PLAYER),
    "goal": Style("G", "goal", _EMPTY + _GOAL),
    "player on goal": Style("*", "player on goal", _EMPTY + _GOAL + _SMALL_PLAYER),
    "near the goal": Style("+", "half the reward or more", (*_EMPTY, Layer("square", YELLOW, 0.485))),
    "button off": Style("o", "button, off", _EMPTY + _BUTTON_OFF),
    "button on": Style("O", "button, on", _EMPTY + _BUTTON_ON),
    "player on button off": Style("q", "player on button, off", _EMPTY + _BUTTON_OFF + _SMALL_PLAYER),
    "player on button on": Style("Q", "player on button, on", _EMPTY + _BUTTON_ON + _SMALL_PLAYER),
    "contradiction": Style("?", "contradiction", _EMPTY + _CONTRADICTION),
    "lamp off": Style("o", "lamp", _EMPTY + _LAMP_OFF),
    "lamp on": Style("O", "lamp, lit", _EMPTY + _LAMP_ON),
    "no question": Style(".", "no question", (*_EMPTY, Layer("square", LINE, 0.3))),
    "question": Style("?", "question: answer now", (*_EMPTY, Layer("square", INK, 0.42), Layer("star", YELLOW, 0.38))),
    "quiet": Style("-", "nothing", (_RASTER,)),
    "cue": Style("|", "cue", (_RASTER, Layer("tick", BLUE, 0.46))),
    "reward": Style("$", "reward", (_RASTER, *_GOAL)),
    "small reward": Style("s", "reward, small", (_RASTER, Layer("star", INK, 0.31), Layer("star", YELLOW, 0.24))),
    "cart": Style("#", "cart", (Layer("square", INK, 0.42),)),
    "pole": Style("|", "pole", (Layer("disc", INK, 0.40), Layer("disc", ORANGE, 0.34))),
    "ground": Style("#", "hill", (Layer("square", SHADE),)),
    "car": Style("o", "car, at rest", _CAR),
    "car, rolling left": Style("<", "car, rolling left", (*_CAR, Layer("left", YELLOW, 0.2))),
    "car, rolling right": Style(">", "car, rolling right", (*_CAR, Layer("right", YELLOW, 0.2))),
    "flag": Style("F", "goal", (Layer("tick", INK, 0.5), Layer("right", ORANGE, 0.45))),
    "background": Style(" ", "nothing", ()),
    "silent": Style("-", "pipe", _PIPE),
    "sound": Style("o", "sound", _PIPE + _SOUND),
    "end of a pipe": Style(")", "end of a pipe", (Layer("bell", INK, 0.47), Layer("bell", SHADE, 0.42))),
    "sound at the end": Style("O", "sound at its end", (Layer("bell", INK, 0.47), Layer("bell", YELLOW, 0.42), *_SOUND)),
}
"""Name of a cell -> how it looks. A new environment adds a row for each new name."""

for _who, _short, _characters, _large, _small in (  # who may be on a button, too
    ("several players", "several", "&wW", _PLAYERS, (*_SMALL_PLAYER, Layer("disc", PAPER, 0.09))),
    ("player for on", "for on", "+pP", _FOR_ON, (Layer("disc", INK, 0.22), Layer("disc", ORANGE, 0.15))),
    ("player for off", "for off", "-dD", _FOR_OFF, (Layer("disc", INK, 0.22), Layer("disc", PAPER, 0.13))),
    ("players of both teams", "both", "&bB", _BOTH, _SMALL_BOTH),
):
    STYLES[_who] = Style(_characters[0], _who, _EMPTY + _large)
    STYLES[f"{_who} on button off"] = Style(_characters[1], f"{_short} on button, off", _EMPTY + _BUTTON_OFF + _small)
    STYLES[f"{_who} on button on"] = Style(_characters[2], f"{_short} on button, on", _EMPTY + _BUTTON_ON + _small)


@dataclasses.dataclass(frozen=True)
class Picture:
    """What an environment looks like, independent of how it is drawn.

    Attributes:
        cells: Name of what each cell shows, str objects of shape (rows, columns); names are keys of ``STYLES``.
        legend: Names that the legend explains, in order. The same in every state, so that all frames have the same size.
        row_labels: A short word in front of each row, such as the action that belongs to it; empty for none.
        framed: Whether a line is drawn around the cells, as the edge that a player cannot cross.

    Raises:
        ValueError: A name is unknown, or there is not one label for each row.
    """

    cells: np.ndarray
    legend: tuple[str, ...]
    row_labels: tuple[str, ...] = ()
    framed: bool = True

    def __post_init__(self) -> None:
        for name in sorted({*self.cells.ravel().tolist(), *self.legend} - STYLES.keys()):
            close = difflib.get_close_matches(name, STYLES, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(f"Picture: unknown cell {name!r}{hint}. Names are rows of mbrl_envs.rendering.STYLES")
        if self.row_labels and len(self.row_labels) != len(self.cells):
            raise ValueError(f"Picture: {len(self.row_labels)} row_labels for {len(self.cells)} rows")


def ansi(picture: Picture, *, caption: str | None = None) -> str:
    """Draws ``picture`` as lines of text: caption, cells, legend.

    Args:
        picture: What to draw.
        caption: First line, such as the last action and reward; None for no such line.

    Returns:
        The lines, joined by newlines, without a newline at the end and without control characters.
    """
    labels = picture.row_labels or ("",) * len(picture.cells)
    width = max(map(len, labels), default=0)
    lines = [caption] if caption is not None else []
    for label, row in zip(labels, picture.cells, strict=True):
        text = " ".join(STYLES[name].character for name in row)
        lines.append(f"{label:>{width}} {text}".rstrip() if width else text)
    lines.append("  ".join(f"{STYLES[name].character} {STYLES[name].words}" for name in picture.legend))
    return "\n".join(lines)


def rgb_array(picture: Picture, *, caption: str | None = None, legend: bool = True, cell_size: int | None = None) -> np.ndarray:
    """Draws ``picture``, with the legend to its right and the caption below.

    The size depends on the shape of ``picture.cells``, on its legend and labels, and on *whether* there is a caption: pass one
    for every frame of a video or for none (an empty caption keeps its line free). Both sides are multiples of 16.

    Args:
        picture: What to draw.
        caption: One line of text, cut off at the frame's edge; None for no such line.
        legend: Whether to draw the legend.
        cell_size: Side of a cell in pixels; None picks one for which the cells measure about 500 pixels.

    Returns:
        uint8 array of shape (height, width, 3); the caller may write to it.
    """
    rows, columns = picture.cells.shape
    size = cell_size or int(np.clip(TARGET_SIDE // max(rows, columns), MIN_CELL, MAX_CELL))
    panel = _legend_panel(picture.legend) if legend and picture.legend else np.zeros((0, 0, 3), np.uint8)
    left = MARGIN + (LABEL_WIDTH if picture.row_labels else 0)
    right = left + columns * size + (LEGEND_GAP if panel.size else 0)
    width, height = right + panel.shape[1] + MARGIN, MARGIN + max(rows * size, panel.shape[0]) + MARGIN
    if caption is not None:
        width, height = max(width, MIN_WIDTH), height + CAPTION_HEIGHT

    frame = np.full((_round_up(height), _round_up(width), 3), 255, np.uint8)
    if picture.framed:
        frame[MARGIN - 2 : MARGIN + rows * size + 2, left - 2 : left + columns * size + 2] = _rgb(INK)
    for (row, column), name in np.ndenumerate(picture.cells):
        _paste(frame, _tile(name, size), MARGIN + row * size, left + column * size)
    for row, label in enumerate(picture.row_labels):
        # Right before what the row shows first, over cells that show nothing.
        column = next((i for i, name in enumerate(picture.cells[row]) if name != "background"), 0)
        text = _text(label, LABEL_WIDTH - 8, min(size, 24))
        _paste(frame, text, MARGIN + row * size + (size - text.shape[0]) // 2, left + column * size - 8 - text.shape[1])
    _paste(frame, panel, MARGIN, right)
    if caption is not None:
        text = _text(caption, frame.shape[1] - 2 * MARGIN, CAPTION_HEIGHT)
        _paste(frame, text, frame.shape[0] - CAPTION_HEIGHT - 4, MARGIN)
    return frame


def _paste(frame: np.ndarray, part: np.ndarray, y: int, x: int) -> None:
    """Copies ``part`` into ``frame``, its upper left corner at ``(y, x)``."""
    frame[y : y + part.shape[0], x : x + part.shape[1]] = part


def _rgb(colour: str) -> tuple[int, ...]:
    """Red, green and blue of ``#RRGGBB``."""
    return tuple(bytes.fromhex(colour[1:]))


def _round_up(length: int) -> int:
    """The next multiple of ``SIZE_MULTIPLE``."""
    return -(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE


@functools.lru_cache(maxsize=512)
def _tile(name: str, size: int) -> np.ndarray:
    """The drawing of one cell, uint8 (size, size, 3). Drawn large and scaled down, which smooths the edges."""
    from PIL import Image, ImageDraw

    large = size * OVERSAMPLING
    image = Image.new("RGB", (large, large), PAPER)
    for layer in STYLES[name].layers:
        SHAPES[layer.shape](ImageDraw.Draw(image), large, layer.radius, layer.colour)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


@functools.lru_cache(maxsize=64)
def _legend_panel(names: tuple[str, ...]) -> np.ndarray:
    """The legend: a small cell and its words in each line, uint8."""
    words = [_text(STYLES[name].words, 200, LEGEND_TILE) for name in names]
    panel = np.full((LEGEND_ROW * len(names), LEGEND_TILE + 10 + max(text.shape[1] for text in words), 3), 255, np.uint8)
    for i, (name, text) in enumerate(zip(names, words, strict=True)):
        y = i * LEGEND_ROW
        panel[y : y + LEGEND_TILE, :LEGEND_TILE] = _tile(name, LEGEND_TILE)
        panel[y : y + LEGEND_TILE, LEGEND_TILE + 10 :][:, : text.shape[1]] = text
    return panel


@functools.lru_cache(maxsize=256)
def _text(text: str, max_width: int, height: int) -> np.ndarray:
    """One line of text, cut to ``max_width`` pixels and centred in ``height`` pixels, uint8 (height, width, 3)."""
    from PIL import Image, ImageDraw

    font = _font(min(16, height - 4))
    text = text.translate(_PLAIN)
    if font.getlength(text) > max_width:
        while text and font.getlength(text + "…") > max_width:
            text = text[:-1]
        text += "…"
    image = Image.new("RGB", (max(1, int(font.getlength(text)) + 1), height), PAPER)
    ImageDraw.Draw(image).text((0, height / 2), text, fill=INK, font=font, anchor="lm")
    return np.asarray(image)


_PLAIN = str.maketrans({"\n": " ", "−": "-", "–": "-", "—": "-", "→": ">", "×": "x"})  # Pillow's own font lacks these.


@functools.lru_cache(maxsize=16)
def _font(size: int) -> FreeTypeFont | ImageFont:
    """Pillow's own font, so that pictures look the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _disc(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    low, high = (0.5 - radius) * size, (0.5 + radius) * size
    draw.ellipse((low, low, high, high), fill=colour)


def _square(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    low, high = round((0.5 - radius) * size), round((0.5 + radius) * size) - 1
    draw.rectangle((low, low, high, high), fill=colour)


def _star(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    angles = np.pi * (np.arange(10) / 5 - 0.5)
    reach = np.where(np.arange(10) % 2, 0.45, 1.0) * radius
    points = 0.5 + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    draw.polygon([(float(x), float(y)) for x, y in points * size], fill=colour)


def _tube(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    draw.rectangle((0, (0.5 - radius) * size, size, (0.5 + radius) * size), fill=colour)


def _tick(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    draw.rectangle((0.4 * size, (0.5 - radius) * size, 0.6 * size, (0.5 + radius) * size), fill=colour)


def _bell(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    """The open end of a tube: it widens to ``radius`` on the right, and is as wide as a tube on the left."""
    narrow, half = radius - 0.13, 0.5
    points = [(0, half - narrow), (0.5, half - narrow), (1, half - radius), (1, half + radius), (0.5, half + narrow)]
    draw.polygon([(x * size, y * size) for x, y in [*points, (0, half + narrow)]], fill=colour)


def _right(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    """A triangle that points to the right."""
    low, high = (0.5 - radius) * size, (0.5 + radius) * size
    draw.polygon([(low, low), (high, 0.5 * size), (low, high)], fill=colour)


def _left(draw: ImageDraw, size: int, radius: float, colour: str) -> None:
    """A triangle that points to the left."""
    low, high = (0.5 - radius) * size, (0.5 + radius) * size
    draw.polygon([(high, low), (low, 0.5 * size), (high, high)], fill=colour)


SHAPES: dict[str, Callable[[Any, int, float, str], None]] = {
    "disc": _disc,
    "square": _square,
    "star": _star,
    "tube": _tube,
    "bell": _bell,
    "tick": _tick,
    "left": _left,
    "right": _right,
}
