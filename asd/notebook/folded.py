"""Tables that a reader unfolds if he wants the numbers: a figure says the same at a glance."""

import html
from typing import Any

import pandas as pd


class Folded:
    """A table below a line that unfolds it, in a browser; as text, the whole table.

    Args:
        table: to show.
        summary: the line.
        digits: after the decimal point.

    >>> print(Folded(pd.DataFrame({"score": [0.126]}), "all scores")._repr_html_().split("<table")[0].strip())
    <details><summary>all scores</summary>
    """

    def __init__(self, table: pd.DataFrame, summary: str, digits: int = 1):
        self.table, self.summary, self.digits = table, summary, digits

    @property
    def _numbered(self) -> bool:
        """Whether the index says nothing, as it only numbers the rows."""
        return isinstance(self.table.index, pd.RangeIndex)

    def _text(self, value: Any) -> str:
        return f"{value:.{self.digits}f}"

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=not self._numbered, float_format=self._text, na_rep="–", border=0)
        return f"<details><summary>{html.escape(self.summary)}</summary>\n{table}\n</details>"

    def __repr__(self) -> str:
        table = self.table.to_string(index=not self._numbered, float_format=self._text, na_rep="–")
        return f"{self.summary}\n{table}"
