"""By what networks are judged, and which weights are therefore kept."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl_agents.core.recurrent import Cell
from mbrl_agents.value_rnn import ValueRNN, fitting, losses, make_trials
from mbrl_agents.value_rnn.network import ValueNetwork
from mbrl_agents.value_rnn.trial_arrays import pad
from tests.agents.value_rnn.trials import NETWORKS, TRIALS, hyper, returns, some_params, trial


def test_the_best_weights_are_kept() -> None:
    network = ValueRNN(hidden_size=4, gamma=0.8, seed=0, learning_rate=0.3)  # so large that losses go up and down
    fit = network.fit(TRIALS, epochs=40)
    assert np.argmin(fit.losses) + 1 == fit.best_epoch < 40
    values = network.value(TRIALS)
    errors = np.concatenate([returns(each, 0.8) - value for each, value in zip(TRIALS, values, strict=True)])
    np.testing.assert_allclose((0.5 * errors**2).mean(), fit.losses.min(), rtol=1e-4)


def test_other_trials_may_decide_which_weights_are_best() -> None:
    """They decide that alone: nothing is learned of them."""
    learned = TRIALS[:2]
    others = make_trials([trial(8, 0, 4), trial(9, 1, 1)], reward_column=-1)  # the better those are known, the worse are these
    rest: dict[str, Any] = {"hidden_size": 4, "gamma": 0.8, "seed": 0, "learning_rate": 0.3}
    network, last, alone = ValueRNN(**rest), ValueRNN(**rest), ValueRNN(**rest)
    fit = network.fit(learned, epochs=40, validation=others)
    last.fit(learned, epochs=40, validation=others, keep_best=False)
    alone_fit = alone.fit(learned, epochs=40, keep_best=False)
    assert np.argmin(fit.losses) + 1 == fit.best_epoch != np.argmin(alone_fit.losses) + 1
    errors = np.concatenate([returns(each, 0.8) - network.value(each) for each in others])
    np.testing.assert_allclose((0.5 * errors**2).mean(), fit.losses.min(), rtol=1e-4)
    for each in TRIALS:
        np.testing.assert_array_equal(last.value(each), alone.value(each))


@pytest.mark.parametrize("network", [NETWORKS[0], NETWORKS[2], NETWORKS[3]], ids=["td", "td-lambda", "asymmetric"])
def test_networks_are_judged_by_whole_returns(network: ValueNetwork) -> None:
    """Whatever λ they learn with; each step counts as in the loss."""
    params, numbers = some_params(network), hyper(network, td_lambda=0.4)
    data = fitting.as_sequences(pad(TRIALS), terminal_target=True)
    heads = np.asarray(network.heads(params, network.cell.unroll(params, data.inputs, data.starts)), np.float64)
    levels = np.asarray(numbers.levels)
    each = []
    for i, one in enumerate(TRIALS):
        errors = returns(one, 0.8)[:, None] - heads[: len(one.rewards), i]
        weights = np.abs(levels - (errors < 0)) if network.loss == "asymmetric" else 0.5
        each.append((weights * errors**2).sum(axis=1))
    expected = np.concatenate(each).mean()
    judged = jax.jit(functools.partial(losses.judging_loss, network=network))(params, data, numbers)
    assert float(judged) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("network", NETWORKS[4:], ids=["expectile", "quantile"])
def test_networks_of_distributions_are_judged_by_their_loss(network: ValueNetwork) -> None:
    params, numbers = some_params(network), hyper(network)
    data = fitting.as_sequences(pad(TRIALS), terminal_target=True)
    found = [
        jax.jit(functools.partial(loss, network=network))(params, data, numbers)
        for loss in (losses.judging_loss, losses.value_loss)
    ]
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-6)


class Told(ValueNetwork):
    """A network whose values are told it."""

    def heads(self, params: Any, states: jax.Array) -> jax.Array:
        return params["told"]


def test_exact_values_are_judged_better_than_smooth_ones() -> None:
    """The exact values of an uncertain reward beat smoother ones, which have smaller TD errors."""
    network = Told(Cell("vanilla", 2, 4))
    paid, unpaid = np.zeros((6, 2), np.float32), np.zeros((6, 2), np.float32)
    paid[0, 0] = unpaid[0, 0] = paid[4, 1] = 1
    data = fitting.as_sequences(pad(make_trials([paid, unpaid], reward_column=-1)), terminal_target=True)
    params, numbers = network.init(jax.random.PRNGKey(0)), hyper(network, gamma=1.0)

    def judged(after: float) -> tuple[float, float]:
        """Loss and error, if the value after a reward is below 0 and after none above it."""
        told = params | {"told": jnp.asarray([[0.5, 0.5]] * 4 + [[-after, after], [0.0, 0.0]], jnp.float32)[..., None]}
        loss, error = (each(told, data, numbers, network) for each in (losses.value_loss, losses.judging_loss))
        return float(loss), float(error)

    exact, smooth = judged(0.0), judged(0.25)
    assert smooth[0] < exact[0]
    assert smooth[1] > exact[1]
