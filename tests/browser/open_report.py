"""The report in a real browser; see chromium.py."""

import pytest
from score_tables import report_of, run_table

from asd.data.clips import clips_table

pytest_plugins = ["chromium"]


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
