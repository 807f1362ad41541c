"""A real browser for the tests of this folder: headless Chromium, driven by the W3C WebDriver protocol of its driver.

A plugin that each file names, and no conftest.py, which would take the place of the one above it. The files are not
collected by pytest on its own; ``make test-browser`` names them. If Chromium is missing, it is installed where
possible (root on Debian or Ubuntu); otherwise the tests fail and say what is missing.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

PACKAGES = ["chromium", "chromium-driver"]
PROGRAMS = ["chromium", "chromedriver"]
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --window-size=1280,900 --hide-scrollbars"
PICTURES = Path(__file__).resolve().parents[2] / "outputs" / "browser"  # screenshots, to be looked at


@pytest.fixture(scope="session")
def programs() -> list[str]:
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
            subprocess.run(
                ["apt-get", "--quiet", *command], check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            )
        missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        pytest.fail(f"{' and '.join(missing)} missing; on Debian: apt-get install {' '.join(PACKAGES)} (as root)")
    return [shutil.which(name) for name in PROGRAMS]


class Browser:
    """A session of a WebDriver server at ``address``."""

    def __init__(self, address: str, chromium: str, profile: Path):
        options = {"binary": chromium, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
        capabilities = {"browserName": "chrome", "goog:chromeOptions": options}
        capabilities["goog:loggingPrefs"] = {"browser": "ALL", "performance": "ALL"}
        body = {"capabilities": {"alwaysMatch": capabilities}}
        self.session = f"{address}/session"
        self.session += "/" + self.call("", body)["sessionId"]
        self.call("/timeouts", {"script": 600_000, "pageLoad": 120_000})

    def call(self, path: str, content: dict):
        answer = requests.post(self.session + path, json=content, timeout=700).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def open(self, address: str) -> None:
        """Open a page and forget what was logged before."""
        self.log("browser"), self.log("performance")
        self.call("/url", {"url": address})

    def run(self, script: str):
        """The value of ``await``-ed JavaScript in the page."""
        wrapped = f"const done = arguments[0]; (async () => {{ {script} }})().then(done, e => done('failed: ' + e))"
        value = self.call("/execute/async", {"script": wrapped, "args": []})
        assert not (isinstance(value, str) and value.startswith("failed: ")), value
        return value

    def devtools(self, command: str, **parameters: object):
        return self.call("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind: str) -> list[dict]:
        return self.call("/se/log", {"type": kind})

    def requests(self) -> list[str]:
        """The addresses that were requested since the last call or page."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def errors(self) -> list[str]:
        """What the console says in red."""
        return [entry["message"] for entry in self.log("browser") if entry["level"] == "SEVERE"]

    def resize(self, width: int, height: int = 900) -> None:
        """Lay the page out for a window, or for a telephone, of this size in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", **size)

    def screenshot(self, name: str) -> None:
        """Keep a picture of what is seen when all that slides or fades has come to rest."""
        time.sleep(0.7)
        PICTURES.mkdir(parents=True, exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot")["data"]))


@pytest.fixture(scope="session")
def browser(programs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium, driver = programs
    folder = tmp_path_factory.mktemp("browser")
    log = (folder / "log").open("w+")
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        port = next(found[1] for line in process.stdout if (found := re.search(r"successfully on port (\d+)", line)))
        browser = Browser(f"http://127.0.0.1:{port}", chromium, folder / "profile")
        yield browser
        requests.delete(browser.session, timeout=60)
    finally:
        process.terminate()
        process.wait(timeout=30)
