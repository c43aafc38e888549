"""The benchmarks' command: it knows every module, their arguments are real, and it writes what it is to write."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import suite
from tests.benchmarks.recorded import Recorded
from tests.command_lines import ROOT, parse_module

MODULES = sorted(path.stem for path in (ROOT / "tests" / "benchmarks").glob("*.py"))
NAMES = [name for name in MODULES if name not in (*command.PARTS, "__init__")]


def test_every_module_is_known() -> None:
    assert sorted(command.benchmarks()) == NAMES


def test_a_module_that_does_not_say_how_it_is_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("tests.benchmarks.single_step.RECORDED")
    with pytest.raises(TypeError, match=r"single_step\.py must say in RECORDED"):
        command.benchmarks()


@pytest.mark.parametrize("name", NAMES)
def test_recorded_and_quick_arguments_are_those_of_the_module(name: str) -> None:
    recorded = command.benchmarks()[name]
    for arguments in (recorded.arguments, recorded.quick):
        assert parse_module(f"tests.benchmarks.{name}", arguments).options is not None
    assert recorded.quick, "a benchmark needs a quick form"


def test_the_page_names_every_benchmark_and_every_table_is_one_s() -> None:
    page = (ROOT / "tests" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"(tables/{name}.md)" in page, f"tests/benchmarks/README.md does not lead to the table of {name}"
    assert {path.stem for path in command.TABLES.glob("*.md")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_says_how_it_was_made_and_holds_numbers(name: str) -> None:
    """With the arguments that are recorded today: other ones want another table."""
    text = (command.TABLES / f"{name}.md").read_text(encoding="utf-8")
    assert f"\n`{command.benchmarks()[name].command(name)}`\n" in text
    assert len(re.findall(r"^\d{4}-\d\d-\d\d; .+ cores, load [\d.]+; Python 3\.\d+\.\d+, \S+ \d", text, re.MULTILINE)) == 1
    tables = re.findall(r"^(\|.*\|)\n(\|---.*\|)\n((?:\|.*\|[ ]*\n)+)", text, re.MULTILINE)
    assert len(tables) == text.count("\n|---")
    assert tables
    for head, line, rows in tables:
        cells = {row.count("|") for row in (head, line, *rows.splitlines())}
        assert len(cells) == 1, f"{name}: rows of several lengths below {head}"
        assert re.search(r"\| [\d.,]+ ", rows)
        assert "Error" not in rows


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("2026-01-01; a machine; Python 3.11\n", "it prints no table"),
        ("2026-01-01; a machine; Python 3.11\n\n| a |\n|---|\n", "it prints no table"),
        ("| a |\n|---|\n| 1 |\n", "it does not print date"),
    ],
)
def test_what_prints_no_table_is_refused(printed: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, printed)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: done)
    with pytest.raises(RuntimeError, match=reason):
        command.output_of("single_step", Recorded(), quick=True)


def test_a_table_that_would_lack_rows_is_not_made(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OTHER_PYTHON", raising=False)
    (tmp_path / "suite.md").write_text("old")
    assert command.main(["--only", "suite", "--out", str(tmp_path)]) == 1
    assert (tmp_path / "suite.md").read_text() == "old"
    assert "its table needs OTHER_PYTHON" in capsys.readouterr().err


def test_what_fails_in_the_other_interpreter_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "DYNAMICS", {})
    monkeypatch.setattr(suite, "OTHERS", "raise ImportError('no gymnax')")
    monkeypatch.setattr(sys, "argv", ["suite", "--other-python", sys.executable])
    with pytest.raises(subprocess.CalledProcessError):
        suite.main()


def test_a_quick_run_writes_a_table_with_date_machine_and_versions(tmp_path: pathlib.Path) -> None:
    assert command.main(["--quick", "--only", "single_step", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "single_step.md").read_text(encoding="utf-8")
    assert re.search(r"^\d{4}-\d\d-\d\d; .+ cores, load .*; Python 3\.\d+\.\d+, jax \d", text, re.MULTILINE)
    assert "`python -m tests.benchmarks.single_step --steps 50 --repeats 1`" in text
    assert re.search(r"^\| mbrl/ProcMaze-v0 \| [\d.]+ \| [\d.]+ \|$", text, re.MULTILINE)


def test_a_benchmark_that_fails_leaves_its_table_and_lets_the_others_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def output_of(name: str, recorded: Recorded, *, quick: bool) -> str:
        if name == "single_step":
            raise RuntimeError("it ended with code 1")
        return "2026-01-01; a machine; Python 3.11"

    monkeypatch.setattr(command, "output_of", output_of)
    (tmp_path / "single_step.md").write_text("old")
    assert command.main(["--only", "single_step", "suite", "--out", str(tmp_path)]) == 1
    assert (tmp_path / "single_step.md").read_text() == "old"
    assert "2026-01-01; a machine" in (tmp_path / "suite.md").read_text()
    assert "single_step: it ended with code 1" in capsys.readouterr().err


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--only", "nothing"])
    assert "there is no nothing; there are environments" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs(name: str, tmp_path: pathlib.Path) -> None:
    if name == "omd_sac":
        pytest.importorskip("mujoco")
    assert command.main(["--quick", "--only", name, "--out", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.md").is_file()
