import numpy as np
import pytest

from mbrl_envs import rendering
from mbrl_envs.button_grid import ButtonGrid, ButtonState
from mbrl_envs.open_grid import OpenGrid, OpenGridState
from mbrl_envs.pan_flute import PanFlute, PanFluteState
from mbrl_envs.proc_maze import MazeState, ProcMaze
from mbrl_envs.rendering import STYLES, Picture, ansi, rgb_array
from tests.envs.helpers import episode, fresh_interpreter

SMALL = [ProcMaze(grid_size=2), OpenGrid(grid_size=2), ButtonGrid(grid_size=2, num_buttons=2), PanFlute(num_pipes=1)]
USUAL = [ProcMaze(), OpenGrid(), ButtonGrid(), PanFlute()]
LARGE = [OpenGrid(grid_size=32), ButtonGrid(grid_size=32, num_buttons=16), PanFlute(num_pipes=32)]


def hand_made(name):
    """A state known by heart, with its environment."""
    if name == "maze":  # open: all but cells 1 and 5 of a 3 x 3 grid
        return ProcMaze(grid_size=3), MazeState(np.int32(0), np.int32(2), np.array([0b111011101], np.uint32))
    if name == "open":
        return OpenGrid(grid_size=2), OpenGridState(np.int32(3))
    if name == "buttons":
        buttons, on = np.array([1, 2, 3], np.int32), np.array([True, False, True])
        return ButtonGrid(grid_size=2, num_buttons=3), ButtonState(np.int32(2), buttons, on)
    return PanFlute(num_pipes=3), PanFluteState(np.array([True, False, True, True, False, False]))


TEXTS = {
    "maze": "@ # G\n. . #\n. . .\n@ player  G goal  * player on goal  # wall  . empty",
    "open": ". .\n. *\n@ player  G goal  * player on goal  . empty",
    "buttons": ". O\nq O\n@ player  o button, off  O button, on  q player on button, off  Q player on button, on  . empty",
    "flute": "0     O\n1   - O\n2 o - )\n- pipe  o sound  ) end of a pipe  O sound at its end",
}


@pytest.mark.parametrize("env", SMALL + USUAL, ids=repr)
def test_all_frames_of_an_environment_have_one_size(env):
    frames = [rgb_array(env.picture(state), caption="x" * i) for i, state in enumerate(episode(env, 40))]
    assert len({frame.shape for frame in frames}) == 1
    height, width, channels = frames[0].shape
    assert height % 16 == 0
    assert width % 16 == 0
    assert channels == 3
    assert all(frame.dtype == np.uint8 and frame.flags.writeable for frame in frames)


@pytest.mark.parametrize("env", SMALL + USUAL + LARGE, ids=repr)
def test_frames_are_neither_tiny_nor_huge(env):
    frame = rgb_array(env.picture(next(episode(env, 0))), caption="")
    assert 180 <= frame.shape[0] <= 1000
    assert 300 <= frame.shape[1] <= 1000


@pytest.mark.parametrize("env", USUAL, ids=repr)
def test_different_states_give_different_pictures(env):
    states = {str(state): state for state in episode(env, 60)}.values()
    assert len(states) > 5
    assert len({rgb_array(env.picture(state)).tobytes() for state in states}) == len(states)
    assert len({ansi(env.picture(state)) for state in states}) == len(states)


def test_every_name_looks_different_drawn_and_in_text():
    tiles = {rendering._tile(name, size=20).tobytes() for name in STYLES}
    assert len(tiles) == len(STYLES)
    for env in USUAL:
        legend = env.picture(next(episode(env, 0))).legend
        assert len({STYLES[name].character for name in legend}) == len(legend)


@pytest.mark.parametrize("name", ["player", "player on goal", "button on", "button off", "sound", "sound at the end"])
def test_names_are_told_apart_without_colour(name):
    """In shades of grey, too, each drawing differs clearly from every other one."""
    grey = {key: rendering._tile(key, size=40).mean(axis=2) for key in STYLES}
    assert all(np.abs(grey[name] - grey[other]).max() > 60 for other in STYLES if other != name)


@pytest.mark.parametrize("env", SMALL + USUAL, ids=repr)
def test_the_legend_explains_every_cell_and_stays_the_same(env):
    pictures = [env.picture(state) for state in episode(env, 60)]
    assert len({picture.legend for picture in pictures}) == 1
    shown = {name for picture in pictures for name in picture.cells.ravel()}
    assert shown - {"background"} <= set(pictures[0].legend)


def test_the_legend_is_drawn():
    picture = USUAL[0].picture(next(episode(USUAL[0], 0)))
    tile = rendering._tile("goal", rendering.LEGEND_TILE)
    frame = rgb_array(picture)
    windows = np.lib.stride_tricks.sliding_window_view(frame, tile.shape)[:, :, 0]
    assert (windows[:, -260:] == tile).all(axis=(2, 3, 4)).any()
    assert rgb_array(picture, legend=False).shape[1] < frame.shape[1]


@pytest.mark.parametrize("name", TEXTS)
def test_text_of_a_hand_made_state(name):
    env, state = hand_made(name)
    assert ansi(env.picture(state)) == TEXTS[name]
    assert ansi(env.picture(state), caption="step 1") == "step 1\n" + TEXTS[name]


def test_the_cell_size_can_be_chosen():
    picture = USUAL[0].picture(next(episode(USUAL[0], 0)))
    for size, side in ((20, 112), (40, 192), (61, 272)):  # four cells and two margins of 14, to a multiple of 16
        frame = rgb_array(picture, cell_size=size, legend=False)
        assert frame.shape == (side, side, 3)
        for (row, column), name in np.ndenumerate(picture.cells):
            top, left = rendering.MARGIN + row * size, rendering.MARGIN + column * size
            np.testing.assert_array_equal(frame[top : top + size, left : left + size], rendering._tile(name, size))


def test_a_long_caption_is_cut_off_and_an_unusual_one_is_drawn():
    picture = USUAL[0].picture(next(episode(USUAL[0], 0)))
    frames = [rgb_array(picture, caption=caption) for caption in ("", "step 1", "reward −1 → more\nlines " * 50)]
    assert len({frame.shape for frame in frames}) == 1
    assert not np.array_equal(frames[0], frames[1])


def test_an_unknown_name_is_a_clear_error():
    with pytest.raises(ValueError, match=r"unknown cell 'gaol' \(did you mean 'goal'\?\)"):
        Picture(np.array([["empty", "gaol"]], dtype=object), legend=())
    with pytest.raises(ValueError, match=r"unknown cell 'dragon'\. Names are rows of"):
        Picture(np.array([["empty"]], dtype=object), legend=("dragon",))


def test_row_labels_must_fit():
    with pytest.raises(ValueError, match="2 row_labels for 1 rows"):
        Picture(np.array([["empty"]], dtype=object), legend=(), row_labels=("a", "b"))


def test_importing_does_not_load_drawing_libraries():
    code = (
        "import sys, mbrl_envs.rendering, mbrl_envs.proc_maze; print({'PIL', 'matplotlib', 'torch', 'pygame'} & {*sys.modules})"
    )
    assert fresh_interpreter(code) == "set()"
