"""Oddities of a data set are found where there are any, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from asd.data.checks import odd_names, odd_recordings
from asd.data.clips import clips_table


def table(*rows: tuple) -> pd.DataFrame:
    """A clips table of a fan, from rows (section, domain, split, label, attribute)."""
    clips = pd.DataFrame(rows, columns=["section", "domain", "split", "label", "attribute"]).astype({"label": "Int64"})
    return clips.assign(machine_type="fan", path=[f"clip{i}.wav" for i in range(len(clips))])


def complete(section: int) -> list[tuple]:
    """A section that lacks nothing."""
    train = [(section, domain, "train", 0, "speed_1") for domain in ("source", "target")]
    return train + [(section, domain, "test", label, "") for domain in ("source", "target") for label in (0, 1)]


def found(clips: pd.DataFrame) -> dict[str, int]:
    oddities = odd_names(clips)
    return dict(zip(oddities["oddity"], oddities["clips"], strict=True))


def test_a_complete_data_set_has_no_oddities(two_machines):
    assert odd_names(clips_table(two_machines)).empty


@pytest.mark.parametrize(
    ("left_out", "oddity"),
    [
        ({"domain": "target", "split": "train"}, "section 01: no target train clips"),
        ({"domain": "source", "split": "train"}, "section 01: no source train clips"),
        ({"split": "test"}, "section 01: no test clips"),
        ({"domain": "source", "label": 1}, "section 01, source: test clips are normal only, no AUC"),
    ],
)
def test_a_gap_is_found_in_its_section_alone(left_out, oddity):
    clips = table(*complete(0), *complete(1))
    is_left_out = (clips[list(left_out)] == pd.Series(left_out)).all(axis=1) & (clips["section"] == 1)
    clips = clips[~is_left_out]
    affected = clips[clips["section"] == 1]
    if "no AUC" in oddity:
        affected = affected[(affected["domain"] == "source") & (affected["split"] == "test")]
    assert found(clips) == {oddity: len(affected)}


def test_a_section_without_any_train_clip():
    clips = table(*complete(0), *(row for row in complete(4) if row[2] == "test"))
    assert found(clips) == {"section 04: no train clips": 4}


def test_one_section_unknown_labels_and_unknown_domains():
    clips = table((0, "", "train", 0, ""), (0, "", "test", None, ""), (0, "", "test", None, ""))
    assert found(clips) == {
        "one section only: cannot be classified by section": 3,
        "test clips without a label": 2,
        "clips of an unknown domain": 3,
    }


def test_misspelt_and_mixed_case_attributes_as_in_the_challenge():
    attributes = ["strength_1_ambient"] * 3 + ["strenght_1_ambient"] + ["0_g_25_mm_none"] * 2 + ["0_g_31_mm_None"]
    clips = table(*complete(0), *complete(1), *((0, "source", "train", 0, text) for text in attributes))
    assert found(clips) == {'attribute "strenght": "strength" misspelt?': 1, 'attribute "None" beside "none"': 1}


def test_different_words_and_codes_are_no_misspellings():
    attributes = ["A1Spd28VMic1", "B2Spd31VMic2", "pattern_00_no_pump", "serial_no_030_water", "c_2", "C_3"]
    clips = table(*complete(0), *complete(1), *((0, "source", "train", 0, text) for text in attributes))
    assert found(clips) == {}


def test_a_train_clip_without_an_attribute_is_odd_only_beside_others_that_have_one():
    clips = table(*complete(0), *complete(1), (1, "source", "train", 0, ""))
    assert found(clips) == {"train clips without an attribute, though others have one": 1}
    assert found(clips.assign(attribute="")) == {}


def test_oddities_of_recordings():
    clips = table(*complete(0), *complete(1))  # rows 0 and 1 are train clips, as 6 and 7 are
    level = pd.Series([-20.0, -21, -22, -23, -41, -np.inf, -20, -20, -20, -20, -20, -20])
    samples = pd.Series([100] * 11 + [90])
    digest = pd.Series(list("abcdefghikka"))  # 0 and 11: in train and in test
    oddities = odd_recordings(clips, level, samples, digest).set_index("oddity")[["clips", "example"]]
    assert oddities.T.to_dict("list") == {
        "length differs: 90 to 100 samples, most have 100": [1, "clip11.wav"],
        "digital silence": [1, "clip5.wav"],
        "20 dB or more below the median level": [1, "clip4.wav"],
        "samples equal to another clip's": [2, "clip9.wav"],
        "samples equal to another clip's, one in train, one in test": [2, "clip0.wav"],
    }


def test_all_silent_or_all_alike_recordings_do_no_harm():
    clips = table(*complete(0))
    n = len(clips)
    level, samples, digest = pd.Series([-np.inf] * n), pd.Series([5] * n), pd.Series(["x"] * n)
    assert odd_recordings(clips, level, samples, digest)["oddity"].tolist() == ["digital silence"]
