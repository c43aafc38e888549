"""The best setting of a study as a preset, to be written into a file that ``mbrl train --preset`` reads."""

from __future__ import annotations

from mbrl_agents.experiments.preset_files import Found, Preset, Regime
from mbrl_agents.runs.agents import find_agent
from mbrl_agents.runs.config import default_interval
from tuning.confirm import read_confirmation
from tuning.study import Study


def best_preset(study: Study) -> Preset:
    """All that it takes to train the best setting as its trial was trained, and where it comes from.

    Raises:
        ValueError: No trial is complete yet.
    """
    spec, best, confirmation = study.spec, study.best(), read_confirmation(study)
    interval = default_interval(spec.total_timesteps) if spec.eval_interval is None else spec.eval_interval
    regime = Regime(spec.total_timesteps, interval, {}, spec.n_envs, spec.eval_episodes, spec.eval_steps)
    found = Found(study.name, spec.objective, spec.direction, best.value, tuple(spec.seeds))
    if confirmation is not None:
        found = found._replace(fresh_value=confirmation.fresh.value, fresh_seeds=confirmation.seeds)
    name = find_agent(spec.agent).name
    return Preset(study.name, spec.environment, regime, {name: {**spec.arguments, **best.setting}}, {name: (name, {})}, found)
