"""What ``mbrl evaluate --imagine`` does."""

from __future__ import annotations

import argparse
from typing import Any

from mbrl_agents.experiments import imagination
from mbrl_agents.experiments.tables import console, new_table
from mbrl_agents.runs.environments import EnvironmentSpec
from mbrl_envs.checks import integer_in


def check(arguments: argparse.Namespace) -> None:
    """Checks the arguments.

    Raises:
        FileExistsError: There is something else in the folder.
        ValueError: A number is out of range, or there is nothing that an option is for.
    """
    if arguments.imagine is None:
        if arguments.imagine_steps is not None or arguments.imagine_greedy:
            raise ValueError("--imagine-steps and --imagine-greedy need --imagine FOLDER")
        return
    if not arguments.imagine:
        raise ValueError("--imagine needs the name of a folder, got ''")
    imagination.check_folder(arguments.imagine)
    if arguments.imagine_steps is not None:
        integer_in("--imagine-steps", arguments.imagine_steps, 1, imagination.MOST_HORIZON)


def imagine(arguments: argparse.Namespace, model: Any, environment: EnvironmentSpec) -> None:
    """Writes the findings, and prints them in short."""
    steps = imagination.DEFAULT_HORIZON if arguments.imagine_steps is None else arguments.imagine_steps
    findings = imagination.write_findings(
        model, environment, arguments.imagine, steps=steps, greedy=arguments.imagine_greedy, seed=arguments.seed
    )
    short = imagination.summary(findings.errors)
    table = new_table("Errors of its world model (in brackets: of the baseline)", short.columns[:2], short.columns[2:])
    for row in short.itertuples(index=False):
        table.add_row(*row)
    out = console()
    out.print(table)
    baseline = "Baseline: observations stay as they were, every reward is the mean one, ends come as often as they do here."
    out.print(baseline, style="dim", highlight=False)
    if findings.calibration is not None:
        total = findings.calibration.iloc[-1]
        print(
            f"ends: {total['observed']:.3g} of {total['count']:,} steps, predicted {total['predicted']:.3g}; "
            f"Brier score {total['brier']:.3g}, log loss {total['log_loss']:.3g}"
        )
    print(f"{arguments.imagine}: {', '.join(findings.files)}")
