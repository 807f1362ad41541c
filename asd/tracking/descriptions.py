"""What MLflow shows of a run at its top: its result in words, and the command that repeats it."""

from collections.abc import Mapping

import pandas as pd

from asd.evaluation.cells import ALL_MACHINES, evaluate_scores, summarise
from asd.evaluation.tables import noted


def result_in_words(table: pd.DataFrame) -> str:
    """The official score of a run's score table and its AUC, dev and eval sections apart.

    >>> table = pd.DataFrame({"machine_type": "fan", "section": 0, "domain": "source", "split": "test"}, index=range(4))
    >>> table = table.assign(label=[0, 0, 1, 1], clip=list("abcd"), score=[1.0, 3.0, 2.0, 4.0])
    >>> result_in_words(table)
    'official score 74.3 % on dev sections (AUC 75.0 %); guessing is 50 %'
    """
    results, _ = noted(evaluate_scores, table)
    means = summarise(results)
    rows = means[(means["machine_type"] == ALL_MACHINES) & (means["mean"] == "harmonic mean")]
    parts = [
        f"{100 * row.official_score:.1f} % on {row.part} sections (AUC {100 * row.auc:.1f} %)"
        for row in rows.dropna(subset="official_score").itertuples()
    ]
    if not parts:
        return "no official score: no section has labelled test clips of both classes"
    return f"official score {', '.join(parts)}; guessing is 50 %"


def note(tags: Mapping[str, str], result: str, command: str) -> str:
    """A run's description in Markdown.

    >>> print(note({"method": "aux", "machine_type": "fan", "settings": "demo"}, "", "papermill 03_aux.ipynb out"))
    **aux** for **fan**, settings `demo`.
    <BLANKLINE>
    Repeat it with
    <BLANKLINE>
        papermill 03_aux.ipynb out
    """
    head = f"**{tags['method']}** for **{tags['machine_type']}**, settings `{tags.get('settings', 'unknown')}`"
    parts = [f"{head}: {result}." if result else f"{head}."]
    if tags.get("debug") == "True":
        parts.append("A debug run: it only tried out the set-up.")
    if command:
        parts.append(f"Repeat it with\n\n    {command}")
    return "\n\n".join(parts)
