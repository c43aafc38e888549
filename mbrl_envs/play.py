"""A person plays: in a window, or in a terminal. One key is one step; the environment waits for it.

Works with every Gymnasium environment that has a Discrete action space and can be drawn.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import gymnasium
from gymnasium import spaces

from mbrl_envs.window import draw_frame, import_pygame

QUIT_KEYS, RESET_KEY = ("q", "escape"), "r"
NAMED_KEYS = {"up": ("up", "w"), "left": ("left", "a"), "down": ("down", "s"), "right": ("right", "d"), "no-op": ("space",)}
OTHER_KEYS = "0123456789abcdefghijklmnopstuvwxyz"  # without q and r
ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}  # last letter of a terminal's escape sequence

LINE_HEIGHT, PADDING, FONT_SIZE = 22, 12, 22
TEXT_COLOUR, STRIP_COLOUR = (51, 58, 69), (230, 235, 241)


def play(env_id: str, *, seed: int | None = None, text: bool = False, **constants: Any) -> float:
    """Lets a person play until they quit.

    Args:
        env_id: Gymnasium id.
        seed: Seed of the first episode; None for a random one.
        text: Whether to play in the terminal (standard input and output) instead of a window.
        **constants: Arguments of the environment, and of ``gymnasium.make``.

    Returns:
        Reward in total, over all episodes.

    Raises:
        ImportError: A window is wanted but pygame is missing.
        gymnasium.error.Error: There is no such id.
        ValueError: The environment cannot be played: it has no such pictures, or its actions are not Discrete.
    """
    pygame = None if text else import_pygame("playing in a window", " (or play in text: --ansi)")
    mode = "ansi" if text else "rgb_array"
    if mode not in _render_modes(env_id):
        raise ValueError(f"{env_id} has no render mode {mode!r}; it has {', '.join(map(repr, _render_modes(env_id)))}")
    with contextlib.closing(gymnasium.make(env_id, render_mode=mode, **constants)) as env:
        game = Game(env, seed)
        if pygame is None:
            play_in_terminal(game, sys.stdin, sys.stdout)
        else:
            play_in_window(game, pygame, title=env_id)
    return game.total


class Game:
    """Episodes played key by key, whatever the keys come from.

    Args:
        env: Environment with a Discrete action space.
        seed: Seed of the first episode.

    Attributes:
        actions: Key -> action.
        total: Sum of all rewards.
        message: What has just happened, in words.

    Raises:
        ValueError: The action space is not Discrete, or has more actions than there are keys.
    """

    def __init__(self, env: gymnasium.Env, seed: int | None = None) -> None:
        self.env = env
        self.names = action_names(env)
        self.actions = bind_keys(self.names)
        self.total = 0.0
        self.message = "your move"
        self._over = False
        self._steps, self._score = 0, 0.0
        env.reset(seed=seed)

    @property
    def help(self) -> str:
        """Which keys do what."""
        return describe_keys(self.names)

    def press(self, key: str) -> bool:
        """Acts on a key; False if it means to quit. After an episode's end, any key begins the next one."""
        if key in QUIT_KEYS:
            return False
        if self._over or key == RESET_KEY:
            self.env.reset()
            self._over, self._steps, self._score = False, 0, 0.0
            self.message = "new episode"
        elif key in self.actions:
            self._step(self.actions[key])
        else:
            self.message = f"no action on key {key!r}"
        return True

    def _step(self, action: int) -> None:
        _, reward, terminated, truncated, _ = self.env.step(action)
        self._steps += 1
        self._score += float(reward)
        self.total += float(reward)
        # Our own pictures have a caption that says so already.
        captioned = hasattr(self.env.unwrapped, "dynamics")
        self.message = "" if captioned else f"{self.names[action]}: reward {reward:g}, total {self._score:g}"
        if terminated or truncated:
            self._over = True
            end = "Episode over" if terminated else "Time limit reached"
            self.message = f"{end} after {self._steps} steps, total {self._score:g}: press any key"


def action_names(env: gymnasium.Env) -> tuple[str, ...]:
    """What the environment calls its actions, or ``action 0``, … where it does not say.

    Raises:
        ValueError: The action space is not Discrete.
    """
    space = env.action_space
    if not isinstance(space, spaces.Discrete) or space.start != 0:
        raise ValueError(
            f"only environments with Discrete actions from 0 on can be played; {env.spec and env.spec.id} has {space}"
        )
    names = getattr(getattr(env.unwrapped, "dynamics", None), "action_names", None)
    return tuple(names) if names else tuple(f"action {i}" for i in range(int(space.n)))


def bind_keys(names: Iterable[str]) -> dict[str, int]:
    """Key -> action: arrows or w a s d for directions, space for no-op, digits and then letters for all other actions.

    Raises:
        ValueError: There are more actions than keys.
    """
    named = {key: action for action, name in enumerate(names) for key in NAMED_KEYS.get(name, ())}
    others = [action for action, name in enumerate(names) if name not in NAMED_KEYS]
    free = [key for key in OTHER_KEYS if key not in named]
    if len(others) > len(free):
        raise ValueError(f"there are {len(others)} actions but only {len(free)} keys to play them with")
    return named | dict(zip(free, others, strict=False))


def describe_keys(names: tuple[str, ...]) -> str:
    """One line about the keys; actions that differ only in a number at the end are told together."""
    groups: dict[str, list[str]] = {}
    bound = bind_keys(names)
    for key in (key for key in bound if key in OTHER_KEYS and names[bound[key]] not in NAMED_KEYS):
        groups.setdefault(names[bound[key]].rstrip("0123456789").rstrip(), []).append(key)
    parts = ["arrows or wasd: move"] if {"up", "down"} <= set(names) else []
    parts += ["space: no-op"] if "no-op" in names else []
    parts += [f"{' '.join(keys)}: {words}" for words, keys in groups.items()]
    return ", ".join([*parts, f"{RESET_KEY}: restart", f"{QUIT_KEYS[0]}: quit"])


def play_in_terminal(game: Game, source: TextIO, target: TextIO) -> None:
    """Plays in text: every character (or arrow key) read from ``source`` is one step, drawn on ``target``."""
    clear = "\x1b[H\x1b[2J" if target.isatty() else ""

    def show() -> None:
        print(f"{clear}{game.env.render()}\n{game.message}\n{game.help}\n", file=target, flush=True)

    with _unbuffered(source):
        show()
        for key in read_keys(lambda: source.read(1)):
            if not game.press(key):
                break
            show()
    print(f"total reward {game.total:g}", file=target, flush=True)


def read_keys(read: Callable[[], str]) -> Iterator[str]:
    """Names of the keys in a stream of characters (``read`` returns one, or "" at the end); line breaks are skipped."""
    while character := read():
        if character == "\x1b" and read() in ("[", "O"):
            if (arrow := read()) in ARROWS:
                yield ARROWS[arrow]
        elif character == " ":
            yield "space"
        elif character.isprintable():
            yield character.lower()


@contextlib.contextmanager
def _unbuffered(source: TextIO) -> Iterator[None]:
    """Lets a terminal hand over each key at once. Without one (or on Windows) input comes line by line, which works too."""
    try:
        import termios
        import tty

        before = termios.tcgetattr(source)
    except (ImportError, OSError, ValueError, termios.error):  # ValueError: a stream without a file descriptor
        yield
        return
    try:
        tty.setcbreak(source, termios.TCSADRAIN)  # the default would throw away what has been typed already
        yield
    finally:
        termios.tcsetattr(source, termios.TCSADRAIN, before)


def play_in_window(game: Game, pygame: Any, title: str) -> None:
    """Plays in a pygame window that shows the environment's frames, with a strip of help below."""
    pygame.display.init()
    pygame.font.init()
    try:
        pygame.display.set_caption(f"mbrl play {title}")
        pygame.key.set_repeat(300, 100)
        font = pygame.font.Font(None, FONT_SIZE)
        _draw(game, pygame, font)
        while True:
            event = pygame.event.wait()
            if event.type == pygame.QUIT:
                return
            if event.type == pygame.KEYDOWN:
                if not game.press(pygame.key.name(event.key).strip("[]")):  # "[1]" is the 1 of the number pad
                    return
                _draw(game, pygame, font)
    finally:
        pygame.quit()


def _draw(game: Game, pygame: Any, font: Any) -> None:
    """Shows the current frame and, below it, message and keys."""
    frame: Any = game.env.render()
    height, width = frame.shape[:2]
    lines = [line for text in (game.message, game.help) for line in _wrap(text, font, width - 2 * PADDING)]
    strip = len(lines) * LINE_HEIGHT + PADDING
    screen = draw_frame(pygame, frame, room_below=strip)
    screen.fill(STRIP_COLOUR, (0, height, width, strip))
    for i, line in enumerate(lines):
        screen.blit(font.render(line, True, TEXT_COLOUR), (PADDING, height + PADDING // 2 + i * LINE_HEIGHT))
    pygame.display.flip()


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """Breaks ``text`` at spaces into lines no wider than ``width`` pixels, at least one."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.size(longer)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _render_modes(env_id: str) -> list[str]:
    """Render modes of a registered environment, before any instance is made."""
    spec = gymnasium.spec(env_id)
    creator = (
        spec.entry_point if callable(spec.entry_point) else gymnasium.envs.registration.load_env_creator(str(spec.entry_point))
    )
    return list(getattr(creator, "metadata", {}).get("render_modes", []))
