"""Reads Google-style docstrings into pieces for a Markdown page."""

from __future__ import annotations

import dataclasses
import inspect
import re


@dataclasses.dataclass(frozen=True)
class Docstring:
    """A class docstring in pieces, as Markdown.

    Attributes:
        summary: First line.
        body: Paragraphs after it, up to the first section.
        sections: Title of a section -> its entries, name -> text, in order.
    """

    summary: str
    body: str
    sections: dict[str, dict[str, str]]


def parse(documented: type) -> Docstring:
    """Takes the docstring of a class apart.

    Raises:
        ValueError: There is none, or a section has a line that is not ``name: text``.
    """
    text = inspect.cleandoc(documented.__doc__ or "")
    if not text:
        raise ValueError(f"{documented.__name__} has no docstring")
    summary, _, rest = text.partition("\n")
    # A section's title stands alone at the margin, and what follows is indented.
    pieces = re.split(r"^(\w[\w ]*):\n(?=    )", rest, flags=re.MULTILINE)
    titles, contents = pieces[1::2], pieces[2::2]
    sections = {title: _entries(content, documented.__name__) for title, content in zip(titles, contents, strict=True)}
    return Docstring(markdown(summary), markdown(pieces[0].strip()), sections)


def markdown(text: str) -> str:
    """Turns reStructuredText roles and literals into Markdown code."""
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


def _entries(content: str, owner: str) -> dict[str, str]:
    """Entries ``name: text`` of a section; lines that are indented deeper continue the one before."""
    entries: dict[str, str] = {}
    for line in inspect.cleandoc(content).splitlines():
        if line.startswith(" ") and entries:
            entries[next(reversed(entries))] += " " + line.strip()
        elif line.strip():
            name, colon, text = line.partition(":")
            if not colon:
                raise ValueError(f"docstring of {owner}: expected 'name: text', got {line!r}")
            entries[name.strip()] = text.strip()
    return {name: markdown(text) for name, text in entries.items()}
