"""How the report begins: what it is, how good the system is, and how sure that is; and what its words mean."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from asd.demo.dataset import CONTENTS
from asd.evaluation.cells import ALL_MACHINES
from asd.evaluation.conformal import smallest_rate
from asd.evaluation.promises import CONFORMAL, realised, summary
from asd.evaluation.results import Evaluation
from asd.evaluation.tables import BASELINE

PARTS = {"dev": "development", "eval": "evaluation"}
WORDS = {
    "section": "a part of a machine type's recordings, of one machine or one way to run it; judged by itself",
    "domain": "the conditions of a recording. Source: those of nearly all train clips. Target: others (load, speed, "
    "noise), of which there are only a few train clips",
    "development and evaluation sections (dev, eval)": "those whose labels a team of the challenge knew, and those by "
    "which it was judged; never averaged together",
    "AUC": "share of the pairs of an anomalous and a normal clip in which the anomalous one scores higher; guessing is "
    "50 %",
    "pAUC": "the same among the highest-scoring tenth of the normal clips, scaled such that guessing is 50 %",
    "official score": "the harmonic mean of all AUC and pAUC values; it does not forgive a failure",
    "mixed": "both domains in one ranking, as they come to somebody with a single threshold",
    "false-alarm rate": "share of the normal clips that alarm. The stated one sets the threshold, by normal clips that "
    "were not trained on",
}
METHODS = {
    BASELINE: "learns nothing: how far a clip's spectrum, mean and deviation, is from those of the train clips",
    "aux": "a network that tells the machine's sections, and other machines, apart; anomalous is what it cannot place",
    "ccsa": "aux, trained further with the few target clips",
    "ae": "an autoencoder: anomalous is what it cannot reproduce",
    "made": "a density of short windows, factor by factor: anomalous is what is improbable",
    "maf": "a density of short windows, a chain of such models: anomalous is what is improbable",
    "angular": "one embedding of all machine types, in which classes lie at angles to each other",
    "speech": "a network trained on speech by others, as it is",
    "ensemble": "several runs together, each in units of its own train scores",
}
BACKENDS = {
    "knn": "nearest neighbours",
    "lof": "the local outlier factor",
    "gmm": "a Gaussian mixture",
    "mahalanobis": "Mahalanobis distance",
}


def is_synthetic(data_root: Path) -> bool:
    """Whether a data root holds the embedded data set, which ``asd mini`` makes."""
    return (data_root / CONTENTS).is_file()


def methods_in_words(methods: Iterable[str]) -> dict[str, str]:
    """What the methods do, as far as it is known.

    >>> methods_in_words(["aux-knn", "somebody-else-s"])
    {'aux-knn': 'the embedding of aux, judged by nearest neighbours'}
    """
    words = {}
    for method in methods:
        network, _, backend = method.rpartition("-")
        if method in METHODS:
            words[method] = METHODS[method]
        elif network in METHODS and backend in BACKENDS:
            words[method] = f"the embedding of {network}, judged by {BACKENDS[backend]}"
    return words


def percent(value: float) -> str:
    """A share as text in percent, with one digit.

    >>> percent(0.1), percent(0.1234)
    ('10 %', '12.3 %')
    """
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def three_sentences(evaluation: Evaluation, final: str) -> list[str]:
    """What the report is, how good the run ``final`` is, and how sure that is."""
    tables = evaluation.tables
    machine_types = sorted({name for table in tables.values() for name in table["machine_type"].unique()})
    runs = "1 run" if len(tables) == 1 else f"{len(tables)} runs"
    clips = sum(int(((t["split"] == "test") & t["label"].notna()).sum()) for name, t in tables.items() if name == final)
    first = (
        "Anomalous sound detection learns from normal recordings only, and gives every recording an anomaly score; this"
        f" report judges {runs} on {', '.join(machine_types)}, by test clips with known labels ({clips} for {final})."
    )
    return [first, _how_good(evaluation, final), _how_sure(evaluation, final)]


def _overall(evaluation: Evaluation, run_name: str) -> pd.DataFrame:
    """A run's harmonic means over its machine types, one row per part, where they are defined."""
    means = evaluation.means
    rows = means[(means["machine_type"] == ALL_MACHINES) & (means["mean"] == "harmonic mean")]
    return rows[rows["run_name"] == run_name].dropna(subset="official_score").set_index("part")


def _how_good(evaluation: Evaluation, final: str) -> str:
    overall = _overall(evaluation, final)["official_score"]
    if overall.empty:
        return f"How good {final} is cannot be said: no section has labelled test clips of both classes."
    reached = " and ".join(f"{100 * value:.1f} % on the {PARTS[str(part)]} sections" for part, value in overall.items())
    beside = "guessing: 50 %"
    untrained = _overall(evaluation, BASELINE)["official_score"] if BASELINE in evaluation.tables else overall.iloc[:0]
    if final != BASELINE and len(untrained):
        beside += f"; {BASELINE}, which learns nothing: {' and '.join(f'{100 * value:.1f} %' for value in untrained)}"
    return f"The run {final} reaches an official score of {reached} ({beside})."


def _how_sure(evaluation: Evaluation, final: str) -> str:
    overall, rate = _overall(evaluation, final), evaluation.false_alarm_rate
    if overall.empty:
        return f"Decisions are made at a stated false-alarm rate of {percent(rate)}, which cannot be checked either."
    bounds = overall[["official_score_low", "official_score_high"]].itertuples(index=False)
    intervals = " and ".join(f"{100 * low:.1f}–{100 * high:.1f} %" for low, high in bounds)
    sentence = f"With other test clips it might have been {intervals} (95% intervals; another training adds to this)"
    counts = realised({final: evaluation.tables[final]}, evaluation.limits, rate)
    kept = summary(counts[counts["rule"] == CONFORMAL], ["domain"]).dropna(subset=["rate", "recall"])
    n = evaluation.limits.loc[evaluation.limits["run_name"] == final, "n_calibration"].max()
    if (possible := smallest_rate(int(n))) > rate:
        sentence += f"; {n} held-out clips allow no false-alarm rate below {percent(possible)}, so that nothing alarms"
        sentence += f" at the stated one, {percent(rate)}"
    elif len(kept):
        normal = " and ".join(f"{percent(row.rate)} of the normal {row.domain} clips" for row in kept.itertuples())
        found = " and ".join(f"{percent(row.recall)} of the anomalous {row.domain} clips" for row in kept.itertuples())
        sentence += f"; at a stated false-alarm rate of {percent(rate)}, {normal} alarm, and {found}"
    return f"{sentence}."
