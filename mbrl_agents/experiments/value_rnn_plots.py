"""Pictures of value RNNs: trials and their values, losses, hidden trajectories, prediction errors by delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments.figures import COLOURS, GREY, INK, new_figure, plain
from mbrl_agents.value_rnn.trial_arrays import cues_of
from mbrl_envs.conditioning.trials import conditioning_task

if TYPE_CHECKING:
    from mbrl_agents.value_rnn import ValueRNN

EXACT = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 1.4, "label": "exact"}


def trials_figure(env: Any, trials: Sequence[Any], title: str) -> Any:
    """Picture of what is seen in some trials: a row for each cue and for the reward, a panel for each trial.

    Args:
        env: The task, whose names cues get; None for trials of one's own (:func:`mbrl_agents.value_rnn.make_trials`).
        trials: Trials.
        title: Title.
    """
    cues = range(cues_of(trials[0]).shape[1]) if env is None else conditioning_task(env).cue_names
    names = [*(f"cue {name}" for name in cues), "reward"]
    figure = new_figure(7.0, 0.5 + len(trials) * (0.35 + 0.22 * len(names)), title)
    axes = figure.subplots(len(trials), 1, sharex=True, squeeze=False)[:, 0]
    for axis, trial in zip(axes, trials, strict=True):
        for row, values in enumerate(_shown(trial).T):
            seen = np.flatnonzero(values)
            colour = INK if row == len(names) - 1 else COLOURS[row % len(COLOURS)]
            axis.vlines(
                seen, row - 0.4, row - 0.4 + 0.8 * np.minimum(values[seen] / values.max(initial=1), 1), color=colour, lw=3
            )
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.axvline(len(trial.rewards) - 0.5, color=GREY, lw=0.8)
        plain(axis)
    axes[-1].set_xlabel("step")
    return figure


def losses_figure(losses: Mapping[str, Sequence[np.ndarray]], title: str) -> Any:
    """Losses by epoch, on a logarithmic scale: thin lines are networks, the thick one is their median.

    Args:
        losses: For each label the losses of its networks, (epochs,) each.
        title: Title.
    """
    figure = new_figure(6.0, 3.6, title)
    axis = figure.subplots()
    for i, (label, curves) in enumerate(losses.items()):
        colour = COLOURS[i % len(COLOURS)]
        longest = max(map(len, curves))
        table = np.full((len(curves), longest), np.nan)
        for row, curve in zip(table, curves, strict=True):
            row[: len(curve)] = curve
            axis.plot(np.arange(1, len(curve) + 1), curve, color=colour, lw=0.6, alpha=0.35)
        table = pd.DataFrame(table.T).ffill().to_numpy().T  # one that has stopped stays where it was
        axis.plot(
            np.arange(1, longest + 1), np.nanmedian(table, axis=0), color=colour, lw=2, label=f"{label} (n={len(curves)})"
        )
    axis.set(yscale="log", xlabel="epoch", ylabel="loss (of whole returns)")
    axis.legend(frameon=False, fontsize=8.5)
    plain(axis)
    return figure


def values_figure(network: ValueRNN, env: Any, trials: Sequence[Any], title: str) -> Any:
    """Values and prediction errors of some trials, with cues and rewards marked.

    Args:
        network: The network.
        env: The task, whose exact values are drawn beside them; None for trials of one's own.
        trials: Trials.
        title: Title.
    """
    from mbrl_agents.value_rnn.analysis import exact_values

    figure = new_figure(8.0, 0.8 + 1.7 * len(trials), title)
    axes = figure.subplots(len(trials), 2, squeeze=False)
    gamma = network.gamma
    exact_of = [None] * len(trials) if env is None else exact_values(env, trials, gamma)
    found = zip(trials, network.value(trials), network.rpe(trials), exact_of, strict=True)
    for (left, right), (trial, value, rpe, exact) in zip(axes, found, strict=True):
        steps = np.arange(len(value))
        left.plot(steps, value, color=COLOURS[0], lw=2, label="network")
        right.plot(steps[1:], rpe, color=COLOURS[0], lw=2)
        if exact is not None:
            left.plot(steps, exact, **EXACT)
            right.plot(steps[1:], trial.rewards[1:] + gamma * exact[1:] - exact[:-1], **EXACT)
        for axis in (left, right):
            _mark(axis, trial)
            plain(axis)
        left.set_ylabel("value", fontsize=8.5)
        right.set_ylabel("RPE", fontsize=8.5)
    axes[0, 0].legend(frameon=False, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    return figure


def trajectories_figure(network: ValueRNN, trials: Sequence[Any], title: str) -> Any:
    """Hidden activity of some trials in a plane: the two units of a network of two, else the first two principal components.

    Raises:
        ValueError: The network has a single unit.
    """
    hidden = network.hidden_activity(list(trials))
    together = np.concatenate(hidden)
    if together.shape[1] == 1:
        raise ValueError("network must have at least 2 hidden units for trajectories in a plane, got 1")
    centre, axes = np.zeros(together.shape[1]), np.eye(2)
    names = ("unit 0", "unit 1")
    if together.shape[1] > 2:
        centre = together.mean(axis=0)
        _, strength, directions = np.linalg.svd(together - centre, full_matrices=False)
        axes, shares = directions[:2].T, 100 * strength[:2] ** 2 / np.square(strength).sum()
        names = (f"PC 1 ({shares[0]:.0f} %)", f"PC 2 ({shares[1]:.0f} %)")
    figure = new_figure(5.4, 4.6, title)
    axis = figure.subplots()
    num_cues = cues_of(trials[0]).shape[1]
    for trial, each in zip(trials, hidden, strict=True):
        path = (each - centre) @ axes
        cues = cues_of(trial)
        shown = np.flatnonzero(cues.any(axis=1))
        cue = int(cues[shown[0]].argmax()) if len(shown) else num_cues
        colour = COLOURS[cue % len(COLOURS)]
        axis.plot(*path.T, "-", color=colour, lw=1.0, alpha=0.7, marker=".", markersize=3)
        axis.plot(*path[shown].T, "o", color=colour, markersize=8, zorder=3)
        axis.plot(*path[trial.rewards > 0].T, "*", color=INK, markersize=11, zorder=4)
    for cue in range(num_cues):
        axis.plot([], [], "o", color=COLOURS[cue % len(COLOURS)], label=f"cue {cue}")
    axis.plot([], [], "*", color=INK, markersize=10, label="reward")
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.legend(frameon=False, fontsize=8.5)
    plain(axis)
    return figure


def rpe_figure(tables: Mapping[str, Sequence[pd.DataFrame]], title: str) -> Any:
    """Prediction errors at the reward by delay, a panel for each label: networks, their mean, and the exact ones.

    Args:
        tables: For each label the tables of its networks; see :func:`mbrl_agents.value_rnn.analysis.rpe_by_delay`.
        title: Title.
    """
    figure = new_figure(1.0 + 3.2 * len(tables), 3.4, title)
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, (label, found) in zip(axes, tables.items(), strict=True):
        for i, cue in enumerate(dict.fromkeys(pd.concat(found)["cue"])):
            own = [table[table["cue"] == cue] for table in found]
            mean = pd.concat(own).groupby("delay").mean(numeric_only=True)
            colour = COLOURS[i % len(COLOURS)]
            for table in own:
                axis.plot(table["delay"], table["rpe"], color=colour, lw=0.7, alpha=0.4)
            label_of = f"cue {cue}, networks (n={len(found)})"
            axis.plot(mean.index, mean["rpe"], color=colour, lw=2.2, marker="o", markersize=4, label=label_of)
            if "exact" in mean:
                axis.plot(mean.index, mean["exact"], **(EXACT | {"label": "exact" if i == 0 else None}))
        axis.set_title(label, loc="left", color=INK, fontsize=10)
        axis.set_xlabel("steps from cue to reward")
        plain(axis)
    axes[0].set_ylabel("RPE at the reward")
    axes[0].legend(frameon=False, fontsize=8.5)
    return figure


def _shown(trial: Any) -> np.ndarray:
    """Cues, then the reward, (T, C + 1)."""
    return np.column_stack([cues_of(trial), trial.rewards])


def _mark(axis: Any, trial: Any) -> None:
    """Where cues and rewards are."""
    shown = _shown(trial)
    for row, values in enumerate(shown.T):
        is_reward = row == shown.shape[1] - 1
        for step in np.flatnonzero(values):
            axis.axvline(step, color=INK if is_reward else COLOURS[1 + row % (len(COLOURS) - 1)], lw=1.2, ls=":", zorder=1)
