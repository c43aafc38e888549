"""Whole numbers on the command line: ``--total-timesteps 1e5`` is 100000, in every command."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from mbrl_envs import cli
from mbrl_envs.assignments import whole


@pytest.mark.parametrize(
    ("text", "number"), [("100000", 100_000), ("100_000", 100_000), ("1e5", 100_000), ("2.5e3", 2500), ("3.0", 3), ("-1", -1)]
)
def test_whole_numbers_are_read_from_text(text: str, number: int) -> None:
    assert whole(text) == number
    assert type(whole(text)) is int


@pytest.mark.parametrize("text", ["1.5", "1e-5", "nan", "inf", "many", "", "1e5e"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number such as 100000 or 1e5, got "):
        whole(text)


def commands(parser: argparse.ArgumentParser, name: str = "mbrl") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All parsers, with the names of their commands."""
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, each in action.choices.items():
                yield from commands(each, f"{name} {word}")


def test_every_command_takes_them() -> None:
    """No option is read by ``int`` itself; those for steps read whole numbers."""
    found = {}
    for name, parser in commands(cli.build_parser()):
        for action in parser._actions:
            assert action.type is not int, f"{name} {action.option_strings}"
            if {"--total-timesteps", "--eval-steps"} & set(action.option_strings):
                found[name] = action.type
    assert found.keys() >= {"mbrl train", "mbrl compare", "mbrl evaluate", "mbrl tune run"}
    assert set(found.values()) == {whole}


def test_the_command_line_takes_whole_numbers_only(capsys: pytest.CaptureFixture) -> None:
    typed = [
        "tune",
        "run",
        "ReplayDQN",
        "mbrl/PanFlute-v0",
        "--space",
        "gamma=0.9",
        "--total-timesteps",
        "1e5",
        "--trials",
        "1e1",
    ]
    arguments = cli.build_parser().parse_args(typed)
    assert (arguments.total_timesteps, arguments.trials) == (100_000, 10)
    with pytest.raises(SystemExit):
        cli.build_parser().parse_args([*typed[:-4], "--total-timesteps", "1.5"])
    assert "argument --total-timesteps: must be a whole number such as 100000 or 1e5, got '1.5'" in capsys.readouterr().err
