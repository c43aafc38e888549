"""Deep Q-learning from roll-outs of a learned model of observations."""

from __future__ import annotations

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.model_dqn.agent import LearnedModelDQN
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.simple import SimpleModel
from mbrl_agents.sb3.arguments import argument, boolean


class SimpleModelDQN(LearnedModelDQN):
    """Deep Q-learning from roll-outs of a learned model of observations.

    The agent of *The Benefits of Model-Based Generalization in RL* (arXiv 2211.02222), with its settings as defaults. After a
    step it draws transitions from replay, takes a gradient step of the model on them, rolls the model out from where they began
    with its own policy, and takes a Q-learning step on all imagined transitions, with targets r + γ·c·max_a Q⁻(s′, a) and
    weights Π c of the steps before, c being the predicted probability that the episode goes on (1 in continuing tasks).

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    raw_logits: bool = argument(
        boolean(),
        default=False,
        after="learned_variance",
        doc="Whether imagined bits are drawn with their logit in place of their probability, as in the published code, with "
        "which the published step sizes were tuned.",
    )

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> SimpleModel:
        return SimpleModel(
            Emission(codec, self.learned_variance, self.raw_logits),
            num_actions,
            tuple(self.policy_kwargs["net_arch"]),
            self.policy_kwargs["activation_fn"],
            bool(self.continuing),
        )
