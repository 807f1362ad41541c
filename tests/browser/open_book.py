"""The book in a real browser, opened as files: `make book` must have been run; see chromium.py."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytest_plugins = ["chromium"]

BOOK = Path(__file__).resolve().parents[2] / "outputs" / "book"
WIDTHS = (1280, 400)  # pixels: a laptop, a telephone
SEEN = (
    "index",
    "glossary",
    "method",
    "api/evaluation",
    "notebooks/01_exploration",
    "notebooks/06_evaluation",
    "notebooks/07_angular",
)

WIDEST = """
const limit = document.documentElement.clientWidth;
const page = document.documentElement.scrollWidth;
if (page <= limit) return '';
const wide = [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > limit + 1);
const last = wide[wide.length - 1];
const what = last ? `${last.tagName} ${last.className} ${last.textContent.slice(0, 60)}` : '';
return `${page} of ${limit}: ${what}`;
"""
PLAYERS = """
const all = [...document.querySelectorAll('audio')];
await Promise.all(all.map(a => a.readyState > 0 || new Promise((yes, no) => {
    a.onloadedmetadata = yes; a.onerror = () => no('a player without sound'); a.load();
})));
return all.map(a => a.duration);
"""
FORMULAS = """
return [...document.querySelectorAll('math')].map(m => [m.textContent, m.getBoundingClientRect().width])
"""


@dataclass
class Page:
    """What was seen on a page of the book."""

    name: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    too_wide: dict[int, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # of its players
    formulas: list[tuple[str, float]] = field(default_factory=list)  # text, width in pixels
    text: str = ""


@pytest.fixture(scope="module")
def pages(browser) -> dict[str, Page]:
    """All pages but the listings of source code, each opened once."""
    assert (BOOK / "index.html").is_file(), "there is no book: run `make book` first"
    visited = {}
    for path in sorted(BOOK.rglob("*.html")):
        name = path.relative_to(BOOK).with_suffix("").as_posix()
        if name.startswith(("_modules/", "_static/")):
            continue
        page = visited[name] = Page(name)
        browser.resize(WIDTHS[0])
        browser.open(path.as_uri())
        page.seconds, page.formulas = browser.run(PLAYERS), browser.run(FORMULAS)
        page.text = browser.run("return document.querySelector('main')?.innerText || ''")
        for width in WIDTHS:
            browser.resize(width)
            page.too_wide[width] = browser.run(WIDEST)
            if name in SEEN:
                browser.screenshot(f"book-{name.replace('/', '-')}-{width}")
        page.errors, page.requests = browser.errors(), browser.requests()
    browser.resize(WIDTHS[0])
    return visited


def test_the_course_and_the_reference_are_there(pages):
    notebooks = {path.stem for path in (BOOK.parents[1] / "notebooks").glob("*.ipynb")}
    assert {f"notebooks/{name}" for name in notebooks} | {"index", "glossary", "method", "api/data"} <= set(pages)
    assert min(len(page.text) for page in pages.values() if page.name != "search") > 200  # characters


def test_no_page_logs_an_error(pages):
    assert {name: page.errors for name, page in pages.items() if page.errors} == {}


def test_no_request_leaves_the_folder(pages):
    allowed = (f"{BOOK.as_uri()}/", "data:", "blob:")
    requested = {address for page in pages.values() for address in page.requests}
    assert requested  # they are recorded
    assert {address for address in requested if not address.startswith(allowed)} == set()


def test_nothing_is_wider_than_the_page(pages):
    found = {(name, width): what for name, page in pages.items() for width, what in page.too_wide.items() if what}
    assert found == {}


def test_every_player_has_a_duration(pages):
    assert len(pages["index"].seconds) == 2
    assert len(pages["notebooks/01_exploration"].seconds) >= 4
    assert all(0.5 < seconds < 60 for page in pages.values() for seconds in page.seconds)


def test_formulas_are_drawn(pages):
    assert pages["notebooks/06_evaluation"].formulas and pages["notebooks/07_angular"].formulas
    for page in pages.values():
        assert all(width > 5 and "\\" not in text for text, width in page.formulas), page.name
        assert "$$" not in page.text, page.name


def test_the_search_finds_words_of_the_glossary_and_of_the_notebooks(browser, pages):
    browser.open(f"{BOOK.as_uri()}/search.html?q=pAUC")
    links = """
    for (let i = 0; i < 100 && !document.querySelector('#search-results li a'); i++)
        await new Promise(next => setTimeout(next, 100));
    await new Promise(next => setTimeout(next, 500));
    return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"""
    found = browser.run(links)
    browser.screenshot("book-search-1280")
    assert any("glossary.html" in link for link in found), json.dumps(found)
    assert any("06_evaluation.html" in link for link in found), json.dumps(found)
    assert not browser.errors()


def test_links_between_pages_lead_somewhere(browser, pages):
    script = """
    return [...document.querySelectorAll('a[href]')].map(a => a.href).filter(h => h.startsWith('file:'))"""
    broken = set()
    for name in SEEN:
        browser.open((BOOK / f"{name}.html").as_uri())
        for link in browser.run(script):
            path = Path(link.partition("#")[0].partition("?")[0].removeprefix("file://"))
            if not path.exists():
                broken.add((name, link))
    assert broken == set()
