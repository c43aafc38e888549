"""Every command and every piece of Python in a README works: all are parsed, and in the slow run what can be run is run.

Commands go through the parsers that would parse them, so that a flag with another name fails; their agents, environments,
presets and arguments must exist. A command of a kind that is not known here fails, too: say in :func:`check` how to check it.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import itertools
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import pytest

from mbrl_agents.experiments import published
from mbrl_agents.experiments.command_arguments import OTHER_PRESETS
from mbrl_agents.runs.agents import find_agent
from mbrl_envs import cli
from tests.command_lines import ROOT, blocks_of, outside_blocks, parse_module, parse_script

PAGES = (
    "README.md",
    "mbrl_envs/README.md",
    "mbrl_agents/README.md",
    "tuning/README.md",
    "tests/benchmarks/README.md",
    "examples/results/README.md",
)
_COMMAND = re.compile(r"(?:[A-Z_]+=\S+ +)*(?:mbrl|python|python3|pytest|pip|taskset) ")
# What a "…" in a command stands for, so that it can be parsed.
_ELLIPSIS = {"tune run": "--space learning_rate=0.1", "train": "ReplayDQN mbrl/PanFlute-v0"}

every_page = pytest.mark.parametrize("page", PAGES)


class Command(NamedTuple):
    """A command: its words, and the remark behind it."""

    words: tuple[str, ...]
    remark: str = ""


# --- commands -----------------------------------------------------------------------------------------------------------------


def commands_of(page: str) -> Iterator[Command]:
    """All commands of a page: of its blocks, and those within its text."""
    for block in blocks_of(ROOT / page):
        if block.language == "bash":
            for line in block.text.replace("\\\n", " ").splitlines():
                text, _, remark = line.partition("  #") if "  #" in line else line.partition(" # ")
                yield from _parts(text, remark)
        elif block.text.startswith("mbrl "):  # an overview: commands, and what they do
            for line in block.text.splitlines():
                text, _, remark = line.partition("  ")
                yield from (Command(tuple(each.split()), remark) for each in _alternatives(text))
    for text in " ".join(outside_blocks(ROOT / page).split()).split("`")[1::2]:
        if _COMMAND.match(text):
            yield from _parts(text, "")


def _parts(text: str, remark: str) -> Iterator[Command]:
    for part in text.split("&&"):
        if words := shlex.split(part):
            yield Command(tuple(words), remark)


def _alternatives(text: str) -> list[str]:
    """``mbrl tune run | resume | …`` as the commands that it stands for."""
    first, *others = [each.strip() for each in text.split("|")]
    before = first.rpartition(" ")[0]
    return [first, *(f"{before} {each}" for each in others if each != "…")]


def bare(words: tuple[str, ...]) -> list[str]:
    """The words without what only sets the stage: variables, and cores."""
    rest = list(words)
    while "=" in rest[0] or rest[0] == "taskset":
        rest = rest[3:] if rest[0] == "taskset" else rest[1:]
    return rest


def subparser(words: list[str]) -> tuple[argparse.ArgumentParser, str, list[str]]:
    """The parser of a sub-command of ``mbrl``, the sub-command's name, and the words after it."""
    parser, name, rest = cli.build_parser(), [], list(words)
    while rest and (actions := [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]):
        assert rest[0] in actions[0].choices, f"there is no command mbrl {' '.join([*name, rest[0]])}"
        parser = actions[0].choices[rest[0]]
        name.append(rest.pop(0))
    return parser, " ".join(name), rest


def check(command: Command) -> None:
    """Checks a command without running it."""
    program, *rest = bare(command.words)
    if program == "mbrl":
        check_mbrl(rest, command.remark)
    elif program in ("python", "python3") and rest[:2] == ["-m", "venv"]:
        assert len(rest) == 3
    elif program in ("python", "python3") and rest[0] == "-m":
        if rest[1] != "tests.benchmarks.<name>":
            parse_module(rest[1], rest[2:])
    elif program in ("python", "python3") and rest[0].startswith("examples/"):
        parse_script(ROOT / rest[0], rest[1:])
    elif program == "pytest":
        for flag, word in itertools.pairwise(["", *rest]):
            if not word.startswith("-") and flag not in ("-m", "-n", "-k"):
                assert (ROOT / word.partition("::")[0]).exists(), f"there is no {word}"
    elif program == "pip":
        check_pip(rest)
    else:
        assert (program, rest) == (".", [".venv/bin/activate"]), f"say how to check {' '.join(command.words)!r}"


def check_mbrl(words: list[str], remark: str) -> None:
    """Checks a command of ``mbrl``: its words, what they name, and the flags that its remark names."""
    parser, name, rest = subparser(words)
    known = {flag for action in parser._actions for flag in action.option_strings}
    for flag in re.findall(r"--[a-z][a-z-]*", remark):
        assert flag in known, f"mbrl {name} has no {flag}"
    if not rest or "--help" in rest:
        return  # the command is only named
    if "…" in rest:
        place = rest.index("…")
        rest[place : place + 1] = _ELLIPSIS[name].split()
    options = parser.parse_args(rest)
    check_names(vars(options))


def check_names(options: dict[str, Any]) -> None:
    """Whether agents, environments, presets and the agents' arguments exist."""
    preset = None
    if (name := options.get("preset")) not in (None, *OTHER_PRESETS) and not name.endswith(".yaml"):
        preset = published.preset(name)
    if (env_id := options.get("env_id")) is not None:
        gymnasium.spec(env_id)
    labels = {}
    for given in options.get("agents") or [options["agent"]] if options.get("agent") else options.get("agents") or []:
        label, _, agent = given.rpartition("=")
        labels[label or given] = find_agent(preset.agents[agent][0] if preset is not None and agent in preset.agents else agent)
    for assignment in [*(options.get("set") or []), *(options.get("sweep") or []), *(options.get("space") or [])]:
        label, _, argument = assignment.partition("=")[0].rpartition(".")
        kinds = [labels[label]] if label else labels.values()
        for kind in kinds:
            kind.check_arguments({argument: None})


def check_pip(words: list[str]) -> None:
    """Checks that what is installed is this package, with extras that it has."""
    assert words[0] == "install"
    with (ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for flag, word in itertools.pairwise(words):
        if flag == "-c":
            assert (ROOT / word).is_file()
    named = re.fullmatch(r"(?:\.|mbrl-lab)(?:\[(.*)\])?", words[-1])
    assert named, f"pip installs something else: {words[-1]}"
    assert {*(named[1] or "").split(",")} - {""} <= set(extras)


def test_every_page_is_checked() -> None:
    rooms = ("mbrl_envs", "mbrl_agents", "tuning", "tests", "examples")
    found = [ROOT / "README.md", *(path for room in rooms for path in (ROOT / room).rglob("README.md"))]
    assert {path.relative_to(ROOT).as_posix() for path in found} == {*PAGES}


@every_page
def test_every_block_is_seen_and_of_a_language_that_is_known(page: str) -> None:
    """A block that is indented, or whose language has another name, would be checked by nobody."""
    fences = [line for line in (ROOT / page).read_text(encoding="utf-8").splitlines() if re.search(r"```|~~~", line)]
    assert {*fences} <= {"```", *(f"```{language}" for language in ("bash", "text", "python"))}
    assert {block.language for block in blocks_of(ROOT / page)} <= {"bash", "text", "python"}


@every_page
def test_commands_are_parsed_by_the_programs_that_they_call(page: str) -> None:
    found = list(commands_of(page))
    for command in found:
        try:
            check(command)
        except (SystemExit, Exception) as error:
            raise AssertionError(f"{page}: {' '.join(command.words)!r}: {error}") from error
    assert len(found) >= {"README.md": 30, "mbrl_envs/README.md": 6}.get(page, 5)


@pytest.mark.parametrize(
    "text",
    [
        "mbrl trian ReplayDQN mbrl/PanFlute-v0",
        "mbrl train ReplayDQN mbrl/PanFlute-v9",
        "mbrl train ReplayDQN mbrl/PanFlute-v0 --step 3 --no-such-flag",
        "mbrl train ReplayDQN mbrl/PanFlute-v0 --set learning_rat=1",
        "mbrl train NoAgent mbrl/PanFlute-v0",
        "mbrl compare --preset no-preset",
        "python examples/omd_tabular.py --no-such-flag",
        "python examples/no_such_example.py",
        "python -m no_such_module",
        "pytest tests/no_such_file.py",
        'pip install -e ".[no-such-extra]"',
        "rm -r runs",
    ],
)
def test_what_does_not_work_is_noticed(text: str) -> None:
    with pytest.raises((SystemExit, Exception)):
        check(Command(tuple(shlex.split(text))))


# --- the same, run ------------------------------------------------------------------------------------------------------------

# What makes a command quick: words put behind it.
_SIZES = ["--eval-episodes", "2", "--eval-steps", "5"]
QUICK = {
    "mbrl envs": [],
    "mbrl train": ["--total-timesteps", "300", "--eval-interval", "150", *_SIZES],
    "mbrl compare": ["--total-timesteps", "300", "--eval-interval", "150", "--seeds", "1", *_SIZES],
    "mbrl presets": [],
    "mbrl tune run": [
        "--total-timesteps",
        "300",
        "--eval-interval",
        "150",
        "--seeds-per-trial",
        "1",
        "--trials",
        "2",
        "--confirm",
        "1",
    ],
    "mbrl tune resume": ["--confirm", "1"],
    "mbrl tune status": [],
    "mbrl tune best": [],
    "mbrl tune plot": [],
    "mbrl tune export": [],
    "mbrl evaluate": ["--imagine-steps", "2"],
    "mbrl plot": [],
    "mbrl_agents.r2d2.zoo": ["-n", "300"],
    "mbrl_envs.documentation": ["CueReward"],  # whose scores are the first to be there
    "examples/model_based_generalization.py": ["--quick", "--agents", "replay"],
}
# What is only parsed, and why.
NOT_RUN = {
    "pip": "installs",
    "venv": "installs",
    ".": "sets a shell up",
    "pytest": "runs tests",
    "mbrl dashboard": "serves until it is stopped",
    "mbrl play": "opens a window",
    "mbrl tune worker": "needs a study on a server",
    "tests.benchmarks": "is run by tests/test_benchmarks.py",
    "tests.gpu_check": "is run by tests/test_gpu_check.py",
}
NAMED_ALONE = "is named without its arguments"
BEFORE = {"mbrl_agents/README.md": "mbrl train SimpleModelDQN mbrl/PanFlute-v0"}  # makes the run that the page looks at
# What stands for a run that another command of the page has made.
A_RUN = {"README.md": ("runs/…", "runs/PanFlute_ReplayDQN_seed0")}


def quick_form(command: Command, page: str = "") -> tuple[str, ...] | str:
    """The command made quick; or why it is not to be run."""
    program, *rest = bare(command.words)
    if page in A_RUN and program == "mbrl" and rest[0] == "plot":
        rest = [word.replace(*A_RUN[page]) for word in rest]
    if program == "mbrl":
        _, name, arguments = subparser(rest)
        key = f"mbrl {name}"
    elif program.startswith("python") and rest[0] == "-m":
        key, arguments = rest[1], rest[2:]
    elif program.startswith("python"):
        key, arguments = rest[0], rest[1:]
        rest[0] = str(ROOT / key)
    else:
        key, arguments = program, rest
    for start, reason in NOT_RUN.items():
        if key == start or key.startswith((f"{start} ", f"{start}.")):
            return reason
    nothing = not arguments and key.startswith("mbrl ") and key != "mbrl envs"
    if nothing or "…" in " ".join(rest) or "DIR" in arguments or "--help" in arguments:
        return NAMED_ALONE
    more = QUICK.get(key, ["--quick"] if key.startswith("examples/") else None)
    assert more is not None, f"say in QUICK or NOT_RUN what is to be done with {' '.join(command.words)!r}"
    if key == "mbrl train" and "--seeds" in rest:
        more = [*more, "--seeds", "2"]
    if key == "mbrl_envs.documentation" and "--scores" not in rest:
        more = []
    return ("mbrl" if program == "mbrl" else "python", *rest, *more)


def quick_forms(page: str) -> list[tuple[str, ...]]:
    """The commands of a page that are run, each once; those that differ in numbers alone count as the same."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}
    before = [Command(tuple(BEFORE[page].split()))] if page in BEFORE else []
    for command in [*before, *commands_of(page)]:
        if not isinstance(quick := quick_form(command, page), str):
            found.setdefault(tuple(word for word in quick if not word.replace(".", "").isdecimal()), quick)
    # A run is looked at when it is there.
    return sorted(found.values(), key=lambda words: words[1] == "plot")


@every_page
def test_every_command_is_run_or_named_as_one_that_is_not(page: str) -> None:
    forms = {command: quick_form(command, page) for command in commands_of(page)}
    for command, form in forms.items():
        if isinstance(form, str):
            assert form in {*NOT_RUN.values(), NAMED_ALONE}, command
            # What is named alone is run in another place, or is of a kind that is not.
            name = " ".join(bare(command.words)[:2])
            assert form != NAMED_ALONE or name in {"mbrl tune", *(" ".join(form[:2]) for form in all_quick_forms())}, command
    assert any(not isinstance(form, str) for form in forms.values()) or page == "tests/benchmarks/README.md"


def all_quick_forms() -> list[tuple[str, ...]]:
    return [form for page in PAGES for form in quick_forms(page)]


def test_every_kind_of_command_that_is_named_here_is_on_a_page() -> None:
    commands = [command for page in PAGES for command in commands_of(page)]
    assert {quick_form(command) for command in commands} >= {*NOT_RUN.values(), NAMED_ALONE}
    run = {" ".join(form).removeprefix("python -m ").replace(f"python {ROOT}/", "") for form in all_quick_forms()}
    for key in QUICK:
        assert any(f"{form} ".startswith(f"{key} ") for form in run), f"no page has {key}"


def need_extras(page: str) -> None:
    """Skips where something is not installed that a page runs and the tests do not need otherwise."""
    if "HalfCheetah" in (ROOT / page).read_text(encoding="utf-8"):
        pytest.importorskip("mujoco")


@pytest.mark.slow
@every_page
def test_commands_run_in_their_quick_form(page: str, tmp_path: pathlib.Path) -> None:
    need_extras(page)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    for program, *rest in quick_forms(page):
        start, folder = [sys.executable, "-m", "mbrl_envs.cli"] if program == "mbrl" else [sys.executable], tmp_path
        if rest[0] in ("train", "compare"):  # some commands of a page come to the same folder
            rest.append("--force")
        if "mbrl_envs.documentation" in rest:  # writes beside itself: what is run is a copy, found in the folder first
            folder = tmp_path / "copy"
            shutil.copytree(ROOT / "mbrl_envs", folder / "mbrl_envs", dirs_exist_ok=True)
        done = subprocess.run([*start, *rest], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}: {program} {' '.join(rest)}: {done.stderr[-3000:]}"


# --- Python -------------------------------------------------------------------------------------------------------------------

# What makes pieces of Python quick: numbers put in the place of others.
SMALLER = {
    "README.md": {"15_000": "600", "5_000": "200", "10_000": "600", "12_000": "600", "seeds=5": "seeds=1"},
    "mbrl_agents/README.md": {
        "100_000": "300",
        "40_000": "600",
        "10_000": "2_000",
        "epochs=20": "epochs=2",
    },
    "tuning/README.md": {"12_000": "300", "seeds_per_trial=3": "seeds_per_trial=1", "set_trials(40)": "set_trials(2)"},
}
# Names that a page takes for granted.
GIVEN: dict[str, dict[str, Any]] = {
    "mbrl_agents/README.md": {"observation": np.zeros(2, np.float32), "state": None, "episode_start": np.ones(1, bool)}
}


def python_of(page: str) -> list[tuple[int, str]]:
    """Where each piece of Python begins, and its text."""
    return [(block.line, block.text) for block in blocks_of(ROOT / page) if block.language == "python"]


@every_page
def test_python_is_well_formed_and_imports_what_there_is(page: str) -> None:
    for line, text in python_of(page):
        for node in ast.walk(compile(text, f"{page}:{line}", "exec", ast.PyCF_ONLY_AST)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    found = hasattr(module, alias.name) or (
                        hasattr(module, "__path__")  # a package, of which it may be a module
                        and importlib.util.find_spec(f"{node.module}.{alias.name}") is not None
                    )
                    assert found, f"{page}: {node.module} has no {alias.name}"


def test_large_numbers_are_made_smaller_and_are_there() -> None:
    for page in PAGES:
        text, smaller = "\n".join(text for _, text in python_of(page)), SMALLER.get(page, {})
        for number in smaller:
            assert number in text, f"{page} has no {number}"
        for number in re.findall(r"\b(\d+(?:_000)+)\b", text):  # of steps, which would take hours
            assert number in smaller or f'buffer_size": {number}' in text, f"{page}: give {number} a smaller number in SMALLER"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)])
def test_python_runs(page: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_extras(page)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "readme", **GIVEN.get(page, {})}
    for line, text in python_of(page):
        for number, smaller in SMALLER.get(page, {}).items():
            text = re.sub(rf"(?<![\d_]){re.escape(number)}(?![\d_])", smaller, text)
        exec(compile("\n" * line + text, page, "exec"), names)
