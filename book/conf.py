"""The book's settings for Sphinx: `make book`. Nothing is executed, and no page loads anything from a network."""

import sys
from inspect import isbuiltin
from pathlib import Path

from sphinx.application import Sphinx

BOOK = Path(__file__).resolve().parent
sys.path[:0] = [str(BOOK), str(BOOK.parent)]

import prepare  # noqa: E402

prepare.notebooks(BOOK.parent, BOOK)
prepare.api_pages(BOOK)
prepare.sounds_and_pictures(BOOK.parent, BOOK)

project = "Anomalous sound detection"
author = "the asd project"
html_title = "Anomalous sound detection for machines"
language = "en"
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # a word of prose that Sphinx takes for the name of two attributes

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "mathml"]

# Notebooks: as they are committed
nb_execution_mode = "off"
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
myst_heading_slug_func = "prepare.anchor"
myst_update_mathjax = False  # mathematics becomes MathML when the book is built: see mathml.py
html_math_renderer = "mathml"

# API: from the docstrings, in Google's style
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"ignore-module-all": True}  # names that a module only passes on are not its own
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False  # types stand in the signatures
add_module_names = False

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # a page that was opened as a file may not read other files
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_theme_options = {
    "navbar_persistent": [],  # the search field stands in the sidebar
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}


def is_inherited_text(value: object) -> bool:
    """Whether the docstring of a member is Python's: a bound ``str.format``, or the field of a named tuple."""
    return isbuiltin(value) or type(value).__name__ == "_tuplegetter"


def existing_entries(app: Sphinx, page: str, source: list[str]) -> None:
    """Take ``factory`` out of the contents if that page does not exist."""
    if page == "index" and not (BOOK / "factory.md").is_file():
        source[0] = source[0].replace("\nfactory\n", "\n")


def setup(app: Sphinx) -> None:
    """Connect what is said above."""
    app.connect("autodoc-skip-member", lambda app, kind, name, value, skip, options: skip or is_inherited_text(value))
    app.connect("source-read", existing_entries)
