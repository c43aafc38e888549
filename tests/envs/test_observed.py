import numpy as np
import pytest

from mbrl_envs import ButtonGrid, OpenGrid, PanFlute, ProcMaze
from mbrl_envs.observed import cells_of, picture_of, plane_names
from mbrl_envs.rendering import STYLES
from tests.agents.probes import Probe
from tests.envs.helpers import episode

FORMS = pytest.mark.parametrize("form", ["flat", "planes"])


@FORMS
@pytest.mark.parametrize("kind", [ProcMaze, OpenGrid, ButtonGrid, PanFlute])
def test_an_observation_looks_like_its_state(kind, form):
    env = kind(observation=form)
    for state in episode(env, 40):
        drawn, expected = picture_of(env, np.asarray(env.observe(state))), env.picture(state).cells
        if kind is OpenGrid:  # its observations do not show the goal, which is always at the same place
            assert (drawn.cells == "player").sum() == 1
            assert drawn.cells.ravel()[int(state.position)] == "player"
        else:
            np.testing.assert_array_equal(drawn.cells, expected)
        assert {*drawn.cells.ravel()} - {"background"} <= {*drawn.legend} <= STYLES.keys()


def test_what_no_state_has():
    off = np.zeros((2, 2, 4), bool)
    cells = picture_of(ProcMaze(2), off).cells
    assert (cells == "contradiction").all()  # neither open nor wall
    off[0, 0] = True, False, True, False
    off[0, 1] = True, True, False, True
    off[1, 0] = False, False, False, True
    off[1, 1] = False, False, True, False
    cells = picture_of(ProcMaze(2), off.ravel()).cells
    assert cells.tolist() == [["contradiction", "player on goal"], ["empty", "wall"]]
    off[0, 0] = False, False, True, True  # both
    off[0, 1] = True, True, False, False  # stands on nothing
    off[1, 0] = False, True, False, True
    off[1, 1] = True, False, True, True
    cells = picture_of(ProcMaze(2), off).cells
    assert cells.tolist() == [["contradiction", "contradiction"], ["goal", "contradiction"]]
    both = np.array([[[0, 1, 1], [1, 1, 0]], [[1, 0, 0], [0, 0, 0]]], bool)
    cells = picture_of(ButtonGrid(2, 2), both).cells
    assert cells.tolist() == [["contradiction", "player on button on"], ["player", "empty"]]


@FORMS
def test_cells_are_where_pictures_have_them(form):
    flute = PanFlute(2, observation=form)
    values = np.array([1, 2, 3.0]) if form == "flat" else np.array([[[1], [9]], [[2], [3.0]]])
    np.testing.assert_array_equal(cells_of(flute, values)[..., 0], [[np.nan, 1], [2, 3]])
    np.testing.assert_array_equal(cells_of(ProcMaze(2, observation=form), np.arange(16))[1, 0], [8, 9, 10, 11])


def test_others_cannot_be_drawn():
    assert plane_names(Probe) == ()
    assert picture_of(Probe(), np.zeros(2)) is None
    assert cells_of(Probe(), np.zeros(2)) is None
