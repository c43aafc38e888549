"""A study's pictures as files, and one page of HTML that holds them all."""

from __future__ import annotations

import base64
import html
import pathlib
from collections.abc import Callable
from typing import Any

from mbrl_agents.core.files import write_atomically
from mbrl_agents.experiments.figures import as_bytes
from mbrl_agents.experiments.sweeps.specification import setting_label
from tuning import plots
from tuning.confirm import read_confirmation
from tuning.study import Study

PAGE = "study.html"
SHOWN_TRIALS = 20
_PICTURES: dict[str, Callable[[Study], Any]] = {
    "heat_map": plots.draw_heat_map,
    "slices": plots.draw_slices,
    "curves": plots.draw_curves,
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #333A45; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; margin: 1rem 0 } td, th { text-align: right; padding: 0.15rem 0.8rem }
table { border-collapse: collapse } tr:nth-child(even) { background: #F3F5F8 } th { border-bottom: 1px solid #6B7480 }
"""


def write_report(study: Study, folder: pathlib.Path) -> list[str]:
    """Writes what can be drawn, and the page; returns the files' names.

    Raises:
        ValueError: No trial is complete yet.
    """
    written, images = [], []
    for name, draw in _PICTURES.items():
        if (figure := draw(study)) is not None:
            picture = as_bytes(figure)
            write_atomically(folder / f"{name}.png", picture)
            written.append(f"{name}.png")
            code = base64.b64encode(picture).decode()
            images.append(f'<img alt="{name.replace("_", " ")}" src="data:image/png;base64,{code}">')
    write_atomically(folder / PAGE, _page(study, images).encode())
    return [*written, PAGE]


def _page(study: Study, images: list[str]) -> str:
    spec, best = study.spec, study.best()
    finished, trials = study.progress()
    confirmation = read_confirmation(study)
    found = f"Best: {setting_label(best.setting)}, {best.value:.4g}" if confirmation is None else str(confirmation)
    facts = (
        f"{spec.agent} in {spec.environment.title}: {finished} of {trials} trials, {spec.total_timesteps:,} steps, seeds "
        f"{spec.seeds[0]} to {spec.seeds[-1]}, objective {spec.objective} ({spec.direction}), sampler {spec.sampler}."
    )
    table = study.ranking().head(SHOWN_TRIALS)
    rows = table.to_html(index=False, border=0, float_format=lambda value: f"{value:.4g}", na_rep="–")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(study.name)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(study.name)}</h1><p>{html.escape(facts)}</p><p><b>{html.escape(found)}.</b></p>"
        f"{''.join(images)}<h2>Best trials</h2>{rows}</html>\n"
    )
