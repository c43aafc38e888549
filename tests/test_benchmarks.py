"""The benchmarks' command: it knows every module, their arguments are real, and it writes what it is to write."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests.benchmarks import __main__ as command
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
    assert {path.stem for path in command.TABLES.glob("*.md")} <= set(NAMES)


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
