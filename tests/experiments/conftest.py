from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mbrl_agents.runs import training


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    """As in the workers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _report_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs this short would be over before the first report."""
    monkeypatch.setattr(training, "REPORT_SECONDS", 0.0)
