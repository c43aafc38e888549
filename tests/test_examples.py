"""Every example has a quick form, which runs; results go where they are asked to."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.command_lines import ROOT, parse_script

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDED = {"model_based_generalization": ["panflute-high"], "r2d2_memory": ["cue-recall"]}  # arguments that cannot be left out

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@every_example
def test_every_example_has_a_quick_form_and_a_place_for_its_results(example: pathlib.Path) -> None:
    parsed = parse_script(example, [*NEEDED.get(example.stem, []), "--quick", "--out", "somewhere"])
    assert parsed.options is not None
    assert parsed.options.quick is True
    assert str(parsed.options.out) == "somewhere"
    assert "--quick" in ((parsed.parser and parsed.parser.format_help()) or "")


@pytest.mark.slow
@every_example
def test_the_quick_form_runs(example: pathlib.Path, tmp_path: pathlib.Path) -> None:
    if example.stem == "omd_halfcheetah":
        pytest.importorskip("mujoco")
    place = tmp_path / ("results.png" if example.stem == "replay_dqn" else "results")
    arguments = [*NEEDED.get(example.stem, []), "--quick", "--out", str(place)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, example, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert place.is_file() or any(path.suffix == ".png" for path in place.iterdir())
