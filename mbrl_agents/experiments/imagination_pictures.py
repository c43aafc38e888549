"""Imagined roll-outs beside real ones, as pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.experiments.figures import GREY, INK, new_figure, plain
from mbrl_agents.experiments.imagination_plots import MODEL
from mbrl_agents.model_dqn.foresight import Trajectory
from mbrl_agents.model_dqn.inspection import Rollout
from mbrl_envs import FunctionalEnv
from mbrl_envs.observed import cells_of, picture_of
from mbrl_envs.rendering import MARGIN, Picture, rgb_array

MOST_COLUMNS, MOST_LINES, MOST_ENTRIES = 11, 6, 64
CELL = 28  # pixels
EXPLANATION = "imagined: what one roll-out shows; {}: of its expected observation, over several roll-outs"
Pair = tuple[Trajectory, Rollout]


class View(NamedTuple):
    """How observations are drawn.

    Attributes:
        picture: Makes an image of features (f,).
        cells: Makes an image of numbers from one for each feature, (f,).
        legend: Image that explains the pictures, or None.
    """

    picture: Callable[[np.ndarray], np.ndarray]
    cells: Callable[[np.ndarray], np.ndarray]
    legend: np.ndarray | None = None


def rollouts_figure(pairs: Sequence[Pair], agent: Any, dynamics: FunctionalEnv | None, title: str) -> Any:
    """Real and imagined steps from the same starts, and where they disagree.

    Observations of grids and images are drawn as such, vectors of numbers as lines, everything else as maps of entry and step.

    Args:
        pairs: Real trajectories, all of one length, and what was imagined along them.
        agent: Whose model it is.
        dynamics: Functional dynamics of the environment, if any: observations are drawn as its own pictures.
        title: Title.
    """
    codec = agent.learner.codec
    view = _view_of_cells(dynamics, codec) or _view_of_images(codec)
    if view is not None:
        return _strips(pairs, view, codec.kind, _action_names(agent, dynamics), title)
    return _lines(pairs, title) if codec.kind == "float" else _maps(pairs, title)


def _action_names(agent: Any, dynamics: FunctionalEnv | None) -> Callable[[int], str]:
    names = getattr(dynamics, "action_names", None)
    return lambda action: names[action - agent.action_space.start] if names else f"action {action}"


def _view_of_cells(dynamics: FunctionalEnv | None, codec: ObservationCodec) -> View | None:
    """The environment's own pictures, if it has any of observations."""
    example = None if dynamics is None else picture_of(dynamics, np.zeros(codec.num_features))
    if example is None or codec.kind != "bits":
        return None

    def picture(features: np.ndarray) -> np.ndarray:
        drawn = picture_of(dynamics, features > 0.5)
        assert drawn is not None
        frame = rgb_array(dataclasses.replace(drawn, row_labels=()), legend=False, cell_size=CELL)
        height, width = (CELL * number for number in drawn.cells.shape)
        return frame[MARGIN - 2 : MARGIN + height + 2, MARGIN - 2 : MARGIN + width + 2]

    def cells(values: np.ndarray) -> np.ndarray:
        placed = cells_of(dynamics, values)
        assert placed is not None
        return placed.max(-1)

    legend = Picture(np.array([["background"]], dtype=object), example.legend, framed=False)
    return View(picture, cells, rgb_array(legend, cell_size=1))


def _view_of_images(codec: ObservationCodec) -> View | None:
    """Images, with their channels along the shortest axis; colours if there are three."""
    shape = codec.shape
    if len(shape) not in (2, 3) or codec.num_features == 0:
        return None
    axis = len(shape) - 1 - int(np.argmin(shape[::-1]))

    def channels(values: np.ndarray) -> np.ndarray:
        array = np.asarray(values, float).reshape(shape)
        return array[..., None] if len(shape) == 2 else np.moveaxis(array, axis, -1)

    def picture(features: np.ndarray) -> np.ndarray:
        array = channels(features)
        return np.clip(array, 0, 1) if array.shape[-1] == 3 and codec.kind == "bytes" else array.mean(-1)

    return View(picture, lambda values: channels(values).max(-1))


def _strips(pairs: Sequence[Pair], view: View, kind: str, action_name: Callable[[int], str], title: str) -> Any:
    """A column for each step; of each roll-out a row with what was real, what was imagined, and where they disagree."""
    length = len(pairs[0][0].actions)
    steps = np.unique(np.linspace(0, length, min(length + 1, MOST_COLUMNS)).round().astype(int))
    axes = _strip_axes(pairs, view, len(steps), title)
    wrong = "P(wrong)" if kind == "bits" else "difference"
    for (trajectory, rollout), rows in zip(pairs, axes, strict=True):
        difference = np.abs(rollout.expected - rollout.real)
        for axis, name in zip(rows[:, 0], ("real", "imagined", wrong), strict=True):
            axis.set_ylabel(name, fontsize=9, color=INK)
        for step, (real, imagined, apart) in zip(steps, rows.T, strict=True):
            real.imshow(view.picture(rollout.real[step]), vmin=0, vmax=1, cmap="gray")
            imagined.imshow(view.picture(rollout.drawn[step]), vmin=0, vmax=1, cmap="gray")
            shown = apart.imshow(view.cells(difference[step]), vmin=0, vmax=1, cmap="Reds")
            name = action_name(int(trajectory.actions[step - 1])) if step else "start"
            real.set_title(f"{step}: {name}" if step else name, fontsize=7.5, color=INK, pad=3)
            if step:
                for axis, reward in ((real, trajectory.rewards[step - 1]), (imagined, rollout.reward[step - 1])):
                    # Adding 0 takes the sign off -0.
                    axis.set_xlabel(f"r {round(float(reward), 2) + 0:.3g}", fontsize=7, color=GREY, labelpad=1)
    figure = axes[0, 0, 0].figure
    if view.legend is not None:
        _add_legend(axes[0, 0, -1], view.legend)
    bar = figure.colorbar(shown, ax=axes.ravel().tolist(), location="bottom", shrink=0.3, aspect=40, pad=0.02)
    bar.set_label(EXPLANATION.format(wrong), fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7)
    return figure


def _strip_axes(pairs: Sequence[Pair], view: View, columns: int, title: str) -> np.ndarray:
    """Axes without ticks, objects (roll-outs, 3, columns), with room between the roll-outs and for a legend."""
    height, width = view.picture(pairs[0][1].real[0]).shape[:2]
    size = 1.0
    row, gap = size * height / width + 0.22, 0.18
    total = size * columns + (1.9 if view.legend is not None else 0.6), (3 * row + gap) * len(pairs) + 1.2
    figure = new_figure(*total, title)
    if view.legend is not None:
        figure.get_layout_engine().set(rect=(0, 0, 1 - 1.35 / total[0], 1))
    ratios = [row, row, row, gap] * len(pairs)
    axes = figure.subplots(4 * len(pairs), columns, squeeze=False, height_ratios=ratios).reshape(len(pairs), 4, columns)
    for spacer in axes[:, 3].ravel():
        spacer.set_axis_off()
    for axis in axes[:, :3].ravel():
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_color("#D5D9DF")
    return axes[:, :3]


def _add_legend(axis: Any, legend: np.ndarray) -> None:
    """Right of an axis, where the layout has left room."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    place: dict[str, Any] = {"xycoords": "axes fraction", "box_alignment": (0, 1), "frameon": False, "annotation_clip": False}
    box = AnnotationBbox(OffsetImage(legend, zoom=0.42), (1.08, 1.1), **place)
    box.set_in_layout(False)
    axis.add_artist(box)


def _lines(pairs: Sequence[Pair], title: str) -> Any:
    """A column for each roll-out, a row for each number."""
    number = pairs[0][1].real.shape[1]
    rows = min(number, MOST_LINES)
    figure = new_figure(3.4 * len(pairs) + 0.4, 1.5 * rows + 1.2, title)
    axes = figure.subplots(rows, len(pairs), squeeze=False, sharex=True, sharey="row")
    for column, (_, rollout) in enumerate(pairs):
        steps = np.arange(len(rollout.real))
        for i, axis in enumerate(axes[:, column]):
            (real,) = axis.plot(steps, rollout.real[:, i], "o-", color=INK, markersize=3, linewidth=1.2)
            (mean,) = axis.plot(steps, rollout.expected[:, i], color=MODEL, linewidth=1.8)
            (drawn,) = axis.plot(steps, rollout.drawn[:, i], "x", color=MODEL, markersize=4)
            plain(axis)
            axis.tick_params(labelsize=8)
            axis.xaxis.get_major_locator().set_params(integer=True)
            if not column:
                axis.set_ylabel(f"observation[{i}]", fontsize=8.5)
    labels = ("real", "imagined: mean", "imagined: one roll-out")
    figure.legend((real, mean, drawn), labels, loc="outside lower left", ncols=3, frameon=False, fontsize=8.5)
    for axis in axes[-1]:
        axis.set_xlabel("steps" if rows == number else f"steps (the first {rows} of {number} numbers)", fontsize=8.5)
    return figure


def _maps(pairs: Sequence[Pair], title: str) -> Any:
    """A row for each roll-out: entries by steps."""
    figure = new_figure(9.6, 2.4 * len(pairs) + 1.0, title)
    axes = figure.subplots(len(pairs), 3, squeeze=False, sharex=True, sharey=True)
    for (_, rollout), row in zip(pairs, axes, strict=True):
        shown = (rollout.real, rollout.drawn, np.abs(rollout.expected - rollout.real))
        for axis, values, cmap in zip(row, shown, ("Greys", "Greys", "Reds"), strict=True):
            image = axis.imshow(values[:, :MOST_ENTRIES].T, vmin=0, vmax=1, cmap=cmap, aspect="auto", interpolation="nearest")
            axis.tick_params(labelsize=8)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.yaxis.get_major_locator().set_params(integer=True)
        row[0].set_ylabel("entry", fontsize=8.5)
    for axis, name in zip(axes[0], ("real", "imagined", "P(wrong)"), strict=True):
        axis.set_title(name, loc="left", color=INK, fontsize=10)
    figure.supxlabel("steps", fontsize=9)
    bar = figure.colorbar(image, ax=axes.ravel().tolist(), location="bottom", shrink=0.3, aspect=40)
    bar.set_label(EXPLANATION.format("P(wrong)"), fontsize=8, color=INK)
    return figure
