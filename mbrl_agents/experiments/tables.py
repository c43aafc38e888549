"""Tables on the console: one style, one width, one way to write values."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

NOT_A_TERMINAL_WIDTH = 120


def console() -> Console:
    """Standard output, in a width of which tables make good use."""
    found = Console()
    return found if found.is_terminal else Console(width=NOT_A_TERMINAL_WIDTH)


def new_table(title: str, words: Iterable[str] = (), numbers: Iterable[str] = ()) -> Table:
    """A table without rows, whose columns of words come before those of numbers."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in words:
        table.add_column(name)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def shown(value: object, form: str = "g") -> str:
    """A value in short: numbers with a fraction in the given form, a dash where there is none, anything else as it is."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:{form}}"
    return str(value)
