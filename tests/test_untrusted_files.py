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
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import yaml
from stable_baselines3 import PPO

from mbrl_agents import R2D2, LinearTD, ReplayDQN, SweepResult, train_sweep
from mbrl_agents.experiments import preset_files, published
from mbrl_agents.experiments.sweeps import folder as sweep_folder
from mbrl_agents.runs.agents import find_agent, known_agents
from mbrl_agents.runs.environments import TRUSTED_MODULES, EnvironmentSpec
from mbrl_agents.runs.run_folder import INTERRUPTED, RunFolder, Status
from mbrl_agents.runs.saved_agents import load_agent, load_for_evaluation
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.td_dynamics.episode_store import EpisodeStore
from mbrl_envs import cli
from tests.agents import cases, test_interruptions
from tests.experiments import runs
from tests.tuning import fakes
from tuning import open_study
from tuning.confirm import confirm
from tuning.curves import Curves
from tuning.plots import draw_curves
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


def hostile_json(mark: pathlib.Path) -> str:
    """As jsonpickle would write it."""
    return json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(mark)]}]})


def edited(source: pathlib.Path, target: pathlib.Path, **changes: bytes) -> pathlib.Path:
    """A copy of a zip file in which some members are others."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name.replace(".", "_"), old.read(name)))
    return target


# --- agents -------------------------------------------------------------------------------------------------------------------


SMALL_R2D2: dict[str, Any] = {"burn_in": 0, "sequence_length": 5, "buffer_size": 50, "policy_kwargs": {"lstm_hidden_size": 4}}


def r2d2() -> R2D2:
    return R2D2("MlpLstmPolicy", FLUTE, **SMALL_R2D2)


SB3_PARTS = ("data", "policy_pth", "policy_optimizer_pth", "pytorch_variables_pth")


def hostile_sb3_file(agent: Any, folder: pathlib.Path, mark: pathlib.Path, parts: Sequence[str] = SB3_PARTS) -> pathlib.Path:
    """An SB3 agent's file whose every part is hostile, or some are."""
    agent.save(folder / "good.zip")
    with zipfile.ZipFile(folder / "good.zip") as archive:  # the others are text
        members = {name.replace(".", "_") for name in archive.namelist()}
    assert members == {*SB3_PARTS, "_stable_baselines3_version", "system_info_txt"}
    bomb = pickle.dumps(Bomb(mark))
    data = {"gamma": {":type:": "float", ":serialized:": base64.b64encode(bomb).decode()}}
    changes = dict.fromkeys(SB3_PARTS, bomb) | {"data": json.dumps(data).encode()}
    return edited(folder / "good.zip", folder / "bad.zip", **{part: changes[part] for part in parts})


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
    kind, arguments = find_agent(type(agent)), {"n_steps": 8, "batch_size": 8} if isinstance(agent, PPO) else SMALL_R2D2
    file = hostile_sb3_file(agent, tmp_path, mark)
    with pytest.raises(ValueError, match=rf"is no {kind.name} for"):
        load_agent(kind, file, EnvironmentSpec(FLUTE).make(), arguments)
    with pytest.raises(ValueError, match=rf"is no {kind.name} for"):
        load_for_evaluation(file, kind.name, EnvironmentSpec(FLUTE), arguments)
    for part in SB3_PARTS:  # alone: none of them is safe only because another one is refused before
        file = hostile_sb3_file(agent, tmp_path, mark, [part])
        if part == "data":  # is not read
            load_agent(kind, file, EnvironmentSpec(FLUTE).make(), arguments)
        else:
            with pytest.raises(ValueError, match=rf"is no {kind.name} for"):
                load_agent(kind, file, EnvironmentSpec(FLUTE).make(), arguments)


JAX_AGENTS = [case for case, (cls, _) in test_interruptions.CASES.items() if issubclass(cls, JaxAgent)]


def test_all_agents_in_jax_are_among_them() -> None:
    ours = {kind.cls for kind in known_agents().values() if kind.ours}
    assert {test_interruptions.CASES[case][0] for case in JAX_AGENTS} == ours


@pytest.mark.parametrize(
    "case", [case if case in cases.DIFFERENT else pytest.param(case, marks=pytest.mark.slow) for case in JAX_AGENTS]
)
def test_agents_in_jax(case: str, tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    agent = test_interruptions.make(case, True)
    agent.save(tmp_path / "good.zip")
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        members = archive.namelist()
    arrays = [name for name in members if name.endswith(".npz")]
    assert "data" in members
    assert arrays
    for name in members:
        for content in (hostile_arrays(mark), pickle.dumps(Bomb(mark))):
            file = edited(tmp_path / "good.zip", tmp_path / "bad.zip", **{name.replace(".", "_"): content})
            if name in ("data", *arrays):
                with pytest.raises(ValueError, match=r"damaged or not an agent|not a readable NPZ file of plain arrays"):
                    type(agent).load(file)
            else:  # texts for people
                type(agent).load(file)


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
    for note in (pickle.dumps(Bomb(mark)), hostile_json(mark).encode(), hostile_yaml(mark).encode()):
        (tmp_path / "episodes" / "episodes.json").write_bytes(note)
        with pytest.raises(ValueError, match=r"is damaged|is no note of episodes"):
            EpisodeStore(tmp_path / "episodes", partial=True)


# --- folders and presets ------------------------------------------------------------------------------------------------------


def test_configurations_in_yaml(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    yaml.unsafe_load(hostile_yaml(mark))
    mark.rmdir()  # it is live
    run = runs.folder(tmp_path / "run")
    for name in ("config.yaml", sweep_folder.MARKER, sweep_folder.OLD_MARKER, "preset.yaml"):
        (run.path / name).write_text(hostile_yaml(mark))
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        RunFolder.open(run.path)
    with pytest.raises(ValueError, match=r"sweep\.yaml cannot be read"):
        sweep_folder.read(run.path)
    with pytest.raises(ValueError, match="is not YAML"):
        preset_files.read(run.path / "preset.yaml")
    (run.path / "config.yaml").unlink()
    (run.path / sweep_folder.MARKER).unlink()
    with pytest.raises(ValueError, match=r"compare\.yaml cannot be read"):
        sweep_folder.read(run.path)


def test_the_rest_of_a_run(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    run = runs.folder(tmp_path / "run")
    for name in ("status.json", "metrics.csv", "versions.json"):
        (run.path / name).write_bytes(pickle.dumps(Bomb(mark)))
    assert RunFolder.open(run.path).status().state == INTERRUPTED
    with pytest.raises(ValueError):
        RunFolder.open(run.path).scores()


def test_what_a_run_goes_on_from(tmp_path: pathlib.Path, mark: pathlib.Path, capsys: Any) -> None:
    """Agent and replay memory of a run that was stopped."""
    path = tmp_path / "run"
    command = ["train", "LinearTD", FLUTE, "--set", "episode_steps=10", *_SIZES, "--out", str(path)]
    assert cli.main(command) == 0
    run = RunFolder.open(path)
    shutil.copy(run.agent_path, tmp_path / "good.zip")
    LinearTD.load(tmp_path / "good.zip", env=EnvironmentSpec(FLUTE).make()).save_replay_buffer(run.replay_path(40))
    run.write_status(Status(INTERRUPTED, 40))
    good = run.replay_path(40).read_bytes()
    capsys.readouterr()
    for content in (hostile_arrays(mark), pickle.dumps(Bomb(mark))):
        run.replay_path(40).write_bytes(content)
        assert cli.main([*command, "--resume"]) != 0
        assert "Traceback" not in capsys.readouterr().err
        run.replay_path(40).write_bytes(good)
        for part in ("data", "policy_npz", "state_npz"):
            edited(tmp_path / "good.zip", run.agent_path, **{part: content})
            assert cli.main([*command, "--resume"]) != 0
            assert "Traceback" not in capsys.readouterr().err
        shutil.copy(tmp_path / "good.zip", run.agent_path)


_SIZES = ["--total-timesteps", "40", "--eval-interval", "20", "--eval-episodes", "2", "--eval-steps", "5"]


@pytest.fixture
def swept(tmp_path: pathlib.Path) -> SweepResult:
    sizes = {"total_timesteps": 40, "eval_interval": 20, "eval_episodes": 2, "eval_steps": 5}
    return train_sweep("LinearTD", FLUTE, {"episode_steps": 10}, 2, folder=tmp_path / "sweep", **sizes)


def test_agents_of_a_sweep(swept: SweepResult, tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    assert swept.agent(0)
    for name in ("agent.zip", "replay.npz"):
        file = swept.run_folder(0).path / name
        good = file.read_bytes()
        for content in (hostile_arrays(mark), pickle.dumps(Bomb(mark))):
            file.write_bytes(content)
            with pytest.raises(ValueError, match=r"damaged|not a readable NPZ file|holds no replay memory"):
                SweepResult.open(tmp_path / "sweep").agent(0)
        file.write_bytes(good)


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
    with_environment(run, hostile_module)
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


def with_environment(run: RunFolder, env_id: str) -> None:
    data = yaml.safe_load((run.path / "config.yaml").read_text())
    data["environment"]["id"] = env_id
    (run.path / "config.yaml").write_text(yaml.safe_dump(data))


def test_runs_and_sweeps_import_nothing(hostile_module: str, swept: SweepResult, tmp_path: pathlib.Path, capsys: Any) -> None:
    run = swept.run_folder(0)
    with_environment(run, hostile_module)
    with pytest.raises(ValueError, match=refusal_of(hostile_module)):
        SweepResult.open(tmp_path / "sweep").agent(0)
    assert cli.main(["plot", str(run.path), "--out", str(tmp_path / "curves.png")]) == cli.USER_ERROR
    assert refusal_of(hostile_module) in capsys.readouterr().err
    run.write_status(Status(INTERRUPTED, 40))
    command = ["train", "LinearTD", FLUTE, "--set", "episode_steps=10", *_SIZES, "--out", str(run.path), "--resume"]
    assert cli.main(command) == cli.USER_ERROR
    assert "holds a run with another configuration" in capsys.readouterr().err


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
    if as_json:
        value = hostile_json(mark)
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


@pytest.mark.usefixtures("no_pictures")
def test_no_command_on_a_study_imports_anything(
    hostile_module: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # where a preset is written
    fakes.work(fakes.study_in(tmp_path, tmp_path / "study.journal"))
    journal = tmp_path / "study.journal"
    journal.write_text(journal.read_text().replace(FLUTE, hostile_module))
    for command in ("status", "best", "plot", "export", "worker", "resume"):
        more = ["--trials", "13"] if command == "resume" else []
        code = cli.main(["tune", command, str(tmp_path), *more])
        said = capsys.readouterr()
        assert code == 0 or (code == cli.USER_ERROR and "Traceback" not in said.err), command


def test_the_marker_of_a_study_s_folder(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    fakes.study_in(tmp_path)
    for content in (pickle.dumps(Bomb(mark)), hostile_yaml(mark).encode(), hostile_json(mark).encode()):
        (tmp_path / "study.id").write_bytes(content)
        with pytest.raises(ValueError, match="belongs to another study"):
            open_study(tmp_path / "study.db")


@pytest.mark.usefixtures("no_pictures")
def test_curves_of_confirmations(tmp_path: pathlib.Path, mark: pathlib.Path) -> None:
    study = fakes.study_in(tmp_path)
    fakes.work(study)
    confirm(study, 3, fakes.FakeTrainer())
    (file,) = (tmp_path / "confirmation").rglob("curves.parquet")
    for content in (pickle.dumps(Bomb(mark)), hostile_arrays(mark)):
        file.write_bytes(content)
        with pytest.raises(ValueError):
            draw_curves(study)


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
