"""Writes ``mbrl_envs/README.md`` and its pictures from the docstrings, the code and ``scores.csv``.

``python -m mbrl_envs.documentation`` writes, ``--check`` only says what is stale (exit code 1), ``--scores`` also computes the
table of scores anew, which takes some minutes (or a part of it: ``--scores PanFlute OpenGrid``).
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import jax
import numpy as np

from mbrl_envs import docstrings, draws, lane, multi_agent, score_table
from mbrl_envs.functional import FunctionalEnv
from mbrl_envs.registration import DYNAMICS
from mbrl_envs.rendering import rgb_array

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = pathlib.Path(__file__).parent
TEMPLATE, PAGE, IMAGES = FOLDER / "documentation_template.md", FOLDER / "README.md", FOLDER / "images"

KNOWN = score_table.KNOWN

# Seed and actions (joint ones of several agents) after which an environment's picture is taken; for others (0, ()).
PICTURED: dict[str, tuple[int, tuple[Any, ...]]] = {
    "ProcMaze": (3, (1,)),
    "OpenGrid": (0, (3, 4)),
    "ButtonGrid": (3, (2, 3)),
    "PanFlute": (0, (4, 3, 2, 1)),
    "CueRecall": (0, ()),
    "CartPole": (0, (1, 0, 1, 1, 1, 1, 0, 1)),
    "MountainCar": (0, (2,) * 22),
    "RandomWalk2D": (0, (0, 1, 1, 0, 1)),
    "CueReward": (3, (0,) * 12),
    "Starkweather": (0, (0,) * 44),
    "Babayan": (1, (0,) * 56),
    "Contingency": (1, (0,) * 70),
    "VariableMagnitude": (5, (0,) * 90),
    "VariableProbability": (1, (0,) * 50),
    "CoopButtonGrid": (3, ((2, 3), (3, 0))),
    "CoopPanFlute": (0, ((4, 3), (3, 2), (2, 1), (1, 0))),
    "ButtonContest": (3, ((2, 3), (3, 0))),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the script; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m mbrl_envs.documentation", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if something is stale")
    parser.add_argument("--scores", nargs="*", metavar="NAME", help="compute scores of these environments (default: all) anew")
    arguments = parser.parse_args(argv)
    if arguments.check:
        problems = stale()
        print("\n".join(problems) or "mbrl_envs/README.md is current")
        return 1 if problems else 0
    if arguments.scores is not None:
        update_scores(arguments.scores or list(score_table.SCORED))
    write()
    return 0


def update_scores(names: Iterable[str]) -> None:
    """Computes the scores of some environments anew, keeping the rows of all others."""
    for name in names:
        env_id = KNOWN[name].env_id
        kept = [row for row in score_table.read() if row.environment != env_id] if score_table.PATH.exists() else []
        rows = [*kept, *score_table.compute(name)]
        ids = [cls.env_id for cls in KNOWN.values()]
        score_table.write(sorted(rows, key=lambda row: ids.index(row.environment)))
        print(f"computed scores of {env_id}")


def write() -> None:
    """Writes page and pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name in KNOWN:
        if not _picture_is_current(name):
            _image(name).save(IMAGES / f"{name}.png", optimize=True)
    for path in _strangers():
        path.unlink()
    PAGE.write_text(page(), encoding="utf-8")


def stale() -> list[str]:
    """What ``write`` would change, and rows that the table of scores lacks or has too many; empty if all is current."""
    again = "run python -m mbrl_envs.documentation"
    rows = {(row.environment, row.constants, row.steps) for row in score_table.read()}
    problems = [f"scores.csv has no row for {row}: {again} --scores" for row in sorted(score_table.wanted() - rows, key=str)]
    problems += [f"scores.csv has a needless row for {row}" for row in sorted(rows - score_table.wanted(), key=str)]
    problems += [f"images/{name}.png is stale: {again}" for name in KNOWN if not _picture_is_current(name)]
    problems += [f"images/{path.name} belongs to no environment: {again}" for path in _strangers()]
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        problems.append(f"README.md is stale: {again}")
    return problems


def page() -> str:
    """The page's text."""
    text = TEMPLATE.read_text(encoding="utf-8")
    rows = score_table.read()
    parts = {
        "overview": _overview(DYNAMICS, rows),
        "several agents": _overview(multi_agent.DYNAMICS, rows),
        "environments": "\n\n".join(section(cls, rows) for cls in KNOWN.values()),
    }
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def section(cls: type[FunctionalEnv], rows: Iterable[score_table.ScoreRow]) -> str:
    """The part of the page about one environment.

    Raises:
        ValueError: The docstring's arguments are not those of the class.
    """
    doc, env = docstrings.parse(cls), cls()
    limit = cls.max_episode_steps
    kind = "Continuing" if cls.continuing else "Episodic"
    facts = f"`{cls.env_id}` · {kind} · truncated after {limit} steps"
    parts = [f"## {cls.__name__}", doc.summary, f"![{cls.__name__}](images/{cls.__name__}.png)", facts, doc.body]
    parts.append("**Arguments**\n\n" + _arguments(cls, doc))
    parts.append("**Observations**\n\n" + _observations(cls, doc))
    names = getattr(env, "action_names", None)
    table = "\n\n" + _table(("action", "meaning"), list(enumerate(names))) if names else ""
    parts.append(f"**Actions** `{env.action_space}`{table}")
    if own := score_table.rows_of(cls.env_id, rows):
        parts.append("**Scores**\n\n" + _scores(cls, own))
    return "\n\n".join(parts)


def _arguments(cls: type[FunctionalEnv], doc: docstrings.Docstring) -> str:
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    described = doc.sections.get("Args", {})
    if list(described) != [field.name for field in fields]:
        raise ValueError(f"docstring of {cls.__name__}: Args are {list(described)}, fields {[field.name for field in fields]}")
    lines = [(f"`{field.name}`", f"`{field.default!r}`", described[field.name]) for field in fields]
    return _table(("name", "default", "meaning"), lines)


def _observations(cls: type[FunctionalEnv], doc: docstrings.Docstring) -> str:
    """Shape of each form, and the planes."""
    forms = ("flat", "planes") if "observation" in doc.sections.get("Args", {}) else (None,)
    lines = []
    for form in forms:
        space = cls(observation=form).observation_space if form else cls().observation_space  # type: ignore[call-arg]
        name = f'`observation="{form}"`: ' if form else ""
        lines.append(f"* {name}{space.dtype} array of shape `{space.shape}`")
    for title, entries in doc.sections.items():
        if title.startswith("Observation"):
            header = ("plane" if "planes" in title else "index", "name", "meaning")
            lines += ["", _table(header, [(i, name, text) for i, (name, text) in enumerate(entries.items())])]
    return "\n".join(lines)


def _scores(cls: type[FunctionalEnv], rows: Iterable[score_table.ScoreRow]) -> str:
    lines = [
        (
            f"`{row.constants.replace(' ', ', ')}`",
            score_table.measure(cls.continuing, row.steps),
            score_table.rounded(row.optimal, row.optimal_standard_error),
            score_table.rounded(row.uniform, row.uniform_standard_error),
        )
        for row in rows
    ]
    return _table(("arguments", "score", "best policy", "uniform policy"), lines)


def _overview(listed: Mapping[str, type[FunctionalEnv]], rows: Sequence[score_table.ScoreRow]) -> str:
    lines = []
    for name, cls in listed.items():
        constants = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        own = score_table.rows_of(cls.env_id, rows, constants=constants)
        first = next((row for row in own if row.steps is None), None)
        best = score_table.rounded(first.optimal, first.optimal_standard_error) if first else ""
        random = score_table.rounded(first.uniform, first.uniform_standard_error) if first else ""
        score = score_table.measure(cls.continuing, None) if first else ""
        lines.append((f"[`{cls.env_id}`](#{name.lower()})", docstrings.parse(cls).summary, score, best, random))
    return _table(("id", "task", "score", "best policy", "uniform policy"), lines)


def _table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    cells = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in cells)


def _image(name: str) -> Image:
    """An environment's picture."""
    from PIL import Image

    seed, actions = PICTURED.get(name, (0, ()))
    if name in multi_agent.DYNAMICS:
        frame: Any = _frame_of_several(multi_agent.DYNAMICS[name](), seed, actions)
        return Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE)
    env = gymnasium.make(DYNAMICS[name].env_id, render_mode="rgb_array")
    env.reset(seed=seed)
    for action in actions:
        env.step(action)
    frame = env.render()
    # Few colours are in it, so a palette makes the file small.
    return Image.fromarray(frame).quantize(64, dither=Image.Dither.NONE)


def _frame_of_several(env: multi_agent.MultiAgentEnv, seed: int, actions: Iterable[Any]) -> np.ndarray:
    state = lane.start(env, draws.raw_key(seed))  # type: ignore[arg-type]  # NumPy's arrays do
    for joint in actions:
        state, _ = lane.advance(env, state, np.array(joint))  # type: ignore[arg-type]
    return rgb_array(env.picture(jax.device_get(state.state)))


def _picture_is_current(name: str) -> bool:
    """Whether the file shows what would be drawn now. Other versions of Pillow may smooth edges a little differently."""
    from PIL import Image

    path = IMAGES / f"{name}.png"
    if not path.exists():
        return False
    old, new = (np.asarray(image.convert("RGB"), np.float32) for image in (Image.open(path), _image(name)))
    return old.shape == new.shape and float(np.abs(old - new).mean()) < 0.5


def _strangers() -> list[pathlib.Path]:
    """Pictures that belong to no environment."""
    return [path for path in sorted(IMAGES.glob("*.png")) if path.stem not in KNOWN]


if __name__ == "__main__":
    sys.exit(main())
