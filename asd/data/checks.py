"""Oddities of a data set, found before a training stumbles over them: gaps, messy names, strange recordings.

None of them is an error. Each oddity is one row of a table: ``machine_type``, ``oddity`` (what it is, in words),
``clips`` (how many it concerns) and ``example`` (the path of one of them).
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from asd.data.clips import DOMAINS

COLUMNS = ["machine_type", "oddity", "clips", "example"]
FAINT = 20  # dB below the median level of the machine type's clips
ALIKE = 0.85  # difflib's ratio from which on two words may be one and its misspelling ("strenght": 0.875)
LONG = 5  # letters: shorter words are codes, and codes are alike on purpose
WORDS = 300  # the most frequent words of a machine type; only these are compared, each with each


def odd_names(clips: pd.DataFrame) -> pd.DataFrame:
    """Oddities of the clips table alone: incomplete sections, unknown labels and domains, messy attributes.

    Args:
        clips: the clips table.

    Returns:
        One row per oddity, columns as in ``COLUMNS``.
    """
    rows = []
    for machine_type, machine_clips in clips.groupby("machine_type"):
        for oddity, affected in [*gaps(machine_clips), *unknown(machine_clips), *messy_attributes(machine_clips)]:
            rows.append([machine_type, oddity, len(affected), affected["path"].iloc[0]])
    return pd.DataFrame(rows, columns=COLUMNS)


def gaps(clips: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what sections of one machine type lack, and the clips of those sections."""
    if clips["section"].nunique() == 1:
        yield "one section only: cannot be classified by section", clips
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == "test"]
    # where a train clip's domain is unknown, nobody can say which domain its section lacks
    domainless = train.loc[train["domain"] == "", "section"]
    known = clips[clips["section"].isin(train["section"]) & ~clips["section"].isin(domainless)]
    requirements = {"no train clips": (clips, train), "no test clips": (clips, test)}
    requirements |= {f"no {domain} train clips": (known, train[train["domain"] == domain]) for domain in DOMAINS}
    for oddity, (candidates, required) in requirements.items():
        affected = candidates[~candidates["section"].isin(required["section"])]
        if len(affected):
            yield f"{section_names(affected['section'])}: {oddity}", affected
    for domain, labelled in test[test["label"].notna()].groupby("domain"):
        n_classes = labelled.groupby("section")["label"].transform("nunique")
        for label, name in enumerate(("normal", "anomalous")):
            affected = labelled[(n_classes == 1) & (labelled["label"] == label)]
            if len(affected):
                where = f"{section_names(affected['section'])}, {domain or 'domain unknown'}"
                yield f"{where}: test clips are {name} only, no AUC", affected


def unknown(clips: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what is unknown about clips of one machine type, and those clips."""
    for oddity, affected in {
        "test clips without a label": clips[clips["label"].isna()],
        "clips of an unknown domain": clips[clips["domain"] == ""],
    }.items():
        if len(affected):
            yield oddity, affected


def messy_attributes(clips: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what is odd about the attributes of one machine type, and the clips that have such an attribute."""
    attribute = clips["attribute"]
    train = clips["split"] == "train"
    without = train & (attribute == "")
    if without.any() and not without[train].all():
        yield "train clips without an attribute, though others have one", clips[without]
    counts: Counter[str] = Counter()
    for text, count in attribute.value_counts().items():
        for word in words_of(text):
            counts[word] += count
    frequent = [word for word, _ in counts.most_common(WORDS)]
    for i, word in enumerate(frequent):
        long_words = [other for other in frequent[:i] if min(len(word), len(other)) >= LONG]
        lower = {other.lower(): other for other in reversed(frequent[:i]) if len(other) > 1}
        if word.lower() in lower:
            oddity = f'attribute "{word}" beside "{lower[word.lower()]}"'
        elif len(word) >= LONG and (close := difflib.get_close_matches(word, long_words, n=1, cutoff=ALIKE)):
            oddity = f'attribute "{word}": "{close[0]}" misspelt?'
        else:
            continue
        yield oddity, clips[attribute.map(lambda text, word=word: word in words_of(text))]


def words_of(attribute: str) -> list[str]:
    """The runs of letters in an attribute.

    Example:
        >>> words_of("vel_6_strength_2dB")
        ['vel', 'strength', 'dB']
    """
    return re.findall(r"[^\W\d_]+", attribute)


def odd_recordings(clips: pd.DataFrame, level: pd.Series, samples: pd.Series, digest: pd.Series) -> pd.DataFrame:
    """Oddities of one machine type's recordings: odd lengths, silence, faint clips, copies.

    Args:
        clips: rows of the clips table.
        level, samples, digest: for each row, its RMS level in dB (minus infinity: digital silence), its length in
            samples, and a text that is equal for equal samples.

    Returns:
        One row per oddity, columns as in ``COLUMNS``.

    Example:
        >>> clips = pd.DataFrame({"machine_type": "fan", "split": ["train"] * 3, "path": ["a.wav", "b.wav", "c.wav"]})
        >>> level = pd.Series([-20.0, -float("inf"), -21.0])
        >>> odd_recordings(clips, level, pd.Series([800, 800, 799]), pd.Series(["x", "y", "z"]))["oddity"].tolist()
        ['length differs: 799 to 800 samples, most have 800', 'digital silence']
    """
    silence = -float("inf")
    usual_length, median_level = samples.mode().iloc[0], level[level > silence].median()
    copies = clips[digest.duplicated(keep=False) & (level > silence)]
    in_both_splits = copies.groupby(digest[copies.index])["split"].transform("nunique") > 1
    length_differs = f"length differs: {samples.min()} to {samples.max()} samples, most have {usual_length}"
    oddities = {
        length_differs: clips[samples != usual_length],
        "digital silence": clips[level == silence],
        f"{FAINT} dB or more below the median level": clips[(level <= median_level - FAINT) & (level > silence)],
        "samples equal to another clip's": copies[~in_both_splits],
        "samples equal to another clip's, one in train, one in test": copies[in_both_splits],
    }
    rows = [
        [affected["machine_type"].iloc[0], oddity, len(affected), affected["path"].iloc[0]]
        for oddity, affected in oddities.items()
        if len(affected)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def section_names(sections: pd.Series) -> str:
    """Section numbers as text.

    Example:
        >>> section_names(pd.Series([3, 0, 3]))
        'sections 00, 03'
    """
    numbers = sorted(set(sections.tolist()))
    return f"section{'s' * (len(numbers) > 1)} {', '.join(f'{number:02}' for number in numbers)}"
