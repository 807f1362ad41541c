"""The report in a real browser: headless Chromium, driven by the W3C WebDriver protocol of its chromedriver.

Not collected by pytest on its own; ``make test-browser`` names this file. If Chromium is missing, it is installed where
possible (root on Debian or Ubuntu); otherwise the test fails and says what is missing.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from score_tables import report_of, run_table

from asd.data.clips import clips_table

PACKAGES = ["chromium", "chromium-driver"]
PROGRAMS = ["chromium", "chromedriver"]
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync --window-size=1200,900"


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
        arguments = [*FLAGS.split(), f"--user-data-dir={profile}"]
        options = {"binary": chromium, "args": arguments}
        body = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        self.session = f"{address}/session"
        self.session += "/" + self.call("", body)["sessionId"]

    def call(self, path: str, content: dict):
        answer = requests.post(self.session + path, json=content, timeout=120).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), answer
        return answer

    def run(self, script: str):
        """The value of ``await``-ed JavaScript in the page."""
        wrapped = f"const done = arguments[0]; (async () => {{ {script} }})().then(done, e => done('failed: ' + e))"
        value = self.call("/execute/async", {"script": wrapped, "args": []})
        assert not (isinstance(value, str) and value.startswith("failed: ")), value
        return value


@pytest.fixture(scope="session")
def browser(programs, tmp_path_factory):
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


@pytest.fixture(scope="session")
def page(browser, two_machines, tmp_path_factory):
    table = run_table(clips_table(two_machines), "aux", gap=0.5)
    report = report_of({"aux": table}, two_machines, tmp_path_factory.mktemp("report") / "report.html")
    browser.call("/url", {"url": report.as_uri()})
    return browser


def test_the_tables_exist_and_are_filled(page):
    cells = page.run("return [...document.querySelectorAll('table')].map(t => t.querySelectorAll('tbody td').length)")
    assert len(cells) >= 7 and min(cells) > 0
    width = "document.querySelector('table').getBoundingClientRect().width"
    assert page.run(f"return {width}") > 300


def test_every_picture_is_rendered(page):
    script = "const all = [...document.images]; await Promise.all(all.map(i => i.decode()));"
    sizes = page.run(script + "return all.map(i => [i.naturalWidth, i.getBoundingClientRect().width])")
    assert len(sizes) >= 2 + 2 * 3
    assert all(natural > 100 and shown > 100 for natural, shown in sizes)


def test_every_player_has_sound(page):
    script = """
    const all = [...document.querySelectorAll('audio')];
    await Promise.all(all.map(a => a.readyState > 0 || new Promise((yes, no) => {
        a.onloadedmetadata = yes; a.onerror = no; a.load();
    })));
    const peak = async a => {
        const bytes = await (await fetch(a.src)).arrayBuffer();
        const decoded = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
        return Math.max(...decoded.getChannelData(0));
    };
    return Promise.all(all.map(async a => [a.duration, await peak(a)]));"""
    sounds = page.run(script)
    assert len(sounds) >= 2
    for duration, peak in sounds:
        assert duration == pytest.approx(1.0, abs=0.01)  # s, as the data set was made
        assert 0.001 < peak <= 1


def test_nothing_came_from_the_network(page):
    names = page.run("return performance.getEntriesByType('resource').map(e => e.name)")
    assert not [name for name in names if not name.startswith("data:")]


def test_it_is_readable_in_light_and_in_dark(page):
    contrast = """
    const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = [.2126, .7152, .0722];
    const light = c => c.match(/[0-9.]+/g).slice(0, 3).reduce((s, v, i) => s + channel(+v) * [r, g, b][i], 0);
    const section = getComputedStyle(document.querySelector('main section'));
    const [ink, paper] = [light(section.color), light(section.backgroundColor)];
    return [(Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05), paper]"""
    backgrounds = {}
    for scheme in ("light", "dark"):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.call("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": emulated})
        ratio, backgrounds[scheme] = page.run(contrast)
        assert ratio > 7  # WCAG 2.1, level AAA for text
    assert backgrounds["light"] > 0.8 and backgrounds["dark"] < 0.1
