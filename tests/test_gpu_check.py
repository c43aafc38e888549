"""The prepared check of an accelerator runs where there is none: a CPU's numbers beside its own."""

from __future__ import annotations

import sys

import pytest

from tests import gpu_check

QUICK = ["--agents", "replay", "--sizes", "1", "2", "--steps", "20", "--check-steps", "40", "--minutes", "3"]


@pytest.mark.slow
def test_it_runs_on_a_cpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu_check", *QUICK])
    gpu_check.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| replay")]
    assert [row[1].strip() for row in rows] == ["loop", "vmap", "1", "2"]
    assert float(rows[0][2]) == 0
    assert all(float(row[3]) > 0 for row in rows[2:])
