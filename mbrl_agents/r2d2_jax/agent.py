"""R2D2 in JAX behind Stable-Baselines3's interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agents.core import networks
from mbrl_agents.core.actions import ActionCodec
from mbrl_agents.core.observations import ObservationCodec
from mbrl_agents.core.optimizer import NO_CLIPPING, AdamHyperparameters
from mbrl_agents.core.recurrent import CELLS
from mbrl_agents.core.schedules import Schedule, Schedules, check
from mbrl_agents.core.sequence_replay import SequenceLayout, SequenceReplay
from mbrl_agents.r2d2_jax.learner import EXPLORATIONS, R2D2Learner
from mbrl_agents.r2d2_jax.network import RecurrentQNetwork
from mbrl_agents.sb3 import settings
from mbrl_agents.sb3.arguments import Given, Kind, Rule, argument, boolean, choice, integer, number, schedule
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_agents.sb3.policy import JaxPolicy, as_batch
from mbrl_envs.checks import boolean as checked_boolean
from mbrl_envs.checks import integer_in, number_in, one_of

_NETWORK: dict[str, Any] = {
    "cell": "lstm",
    "lstm_hidden_size": 256,
    "n_lstm_layers": 1,
    "pre_net_arch": None,
    "net_arch": None,
    "activation_fn": "relu",
    "forget_bias": 1.0,
    "dueling": True,
    "previous_action": True,
}


def _policy_kwargs(name: str, value: Any) -> dict[str, Any]:
    given: Mapping[str, Any] = settings.dictionary(name, value, {"lstm_hidden_size": 256})
    if unknown := sorted(set(given) - set(_NETWORK)):
        raise TypeError(f"{name} has no {', '.join(map(repr, unknown))}; it has {', '.join(map(repr, _NETWORK))}")
    given = _NETWORK | dict(given)
    units = integer_in("lstm_hidden_size", given["lstm_hidden_size"], 1, networks.MAX_WIDTH)
    widths = {each: [units] if given[each] is None else given[each] for each in ("pre_net_arch", "net_arch")}
    return {
        "cell": one_of("cell", given["cell"], CELLS),
        "lstm_hidden_size": units,
        "n_lstm_layers": integer_in("n_lstm_layers", given["n_lstm_layers"], 1, 64),
        **{each: list(networks.check_net_arch(own, each)) for each, own in widths.items()},
        "activation_fn": networks.activation_name(given["activation_fn"]),
        "forget_bias": number_in("forget_bias", given["forget_bias"], -100, 100),
        **{each: checked_boolean(each, given[each]) for each in ("dueling", "previous_action")},
    }


def _layout(given: Mapping[str, Any]) -> SequenceLayout:
    length, overlap = given["sequence_length"], given["overlap"]
    return SequenceLayout(given["burn_in"], length, length // 2 if overlap is None else overlap, given["n_steps"])


class JaxR2D2(JaxAgent[R2D2Learner]):
    """Recurrent Q-learning from replayed sequences, in JAX.

    Kapturowski, Ostrovski, Quan, Munos, Dabney, *Recurrent Experience Replay in Distributed Reinforcement Learning*, ICLR 2019.
    A recurrent Q-network acts, and its recurrent state is stored with what it sees. Learning draws sequences that lie within
    one episode, starts from the stored state, lets the network run over ``burn_in`` steps to bring the state up to date with
    the current weights, and learns on the steps after that, from

        δ_t = h(Σ_{i<m} γ^i r_{t+i+1} + γ^m·h⁻¹(Q⁻(s_{t+m}, argmax_a Q(s_{t+m}, a)))) − Q(s_t, a_t),

    where m is ``n_steps`` or what is left of the episode, h rescales values (:func:`~mbrl_agents.core.returns.rescale`) and
    Q⁻ is the target network. The loss is the mean of w·δ²/2 over the real steps of the batch, w being a sequence's importance
    weight. Truncated episodes bootstrap from their true final observation, terminated ones do not.

    Defaults are the published ones as far as they suit one machine: 256 LSTM units where 512 were, an ε that falls in
    place of a ladder over many actors, and Adam's own ``eps`` (published: 1e-3). On functional environments ``learn()`` runs as
    one compiled program, and sweeps and studies train many runs in one.

    Raises:
        TypeError, ValueError: An argument is unknown or out of range, or the environment's spaces do not fit.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpLstmPolicy": JaxPolicy}

    policy: Given[str | type[BasePolicy], BasePolicy] = argument(settings.POLICY, doc='``"MlpLstmPolicy"``.')
    env: Given[GymEnv | str | None, VecEnv | None] = argument(settings.ENV)
    learning_rate: float | Schedule = argument(settings.LEARNING_RATE, default=1e-4)
    buffer_size: int = argument(settings.BUFFER_SIZE, default=100_000)
    learning_starts: int = argument(
        settings.LEARNING_STARTS, default=1000, doc="Transitions collected with uniform actions before learning."
    )
    batch_size: int = argument(settings.BATCH_SIZE, default=64, doc="Sequences per gradient step.")
    tau: float = argument(settings.TAU, default=1.0)
    gamma: float = argument(settings.GAMMA, default=0.997)
    train_freq: int | tuple[int, str] = argument(
        settings.TRAIN_FREQ,
        default=4,
        doc='Steps (of all environments at once) between trainings, or ``(number, "step" | "episode")``.',
    )
    gradient_steps: int = argument(settings.GRADIENT_STEPS, default=1)
    n_steps: int = argument(
        settings.N_STEPS, default=5, doc="Steps of a return before it bootstraps, at most ``sequence_length``."
    )
    burn_in: int = argument(
        integer(0),
        default=40,
        doc="Steps of a sequence before those that are trained on; none at an episode's start.",
    )
    sequence_length: int = argument(integer(1), default=80, doc="Steps of a sequence that are trained on.")
    overlap: int | None = argument(
        integer(0) | None,
        default=None,
        doc="Steps that are trained on in two neighbouring sequences; by default half of ``sequence_length``.",
    )
    stored_state: bool = argument(
        boolean(), default=True, doc="Whether sequences start from the stored recurrent state, or from zeros."
    )
    target_update_interval: int = argument(settings.TARGET_UPDATE_INTERVAL, default=10_000)
    exploration: str = argument(
        choice(EXPLORATIONS),
        default="schedule",
        doc='``"schedule"``: ε falls linearly, the same for all environments; ``"ladder"``: each environment has an ε of its '
        "own, ``ladder_base**(1 + ladder_exponent·i/(N − 1))``.",
    )
    exploration_fraction: float = argument(settings.EXPLORATION_FRACTION, default=0.1)
    exploration_initial_eps: float = argument(settings.EXPLORATION_INITIAL_EPS, default=1.0, doc="Scheduled ε at the start.")
    exploration_final_eps: float = argument(settings.EXPLORATION_FINAL_EPS, default=0.05, doc="Scheduled ε at the end.")
    ladder_base: float = argument(
        number(0, 1, open_low=True, kind=Kind.NUMBER), default=0.4, doc="ε of the first environment, in (0, 1]."
    )
    ladder_exponent: float = argument(number(0, kind=Kind.NUMBER), default=7.0, doc="See ``exploration``; at least 0.")
    double_q: bool = argument(settings.DOUBLE_Q, default=True)
    value_rescaling: bool = argument(boolean(), default=True, doc="Whether values are learned on the scale of h.")
    rescaling_epsilon: float = argument(number(0, kind=Kind.NUMBER), default=1e-3, doc="ε of h, at least 0.")
    bounded_values: bool = argument(
        boolean(),
        default=True,
        doc="Whether values to bootstrap from are kept within [min(r, 0), max(r, 0)] / (1 − γ), r being the rewards so far: no "
        "value lies outside, but what the network says of truncated episodes' final observations may (not published).",
    )
    prioritized: bool = argument(boolean(), default=True, doc="Whether sequences are drawn by priority, or uniformly.")
    priority_exponent: float = argument(
        number(0, kind=Kind.NUMBER),
        default=0.9,
        doc="Sequences are drawn in proportion to priority to this power, at least 0.",
    )
    priority_eta: float = argument(
        number(0, 1, kind=Kind.NUMBER), default=0.9, doc="η of the priority η·max|δ| + (1 − η)·mean|δ|, in [0, 1]."
    )
    importance_exponent: float | Schedule = argument(
        schedule(0),
        default=0.6,
        doc="Importance weights are (N·P)^−β, over the largest of the batch; a number, or a schedule of the progress remaining "
        "to anneal it (SB3's ``LinearSchedule(0.6, 1.0, 1.0)``); 0 for none.",
    )
    adam_eps: float = argument(settings.ADAM_EPS, default=1e-8, doc="Added to the root of Adam's mean of squared gradients.")
    max_grad_norm: float | None = argument(settings.MAX_GRAD_NORM, default=40.0)
    policy_kwargs: Given[dict[str, Any] | None, dict[str, Any]] = argument(
        Rule(_policy_kwargs),
        default=None,
        doc='Keywords of the network: ``cell`` (``"lstm"``, ``"gru"`` or ``"vanilla"``), ``lstm_hidden_size`` (256; of any '
        "cell), ``n_lstm_layers``, ``pre_net_arch`` and ``net_arch`` (units of the layers before and after; by default one of "
        "as many), ``activation_fn``, ``forget_bias`` (1), ``dueling``, ``previous_action``.",
        kw_only=True,
        after="tensorboard_log",
    )

    @property
    def layout(self) -> SequenceLayout:
        """Lengths of sequences."""
        return _layout(self.arguments)

    # ------------------------------------------------------------------ what JaxAgent asks

    def _check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        given = super()._check_arguments(arguments)
        _layout(given)  # refuses lengths that do not go together
        return given

    def _check_spaces(self) -> None:
        super()._check_spaces()
        if self._vec_normalize_env is not None:
            raise ValueError("env must not be a VecNormalize: use gymnasium.wrappers.NormalizeObservation inside of it")

    def _setup_program(self) -> None:
        super()._setup_program()
        self._importance_schedule = check("importance_exponent", self.importance_exponent, 0)
        if self.arguments["exploration"] == "ladder":
            self._epsilon_schedule = LinearSchedule(0.0, 0.0, 1.0)  # the ladder's are the learner's

    @property
    def schedules(self) -> Schedules:
        """What follows the progress of training."""
        own = self._importance_schedule if self.arguments["prioritized"] else None
        return super().schedules._replace(importance_exponent=own)

    def _network(self, codec: ObservationCodec, num_actions: int) -> RecurrentQNetwork:
        given = self.arguments["policy_kwargs"]
        return RecurrentQNetwork(
            codec.num_features,
            num_actions,
            given["cell"],
            given["lstm_hidden_size"],
            given["n_lstm_layers"],
            tuple(given["pre_net_arch"]),
            tuple(given["net_arch"]),
            given["activation_fn"],
            given["forget_bias"],
            given["dueling"],
            given["previous_action"],
        )

    def _make_learner(self, codec: ObservationCodec, actions: ActionCodec) -> R2D2Learner:
        given = self.arguments
        return R2D2Learner(
            codec,
            self._network(codec, actions.num_actions),
            self.layout,
            given["stored_state"],
            given["double_q"],
            given["value_rescaling"],
            given["prioritized"],
            given["exploration"],
            given["max_grad_norm"] is not None,
            given["bounded_values"],
        )

    def _make_replay(self, codec: ObservationCodec, rows: int) -> SequenceReplay:
        learner = self._make_learner(codec, self.actions)
        shapes = jax.eval_shape(lambda: learner.extras_of(learner.initial_carry(1)))
        extras = tuple((each.shape[1:], each.dtype.name) for each in shapes)
        return SequenceReplay(codec, self.actions, rows, self.n_envs, layout=self.layout, extras=extras)

    def _numbers(self) -> dict[str, Any]:
        numbers = super()._numbers()
        eps, clip = (numbers.pop(name) for name in ("adam_eps", "max_grad_norm"))
        adam = AdamHyperparameters(b2=0.999, eps=eps, weight_decay=0.0, max_grad_norm=NO_CLIPPING if clip is None else clip)
        return numbers | {"adam": adam}

    # ------------------------------------------------------------------ values

    def q_values(
        self, observation: Any, state: tuple[np.ndarray, ...] | None = None, episode_start: np.ndarray | None = None
    ) -> np.ndarray:
        """Action values, of which a greedy :meth:`predict` with the same arguments takes the largest.

        Args:
            observation: One observation, of the observation space's shape and dtype, or n of them, (n, …).
            state: What the last call of :meth:`predict` returned; None at the start of an episode.
            episode_start: Where an episode starts, bool (n,).

        Returns:
            float32 (actions,), or (n, actions), on the scale of returns.

        Raises:
            ValueError: The observation is not of the observation space's shape, or the state is none of the agent's.
        """
        assert isinstance(self.policy, JaxPolicy)
        batch, vectorized = as_batch(observation, self.observation_space)
        carry = self.policy.carry_of(state, episode_start, len(batch))
        with self.arrays_lock:
            found = np.array(self.learner.q_values(self.learner_state, carry, jnp.asarray(self.replay.codec.from_host(batch))))
        return found if vectorized else found[0]
