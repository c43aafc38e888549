"""The learner of value RNNs for the loops: pure functions that know neither environment nor loop."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mbrl_agents.core import optimizer, predictions
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.exploration import Exploration
from mbrl_agents.core.learner import Acted, Learner, Updated
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import AdamHyperparameters
from mbrl_agents.core.schedules import Now
from mbrl_agents.value_rnn import scoring
from mbrl_agents.value_rnn.losses import value_loss
from mbrl_agents.value_rnn.network import Sequences, TDHyperparameters, ValueNetwork
from mbrl_envs import FunctionalEnv
from mbrl_envs.conditioning import ConditioningTask


class ValueRNNHyperparameters(NamedTuple):
    """Numbers in which runs of one program may differ, float32.

    Attributes:
        td: Those of the targets.
        adam: Those of the optimiser.
    """

    td: TDHyperparameters
    adam: AdamHyperparameters

    @property
    def gamma(self) -> Any:
        """The discount factor, by the name that replay asks for."""
        return self.td.gamma


class ValueRNNState(NamedTuple):
    """Everything that learning changes, and the hyperparameters.

    Attributes:
        params: Parameters of the network, by part.
        optimizer: State of the optimiser.
        hyper: Hyperparameters.
    """

    params: Any
    optimizer: Any
    hyper: ValueRNNHyperparameters


@dataclasses.dataclass(frozen=True)
class ValueRNNLearner(Learner):
    """Functions of a value RNN; the fields are what shapes the program.

    Attributes:
        codec: Reads observations.
        network: The network.
        actions: What actions are; all are taken equally often.
        clip: Whether gradients are clipped.
    """

    codec: ObservationCodec
    network: ValueNetwork
    actions: ActionCodec
    clip: bool = False

    def init(self, key: jax.Array, hyper: ValueRNNHyperparameters) -> ValueRNNState:
        """Fresh parameters."""
        params = self.network.init(key)
        hyper = jax.tree.map(lambda each: jnp.asarray(each, jnp.float32), hyper)
        return ValueRNNState(params, optimizer.init(params), hyper)

    def act(
        self, state: ValueRNNState, carry: Any, observation: jax.Array, key: jax.Array, explore: Exploration | None
    ) -> Acted:
        """Uniform actions, greedy or not: what is learned is the value of this policy, which needs no memory."""
        del state, explore
        return Acted(self.actions.uniform(key, observation.shape[0]), carry)

    def update(self, state: ValueRNNState, batch: Sequences, key: jax.Array, now: Now) -> Updated:
        """One gradient step on a batch of sequences; the key is not used."""
        del key
        params, adam, loss = gradient_step(
            self.network, state.params, state.optimizer, batch, state.hyper, now.learning_rate, clip=self.clip
        )
        return Updated(state._replace(params=params, optimizer=adam), {"loss": loss})

    def evaluate(
        self, env: FunctionalEnv, state: ValueRNNState, key: jax.Array, explore: Exploration, num_episodes: int, num_steps: int
    ) -> dict[str, jax.Array]:
        """How well values are predicted under uniform actions; see :mod:`mbrl_agents.value_rnn.scoring`."""
        del explore

        def act(observation: jax.Array, step_key: jax.Array) -> jax.Array:
            return self.actions.uniform(step_key, observation.shape[0])

        played = predictions.play(env, act, key, num_episodes, num_steps)
        network, gamma = self.network, state.hyper.gamma
        inputs = self.codec.features(played.observations)
        values = network.value(state.params, network.cell.unroll(state.params, inputs), state.hyper.td.levels)
        if isinstance(env, ConditioningTask):
            wanted = scoring.exact_values(env, played.observations[:-1], gamma)
        else:
            wanted = played.returns(values, gamma)
        return {"score": played.scores(values[:-1], wanted)}


def gradient_step(
    network: ValueNetwork,
    params: Any,
    adam: Any,
    batch: Sequences,
    hyper: ValueRNNHyperparameters,
    learning_rate: jax.Array,
    *,
    clip: bool,
) -> tuple[Any, Any, jax.Array]:
    """One step of Adam on the loss of a batch; parts that are frozen stay as they are.

    Returns:
        Parameters, the optimiser's state, and the loss before the step.
    """
    loss, grads = jax.value_and_grad(value_loss)(params, batch, hyper.td, network)
    thawed = hyper.td.thawed
    grads = {part: jax.tree.map(lambda grad, part=part: grad * thawed[part], grads[part]) for part in grads}
    moved, adam = optimizer.apply(params, grads, adam, learning_rate, hyper.adam, clip=clip)
    # Adam goes on with its momentum, and weights decay, where gradients are 0: a frozen part must not.
    moved = {
        part: jax.tree.map(lambda new, old, part=part: jnp.where(thawed[part] > 0, new, old), moved[part], params[part])
        for part in params
    }
    return moved, adam, loss
