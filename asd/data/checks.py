"""What is odd about a data set, found before a training stumbles over it: gaps, messy names, strange recordings.

None of it is an error. Each oddity is one row of a table: ``machine_type``, ``oddity`` (what it is, in words),
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
ALIKE = 0.85  # of difflib's ratio: from here on two words may be one and its misspelling ("strenght": 0.875)
LONG = 5  # letters: shorter words are codes, and codes are alike on purpose
WORDS = 300  # are compared at most: each with each


def odd_names(clips: pd.DataFrame) -> pd.DataFrame:
    """Oddities of the clips table alone: sections that lack something, clips that hide something, attributes."""
    rows = []
    for machine_type, some in clips.groupby("machine_type"):
        for oddity, chosen in [*gaps(some), *hidden(some), *messy_attributes(some)]:
            rows.append([machine_type, oddity, len(chosen), chosen["path"].iloc[0]])
    return pd.DataFrame(rows, columns=COLUMNS)


def gaps(clips: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what sections of one machine type lack, and the clips of those sections."""
    if clips["section"].nunique() == 1:
        yield "one section only: cannot be classified by section", clips
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == "test"]
    unknown = train[train["domain"] == ""]  # that in itself is odd, and who knows what else their sections lack
    told = clips[clips["section"].isin(train["section"]) & ~clips["section"].isin(unknown["section"])]
    lacking = {"no train clips": (clips, train), "no test clips": (clips, test)}
    lacking |= {f"no {domain} train clips": (told, train[train["domain"] == domain]) for domain in DOMAINS}
    for what, (some, there) in lacking.items():
        odd = some[~some["section"].isin(there["section"])]
        if len(odd):
            yield f"{named(odd['section'])}: {what}", odd
    labelled = test[test["label"].notna()]
    for domain, some in labelled.groupby("domain"):
        classes = some.groupby("section")["label"].transform("nunique")
        for label, name in enumerate(("normal", "anomalous")):
            odd = some[(classes == 1) & (some["label"] == label)]
            if len(odd):
                yield f"{named(odd['section'])}, {domain or 'domain unknown'}: test clips are {name} only, no AUC", odd


def hidden(clips: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield what clips of one machine type don't tell, and those clips."""
    for oddity, odd in {
        "test clips without a label": clips[clips["label"].isna()],
        "clips of an unknown domain": clips[clips["domain"] == ""],
    }.items():
        if len(odd):
            yield oddity, odd


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
    common = [word for word, _ in counts.most_common(WORDS)]
    for i, word in enumerate(common):
        before = [other for other in common[:i] if min(len(word), len(other)) >= LONG]
        lower = {other.lower(): other for other in reversed(common[:i]) if len(other) > 1}
        if word.lower() in lower:
            oddity = f'attribute "{word}" beside "{lower[word.lower()]}"'
        elif len(word) >= LONG and (close := difflib.get_close_matches(word, before, n=1, cutoff=ALIKE)):
            oddity = f'attribute "{word}": "{close[0]}" misspelt?'
        else:
            continue
        yield oddity, clips[attribute.map(lambda text, word=word: word in words_of(text))]


def words_of(attribute: str) -> list[str]:
    """The runs of letters in an attribute."""
    return re.findall(r"[^\W\d_]+", attribute)


def odd_recordings(clips: pd.DataFrame, level: pd.Series, samples: pd.Series, digest: pd.Series) -> pd.DataFrame:
    """Oddities of one machine type's recordings.

    Args:
        clips: rows of the clips table.
        level, samples, digest: of each row: RMS level in dB (minus infinity: digital silence), length in samples, and
            a text that is equal for equal samples.
    """
    usual, median = samples.mode().iloc[0], level[level > -float("inf")].median()
    copies = clips[digest.duplicated(keep=False) & (level > -float("inf"))]
    across = copies.groupby(digest[copies.index])["split"].transform("nunique") > 1
    found = {
        f"length differs: {samples.min()} to {samples.max()} samples, most have {usual}": clips[samples != usual],
        "digital silence": clips[level == -float("inf")],
        f"{FAINT} dB or more below the median level": clips[(level <= median - FAINT) & (level > -float("inf"))],
        "samples equal to another clip's": copies[~across],
        "samples equal to another clip's, one in train, one in test": copies[across],
    }
    odd = {what: some for what, some in found.items() if len(some)}
    rows = [[some["machine_type"].iloc[0], what, len(some), some["path"].iloc[0]] for what, some in odd.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def named(sections: pd.Series) -> str:
    """Section numbers as a text."""
    numbers = sorted(set(sections.tolist()))
    return f"section{'s' * (len(numbers) > 1)} {', '.join(f'{number:02}' for number in numbers)}"
