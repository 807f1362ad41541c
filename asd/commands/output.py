"""What ``asd score`` prints: rows on standard output, each as soon as it is known, and notices on standard error."""

import csv
import io
import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asd.detection.detector import Decision, Detector
    from asd.detection.recordings import Section

FORMATS = ("csv", "table", "jsonl")
DIGITS = {"start": ".3f", "end": ".3f", "score": ".6g", "p_value": ".4g"}
WIDTHS = {"start": 9, "end": 9, "score": 10, "p_value": 7, "decision": 9, "segment": 7, "section": 7}


class Rows:
    """Print rows of the same columns, the first one after a header where the format has one.

    Args:
        form: one of FORMATS.
        width: of the column ``file`` in a table.

    >>> rows = Rows("csv")
    >>> rows.write({"file": "a, b.wav", "score": 1 / 3, "section": 0})
    file,score,section
    "a, b.wav",0.333333,0
    >>> Rows("jsonl").write({"file": "a.wav", "score": float("nan")})
    {"file": "a.wav", "score": null}
    >>> Rows("table", width=8).write({"file": "a.wav", "score": 1 / 3, "decision": "normal"})
    file           score   decision
    a.wav       0.333333     normal
    """

    def __init__(self, form: str, width: int = 0):
        self.form, self.width, self.begun = form, width, False

    def write(self, row: dict[str, Any]) -> None:
        """Print one row."""
        if not self.begun and self.form != "jsonl":
            click.echo(self._line({name: name for name in row}))
        self.begun = True
        click.echo(self._line(row))

    def _line(self, row: dict[str, Any]) -> str:
        if self.form == "jsonl":
            values = {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in row.items()}
            return json.dumps(values, ensure_ascii=False)
        texts = {name: text_of(name, value) for name, value in row.items()}
        if self.form == "table":
            file = texts.pop("file").ljust(self.width)
            return "  ".join([file, *(text.rjust(WIDTHS.get(name, len(name))) for name, text in texts.items())])
        line = io.StringIO()  # commas, quotes and line breaks in a name are quoted
        csv.writer(line, lineterminator="").writerow(texts.values())
        return line.getvalue()


def text_of(name: str, value: Any) -> str:
    """A value as text: numbers with the digits of their column, None as nothing."""
    if value is None:
        return ""
    return format(value, DIGITS[name]) if name in DIGITS and isinstance(value, float) else str(value)


@contextmanager
def notices() -> Iterator[None]:
    """Print warnings on standard error, one line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: say(str(message))
        yield


def say(message: str) -> None:
    """Print a line on standard error, above the progress bar if there is one."""
    from tqdm import tqdm

    with tqdm.external_write_mode(file=sys.stderr):
        click.echo(message, err=True)


def check_picture(option: str, path: Path) -> None:
    """Raise an InputError that names the option unless pictures can have the format that the file's name ends with."""
    from matplotlib.backend_bases import FigureCanvasBase

    from asd.errors import InputError

    allowed = FigureCanvasBase.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in allowed:
        raise InputError(f"{option}: {path} has the suffix {path.suffix}; allowed: .{', .'.join(allowed)}")


def in_a_title(name: str) -> str:
    """A file's name as it is written in a figure, where dollars would enclose a formula."""
    return name.replace("$", r"\$")


def verdict(decision: "Decision | None") -> dict[str, Any]:
    """The columns of a decision; one that there is not says so."""
    if decision is None:
        return {"score": float("nan"), "p_value": float("nan"), "decision": "none"}
    said = "anomalous" if decision.anomalous else "normal"
    return {"score": decision.score, "p_value": decision.p_value, "decision": said}


def of_section(section: "Section | None") -> dict[str, Any]:
    """The columns of a section."""
    return {"section": section and section.number, "section_from": section and section.origin}


def tell_shortfalls(detector: "Detector", judged: "list[Section]", options: dict[str, Any]) -> None:
    """Say what kept the decisions from being what was asked for, and that sections were guessed."""
    from asd.detection.recordings import FIT
    from asd.evaluation.conformal import smallest_rate

    calibration, fdr = detector.calibration, options["fdr"]
    guessed = sum(section.origin == FIT for section in judged)
    if guessed:
        say(
            f"{guessed} of {len(judged)} recordings: no --section, and none in the file's name: judged by the section"
            " that fits best"
        )
    sections = sorted({section.number for section in judged})
    if fdr is None:
        causes = {number: calibration.shortfall(number, options["false_alarm_rate"]) for number in sections}
        for cause in dict.fromkeys(filter(None, causes.values())):
            say(f"section {', '.join(str(n) for n in sections if causes[n] == cause)}: {cause}")
        return
    for number in sections:
        smallest = smallest_rate(len(calibration.scores(number)))
        if smallest > fdr / len(judged):
            say(
                f"section {number}: a single anomalous recording among {len(judged)} needs a p-value of"
                f" {fdr / len(judged):.2g} to be found; its held-out clips allow {smallest:.2g} at best"
            )
