"""Scores of agents, whoever made them: anything with Stable-Baselines3's ``predict``.

On functional environments a score is that of the published study (see :mod:`mbrl_agents.core.evaluation`), so that it
compares to the yardsticks. On other Gymnasium environments it is the return of an episode. Policies act deterministically,
unless an agent says that it is to be judged by another one (its ``evaluation_policy``).
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from stable_baselines3.common.evaluation import evaluate_policy

from mbrl_agents.core import evaluation as functional
from mbrl_agents.core.compilation import plain_jit
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_agents.runs.metrics import SCORE
from mbrl_agents.runs.scores import Yardsticks, yardsticks_of
from mbrl_agents.sb3.jax_agent import JaxAgent
from mbrl_envs import FunctionalEnv, FunctionalTask
from mbrl_envs.checks import integer_in

DEFAULT_EPISODES = 32  # the study's, on functional environments
OTHER_EPISODES = 10
_MOST_ENVS = 8  # of other Gymnasium environments at once


class Evaluator:
    """Measures scores in one environment.

    Args:
        environment: The environment.
        episodes: Number of episodes; by default 32 on functional environments, 10 on others.
        steps: Steps of an episode, no more than the environment's time limit; by default functional environments'
            ``evaluation_steps`` (100 for most), others' own time limit.

    Raises:
        TypeError, ValueError: A number is out of range.
    """

    def __init__(self, environment: EnvironmentSpec, episodes: int | None = None, steps: int | None = None) -> None:
        self.environment = environment
        task = environment.task()
        self.dynamics = None if task is None else task.env
        self.episodes, self.steps = default_sizes(task, episodes, steps)
        self._vec_env: Any = None

    def scores(self, model: Any, seed: int = 0, stream: int = 0) -> np.ndarray:
        """A score for each episode, float (episodes,); see :meth:`measure`."""
        return self.measure(model, seed, stream)[SCORE]

    def measure(self, model: Any, seed: int = 0, stream: int = 0) -> dict[str, np.ndarray]:
        """Measures of each episode by name, float (episodes,) each; ``"score"`` is what an agent is judged by.

        Others are there where an agent has several policies and the environment is functional: ``"score/greedy"`` and
        ``"score/sample"`` of OMD.

        Args:
            model: The agent.
            seed: Together with ``stream`` decides which episodes these are; every agent plays the same ones.
            stream: For example the timestep.
        """
        if self.dynamics is None:
            return {SCORE: self._gymnasium_scores(model, seed, stream)}
        assert self.steps is not None
        key = functional.evaluation_key(seed, stream)
        if isinstance(model, JaxAgent):
            compiled = functional.compiled_evaluation(model.learner, self.dynamics, self.episodes, self.steps)
            return {name: np.asarray(each) for name, each in compiled(model.learner_state, key, model.exploration_at()).items()}
        return {SCORE: _predicted_scores(model, self.dynamics, key, self.episodes, self.steps)}

    def yardsticks(self, model: Any = None) -> Yardsticks | None:
        """Scores of the uniform and of the best policy; None where they are not known, or the agent's scores are no returns."""
        return yardsticks_of(type(model), self.dynamics, self.steps)

    def close(self) -> None:
        """Closes environments."""
        if self._vec_env is not None:
            self._vec_env.close()
            self._vec_env = None

    def _gymnasium_scores(self, model: Any, seed: int, stream: int) -> np.ndarray:
        if self._vec_env is None:
            self._vec_env = self.environment.vec_env(min(self.episodes, _MOST_ENVS), max_episode_steps=self.steps)
        seeds = np.random.SeedSequence([seed, stream]).generate_state(2).tolist()
        self._vec_env.seed(seeds[0] // 2)
        if hasattr(model, "episode_scores"):  # of those that predict; actions are drawn
            self._vec_env.action_space.seed(seeds[1])
            return model.episode_scores(self._vec_env, self.episodes)
        returns, _ = evaluate_policy(
            getattr(model, "evaluation_policy", model),
            self._vec_env,
            self.episodes,
            deterministic=True,
            callback=getattr(model, "evaluation_callback", None),  # tells recurrent policies their rewards
            return_episode_rewards=True,
            warn=False,
        )
        return np.asarray(returns, float)


def default_sizes(task: FunctionalTask | None, episodes: int | None, steps: int | None) -> tuple[int, int | None]:
    """Number of episodes and steps of an evaluation, with what is not given filled in.

    Args:
        task: Functional dynamics and time limit; None of another environment.
        episodes: Number of episodes, or None.
        steps: Steps of each, or None: as many as the dynamics say, but no more than their own time limit. An environment's time
            limit caps both.

    Raises:
        TypeError, ValueError: One is out of range.
    """
    if episodes is None:
        episodes = OTHER_EPISODES if task is None else DEFAULT_EPISODES
    integer_in("the number of evaluation episodes", episodes, 1, 2**20)
    if steps is not None:
        integer_in("the number of evaluation steps", steps, 1, 10_000_000)
    if task is not None:
        limit = task.max_episode_steps
        steps = min(task.env.evaluation_steps, limit or task.env.max_episode_steps) if steps is None else steps
        # Asked for or not, no episode that learning or the reference policies know is longer.
        steps = steps if limit is None else min(steps, limit)
    return episodes, steps


@functools.lru_cache(maxsize=32)
def _compiled_steps(env: FunctionalEnv, episodes: int) -> tuple[Any, Any]:
    def begin(key: jax.Array) -> tuple[functional.Episodes, jax.Array]:
        # The first half of the key, as in scores_of_policy: the same episodes there and here.
        started = functional.begin(env, jax.random.split(key)[0], episodes)
        return started, functional.observe(env, started)

    def advance(before: functional.Episodes, actions: jax.Array) -> tuple[functional.Episodes, jax.Array]:
        after = functional.advance(env, before, actions)
        return after, functional.observe(env, after)

    return plain_jit(begin), plain_jit(advance)


def _predicted_scores(model: Any, env: FunctionalEnv, key: jax.Array, episodes: int, steps: int) -> np.ndarray:
    """Plays through ``predict``; recurrent policies carry their state."""
    begin, advance = _compiled_steps(env, episodes)
    played, observation = begin(key)
    state, starts = None, np.ones(len(observation), bool)
    for _ in range(steps):
        actions, state = model.predict(np.array(observation), state=state, episode_start=starts, deterministic=True)
        before, (played, observation) = played, advance(played, jnp.asarray(actions))
        if hasattr(model, "note_rewards"):
            model.note_rewards(state, np.asarray(played.total - before.total))
        starts = np.zeros(len(starts), bool)
        if not env.continuing and not np.asarray(played.running).any():
            break
    return np.asarray(functional.scores(env, played, steps))
