"""A trained agent at work, as a GIF or an MP4."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pathlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np

from mbrl_agents.core.files import write_atomically
from mbrl_agents.runs.environments import EnvironmentSpec

DEFAULT_STEPS = 200
DEFAULT_FPS = 30


def check_video_path(path: str | os.PathLike[str]) -> str:
    """The kind of film that a file's name asks for, ``"gif"`` or ``"mp4"``.

    Raises:
        ImportError: It needs a package that is not there.
        ValueError: It is of another kind.
    """
    kind = pathlib.Path(path).suffix.lstrip(".").lower()
    if kind not in ("gif", "mp4"):
        raise ValueError(f"a video's name must end in .gif or .mp4, got {os.fspath(path)!r}")
    if kind == "mp4":
        try:
            importlib.import_module("imageio_ffmpeg")
        except ImportError:
            raise ImportError('an MP4 needs imageio with ffmpeg: pip install "mbrl-lab[play]" (or write a .gif)') from None
    return kind


def record(model: Any, environment: EnvironmentSpec, path: str | os.PathLike[str], *, steps: int, seed: int = 0) -> int:
    """Films an agent that acts deterministically, episode after episode.

    Args:
        model: The agent.
        environment: The environment.
        path: GIF or MP4 file; written whole or not at all.
        steps: Steps to film.
        seed: Seed of the first episode.

    Returns:
        Number of frames.

    Raises:
        ImportError: An MP4 is wanted but imageio is missing.
        ValueError: The environment cannot be drawn, or the file's kind is unknown.
    """
    kind = check_video_path(path)
    _check_drawable(environment)
    with contextlib.closing(environment.make(render_mode="rgb_array")) as env:
        frames = list(_frames(model, env, steps, seed))
        fps = float(env.metadata.get("render_fps") or DEFAULT_FPS)
    write_atomically(path, _gif(frames, fps) if kind == "gif" else _mp4(frames, fps))
    return len(frames)


def _frames(model: Any, env: gymnasium.Env, steps: int, seed: int) -> Iterator[np.ndarray]:
    observation, _ = env.reset(seed=seed)
    yield _picture(env)
    state, start = None, True
    for _ in range(steps):
        action, state = model.predict(observation, state=state, episode_start=np.array([start]), deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        yield _picture(env)
        start = terminated or truncated
        if start:
            observation, _ = env.reset()
            yield _picture(env)


def _picture(env: gymnasium.Env) -> np.ndarray:
    return np.asarray(env.render(), np.uint8)


def _check_drawable(environment: EnvironmentSpec) -> None:
    with contextlib.closing(environment.make()) as env:
        modes = env.metadata.get("render_modes", [])
    if "rgb_array" not in modes:
        raise ValueError(f"{environment.id} cannot be filmed: it has no render mode 'rgb_array'; it has {list(modes)}")


def _gif(frames: Sequence[np.ndarray], fps: float) -> bytes:
    from PIL import Image

    # One palette for all frames, taken from several: colours neither flicker nor get lost.
    some = np.concatenate([frames[int(i)] for i in np.linspace(0, len(frames) - 1, min(len(frames), 8))])
    palette = Image.fromarray(some).quantize(256)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    duration = max(round(1000 / fps), 20)
    file = io.BytesIO()
    pictures[0].save(file, format="GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0, optimize=False)
    return file.getvalue()


def _mp4(frames: Sequence[np.ndarray], fps: float) -> bytes:
    import imageio.v2

    # The codec halves the colours' resolution and so needs even sizes.
    even = [np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge") for frame in frames]
    # The encoder insists on a file's name.
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # imageio starts ffmpeg by fork; nothing but ffmpeg runs in the new process, so that JAX's threads do not matter.
        warnings.simplefilter("ignore", RuntimeWarning)
        file = pathlib.Path(folder, "film.mp4")
        imageio.v2.mimwrite(file, even, format="FFMPEG", fps=fps, macro_block_size=None, codec="libx264")  # type: ignore[arg-type]
        return file.read_bytes()
