"""Files that somebody else has made: what is loaded from them runs no code, or its documentation says that it may.

Each hostile file would make a folder, ``exploded``, if its code ran; the first test shows that it does where pickles are.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import pathlib
import pickle
import shutil
import sqlite3
import sys
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from stable_baselines3 import PPO

from mbrl_agents import R2D2, ReplayDQN
from mbrl_agents.experiments import comparison, preset_files, published
from mbrl_agents.experiments.agents import find_agent
from mbrl_agents.experiments.environments import TRUSTED_MODULES, EnvironmentSpec
from mbrl_agents.experiments.run_folder import INTERRUPTED, RunFolder
from mbrl_agents.experiments.saved_agents import load_agent, load_for_evaluation
from mbrl_agents.experiments.sweeps import folder as sweep_folder
from mbrl_agents.td_dynamics.episode_store import EpisodeStore
from mbrl_envs import cli
from tests.experiments import runs
from tests.tuning import fakes
from tuning import open_study
from tuning.curves import Curves
from tuning.report import write_report

FLUTE = "mbrl/PanFlute-v0"


class Bomb:
    """What makes a folder when its pickle is loaded."""

    def __init__(self, mark: pathlib.Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Where the folder would be; that it never is belongs to every test that takes this."""
    place = tmp_path / "exploded"
    yield place
    assert not place.exists()


def hostile_arrays(mark: pathlib.Path) -> bytes:
    content = io.BytesIO()
    np.savez(content, bomb=np.array([Bomb(mark)], dtype=object))
    return content.getvalue()


def hostile_yaml(mark: pathlib.Path) -> str:
    return f"format: !!python/object/apply:os.mkdir [{json.dumps(str(mark))}]\n"


def edited(source: pathlib.Path, target: pathlib.Path, **changes: bytes) -> pathlib.Path:
    """A copy of a zip file in which some members are others."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.replace(".", "_"), old.read(name)))
    return target


# --- agents -------------------------------------------------------------------------------------------------------------------


def r2d2() -> R2D2:
    return R2D2("MlpLstmPolicy", FLUTE, burn_in=0, sequence_length=5, buffer_size=50, policy_kwargs={"lstm_hidden_size": 4})


def hostile_sb3_file(agent: Any, folder: pathlib.Path, mark: pathlib.Path) -> pathlib.Path:
    """An SB3 agent's file whose every part is hostile."""
    agent.save(folder / "good.zip")
    bomb = pickle.dumps(Bomb(mark))
    data = {"gamma": {":type:": "float", ":serialized:": base64.b64encode(bomb).decode()}}
    changes = {"data": json.dumps(data).encode(), "policy_pth": bomb, "pytorch_variables_pth": bomb}
    return edited(folder / "good.zip", folder / "bad.zip", **changes)


def test_r2d2_load_says_that_it_may_run_code_and_does(tmp_path: pathlib.Path) -> None:
    for place in (R2D2.load, R2D2.load_replay_buffer):
        assert "MAY RUN CODE FROM THE FILE" in (place.__doc__ or "")
    mark, file = tmp_path / "exploded", tmp_path / "replay.pkl"
    with pytest.raises(Exception, match=r".*"):  # whatever SB3 makes of it
        R2D2.load(hostile_sb3_file(r2d2(), tmp_path, mark))
    assert mark.exists()
    mark.rmdir()
    file.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(AssertionError, match="must inherit from ReplayBuffer"):  # SB3's, after it was loaded
        r2d2().load_replay_buffer(file)
    assert mark.exists()


@pytest.mark.parametrize("make", [r2d2, lambda: PPO("MlpPolicy", FLUTE, n_steps=8, batch_size=8)], ids=["R2D2", "PPO"])
def test_weights_of_sb3_files_are_taken_without_their_pickles(
    make: Callable[[], Any], tmp_path: pathlib.Path, mark: pathlib.Path
) -> None:
    agent = make()
    kind, arguments = find_agent(type(agent)), {"n_steps": 8} if isinstance(agent, PPO) else {}
    file = hostile_sb3_file(agent, tmp_path, mark)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        load_agent(kind, file, EnvironmentSpec(FLUTE).make(), arguments)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        load_for_evaluation(file, kind.name, EnvironmentSpec(FLUTE), arguments)


@pytest.mark.parametrize("member", ["data", "policy_npz", "policy_target_npz", "policy_optimizer_npz", "state_npz"])
def test_agents_in_jax(member: str, tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    ReplayDQN("MlpPolicy", FLUTE, **runs.TINY["ReplayDQN"]).save(tmp_path / "good.zip")
    for content in (hostile_arrays(mark), pickle.dumps(Bomb(mark))):
        file = edited(tmp_path / "good.zip", tmp_path / "bad.zip", **{member: content})
        with pytest.raises(ValueError, match=r"damaged or not an agent|not a readable NPZ file of plain arrays"):
            ReplayDQN.load(file)


def test_replay_memories(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    agent = ReplayDQN("MlpPolicy", FLUTE, **runs.TINY["ReplayDQN"])
    for content in (hostile_arrays(mark), pickle.dumps(Bomb(mark))):
        (tmp_path / "replay.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"not a readable NPZ file of plain arrays|holds no replay memory"):
            agent.load_replay_buffer(tmp_path / "replay.npz")
    agent.learn(50).save_replay_buffer(tmp_path / "good")
    arrays = dict(np.load(tmp_path / "good.npz")) | {"reward": np.array([Bomb(mark)], dtype=object)}
    np.savez(tmp_path / "replay.npz", allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match="not a readable NPZ file of plain arrays"):
        agent.load_replay_buffer(tmp_path / "replay.npz")


def test_stored_episodes(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    EpisodeStore.create(tmp_path / "episodes", 3, 5, {})
    np.save(tmp_path / "episodes" / "cells.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="missing or damaged"):
        EpisodeStore(tmp_path / "episodes", partial=True)


# --- folders and presets ------------------------------------------------------------------------------------------------------


def test_configurations_in_yaml(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    run = runs.folder(tmp_path / "run")
    for name in ("config.yaml", sweep_folder.MARKER, comparison.MARKER, "preset.yaml"):
        (run.path / name).write_text(hostile_yaml(mark))
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        RunFolder.open(run.path)
    with pytest.raises(ValueError, match=r"sweep\.yaml cannot be read"):
        sweep_folder.read(run.path)
    with pytest.raises(ValueError, match="is not YAML"):
        preset_files.read(run.path / "preset.yaml")
    (run.path / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"compare\.yaml cannot be read"):
        comparison.Comparison(run.path, [comparison.Contestant("a", "ReplayDQN", {})], runs.FLUTE, [0], steps=100)


def test_the_rest_of_a_run(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    run = runs.folder(tmp_path / "run")
    for name in ("status.json", "metrics.csv", "versions.json"):
        (run.path / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert RunFolder.open(run.path).status().state == INTERRUPTED
    with pytest.raises(ValueError):
        RunFolder.open(run.path).scores()


@pytest.fixture(params=["hostile_module", "hostile-module", "1hostile"])
def hostile_module(request: Any, tmp_path: pathlib.Path, mark: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that is found and would explode when imported, as Gymnasium does with ids of the form module:name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / f"{request.param}.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(gymnasium.error.Error):
        gymnasium.make(f"{request.param}:Env-v0")
    mark.rmdir()  # it is live
    del sys.modules[request.param]
    return f"{request.param}:Env-v0"


def test_environments_named_in_files_import_nothing(hostile_module: str, tmp_path: pathlib.Path, capsys: Any) -> None:
    run = runs.folder(tmp_path / "run")
    ReplayDQN("MlpPolicy", FLUTE, **runs.TINY["ReplayDQN"]).save(run.agent_path)
    data = yaml.safe_load((run.path / "config.yaml").read_text())
    data["environment"]["id"] = hostile_module
    (run.path / "config.yaml").write_text(yaml.safe_dump(data))
    preset = published.preset("panflute-low")
    file = tmp_path / "preset.yaml"
    preset_files.write(dataclasses.replace(preset, environment=EnvironmentSpec(hostile_module)), file)
    for command in (
        ["evaluate", str(run.path)],
        ["train", "ReplayDQN", "--preset", str(file), "--out", str(tmp_path / "new")],
        ["train", "ReplayDQN", "--preset", str(file), "--seeds", "2", "--out", str(tmp_path / "new")],
        ["compare", "--preset", str(file), "--out", str(tmp_path / "new")],
    ):
        assert cli.main(command) == cli.USER_ERROR
        assert refusal_of(hostile_module) in capsys.readouterr().err


def refusal_of(env_id: str) -> str:
    return f"would have the module {env_id.partition(':')[0]!r} imported"


def test_ids_that_are_arguments_import_nothing_either(hostile_module: str, tmp_path: pathlib.Path, capsys: Any) -> None:
    for arguments in ({"env_id": hostile_module}, {"env_kwargs": {"inner": ["CartPole-v1", hostile_module]}}):
        with pytest.raises(ValueError, match=refusal_of(hostile_module)):
            EnvironmentSpec.read({"id": "mbrl/Distracted-v0", "arguments": arguments}).make()
    around = EnvironmentSpec("mbrl/Distracted-v0", {"env_id": hostile_module, "num_distractors": 1})
    file = tmp_path / "preset.yaml"
    preset_files.write(dataclasses.replace(published.preset("panflute-low"), environment=around), file)
    for command in (["train", "ReplayDQN", around.id], ["compare", around.id]):  # the preset's own id does not make it ours
        assert cli.main([*command, "--preset", str(file), "--out", str(tmp_path / "new")]) == cli.USER_ERROR
        assert refusal_of(hostile_module) in capsys.readouterr().err


def test_modules_that_are_trusted_may_be_named_in_files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trusted_module.py").write_text("import mbrl_envs\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = EnvironmentSpec.read({"id": "trusted_module:mbrl/PanFlute-v0"})
    with pytest.raises(ValueError, match=f"{TRUSTED_MODULES}=trusted_module"):
        spec.make()
    monkeypatch.setenv(TRUSTED_MODULES, "another,trusted_module")
    assert spec.dynamics() == EnvironmentSpec(FLUTE).dynamics()
    monkeypatch.delenv(TRUSTED_MODULES)
    assert spec.make()  # it has been imported by now
    monkeypatch.delitem(sys.modules, "trusted_module")
    assert EnvironmentSpec("trusted_module:mbrl/PanFlute-v0").make()  # said by the user, who may


# --- studies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["study.db", "study.journal"])
def test_storages_of_studies(name: str, tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)) + b"\n")
    with pytest.raises((ValueError, ConnectionError), match=r"damaged in line 1|cannot be opened"):
        open_study(tmp_path / name)


@pytest.mark.parametrize("as_json", [False, True], ids=["pickle", "json"])
def test_values_in_a_study_s_database(as_json: bool, tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    fakes.study_in(tmp_path / "study")
    copied = tmp_path / "study.db"
    shutil.copy(tmp_path / "study" / "study.db", copied)
    value = base64.b64encode(pickle.dumps(Bomb(mark))).decode()
    if as_json:  # as jsonpickle would write it
        value = json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(mark)]}]})
    with sqlite3.connect(copied) as database:
        changed = database.execute("update trial_user_attributes set value_json = ?", (value,)).rowcount
    database.close()
    assert changed > 0
    with pytest.raises(ValueError, match=r"is damaged|Expecting value"):
        open_study(copied)


def test_studies_import_nothing(hostile_module: str, tmp_path: pathlib.Path, capsys: Any) -> None:
    fakes.study_in(tmp_path, tmp_path / "study.journal")
    journal = tmp_path / "study.journal"
    journal.write_text(journal.read_text().replace(FLUTE, hostile_module))
    assert cli.main(["tune", "resume", str(tmp_path)]) == cli.USER_ERROR
    assert refusal_of(hostile_module) in capsys.readouterr().err


def test_curves_of_studies(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    curves, bomb = Curves(tmp_path), pickle.dumps(Bomb(mark))
    file = tmp_path / "curves" / "slot-00000-100.parquet"
    file.parent.mkdir()
    file.write_bytes(bomb)
    with pytest.raises(ValueError):
        curves.read(0)
    # Columns of a type that says in a pickle how it is to be made, as files of old versions of Arrow could have.
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    field = pyarrow.field("slot", pyarrow.int64(), metadata=metadata)
    pyarrow.parquet.write_table(pyarrow.table({"slot": [0]}, schema=pyarrow.schema([field])), file)
    assert list(curves.read(0)["slot"]) == [0]  # type: ignore[index]


@pytest.mark.usefixtures("no_pictures")
def test_the_page_of_a_study_holds_no_script_of_its_name(tmp_path: pathlib.Path) -> None:
    study = fakes.study_in(tmp_path, name="<script>alert(1)")
    fakes.work(study)
    write_report(study, tmp_path)
    page = (tmp_path / "study.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all the rest."""
    monkeypatch.setattr("tuning.curves._picture", lambda table, title: b"")
    monkeypatch.setattr("tuning.report._PICTURES", {})
