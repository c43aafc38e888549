"""Commands that are only parsed, by the parser that would parse them, and the blocks of code in a page of Markdown."""

from __future__ import annotations

import argparse
import pathlib
import re
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]


class Block(NamedTuple):
    """A fenced block: its language and text, and the line at which it begins."""

    language: str
    text: str
    line: int


class _ParsedError(Exception):
    def __init__(self, options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.options, self.parser = options, parser


class Parsed(NamedTuple):
    """What a program has made of its arguments, and the parser; both None where it showed its help."""

    options: argparse.Namespace | None
    parser: argparse.ArgumentParser | None

    def flags(self) -> set[str]:
        """The flags that the parser knows."""
        assert self.parser is not None
        return {flag for action in self.parser._actions for flag in action.option_strings}


def parse_only(start: Callable[[], Any], arguments: Sequence[str]) -> Parsed:
    """Starts a program and stops it when its arguments are parsed.

    Raises:
        AssertionError: It refuses them, or it never parses any.
    """
    original = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        raise _ParsedError(original(self, args, namespace), self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", ["program", *arguments])
        try:
            start()
        except _ParsedError as found:
            return Parsed(found.options, found.parser)
        except SystemExit as stop:
            if stop.code:
                raise AssertionError(f"{' '.join(arguments)!r} is refused: {stop.code}") from stop
            return Parsed(None, None)
    raise AssertionError("the program did not parse its arguments")


def parse_script(path: pathlib.Path, arguments: Sequence[str]) -> Parsed:
    """A file, as ``python PATH ARGUMENTS``."""
    return parse_only(lambda: runpy.run_path(str(path), run_name="__main__"), arguments)


def parse_module(name: str, arguments: Sequence[str]) -> Parsed:
    """A module, as ``python -m NAME ARGUMENTS``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*found in sys.modules after import of package")
        return parse_only(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True), arguments)


def blocks_of(page: pathlib.Path) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    fence = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("```"):
            if fence is not None:
                fence[1].append(line)
        elif fence is None:
            fence = (line[3:].strip(), [], number)
        else:
            found.append(Block(fence[0], "\n".join(fence[1]), fence[2]))
            fence = None
    assert fence is None, f"{page}: a block that begins in line {fence and fence[2]} has no end"
    return found


def outside_blocks(page: pathlib.Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
