"""Fixed points and memory of networks for which both are known in closed form."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from mbrl_agents.value_rnn import ValueRNN, analysis
from tests.agents.value_rnn.trials import ARRAYS


def one_unit(weight: float, enter: float = 1.0) -> ValueRNN:
    """h′ = tanh(weight · h + enter · x), with a cue and a reward that act alike."""
    network = ValueRNN(hidden_size=1, cell="vanilla", seed=0)
    network.prepare(2)
    params: dict[str, Any] = {
        "input": {"kernel": jnp.full((2, 1), enter), "bias": jnp.zeros(1)},
        "recurrent": {"kernel": jnp.full((1, 1), weight)},
    }
    network.change_run(learner=network.learner_state._replace(params=network.learner_state.params | params))
    return network


def silenced(cell: str, enter: float, units: int = 3) -> ValueRNN:
    """All weights 0 but those from the inputs to the candidates."""
    network = ValueRNN(hidden_size=units, cell=cell, seed=0)
    network.prepare(2)
    params = jax.tree.map(jnp.zeros_like, network.learner_state.params)
    candidate = slice(2 * units, 3 * units)
    params["input"]["kernel"] = params["input"]["kernel"].at[0, candidate].set(enter)
    network.change_run(learner=network.learner_state._replace(params=params))
    return network


def test_three_fixed_points_of_one_unit() -> None:
    above = brentq(lambda h: np.tanh(2 * h) - h, 0.5, 1)
    found = analysis.fixed_points(one_unit(2.0), np.array([[-1.0], [-0.8], [0.01], [0.9], [0.7], [0.5]]))
    order = np.argsort(found.states[:, 0])
    np.testing.assert_allclose(found.states[order, 0], [-above, 0, above], atol=1e-9)
    slopes = 2 * (1 - found.states[:, 0] ** 2)  # the derivative of tanh(2 h) where h = tanh(2 h)
    np.testing.assert_allclose(found.eigenvalues[:, 0], slopes, atol=1e-8)
    assert found.stable[order].tolist() == [True, False, True]
    assert found.counts[order].tolist() == [2, 1, 3]
    assert found.num_lost == 0
    assert (found.speeds < 1e-18).all()
    np.testing.assert_allclose(
        found.time_constants[order], [-1 / np.log(2 * (1 - above**2)), np.inf, -1 / np.log(2 * (1 - above**2))]
    )


def test_an_input_moves_the_fixed_point() -> None:
    moved = brentq(lambda h: np.tanh(0.5 * h + 0.3) - h, 0, 1)
    found = analysis.fixed_points(one_unit(0.5, enter=0.3), np.linspace(-1, 1, 7)[:, None], inputs=[1.0, 0.0])
    np.testing.assert_allclose(found.states, [[moved]], atol=1e-9)
    assert found.counts.tolist() == [7]


def test_a_slow_unit_remembers_for_as_long_as_its_eigenvalue_says() -> None:
    network = one_unit(0.9, enter=0.02)  # so small that it is linear
    assert analysis.fixed_points(network, np.zeros((1, 1))).time_constants == pytest.approx(-1 / np.log(0.9))
    table = analysis.memory(network)
    distance, last = np.tanh(0.02), 0
    while distance > 1e-3:
        distance, last = np.tanh(0.9 * distance), last + 1
    assert last == pytest.approx(np.log(1e-3 / 0.02) / np.log(0.9), abs=1)
    assert table.groupby("input")["duration"].first().tolist() == [last, last]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_network_without_weights_halves_its_state(cell: str) -> None:
    network = silenced(cell, enter=3.0)
    found = analysis.fixed_points(network, analysis.visited_states(network, [each[:, 1:] for each in ARRAYS], num=8))
    size = 3 if cell == "gru" else 6
    np.testing.assert_allclose(found.states, np.zeros((1, size)), atol=1e-9)
    np.testing.assert_allclose(np.abs(found.eigenvalues[0, :3]), 0.5, atol=1e-8)
    assert found.time_constants == pytest.approx(1 / np.log(2))
    table = analysis.memory(network)
    if cell == "gru":  # h = ½ tanh 3 after the cue, then half as much in every step
        norm = 0.5 * np.tanh(3.0) * np.sqrt(3)
        distances = norm * 0.5 ** np.arange(12)
    else:  # c = ½ tanh 3, halved in every step; h = ½ tanh c
        distances = 0.5 * np.tanh(0.5 * np.tanh(3.0) * 0.5 ** np.arange(12)) * np.sqrt(3)
    cue = table[table["input"] == 0]
    np.testing.assert_allclose(cue["distance"][:12], distances, rtol=1e-4, atol=1e-7)
    assert cue["duration"].iloc[0] == np.flatnonzero(distances <= 1e-3)[0]
    assert (table[table["input"] == 1]["duration"] == 0).all()  # it does not see the reward


def test_what_does_not_come_back() -> None:
    """It rests at the lower of three fixed points, from which an input lifts it to the upper one."""
    network = one_unit(2.0, enter=3.0)
    params = network.learner_state.params
    lowered = params["input"] | {"bias": jnp.full(1, -0.05)}
    network.change_run(learner=network.learner_state._replace(params=params | {"input": lowered}))
    assert analysis.memory(network, num_steps=30)["duration"].unique().tolist() == [31]


def test_what_rests_nowhere_is_lost() -> None:
    """h′ = −tanh(…) turns about 0: its only fixed point is unstable, and without it there is none."""
    network = one_unit(-2.0)
    found = analysis.fixed_points(network, np.array([[0.5], [-0.5]]))
    np.testing.assert_allclose(found.states, [[0.0]], atol=1e-9)
    assert not found.stable.any()
    lost = analysis.fixed_points(network, np.array([[0.5], [-0.5]]), max_iterations=1)
    assert (len(lost.states), lost.num_lost) == (0, 2)
    assert lost.eigenvalues.shape == (0, 1)


def test_gain_of_the_recurrent_weights() -> None:
    network = one_unit(0.5)
    louder = analysis.with_recurrent_gain(network, 3.0)
    assert float(louder.learner_state.params["recurrent"]["kernel"][0, 0]) == 1.5
    assert float(network.learner_state.params["recurrent"]["kernel"][0, 0]) == 0.5
    gru = ValueRNN(hidden_size=4, seed=0)
    gru.prepare(2)
    zero = analysis.with_recurrent_gain(gru, 0.0).learner_state.params["recurrent"]
    assert not np.asarray(zero["kernel"]).any()
    with pytest.raises(ValueError, match="gain must be a finite number of at least 0, got -1"):
        analysis.with_recurrent_gain(network, -1.0)


def test_bad_arguments() -> None:
    network = one_unit(0.5)
    with pytest.raises(ValueError, match=r"starts must have shape \(N, 1\), got \(3, 2\)"):
        analysis.fixed_points(network, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"inputs must have shape \(2,\), got \(3,\)"):
        analysis.fixed_points(network, np.zeros((3, 1)), inputs=np.zeros(3))
    with pytest.raises(ValueError, match="starts must be finite numbers"):
        analysis.fixed_points(network, np.full((1, 1), np.nan))
    with pytest.raises(ValueError, match="tolerance must be a finite number above 0, got 0"):
        analysis.fixed_points(network, np.zeros((1, 1)), tolerance=0)
