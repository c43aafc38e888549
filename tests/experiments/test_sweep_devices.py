"""Several devices: each has its part of the runs, and the numbers are those of one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mbrl_agents import SweepResult
from tests.experiments.sweep_runs import TOLERANCE, same_runs, sweep

ROOT = pathlib.Path(__file__).parents[2]
# Three runs on two devices.
SETTINGS = {"learning_rate": [1e-3, 5e-4, 2e-4], "gamma": [0.9, 0.8, 0.7]}

# Notes where arrays lie: of runs that go one by one, the devices of each; of mapped ones, before and after every chunk, which
# rows of each array are on which device, for arrays that are the runs' own and those that are common to all.
SCRIPT = """
import json, pathlib, sys
import jax
from mbrl_agents.runs import executor as executions
from tests.experiments.sweep_runs import sweep
from tests.experiments.test_sweep_devices import SETTINGS

seen = {"devices": len(jax.devices()), "loop": {}, "own": [], "common": []}
single, mapped = executions._SingleRun.advance, executions._MappedRuns.advance

def devices(tree):
    return sorted({device.id for leaf in jax.tree.leaves(tree) for device in leaf.devices()})

def one_by_one(self, most, pace):
    chunks = single(self, most, pace)
    rate = self.run.schedules.learning_rate(1.0)
    seen["loop"][rate] = devices(self.state._replace(clock=()))
    return chunks

def together(self, most, pace):
    jax.tree.map(note, self.own, self.state)
    chunks = mapped(self, most, pace)
    jax.tree.map(note, self.own, self.state)
    return chunks

def note(own, part):
    for leaf in jax.tree.leaves(part):
        seen["own" if own else "common"].append([(each.device.id, each.data.shape[:1]) for each in leaf.addressable_shards])

executions._SingleRun.advance, executions._MappedRuns.advance = one_by_one, together
folder = pathlib.Path(sys.argv[1])
for kind in ("loop", "vmap"):
    sweep(SETTINGS, [3], folder=folder / kind, execution=kind)
(folder / "seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What a process that has two devices made of a sweep, in either execution."""
    path = tmp_path_factory.mktemp("two")
    variables = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return path


@pytest.fixture(scope="module")
def one_device() -> SweepResult:
    return sweep(SETTINGS, [3], execution="loop")


@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_the_numbers_are_those_of_one_device(execution: str, two_devices: pathlib.Path, one_device: SweepResult) -> None:
    result, tolerance = SweepResult.open(two_devices / execution), TOLERANCE[execution]
    for run in range(3):
        same_runs(result.agent(run), one_device.agent(run), tolerance)
    ours, theirs = result.table(), one_device.table()
    if execution == "loop":
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    else:
        pd.testing.assert_frame_equal(ours.drop(columns="value"), theirs.drop(columns="value"))
        np.testing.assert_allclose(ours["value"], theirs["value"], rtol=1e-4, atol=tolerance)


def test_runs_are_dealt_out_over_the_devices(two_devices: pathlib.Path) -> None:
    seen = json.loads((two_devices / "seen.json").read_text())
    assert seen["devices"] == 2
    # All of a run's arrays are on one device; no device has all the runs.
    assert sorted(map(tuple, seen["loop"].values())) in ([(0,), (0,), (1,)], [(0,), (1,), (1,)])


def test_every_device_has_its_rows_of_a_mapped_unit(two_devices: pathlib.Path) -> None:
    """Three runs are filled up to four rows: two on each device. Only the clock and the like is on both."""
    seen = json.loads((two_devices / "seen.json").read_text())
    assert len(seen["own"]) > 100
    assert {tuple((device, *rows) for device, rows in shards) for shards in seen["own"]} == {((0, 2), (1, 2))}
    assert {tuple((device, *rows) for device, rows in shards) for shards in seen["common"]} == {((0,), (1,))}
