"""The gradient of a batch of sequences: one forward pass of each network, and one back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from mbrl_agents.r2d2.networks import RecurrentQNetwork
from mbrl_agents.r2d2.numpy_layers import clip_gradients
from mbrl_agents.r2d2.numpy_learning import Unrolled
from mbrl_agents.r2d2.numpy_network import NumpyNetwork
from mbrl_agents.r2d2.numpy_recurrence import Learned
from mbrl_agents.r2d2.samples import SequenceSamples
from mbrl_agents.r2d2.sequences import SequenceLayout
from mbrl_agents.r2d2.targets import td_targets


def td_errors(
    q_net: RecurrentQNetwork, q_net_target: RecurrentQNetwork, batch: SequenceSamples, layout: SequenceLayout, **how: Any
) -> th.Tensor:
    """δ of every step of every sequence, float32 (τ, B) with τ = burn_in + length; the target has no gradient.

    Args:
        q_net: The network that is trained.
        q_net_target: The target network.
        batch: Sequences.
        layout: Their lengths.
        **how: ``gamma``, ``double_q`` and ``rescaling`` of :func:`~mbrl_agents.r2d2.targets.td_targets`.
    """
    inputs = (batch.observations, batch.previous_actions, batch.previous_rewards, batch.states)
    values, _ = q_net.unroll(*inputs, layout.burn_in, batch.num_from_start, layout.n_steps)
    with th.no_grad():
        target_values, _ = q_net_target.unroll(*inputs)
    targets = td_targets(values.detach().cpu().numpy(), target_values.cpu().numpy(), batch, n_steps=layout.n_steps, **how)
    # What was done at a step is told at the next one.
    actions = batch.previous_actions[1 : layout.trainable + 1]
    return th.as_tensor(targets, device=values.device) - values[: layout.trainable].gather(-1, actions[..., None]).squeeze(-1)


def gradient(
    q_net: RecurrentQNetwork,
    q_net_target: RecurrentQNetwork,
    batch: SequenceSamples,
    layout: SequenceLayout,
    most: float | None,
    **how: Any,
) -> tuple[np.ndarray, float]:
    """Sets the gradients of ``q_net``'s parameters to those of the loss, Σ w·δ²/2 over the number of real steps.

    Args:
        q_net: The network that is trained.
        q_net_target: The target network.
        batch: Sequences.
        layout: Their lengths.
        most: The gradient's largest norm, beyond which it is clipped; None for no clipping.
        **how: As for :func:`td_errors`.

    Returns:
        δ, float32 (τ, B), and the loss.
    """
    errors = td_errors(q_net, q_net_target, batch, layout, **how)
    loss = 0.5 * (errors.square() * (batch.trained * batch.weights)).sum() / batch.trained.sum()
    q_net.zero_grad()
    loss.backward()
    if most is not None:
        th.nn.utils.clip_grad_norm_(q_net.parameters(), most)
    return errors.detach().cpu().numpy(), loss.item()


def gradient_in_numpy(
    networks: tuple[NumpyNetwork, NumpyNetwork],
    batch: SequenceSamples,
    layout: SequenceLayout,
    most: float | None,
    **how: Any,
) -> tuple[np.ndarray, float]:
    """As :func:`gradient`, without PyTorch.

    Args:
        networks: The network that is trained, and its target network.
        batch: Sequences.
        layout: Their lengths.
        most: The gradient's largest norm.
        **how: As for :func:`td_errors`.
    """
    run = Unrolled(networks, batch, Learned(layout.burn_in, batch.num_from_start, layout.trainable))
    values, target_values = run.values
    targets = td_targets(values, target_values, batch, n_steps=layout.n_steps, **how)
    actions = batch.previous_actions.numpy()[1 : layout.trainable + 1]
    steps, columns = np.ogrid[: actions.shape[0], : actions.shape[1]]
    errors = targets - values[steps, columns, actions]
    trained = batch.trained.numpy()
    weighted = errors * (trained * batch.weights.numpy() / np.add.reduce(trained, axis=None))
    of_values = np.zeros((*actions.shape, values.shape[-1]), values.dtype)
    of_values[steps, columns, actions] = -weighted
    run.backward(of_values)
    if most is not None:
        clip_gradients(networks[0].parameters, most)
    return errors, 0.5 * float(np.vdot(errors, weighted))
