import io
import os
import pty
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from mbrl_envs import play
from mbrl_envs.cli import main

GRID = ("no-op", "up", "left", "down", "right")


def type_keys(text, *arguments, monkeypatch, capsys):
    """Runs ``mbrl play --ansi`` with ``text`` on standard input and returns what it prints."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main(["play", "--ansi", *arguments]) == 0
    return capsys.readouterr().out


def test_a_game_in_text(monkeypatch, capsys):
    arguments = ("mbrl/OpenGrid-v0", "--seed", "3", "--env-arg", "spontaneous=False")
    out = type_keys("\nwd \nsx\x1b[Aq", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    for caption in (
        "step 0",
        "step 1   up",
        "step 2   right",
        "step 3   no-op",
        "step 4   down",
        "step 5   up   reward -1   total -5",
    ):
        assert caption in out
    assert "no action on key 'x'" in out
    assert "step 6" not in out
    assert out.endswith("total reward -5\n")


def test_the_end_of_input_ends_the_game(monkeypatch, capsys):
    out = type_keys("  ", "mbrl/OpenGrid-v0", monkeypatch=monkeypatch, capsys=capsys)
    assert out.endswith("total reward -2\n")


def test_arguments_reach_the_environment(monkeypatch, capsys):
    arguments = ("mbrl/PanFlute-v0", "--env-arg", "num_pipes=2", "--env-arg", "spontaneous=False")
    out = type_keys("1010q", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert "0   O\n1 - O" in out
    assert "step 3   blow pipe 1   reward 1   total 1" in out
    assert "0 1: blow pipe" in out
    assert out.endswith("total reward 1\n")


def test_equal_seeds_give_equal_games(monkeypatch, capsys):
    games = [
        type_keys("wasd", "mbrl/ProcMaze-v0", "--seed", seed, monkeypatch=monkeypatch, capsys=capsys)
        for seed in ("3", "3", "4")
    ]
    assert games[0] == games[1] != games[2]


def test_after_an_episode_any_key_begins_the_next():
    env = gymnasium.make("mbrl/OpenGrid-v0", grid_size=2, spontaneous=False, render_mode="ansi")
    game = play.Game(env, seed=0)
    for key in ("right", "down", "space"):
        game.press(key)
    assert game.message.startswith("Episode over after")
    total = game.total
    game.press("x")
    assert game.message == "new episode"
    assert env.render().startswith("step 0")
    assert game.total == total


def test_the_time_limit_ends_an_episode_and_r_restarts():
    env = gymnasium.make("mbrl/PanFlute-v0", max_episode_steps=2, render_mode="ansi")
    game = play.Game(env, seed=0)
    game.press("0")
    game.press("r")
    game.press("0")
    game.press("0")
    assert game.message == "Time limit reached after 2 steps, total 0: press any key"


def test_keys_of_grids():
    keys = play.bind_keys(GRID)
    assert keys["up"] == keys["w"] == 1
    assert keys["space"] == 0
    assert "0" not in keys
    assert play.describe_keys(GRID) == "arrows or wasd: move, space: no-op, r: restart, q: quit"


def test_keys_of_many_actions():
    names = tuple(f"blow pipe {i}" for i in range(32))
    keys = play.bind_keys(names)
    assert sorted(keys.values()) == list(range(32))
    assert not {"q", "r"} & set(keys)
    assert play.describe_keys(names).startswith("0 1 2 3 4 5 6 7 8 9 a b")
    with pytest.raises(ValueError, match="100 actions but only 34 keys"):
        play.bind_keys(tuple(f"action {i}" for i in range(100)))


def test_other_environments_can_be_played():
    game = play.Game(gymnasium.make("CartPole-v1", render_mode="rgb_array"), seed=0)
    game.press("1")
    assert game.message == "action 1: reward 1, total 1"
    assert game.help == "0 1: action, r: restart, q: quit"


def test_continuous_actions_are_a_clear_error():
    with pytest.raises(ValueError, match="Discrete actions from 0 on can be played; Pendulum-v1 has Box"):
        play.Game(gymnasium.make("Pendulum-v1", render_mode="rgb_array"))


def test_keys_of_a_terminal():
    stream = io.StringIO("a\x1b[A\x1bOB\x1b[C\x1b[D\x1b[H\r\n\tZ ")
    assert list(play.read_keys(lambda: stream.read(1))) == ["a", "up", "down", "right", "left", "z", "space"]


def test_a_real_terminal_hands_over_single_keys():
    """No line break is typed: the terminal must have been switched to single keys, and back again."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "mbrl_envs.cli", "play", "mbrl/OpenGrid-v0", "--ansi", "--seed", "1"]
    import termios

    before = termios.tcgetattr(slave)
    with subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:  # until the keys are shown
            if "quit" in line:
                break
        os.write(master, b"w\x1b[Bq")
        try:
            out, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, error
    assert out.endswith("total reward -2\n")
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_a_window(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    shown = []
    keys = iter([pygame.K_RIGHT, pygame.K_x, pygame.K_SPACE])

    def wait():
        screen = pygame.display.get_surface()
        shown.append(pygame.surfarray.array3d(screen).swapaxes(0, 1))
        key = next(keys, None)
        return pygame.event.Event(pygame.QUIT) if key is None else pygame.event.Event(pygame.KEYDOWN, key=key)

    monkeypatch.setattr(pygame.event, "wait", wait)
    total = play.play("mbrl/OpenGrid-v0", seed=0, spontaneous=False)
    assert total == -2
    assert len({picture.shape for picture in shown}) == 1
    frame = play.gymnasium.make("mbrl/OpenGrid-v0", spontaneous=False, render_mode="rgb_array")
    frame.reset(seed=0)
    first = frame.render()
    np.testing.assert_array_equal(shown[0][: first.shape[0], : first.shape[1]], first)
    assert shown[0].shape[0] > first.shape[0]
    assert not np.array_equal(shown[0], shown[1])


def test_without_pygame_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    assert main(["play", "mbrl/OpenGrid-v0"]) == 2
    assert 'pip install "mbrl-lab[play]"' in capsys.readouterr().err
