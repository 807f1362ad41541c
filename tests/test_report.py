"""The report is one file that needs nothing else, and says what is missing."""

import base64
import io
import re
import struct
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from score_tables import report_of, run_table

from asd.data.clips import clips_table
from asd.evaluation.results import evaluate
from asd.evaluation.tables import RunFacts
from asd.report.html import worst
from asd.report.in_short import three_sentences


class Page(HTMLParser):
    """What a page holds: attributes of its elements by tag, its text, and the texts by their innermost tag."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: dict[str, list[dict]] = {}
        self.texts: dict[str, list[str]] = {}
        self.text, self.tag = "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.setdefault(tag, []).append(dict(attributes))
        self.tag = tag

    def handle_data(self, data):
        self.text += data
        self.texts.setdefault(self.tag, []).append(data.strip())


def content(uri: str, kind: str) -> bytes:
    head, _, data = uri.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(data, validate=True)


@pytest.fixture(scope="module")
def clips(two_machines):
    clips = clips_table(two_machines)
    return clips[clips["section"].isin([0, 2, 4])].reset_index(drop=True)


@pytest.fixture(scope="module")
def page(two_machines, clips, tmp_path_factory):
    """The report of one run of both machine types; two anomalous clips of each score low, two normal ones high."""
    table = run_table(clips, "aux", gap=2.0)
    for machine_type, rows in table[table["split"] == "test"].groupby("machine_type"):
        table.loc[rows.index[rows["label"] == 1][:2], "score"] = -9.0
        table.loc[rows.index[rows["label"] == 0][:2], "score"] = 9.0
        assert machine_type in ("fan", "valve")
    path = tmp_path_factory.mktemp("report") / "report.html"
    notes = ["<script>alert(1)</script> & more"]
    return Page(report_of({"aux": table}, two_machines, path, remarks=notes).read_text())


@pytest.fixture(scope="module")
def elsewhere(clips, tmp_path_factory):
    """A folder without recordings, and the report of a run on what was once there."""
    root = tmp_path_factory.mktemp("elsewhere") / "recordings"
    root.mkdir()
    table = run_table(clips[clips["machine_type"] == "fan"], "aux", gap=0.0)
    path = report_of({"aux": table}, root, root.parent / "report.html", [f"{root}/fan/a.wav: cut short"])
    return root, Page(path.read_text())


def test_nothing_is_fetched_from_anywhere(page):
    for elements in page.elements.values():
        for attributes in elements:
            assert attributes.get("src", "data:").startswith("data:")
            assert attributes.get("href", "#").startswith("#")
    assert not {"link", "script", "iframe", "object"} & set(page.elements)


def test_the_pictures_are_pictures_with_a_text_in_their_place(page):
    pictures = [content(image["src"], "image/png") for image in page.elements["img"]]
    assert len(pictures) == 2 + 2 * 2 + 2 * 4  # heat maps of dev and eval; two figures and four misses a machine type
    for picture in pictures:
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        assert min(struct.unpack(">II", picture[16:24])) > 100  # width and height in pixels
    assert all(image["alt"] for image in page.elements["img"])


def test_misses_are_explained_where_their_run_can_explain_them(two_machines, clips, tmp_path):
    table = run_table(clips[clips["machine_type"] == "fan"], "aux", gap=0.0)
    asked = []

    def explain(clip):
        asked.append(clip)
        return np.ones((30, 128)) if len(asked) % 2 else None  # clips of 1 s

    page = Page(report_of({"aux": table}, two_machines, tmp_path / "report.html", explain=explain).read_text())
    assert {clip["run_id"] for clip in asked} == {"id-aux"} and len(asked) > 1
    misses = [image for image in page.elements["img"] if image["alt"].startswith("Log-mel")]
    heights = [struct.unpack(">II", content(image["src"], "image/png")[16:24])[1] for image in misses]
    assert ["and explanation" in image["alt"] for image in misses] == [i % 2 == 0 for i in range(len(asked))]
    assert min(heights[::2]) > 1.3 * max(heights[1::2])
    assert "raises the score" in page.text


def test_the_players_hold_the_recordings_that_are_named(page, two_machines):
    recordings = {path.read_bytes(): path.name for path in two_machines.rglob("*_test/*.wav")}
    sounds = [content(player["src"], "audio/wav") for player in page.elements["audio"]]
    assert len(sounds) == 8
    for sound in sounds:
        assert recordings[sound] in page.text
        assert len(soundfile.read(io.BytesIO(sound))[0]) > 0


def test_what_is_shown_is_text_and_no_markup(page):
    assert "<script>alert(1)</script> & more" in page.text


def test_it_begins_with_what_it_is_how_good_and_how_sure(page, clips):
    text = page.text
    test = clips[(clips["split"] == "test") & clips["label"].notna()]
    assert f"judges 1 run on fan, valve, by test clips with known labels ({len(test)} for aux)" in text
    assert re.search(r"aux reaches an official score of [\d.]+ % on the development sections and [\d.]+ % on", text)
    assert "guessing: 50 %" in text
    assert re.search(r"might have been [\d.]+–[\d.]+ % and [\d.]+–[\d.]+ % \(95% intervals", text)
    assert text.index("judges 1 run") < text.index("reaches an official") < text.index("might have been")
    assert text.index("might have been") < text.index("Official scores in percent")


@pytest.mark.parametrize(
    "n, said", [(3, "; 3 held-out clips allow no false-alarm rate below 25 %"), (12, " alarm, and ")]
)
def test_it_says_so_if_nothing_can_alarm(clips, n, said):
    table = run_table(clips, "aux")
    train = table.index[(table["machine_type"] == "fan") & (table["split"] == "train") & (table["domain"] == "source")]
    table.loc[train[:n], "held_out"] = True
    options = {"false_alarm_rate": 0.1, "quantile": 0.9, "held_out": False, "resamples": 20, "seed": 0}
    evaluation = evaluate({"aux": table[table["machine_type"] == "fan"]}, {"id-aux": RunFacts()}, **options)
    assert said in three_sentences(evaluation, "aux")[2]


def test_the_words_and_the_methods_at_hand_are_explained(page):
    assert {"section", "domain", "AUC", "official score"} <= set(page.texts["dt"])
    assert "aux" in page.texts["code"] and "maf" not in page.texts["code"]


def test_synthetic_recordings_are_called_so_and_others_not(page, elsewhere, two_machines):
    assert (two_machines / "mini.json").is_file() and "These recordings are synthetic" in page.text
    assert "synthetic" not in elsewhere[1].text


def test_it_names_no_folder_of_the_machine_that_it_was_made_on(elsewhere):
    root, page = elsewhere
    assert str(root) not in page.text and "fan/a.wav: cut short" in page.text


def test_all_shares_are_in_percent(page):
    cells = page.texts["td"]
    assert not [cell for cell in cells if re.match(r"\d\.\d\d", cell)]
    assert [cell for cell in cells if re.fullmatch(r"\d\d\.\d \(\d\d\.\d–\d+\.\d\)", cell)]


def test_machine_types_each_have_their_place(page):
    assert {"machine-fan", "machine-valve"} <= {section.get("id") for section in page.elements["section"]}
    assert len(page.elements["table"]) >= 2 + 1 + 2 * 2


def test_without_comparable_runs_published_results_are_folded_and_said_to_be_another_matter(page):
    assert "None of the runs above can be compared" in page.text
    assert all("open" not in attributes for attributes in page.elements["details"])


def test_recordings_that_are_elsewhere_are_said_to_be_missing_and_the_rest_is_shown(elsewhere):
    _, page = elsewhere
    assert "Cannot be shown" in page.text and "audio" not in page.elements
    assert len(page.elements["img"]) == 4


def test_cells_of_one_class_and_clips_without_labels_are_no_obstacle(two_machines, clips, tmp_path):
    table = run_table(clips[clips["machine_type"] == "fan"], "aux")
    table = table[~((table["section"] == 2) & (table["label"] == 1))]
    table["label"] = table["label"].mask((table["section"] > 2) & (table["split"] == "test"))
    page = Page(report_of({"aux": table}, two_machines, tmp_path / "report.html").read_text())
    assert "Section 02 target: AUC and pAUC are undefined" in page.text
    assert "Section 04 source: AUC and pAUC are undefined" in page.text


def test_the_worst_misses_are_on_the_wrong_side_of_the_threshold(clips):
    from asd.evaluation.results import add_decisions

    runs = {"aux": run_table(clips[clips["machine_type"] == "fan"], "aux")}
    tables, limits, _ = add_decisions(runs, 0.1, 0.9, held_out=False)
    table = tables["aux"].set_index("clip")
    misses = worst(tables["aux"], limits)
    assert misses
    for miss in misses:
        anomalous = miss["kind"] == "missed anomaly"
        assert table.loc[miss["clip"], "label"] == anomalous
        assert (miss["score"] <= miss["threshold"]) == anomalous


def test_a_run_without_a_miss_has_none(clips):
    table = run_table(clips[clips["machine_type"] == "fan"], "aux", gap=0.0)
    table["score"] = table["score"] % 1 + 100 * table["label"].fillna(0).astype(float)
    limits = table.groupby("section", as_index=False)["label"].size().assign(alarm_above=50.0)
    assert worst(table.assign(decision=(table["score"] > 50).astype(int)), limits) == []
