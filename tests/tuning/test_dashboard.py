"""`mbrl dashboard`: what it serves, and what a browser makes of it (Debian's Chromium, headless)."""

from __future__ import annotations

import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from mbrl_envs import cli
from tests.experiments.test_commands import fails
from tests.tuning.fakes import study_in, work
from tests.tuning.servers import free_port
from tuning import Study

pytest.importorskip("optuna_dashboard")
PROGRAMS = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1400,1100"),
    # It has no business with any other machine.
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
SECONDS = 60.0  # a page may take so long to show something


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Finished, with real pictures."""
    study = study_in(tmp_path_factory.mktemp("study"))
    work(study)
    return study


@pytest.fixture(scope="module")
def address(study: Study) -> Iterator[str]:
    """Where the dashboard is, as it says itself: the study's own page."""
    port = free_port()
    command = [sys.executable, "-m", "mbrl_envs.cli", "dashboard", str(study.folder), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        assert said.startswith(f"http://localhost:{port}/dashboard/studies/")
        yield said.partition(" ")[0]
    finally:
        server.kill()
        server.wait()


def get(address: str, path: str) -> bytes:
    """What a server answers, once it is there."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(address.partition("/dashboard")[0] + path) as answer:
                return answer.read()
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionError) or time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_what_is_served(address: str, study: Study) -> None:
    """The study, its trials and their curves, as the page asks for them."""
    studies = json.loads(get(address, "/api/studies"))["study_summaries"]
    (shown,) = (each for each in studies if each["study_name"] == "small")
    assert address.endswith(f"/{shown['study_id']}")
    trials = json.loads(get(address, f"/api/studies/{shown['study_id']}"))["trials"]
    assert len(trials) == 12
    for trial in trials:
        pictures = [each for each in trial["artifacts"] if each["filename"] == "curve.png"]
        assert len(pictures) == 1
        path = f"/artifacts/{shown['study_id']}/{trial['trial_id']}/{pictures[0]['artifact_id']}"
        assert get(address, path).startswith(b"\x89PNG")


# ---------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, driven by Selenium; both programs are named, so that nothing is downloaded."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if missing := [name for name, path in PROGRAMS.items() if path is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install chromium chromium-driver)")
    get(address, "/api/studies")  # it has begun to serve
    options = webdriver.ChromeOptions()
    options.binary_location = PROGRAMS["chromium"]
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    service = webdriver.ChromeService(PROGRAMS["chromedriver"])
    with webdriver.Chrome(options=options, service=service) as driver:
        yield driver


def shows(browser: Any, selector: str, count: int, text: str = "") -> list[Any]:
    """Waits until so many elements are on the page, with a text."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    def there(_: Any) -> list[Any] | None:
        found = [each for each in browser.find_elements("css selector", selector) if text in each.text]
        return found if len(found) >= count else None

    # The page draws itself anew while it is looked at.
    return WebDriverWait(browser, SECONDS, ignored_exceptions=[StaleElementReferenceException]).until(there)


def save(browser: Any, path: pathlib.Path) -> None:
    """A screenshot, which is not all of one colour."""
    assert browser.save_screenshot(str(path))
    with Image.open(path) as picture:
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(2**24)) > 100


def test_the_study_is_listed(address: str, browser: Any, tmp_path: pathlib.Path) -> None:
    browser.get(address.partition("/studies")[0])
    shows(browser, "h2, .MuiTypography-h5, .MuiCardContent-root", 1, "small")
    save(browser, tmp_path / "list.png")


def test_a_plot_of_its_trials(address: str, browser: Any, tmp_path: pathlib.Path) -> None:
    browser.get(address)
    shows(browser, "body", 1, "small (id=")
    points = ".js-plotly-plot .scatterlayer .point"
    assert len(shows(browser, points, 12)) >= 12
    shows(browser, ".js-plotly-plot .main-svg", 1, "learning_rate")  # how important it is
    save(browser, tmp_path / "plots.png")


def test_a_trial_with_its_curve(address: str, browser: Any, study: Study, tmp_path: pathlib.Path) -> None:
    best = study.best()
    browser.get(f"{address}/trials?numbers={best.number}")
    page = shows(browser, "body", 1, f"Trial {best.number} (trial_id=")[0].text
    for text in ("12 Trials", "Best Trial", "learning_rate 0.0004", "temperature 0.2", "scores [0.0, 0.01]"):
        assert text in page
    (picture,) = shows(browser, "img[src*='/artifacts/']", 1)
    assert "curve.png" in shows(browser, "body", 1, "curve.csv")[0].text
    browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", picture)
    width = "return arguments[0].complete && arguments[0].naturalWidth"
    until = time.monotonic() + SECONDS
    while not (found := browser.execute_script(width, picture)) and time.monotonic() < until:
        time.sleep(0.1)
    assert found == 500
    save(browser, tmp_path / "trial.png")


# ---------------------------------------------------------------------- mistakes


def test_ports(study: Study, capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = ["dashboard", str(study.folder), "--host", "127.0.0.1", "--port"]
        assert f"cannot serve at 127.0.0.1:{port}: Address already in use" in fails(capsys, *command, str(port))
    assert "--port must be an integer from 1 to 65535, got 0" in fails(capsys, *command, "0")


def test_without_the_extra(study: Study, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert cli.main(["dashboard", str(study.folder)]) == 2
    assert 'needs optuna-dashboard: pip install "mbrl-lab[dashboard]"' in capsys.readouterr().err
