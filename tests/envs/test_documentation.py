import re

import pytest

from mbrl_envs import docstrings, documentation, score_table
from mbrl_envs.open_grid import OpenGrid
from mbrl_envs.score_table import ScoreRow


def test_the_page_is_current():
    assert documentation.stale() == []


def test_check_says_what_is_stale(monkeypatch, tmp_path, capsys):
    page, scores = tmp_path / "README.md", tmp_path / "scores.csv"
    page.write_text(documentation.PAGE.read_text(encoding="utf-8") + "by hand\n", encoding="utf-8")
    score_table.write(score_table.read()[:-1], scores)
    (tmp_path / "Old.png").touch()
    monkeypatch.setattr(documentation, "PAGE", page)
    monkeypatch.setattr(documentation, "IMAGES", tmp_path)
    monkeypatch.setattr(documentation.score_table, "read", lambda read=score_table.read: read(scores))
    assert documentation.main(["--check"]) == 1
    out = capsys.readouterr().out
    assert "README.md is stale" in out
    assert "scores.csv has no row for ('button_contest_v0', 'grid_size=3 num_buttons=2 players_per_team=1', 100)" in out
    assert "images/ProcMaze.png is stale" in out
    assert "images/Old.png belongs to no environment" in out


def test_writing_makes_it_current(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(documentation, "PAGE", tmp_path / "README.md")
    monkeypatch.setattr(documentation, "IMAGES", tmp_path / "images")
    assert documentation.main([]) == 0
    assert documentation.main(["--check"]) == 0
    assert "is current" in capsys.readouterr().out
    assert all(path.stat().st_size < 20_000 for path in (tmp_path / "images").iterdir())


@pytest.mark.parametrize("cls", score_table.KNOWN.values(), ids=lambda cls: cls.__name__)
def test_each_environment_has_everything(cls):
    part = documentation.section(cls, score_table.read())
    assert (documentation.FOLDER / re.search(r"!\[.*\]\((.*)\)", part)[1]).exists()
    assert f"`{cls.env_id}`" in part
    for words in ("**Reset.**", "**Step.**", "**Reward.**", "**Arguments**", "**Observations**", "**Actions**"):
        assert words in part
    assert ("**Scores**" in part) == (cls.__name__ in score_table.SCORED)  # scores that can be computed are tabulated
    for i, name in enumerate(cls().action_names):
        assert f"| {i} | {name} |" in part
    assert not re.search(r"``|:\w+:`|\{\{", part)


def test_code_on_the_page_runs():
    blocks = re.findall(r"```python\n(.*?)```", documentation.page(), flags=re.DOTALL)
    assert len(blocks) >= 5
    namespace = {}
    for block in blocks:
        exec(block, namespace)
    assert namespace["observations"].shape == (1024, 64)
    assert 0 < namespace["normalised"] < 1


@pytest.mark.parametrize("name", ["OpenGrid", "PanFlute", "Starkweather", "Contingency", "CoopPanFlute", "ButtonContest"])
def test_cheap_scores_are_current(name):
    assert score_table.compute(name) == score_table.rows_of(score_table.KNOWN[name].env_id, score_table.read())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ProcMaze", "ButtonGrid", "CoopButtonGrid"])
def test_expensive_scores_are_current(name):
    for new, old in zip(
        score_table.compute(name), score_table.rows_of(score_table.KNOWN[name].env_id, score_table.read()), strict=True
    ):
        assert (new.constants, new.steps) == (old.constants, old.steps)
        # The sample behind a number with an error may change with its size or the generator; exact numbers may not.
        assert new.optimal == pytest.approx(old.optimal, rel=1e-4, abs=5 * old.optimal_standard_error)
        assert new.uniform == pytest.approx(old.uniform, rel=1e-4, abs=5 * old.uniform_standard_error)


def test_the_table_of_scores_can_be_written_and_read(tmp_path):
    rows = [
        ScoreRow("mbrl/A-v0", "n=4 k=3", None, -1.5, 0.01, -36.25, 0.0),
        ScoreRow("mbrl/A-v0", "n=5 k=3", 100, 0.5, 0.0, 0.25, 0.0),
    ]
    score_table.write(rows, tmp_path / "scores.csv")
    assert score_table.read(tmp_path / "scores.csv") == rows
    assert score_table.rows_of("mbrl/A-v0", rows, constants={"n": 4, "k": 3, "spontaneous": True}) == rows[:1]
    assert score_table.rows_of("mbrl/B-v0", rows) == []


def test_scores_of_some_environments_can_be_computed_anew(monkeypatch, tmp_path):
    rows = score_table.read()
    monkeypatch.setattr(score_table, "PATH", tmp_path / "scores.csv")
    monkeypatch.setattr(score_table, "read", lambda path=tmp_path / "scores.csv", read=score_table.read: read(path))
    monkeypatch.setattr(score_table, "write", lambda new, write=score_table.write: write(new, tmp_path / "scores.csv"))
    score_table.write([row for row in rows if row.environment != "mbrl/OpenGrid-v0"])
    documentation.update_scores(["OpenGrid", "PanFlute"])
    assert score_table.read() == rows


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ((-4.38743, 0.0), "−4.387"),
        ((-375.808, 0.0583), "−375.81 ± 0.06"),
        ((-16.0314, 1.9), "−16 ± 2"),
        ((0.040307, 0.0), "0.04031"),
    ],
)
def test_numbers_are_rounded_to_what_they_mean(number, text):
    assert score_table.rounded(*number) == text


def test_docstrings_are_taken_apart():
    class Documented:
        """Do it.

        **Reset.** See :mod:`mbrl_envs.maze` and ``x``:
        text goes on.

        Args:
            size: How large it is,
                in cells: 1 to 3.
            other: More.

        Observation planes:
            player: The ``player``.
        """

    doc = docstrings.parse(Documented)
    assert doc.summary == "Do it."
    assert doc.body == "**Reset.** See `mbrl_envs.maze` and `x`:\ntext goes on."
    assert doc.sections == {
        "Args": {"size": "How large it is, in cells: 1 to 3.", "other": "More."},
        "Observation planes": {"player": "The `player`."},
    }


def test_faults_of_docstrings_are_named():
    class Undocumented:
        pass

    class Odd:
        """Odd.

        Args:
            no colon here
        """

    class Forgetful(OpenGrid):
        """Walk.

        Args:
            grid_size: Side length.
        """

    with pytest.raises(ValueError, match="Undocumented has no docstring"):
        docstrings.parse(Undocumented)
    with pytest.raises(ValueError, match="docstring of Odd: expected 'name: text', got 'no colon here'"):
        docstrings.parse(Odd)
    with pytest.raises(ValueError, match=r"docstring of Forgetful: Args are \['grid_size'\], fields"):
        documentation.section(Forgetful, [])
