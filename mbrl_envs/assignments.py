"""What the options of commands take: ``NAME=VALUE``, whole numbers."""

from __future__ import annotations

import argparse
import ast
import math
from collections.abc import Sequence
from typing import Any


def whole(text: str) -> int:
    """A whole number as it is typed, such as ``100000``, ``100_000`` or ``1e5``; an argparse type.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        return int(text)
    except ValueError:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or not number.is_integer():
        raise argparse.ArgumentTypeError(f"must be a whole number such as 100000 or 1e5, got {text!r}")
    return int(number)


def literal(text: str) -> Any:
    """A Python literal, or else the plain text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def split_assignments(pairs: Sequence[str], option: str) -> dict[str, str]:
    """``["gamma=0.9", "a.tau=1"]`` as a dict of texts.

    Raises:
        ValueError: A pair has no ``=``, or a name comes twice.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        # A label in front of the name may hold what an identifier may not.
        if not equals or not name.rpartition(".")[2].isidentifier():
            raise ValueError(f"{option} must look like NAME=VALUE, got {pair!r}")
        if name in texts:
            raise ValueError(f"{option} {name} is given twice")
        texts[name] = text
    return texts


def parse_assignments(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """``["gamma=0.9", "policy_kwargs={'net_arch': [64]}"]`` as a dict; values are Python literals or else plain strings.

    Raises:
        ValueError: A pair has no ``=``, or a name comes twice.
    """
    return {name: literal(text) for name, text in split_assignments(pairs, option).items()}
