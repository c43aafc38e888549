"""Wheel and source distribution: complete, and at work in a clean environment away from the checkout."""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("mbrl_agents", "mbrl_envs", "tuning")
HOOK = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
HEAVY = {"torch", "matplotlib", "stable_baselines3", "pandas", "scipy", "PIL", "pygame"}


def build(kind: str, source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Builds as pip does, by the hooks of pyproject.toml's backend."""
    target.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", HOOK, kind, target], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy: setuptools writes beside what it builds."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.part"))
    return copy


@pytest.fixture(scope="module")
def wheel(source: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build("build_wheel", source, tmp_path_factory.mktemp("wheel"))


def files_of(source: pathlib.Path) -> set[str]:
    """Everything in the packages: code, documents, pictures, tables, presets, py.typed."""
    paths = (path for name in PACKAGES for path in (source / name).rglob("*"))
    return {path.relative_to(source).as_posix() for path in paths if path.is_file()}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(source: pathlib.Path, wheel: pathlib.Path) -> None:
    wanted = files_of(source)
    for part in ("mbrl_envs/README.md", "mbrl_envs/images/ProcMaze.png", "mbrl_envs/scores.csv", "tuning/py.typed"):
        assert part in wanted
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if name.startswith("mbrl_lab-") and ".dist-info/" in name}
    assert names - info == wanted
    assert any(name.endswith("licenses/LICENSE") for name in info)


def test_the_source_distribution_builds_the_same_wheel(
    source: pathlib.Path, wheel: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    archive = build("build_sdist", source, tmp_path / "dist")
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    assert {"README.md", "LICENSE", "pyproject.toml"} <= {path.name for path in unpacked.iterdir()}
    again = build("build_wheel", unpacked, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


@pytest.fixture(scope="module")
def installed(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A virtual environment with the wheel; what it depends on is lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", wheel], env=_environment(), check=True)
    # A path in a .pth file lends modules, but does not read the .pth files there, of which one leads to the checkout.
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "lent.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return folder


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}


def run(installed: pathlib.Path, *command: str) -> str:
    """What a program of the environment prints, in a folder far from the checkout; it says nothing on the error output."""
    program = installed / "bin" / command[0]
    done = subprocess.run(
        [program, *command[1:]], cwd=installed, env=_environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_command_works_in_a_clean_environment(installed: pathlib.Path) -> None:
    commands = {line.split()[0] for line in run(installed, "mbrl", "--help").splitlines() if line.startswith("    ")}
    assert commands >= {"envs", "play", "train", "compare", "evaluate", "plot", "tune", "dashboard"}
    assert "mbrl/ProcMaze-v0" in run(installed, "mbrl", "envs")


def test_presets_and_documents_are_found(installed: pathlib.Path) -> None:
    code = (
        "import importlib.resources as resources, mbrl_envs, mbrl_agents, tuning\n"
        "from mbrl_agents.experiments import published\n"
        "from mbrl_envs import score_table\n"
        "print(mbrl_envs.__file__)\n"
        "print(sorted([*published.presets(), *published._bundled()]), len(score_table.read()) > 20)\n"
        "print([(resources.files(each) / 'README.md').is_file() for each in (mbrl_envs, mbrl_agents, tuning)])\n"
        "print((resources.files(mbrl_agents) / 'images' / 'compare_PanFlute.png').is_file())\n"
        "print(published.preset('cartpole').environment.id)\n"
    )
    lines = run(installed, "python", "-c", code).splitlines()
    assert pathlib.Path(lines[0]).is_relative_to(installed)
    for name in ("procmaze-high", "panflute-low", "cartpole", "cue-recall"):
        assert repr(name) in lines[1]
    assert lines[1].endswith("True")
    assert lines[2:] == ["[True, True, True]", "True", "CartPole-v1"]


def test_the_import_of_environments_is_light(installed: pathlib.Path) -> None:
    """Its time is measured in tests/envs/test_registration.py."""
    assert run(installed, "python", "-c", f"import sys, mbrl_envs; print({HEAVY!r} & {{*sys.modules}})").strip() == "set()"


def distributions(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements ask for, with all that these ask for."""
    left, seen = [Requirement(each) for each in requirements], set()
    while left:
        one = left.pop()
        if (known := (canonicalize_name(one.name), *sorted(one.extras))) in seen:
            continue
        seen.add(known)
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # not installed: nothing to follow, or to block
            for each in map(Requirement, importlib.metadata.requires(one.name) or []):
                if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *one.extras)):
                    left.append(each)
    return {name for name, *_ in seen}


def modules_of_extras() -> list[str]:
    """Modules that nobody has who installs the package alone."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    core = distributions(project["dependencies"])
    extras = distributions(itertools.chain(*project["optional-dependencies"].values())) - core - {project["name"]}
    owners = importlib.metadata.packages_distributions()
    return sorted(module for module, names in owners.items() if {canonicalize_name(name) for name in names} <= extras)


def test_the_readmes_first_command_needs_no_extras(installed: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = re.search(r"^pip install -c constraints\.txt -e \. && mbrl (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert first is not None
    blocked = modules_of_extras()
    assert {"optuna", "pyarrow", "pettingzoo", "pygame", "hypothesis", "pytest"} <= {*blocked}
    # Python imports this at its start, in the workers too; what is None among the modules cannot be imported.
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n")
    quick = ["--total-timesteps", "100", "--eval-interval", "50", "--eval-episodes", "2", "--eval-steps", "5", "--seeds", "1"]
    done = subprocess.run(
        [installed / "bin" / "mbrl", *first[1].split(), *quick, "--out", tmp_path / "out"],
        cwd=tmp_path,
        env=_environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "curves.png").is_file()
