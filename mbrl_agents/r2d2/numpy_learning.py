"""What an update of small networks needs of them, in NumPy: values of both over a batch of sequences, and gradients."""

from __future__ import annotations

import numpy as np

from mbrl_agents.r2d2.numpy_layers import set_gradients
from mbrl_agents.r2d2.numpy_network import NumpyNetwork
from mbrl_agents.r2d2.numpy_recurrence import Layer, Learned
from mbrl_agents.r2d2.samples import SequenceSamples

Array = np.ndarray


class Unrolled:
    """The network that learns and its target network, run over a batch of sequences.

    Args:
        networks: These two.
        batch: T observations of each of B sequences.
        learned: What gets a gradient.

    Attributes:
        values: Q-values of each network, float32 (T, B, num_actions).
    """

    def __init__(self, networks: tuple[NumpyNetwork, NumpyNetwork], batch: SequenceSamples, learned: Learned) -> None:
        self._network, self._learned = networks[0], learned
        observations = batch.observations.numpy()  # type: ignore[union-attr]
        length, num = observations.shape[:2]
        flat = observations.reshape(length * num, -1).astype(np.float32, copy=False)
        states = tuple(state.numpy() for state in batch.states)
        last = self._network.last(batch.previous_actions.numpy(), batch.previous_rewards.numpy())
        before = [network.pre_net.forward(flat) for network in networks]
        x = [np.concatenate([each[-1].reshape(length, num, -1), *last], axis=-1) for each in before]
        self._layers: list[Layer] = []
        for i in range(len(self._network.recurrent)):
            weights = [network.recurrent[i] for network in networks]
            self._layers.append(self._network.layer(x, weights, tuple(state[i] for state in states)))
            x = [self._layers[-1].outputs[1:, k] for k in range(len(networks))]
        after = [network.post_net.forward(each.reshape(length * num, -1)) for network, each in zip(networks, x, strict=True)]
        heads = [network.heads(each[-1]) for network, each in zip(networks, after, strict=True)]
        self.values = [each.reshape(length, num, -1) for each in heads]
        self._before, self._after = before[0], after[0]

    def backward(self, gradient: Array) -> None:
        """Sets the gradients of the first network's parameters.

        Args:
            gradient: That of its values, for the steps that get one: (until, B, num_actions).
        """
        until, num, _ = gradient.shape
        rows, network = until * num, self._network
        before, after = ([each[:rows] for each in values] for values in (self._before, self._after))
        down = network.heads_backward(after[-1], gradient.reshape(rows, -1))
        down = network.post_net.backward(after, down).reshape(until, num, -1)
        for i in reversed(range(len(self._layers))):
            of_inputs = i > 0 or len(before) > 1
            down, of_weights = self._layers[i].backward(down, self._learned, of_inputs=of_inputs)  # type: ignore[assignment]
            set_gradients(network.recurrent_parameters[i], of_weights)
        if len(before) > 1:
            width = before[-1].shape[1]
            network.pre_net.backward(before, down[:until, :, :width].reshape(rows, width))
