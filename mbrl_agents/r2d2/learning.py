"""TD errors of a batch of sequences: one forward pass of each network."""

from __future__ import annotations

import torch as th

from mbrl_agents.r2d2.networks import RecurrentQNetwork
from mbrl_agents.r2d2.rescaling import rescale, unscale
from mbrl_agents.r2d2.samples import SequenceSamples
from mbrl_agents.r2d2.sequences import SequenceLayout
from mbrl_agents.r2d2.targets import n_step_returns


def td_errors(
    q_net: RecurrentQNetwork,
    q_net_target: RecurrentQNetwork,
    batch: SequenceSamples,
    layout: SequenceLayout,
    *,
    gamma: float,
    double_q: bool,
    rescaling: float | None,
) -> th.Tensor:
    """δ of every step of every sequence, float32 (τ, B) with τ = burn_in + length; the target has no gradient.

    Args:
        q_net: The network that is trained.
        q_net_target: The target network.
        batch: Sequences.
        layout: Their lengths.
        gamma: Discount factor.
        double_q: Whether ``q_net`` chooses the action in which ``q_net_target`` is evaluated.
        rescaling: ε of h, or None for no rescaling.
    """
    inputs = (batch.observations, batch.previous_actions, batch.previous_rewards, batch.states)
    values, _ = q_net.unroll(*inputs, layout.burn_in, batch.num_from_start, layout.n_steps)
    rewards = batch.previous_rewards[1:].cpu().numpy()
    n_step = n_step_returns(rewards, batch.last, batch.terminated, gamma=gamma, n_steps=layout.n_steps)
    returns, discounts, bootstrap = (th.as_tensor(each, device=values.device) for each in n_step)
    with th.no_grad():
        following, _ = q_net_target.unroll(*inputs)
        greedy = (values if double_q else following).argmax(dim=-1, keepdim=True)
        following = following.gather(-1, greedy).squeeze(-1).gather(0, bootstrap)
        if rescaling is None:
            targets = returns + discounts * following
        else:
            targets = rescale(returns + discounts * unscale(following, rescaling), rescaling)
    # What was done at a step is told at the next one.
    actions = batch.previous_actions[1 : layout.trainable + 1]
    return targets - values[: layout.trainable].gather(-1, actions[..., None]).squeeze(-1)
