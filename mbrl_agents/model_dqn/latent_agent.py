"""Deep Q-learning from roll-outs of a learned model in a latent space."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from stable_baselines3.common.policies import BasePolicy

from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.model_dqn.agent import LearnedModelDQN
from mbrl_agents.model_dqn.heads import Emission
from mbrl_agents.model_dqn.latent import LatentModel
from mbrl_agents.model_dqn.latents import LATENTS, STD_ACTIVATIONS, make_latent
from mbrl_agents.sb3 import network_arguments, settings
from mbrl_agents.sb3.arguments import Given, argument, boolean, choice, integer, number
from mbrl_agents.sb3.policy import JaxPolicy

_MAX_SIZE = 1024


class LatentModelDQN(LearnedModelDQN):
    """Deep Q-learning from roll-outs of a learned model in a latent space, which the Q-network reads.

    As :class:`~mbrl_agents.SimpleModelDQN`, with a model that encodes observations into latent variables, reconstructs them
    from these, and predicts the next latent variables, the reward and the end. Acting draws from the encoder; Q-learning does
    not change it.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": JaxPolicy}  # networks read latent variables

    latent: str = argument(
        choice(LATENTS),
        default="categorical",
        after="env",
        doc='``"categorical"``, ``"gaussian"`` or ``"tanh_gaussian"`` (whose tanh networks read).',
    )
    latent_variables: int = argument(
        integer(1, _MAX_SIZE), default=32, after="observation_weight", doc="Number of categorical variables, at least 1."
    )
    latent_classes: int = argument(integer(2, _MAX_SIZE), default=32, doc="Number of values of each, at least 2.")
    latent_units: int = argument(integer(1, _MAX_SIZE), default=32, doc="Number of Gaussian variables, at least 1.")
    latent_min_std: float = argument(
        number(0),
        default=0.1,
        doc="Added to the standard deviation σ of Gaussian variables where the encoder speaks, at least 0. (The σ of the "
        "dynamics has no floor, as published.)",
    )
    latent_std_activation: str = argument(
        choice(STD_ACTIVATIONS),
        default="sigmoid",
        doc='What makes an output x a σ: ``"sigmoid"``, 2·sigmoid(x/2), as published, or ``"softplus"``, log(1 + exp(x)).',
    )
    dynamics_weight: float = argument(
        number(0),
        default=1.0,
        doc="Weight of the divergence between what is encoded, q′, and what was predicted, p′, at least 0: of the sum of its "
        "two parts.",
    )
    dynamics_kl_weight: float = argument(
        number(0), default=0.8, doc="Weight of KL(q′‖p′) that moves the dynamics alone, at least 0."
    )
    encoder_kl_weight: float = argument(
        number(0), default=0.2, doc="Weight of KL(q′‖p′) that moves the encoder alone, at least 0."
    )
    prior_weight: float = argument(
        number(0),
        default=0.0,
        doc="Weight of the divergence of what is encoded from a fixed distribution (uniform, standard normal), at least 0.",
    )
    published_mask: bool = argument(
        boolean(),
        default=False,
        after="learned_variance",
        doc="Whether observations of steps that end the episode are left out of the reconstruction, as in the published code.",
    )

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY, doc='``"MlpPolicy"``.')
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(
        network_arguments.policy_kwargs([200, 200, 200], "elu", "all networks", extractors=False), default=None, kw_only=True
    )

    def _encoder(self) -> None:
        """None: Q-networks read latent variables."""

    def to_torch(self) -> NoReturn:
        """Not possible.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"{type(self).__name__} acts on what it draws from a latent distribution, not by one network")

    def _world_model(self, codec: ObservationCodec, num_actions: int) -> LatentModel:
        latent = make_latent(
            self.latent,
            num_variables=self.latent_variables,
            num_classes=self.latent_classes,
            num_units=self.latent_units,
            std_activation=self.latent_std_activation,
        )
        return LatentModel(
            latent,
            Emission(codec, self.learned_variance),
            num_actions,
            tuple(self.policy_kwargs["net_arch"]),
            self.policy_kwargs["activation_fn"],
            bool(self.continuing),
            self.published_mask,
        )
