"""Pictures of tables whose lines are known."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from mbrl_agents.experiments import belief_plots, figures

PUBLISHED = {2: (0.09, 0.1), 5: (0.28, 0.24)}


def networks() -> pd.DataFrame:
    """Two of each kind, whose numbers differ by .02."""
    rows = [
        {
            "task": 2,
            "units": units,
            "kind": kind,
            "seed": seed,
            "noise": noise,
            "belief_r2": units / 10 + 0.02 * seed + 0.2 * (noise == 0) + 0.1 * (kind == "trained"),
            "cue_memory": units * 10 ** (1 + seed),
            "reward_memory": 7,
        }
        for units, kind, seed, noise in itertools.product((2, 5), belief_plots.KINDS, (0, 1), (0.05, 0.0))
    ]
    return pd.DataFrame(rows)


def line(axis: Any, label: str) -> list[float]:
    return next(each for each in axis.lines if each.get_label() == label).get_ydata().tolist()


def test_beliefs_by_size(tmp_path: pathlib.Path) -> None:
    figure = belief_plots.beliefs_figure(networks(), PUBLISHED)
    with_noise, without = figure.axes
    np.testing.assert_allclose(line(with_noise, "trained"), [0.31, 0.61])
    np.testing.assert_allclose(line(with_noise, "untrained"), [0.21, 0.51])
    np.testing.assert_allclose(line(without, "untrained"), [0.41, 0.71])
    assert line(with_noise, "trained, published") == [0.09, 0.28]
    assert line(with_noise, "untrained, published") == [0.1, 0.24]
    assert not any("published" in each.get_label() for each in without.lines)
    figures.save(figure, tmp_path / "beliefs.png")
    assert (tmp_path / "beliefs.png").stat().st_size > 5000


def test_memory_by_size() -> None:
    cue, reward = belief_plots.memory_figure(networks()).axes
    assert line(cue, "trained") == [110.0, 275.0]  # medians
    assert line(reward, "untrained") == [7.0, 7.0]


def test_recurrent_gains() -> None:
    table = networks().query("kind == 'untrained' and units == 5").assign(gain=2.0)
    left, right = belief_plots.gains_figure(table).axes
    np.testing.assert_allclose(line(left, "noise 0.05"), [0.51])
    np.testing.assert_allclose(line(left, "no noise"), [0.71])
    assert line(right, "cue") == [275.0]


def test_blocks_of_rewards() -> None:
    table = pd.DataFrame(
        [
            {"size": size, "trial": trial, "value": size * trial, "exact_value": 1.0, "rpe": -size, "exact_rpe": 2.0}
            for size, trial in itertools.product((1.0, 4.0), (1, 2, 3, 4, 5))
        ]
    )
    left, right = belief_plots.blocks_figure([table, table.assign(value=table["value"] + 2)]).axes
    assert line(left, "trial 2") == [3.0, 9.0]
    assert line(right, "trial 5") == [-1.0, -4.0]
    assert line(right, "exact") == [2.0, 2.0]
