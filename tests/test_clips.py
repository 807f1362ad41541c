"""The clips table: right for every layout and name in use, and for all others an error that names the file."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asd.data.clips import COLUMNS, clips_table
from asd.data.selection import held_out_clips, select
from asd.errors import InputError


def touch(root: Path, *paths: str) -> Path:
    """Empty files: the table is made from names alone."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def only_row(root: Path) -> dict:
    (row,) = clips_table(root).to_dict("records")
    return row


NORMAL = "section_00_source_train_normal_0001.wav"


# ---------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("path", "section", "domain", "split", "label", "attribute"),
    [
        ("fan/train/section_00_source_train_normal_0001_strength_1_ambient.wav", 0, "source", "train", 0, None),
        ("fan/train/section_01_source_train_normal_0002_strenght_1_ambient.wav", 1, "source", "train", 0, None),
        ("fan/train/section_02_target_train_normal_0000_none.wav", 2, "target", "train", 0, "none"),
        ("fan/train/section_03_target_train_normal_0000_None.wav", 3, "target", "train", 0, "None"),
        ("slider/train/section_00_source_train_normal_0003_0_g_25_mm_2000_mV_none.wav", 0, "source", "train", 0, None),
        ("pump/train/section_05_source_train_normal_0999_serial_no_030_water.wav", 5, "source", "train", 0, None),
        ("valve/train/section_01_source_train_normal_0001_pattern_00_no_pump.wav", 1, "source", "train", 0, None),
        ("ToyCar/train/section_00_source_train_normal_0010_A1Spd28VMic1.wav", 0, "source", "train", 0, "A1Spd28VMic1"),
        ("fan/train/section_00_source_train_normal_0001.wav", 0, "source", "train", 0, ""),
        ("fan/source_test/section_00_source_test_normal_0001.wav", 0, "source", "test", 0, ""),
        ("fan/target_test/section_02_target_test_anomaly_0099.wav", 2, "target", "test", 1, ""),
        ("fan/source_test/section_03_source_test_0000.wav", 3, "source", "test", pd.NA, ""),
        # later years: attributes on test clips, one test folder, no domain, no split, other section numbers
        ("ToyCar/test/section_00_source_test_normal_0028_car_C2_spd_34V_mic_1.wav", 0, "source", "test", 0, None),
        (
            "ToyTrain/target_test/section_00_target_test_anomaly_0015_car_A2_spd_6_mic_2.wav",
            0,
            "target",
            "test",
            1,
            None,
        ),
        ("bandsaw/test/section_00_test_0000.wav", 0, "", "test", pd.NA, ""),
        ("bandsaw/test/section_00_0199.wav", 0, "", "test", pd.NA, ""),
        ("my-own_pump.2/train/section_117_source_train_normal_0000_noAttribute.WAV", 117, "source", "train", 0, None),
    ],
)
def test_a_name_gives_section_domain_split_label_and_attribute(
    tmp_path, path, section, domain, split, label, attribute
):
    row = only_row(touch(tmp_path, path))
    if attribute is None:  # everything after the number
        attribute = re.search(r"_\d{4}_(.+)\.[a-zA-Z]+$", path)[1]
    assert pd.isna(row["label"]) if label is pd.NA else row["label"] == label
    del row["label"]
    machine_type = path.split("/")[0]
    assert row == {
        "path": path,
        "machine_type": machine_type,
        "section": section,
        "domain": domain,
        "split": split,
        "attribute": attribute,
    }


@pytest.mark.parametrize(
    "path",
    [
        "fan/train/normal_id_00_00000000.wav",  # 2020
        "fan/train/recording.wav",
        "fan/train/section_xx_source_train_normal_0001.wav",
        "fan/train/section_00_source_train_normal.wav",
        "fan/train/section_00_sauce_train_normal_0001.wav",
        "fan/train/section_00_source_train_normal_0001_.wav",
        "fan/train/section_1234567890123456789012_source_train_normal_0001.wav",
        "fan/train/section_٠٠_source_train_normal_0001.wav",  # digits, but not ASCII
        "fan/train/section_00_source_train_normal_0001_a\nb.wav",
        "fan/train/section_00_source_test_normal_0001.wav",
        "fan/test/section_00_source_train_normal_0001.wav",
        "fan/source_test/section_00_target_test_normal_0001.wav",
        "fan/train/section_00_source_train_anomaly_0001.wav",
        "my fan/train/section_00_source_train_normal_0001.wav",
    ],
)
def test_a_name_that_does_not_parse_or_contradicts_its_folder_is_an_error_that_names_it(tmp_path, path):
    touch(tmp_path, path, f"valve/train/{NORMAL}")
    with pytest.raises(InputError) as error:
        clips_table(tmp_path)
    machine_type, _, name = path.split("/")
    assert (
        name.encode("unicode_escape").decode() in str(error.value)
        or repr(machine_type) in str(error.value)
        or (name in str(error.value))
    )


def test_a_name_of_bytes_that_are_not_utf8_is_an_error_that_can_be_printed(tmp_path):
    touch(tmp_path, f"fan/train/{NORMAL}")
    os.rename(tmp_path / "fan/train" / NORMAL, os.fsencode(tmp_path / "fan/train" / NORMAL[:-4]) + b"_\xff.wav")
    with pytest.raises(InputError) as error:
        clips_table(tmp_path)
    assert "section_00_source_train_normal_0001_" in str(error.value)
    str(error.value).encode()


PIECES = ["section", "00", "7", "source", "target", "train", "test", "normal", "anomaly", "0001", "a b", "é", "", "wav"]
any_name = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=9).map("_".join).map(lambda stem: f"{stem}.wav"),
    st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), max_size=60).map("{}.wav".format),
    st.from_regex(
        r"section_\d{1,3}(_source|_target)?(_train|_test)?(_normal|_anomaly)?_\d+(_[^/\0\ud800-\udfff]{0,9})?\.wav",
        fullmatch=True,
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=any_name, folder=st.sampled_from(["train", "test", "source_test", "target_test"]))
@example(name="section_00_anomaly_0001_normal.wav", folder="source_test")
@example(name="section_00_source_test_0001_anomaly_0002.wav", folder="test")
def test_no_name_ever_gives_an_unclear_exception_or_a_wrong_label(tmp_path, name, folder):
    if len(name.encode("utf-8", "replace")) > 255 or name.startswith("."):
        return
    root = tmp_path / "fuzz"
    file = touch(root, f"fan/{folder}/{name}") / "fan" / folder / name
    try:
        row = only_row(root)
    except InputError as error:
        assert "fan" in str(error)
    else:
        fields = name[: -len(".wav")].split("_")  # an independent reading, field by field
        assert fields[0] == "section" and int(fields[1]) == row["section"]
        rest = fields[2:]
        domain = rest.pop(0) if rest[0] in ("source", "target") else {"s": "source", "t": ""}[folder[0]]
        if rest[0] in ("train", "test"):
            assert folder.endswith(rest.pop(0))
        label = rest.pop(0) if rest[0] in ("normal", "anomaly") else None
        assert rest.pop(0).isdigit()
        assert row["domain"] == ("target" if folder == "target_test" else domain)
        assert row["split"] == ("train" if folder == "train" else "test")
        assert row["attribute"] == "_".join(rest)
        if label is None and folder != "train":
            assert pd.isna(row["label"])
        else:
            assert row["label"] == (label == "anomaly")
            assert folder != "train" or row["label"] == 0
    finally:
        file.unlink()


# --------------------------------------------------------------------------------------------------------------- layout


LAYOUT = [
    "fan/train/section_00_source_train_normal_0001_a.wav",
    "fan/source_test/section_00_source_test_anomaly_0001.wav",
    "valve/train/section_00_source_train_normal_0001_a.wav",  # the same name in another machine type
]
LATER = ["fan/train/section_03_source_train_normal_0001_a.wav", "fan/target_test/section_03_target_test_0001.wav"]


@pytest.mark.parametrize(
    ("dev", "evaluation"),
    [("dev_data/", "eval_data/"), ("", ""), ("", "eval/"), ("dcase/dev_data/raw/", "dcase/eval_data/raw/")],
)
def test_development_and_evaluation_data_may_share_a_folder_or_not(tmp_path, dev, evaluation):
    touch(tmp_path, *(dev + path for path in LAYOUT), *(evaluation + path for path in LATER))
    clips = clips_table(tmp_path)
    assert list(clips.columns) == COLUMNS
    assert sorted(clips["path"]) == sorted([dev + path for path in LAYOUT] + [evaluation + path for path in LATER])
    assert clips.groupby("machine_type")["section"].agg(set).to_dict() == {"fan": {0, 3}, "valve": {0}}


def test_the_data_root_may_be_one_part_or_one_machine_types_folder(tmp_path, monkeypatch):
    touch(tmp_path, *(f"dev_data/{path}" for path in LAYOUT), *(f"eval_data/{path}" for path in LATER))
    assert sorted(clips_table(tmp_path / "dev_data")["path"]) == sorted(LAYOUT)
    fan = clips_table(tmp_path / "dev_data" / "fan")
    assert set(fan["machine_type"]) == {"fan"}
    assert fan["path"].tolist() == sorted(path.removeprefix("fan/") for path in LAYOUT[:2])
    monkeypatch.chdir(tmp_path / "dev_data" / "fan" / "train")
    assert clips_table("..").equals(fan)
    assert only_row(Path())["machine_type"] == "fan"
    assert only_row(Path())["path"] == Path(LAYOUT[0]).name


@pytest.mark.parametrize("name", ["train", "test"])
def test_the_data_root_may_be_named_like_a_folder_of_clips(tmp_path, name):
    touch(tmp_path / name, *LAYOUT)
    assert len(clips_table(tmp_path / name)) == len(LAYOUT)


def test_hidden_and_foreign_files_are_skipped(tmp_path):
    touch(tmp_path, *LAYOUT, f"fan/train/._{NORMAL}", f"__MACOSX/fan/train/._{NORMAL}", f".Trash/fan/train/{NORMAL}")
    touch(tmp_path, "fan/train/readme.txt", "fan/notes/recording.wav", "recording.wav", "fan/train/old/recording.wav")
    assert clips_table(tmp_path)["path"].tolist() == sorted(LAYOUT)


def test_links_are_followed_and_a_circular_one_does_no_harm(tmp_path):
    touch(tmp_path / "disk", *LAYOUT)
    root = tmp_path / "root"
    root.mkdir()
    (root / "dev_data").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk" / "fan" / "again").symlink_to(root, target_is_directory=True)
    (root / "nowhere").symlink_to(tmp_path / "absent")
    assert clips_table(root)["path"].tolist() == sorted(f"dev_data/{path}" for path in LAYOUT)


def test_a_folder_that_cannot_be_listed_is_skipped_with_a_warning(tmp_path, monkeypatch):
    touch(tmp_path, *LAYOUT, "lost+found/x")
    listed = os.scandir

    def refusing(path):
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.warns(UserWarning, match=r"lost\+found: left out.*Permission denied"):
        assert len(clips_table(tmp_path)) == len(LAYOUT)


def test_two_clips_of_one_name_are_an_error_that_names_both(tmp_path):
    touch(tmp_path, f"dev_data/fan/train/{NORMAL}", f"copy/fan/train/{NORMAL}", *LAYOUT)
    with pytest.raises(InputError, match=f"2 clips share.*copy/fan/train/{NORMAL}.*dev_data/fan/train/{NORMAL}"):
        clips_table(tmp_path)


def test_a_missing_or_empty_data_root_is_an_error_that_says_what_was_looked_for(tmp_path):
    with pytest.raises(InputError, match=r"data_root: there is no folder .*~no-such-user/data"):
        clips_table("~no-such-user/data")
    with pytest.raises(InputError, match=r"data_root: there is no folder .*absent"):
        clips_table(tmp_path / "absent")
    with pytest.raises(InputError, match=r"no clips in .*section_\*\.wav in <machine type>/.*clips\.csv"):
        clips_table(tmp_path)
    with pytest.raises(InputError, match=r"unzipped first: \['dev_data_fan\.zip'\]"):
        clips_table(touch(tmp_path, "dev_data_fan.zip"))
    with pytest.raises(InputError, match="no clips"):
        clips_table(touch(tmp_path, f"1/2/3/4/5/6/fan/train/{NORMAL}"))


# --------------------------------------------------------------------------------------------------------- ground truth


def truth(root: Path, folder: str, rows: str, name: str = "ground_truth_fan_section_03_target_test.csv") -> None:
    touch(root, f"{folder}/{name}")
    (root / folder / name).write_text(rows)


def labels(root: Path) -> dict:
    return {Path(c["path"]).name: c["label"] for c in clips_table(root).to_dict("records")}


@pytest.mark.parametrize("folder", [".", "ground_truth", "eval_data/truth"])
def test_labels_of_evaluation_clips_come_from_the_ground_truth_in_any_folder(tmp_path, folder):
    names = [f"section_03_target_test_000{i}.wav" for i in range(3)]
    touch(tmp_path, *LAYOUT, *(f"eval_data/fan/target_test/{name}" for name in names))
    truth(tmp_path, folder, f"{names[1]},1\n{names[0]},0\nelsewhere.wav,1\n")
    found = labels(tmp_path)
    assert (found[names[0]], found[names[1]]) == (0, 1)
    assert pd.isna(found[names[2]])
    assert found["section_00_source_test_anomaly_0001.wav"] == 1


def test_ground_truth_of_another_machine_type_or_in_a_hidden_folder_is_not_used(tmp_path):
    touch(tmp_path, *LATER)
    truth(tmp_path, ".git", "section_03_target_test_0001.wav,1\n")
    other = "ground_truth_valve_section_03_target_test.csv"
    truth(tmp_path, "truth", "section_03_target_test_0001.wav,1\n", other)
    assert clips_table(tmp_path)["label"].isna().sum() == 1


def test_ground_truth_that_contradicts_itself_or_a_name_is_an_error(tmp_path):
    touch(tmp_path, *LATER)
    truth(tmp_path, "a", "section_03_target_test_0001.wav,1\n")
    truth(tmp_path, "b", "section_03_target_test_0001.wav,1\n")
    assert labels(tmp_path)["section_03_target_test_0001.wav"] == 1
    truth(tmp_path, "b", "section_03_target_test_0001.wav,0\n")
    with pytest.raises(InputError, match=r"section_03_target_test_0001\.wav: ground truth files contradict"):
        clips_table(tmp_path)
    (tmp_path / "b" / "ground_truth_fan_section_03_target_test.csv").unlink()
    touch(tmp_path, "fan/target_test/section_03_target_test_normal_0002.wav")
    truth(tmp_path, "a", "section_03_target_test_normal_0002.wav,1\n")
    with pytest.raises(InputError, match=r"normal_0002\.wav: its name and its ground truth"):
        clips_table(tmp_path)


def test_ground_truth_in_the_challenges_layout_labels_every_evaluation_clip(submission, tmp_path):
    _, folder, _ = submission
    expected = {}
    for file in folder.glob("*.csv"):
        machine_type, domain = file.name.split("_")[2], file.name.split("_")[-2]
        for line in file.read_text().split():
            name, label = line.split(",")
            expected[f"{machine_type}/{domain}_test/{name}"] = int(label)
    touch(tmp_path, *expected)
    (tmp_path / "truth").symlink_to(folder, target_is_directory=True)
    clips = clips_table(tmp_path)
    assert len(expected) > 42 * 40
    assert clips.set_index("path")["label"].to_dict() == expected


# ------------------------------------------------------------------------------------------------------------ clips.csv


HEADER = "path,machine_type,section,domain,split,label,attribute\n"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    return touch(tmp_path, "monday/001.wav", "tuesday/001.wav", "x.wav", f"fan/train/{NORMAL}")


def test_a_clips_csv_describes_recordings_of_any_name_and_replaces_the_names(recordings):
    rows = (
        'tuesday/001.wav,my_pump,12,,test,anomaly,"loud, wet"\r\n\r\nmonday/001.wav, my_pump ,0012,source,train,,\r\n'
    )
    (recordings / "clips.csv").write_bytes(("\ufeff" + HEADER + rows + "x.wav,my_pump,0,target,test,,\n").encode())
    clips = clips_table(recordings)
    assert clips["path"].tolist() == ["monday/001.wav", "tuesday/001.wav", "x.wav"]
    assert clips["section"].tolist() == [12, 12, 0]
    assert clips["domain"].tolist() == ["source", "", "target"]
    assert clips["label"].tolist()[:2] == [0, 1] and pd.isna(clips["label"][2])
    assert clips["attribute"].tolist() == ["", "loud, wet", ""]
    assert clips.dtypes.equals(clips_table(touch(recordings / "fan", "train/" + NORMAL)).dtypes)


def test_columns_come_in_any_order_attribute_may_be_missing_and_others_are_ignored(recordings):
    (recordings / "clips.csv").write_text("split,label,note,path,section,domain,machine_type\ntest,0,hm,x.wav,1,,fan\n")
    row = only_row(recordings)
    assert (row["path"], row["attribute"], row["label"]) == ("x.wav", "", 0)


def test_beside_a_clips_csv_ground_truth_files_are_not_read(recordings):
    (recordings / "clips.csv").write_text(
        HEADER + "monday/001.wav,fan,3,target,test,,\ntuesday/001.wav,fan,3,,test,,\n"
    )
    truth(recordings, "truth", "001.wav,1\n")  # which of the two clips would it mean?
    assert clips_table(recordings)["label"].isna().all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("y.wav,fan,0,source,train,0,", "line 2: there is no file"),
        ("monday,fan,0,source,train,0,", "line 2: there is no file"),
        ("x.wav,fan,0,source,train,0,\nx.wav,fan,1,source,train,0,", "line 3: x.wav is listed twice, first on line 2"),
        ("x.wav,fan,0,source,train,1,", "anomalous clip among the train clips"),
        ("/etc/passwd,fan,0,source,train,0,", "path is '/etc/passwd'"),
        ("../x.wav,fan,0,source,train,0,", "path is '../x.wav'"),
        ("monday/../x.wav,fan,0,source,train,0,", "path is"),
        ("./x.wav,fan,0,source,train,0,", "path is"),
        ("monday\\001.wav,fan,0,source,train,0,", "path is"),
        (",fan,0,source,train,0,", "path is ''"),
        ("x.wav,,0,source,train,0,", "machine_type is ''"),
        ("x.wav,a/b,0,source,train,0,", "machine_type is 'a/b'"),
        ("x.wav,..,0,source,train,0,", "machine_type is '..'"),
        ("x.wav,my fan,0,source,train,0,", "machine_type is 'my fan'"),
        ("x.wav,fan,-1,source,train,0,", "section is '-1'"),
        ("x.wav,fan,1.0,source,train,0,", "section is '1.0'"),
        ("x.wav,fan,,source,train,0,", "section is ''"),
        ("x.wav,fan,12345678901234567890,source,train,0,", "section is"),
        ("x.wav,fan,0,Source,train,0,", "domain is 'Source'"),
        ("x.wav,fan,0,source,validation,0,", "split is 'validation'"),
        ("x.wav,fan,0,source,test,2,", "label is '2'"),
        ("x.wav,fan,0,source,test,0", "line 2: 6 fields; the header has 7"),
        ("x.wav,fan,0,source,test,0,a,b", "line 2: 8 fields; the header has 7"),
        ('x.wav,fan,0,source,test,0,"open', "no CSV text"),
    ],
)
def test_a_mistake_in_a_clips_csv_is_named_with_its_line(recordings, rows, message):
    (recordings / "clips.csv").write_text(HEADER + rows + "\n")
    with pytest.raises(InputError) as error:
        clips_table(recordings)
    assert message in str(error.value)
    assert str(recordings) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column path occurs 0 times"),
        (b"path;machine_type;section;domain;split;label\n", "column path occurs 0 times"),
        (b"path,path,machine_type,section,domain,split,label\n", "column path occurs 2 times"),
        (b"path,machine_type,section,domain,label\n", "column split"),
        (b"\xff\xfe\x00", "no CSV text in UTF-8"),
        (b"PK\x03\x04\x00\x00\x00\x00\n\x00\n", "column path"),
        (HEADER.encode(), "no clips"),
    ],
)
def test_a_clips_csv_without_its_columns_is_an_error(recordings, content, message):
    (recordings / "clips.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        clips_table(recordings)


# ------------------------------------------------------------------------------------------------- choice and held-out


def table(machine_type: str = "fan", **sections: int) -> pd.DataFrame:
    """A clips table with the given number of source train clips per section (s0, s1, …), and three target ones each."""
    rows = []
    for name, n in sections.items():
        for domain, count in (("source", n), ("target", 3)):
            for i in range(count):
                clip = f"{machine_type}/train/section_0{name[1:]}_{domain}_train_normal_{i:04d}.wav"
                rows.append((clip, machine_type, int(name[1:]), domain, "train", 0, ""))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"label": "Int64"})


def test_machine_type_and_sections_are_selected_and_unknown_ones_are_named(two_machines):
    clips = clips_table(two_machines)
    assert set(select(clips, "fan")["machine_type"]) == {"fan"}
    assert set(select(clips, "fan", [1, 4])["section"]) == {1, 4}
    with pytest.raises(InputError, match=r"machine_type: 'ToyPlane' is unknown; allowed here: \['fan', 'valve'\]"):
        select(clips, "ToyPlane")
    with pytest.raises(InputError, match=r"fan has no section \[7, 9\]; allowed: \[0, 1, 2, 3, 4, 5\]"):
        select(clips, "fan", [0, 9, 7])


def test_a_section_without_source_train_clips_is_an_error_unless_it_is_excluded(two_machines):
    clips = clips_table(two_machines)
    clips = clips[~((clips["section"] == 4) & (clips["split"] == "train") & (clips["domain"] == "source"))]
    with pytest.raises(InputError, match=r"fan: sections \[4\] have no \(source\) train clips; exclude them"):
        select(clips, "fan")
    assert set(select(clips, "fan", [0, 1])["section"]) == {0, 1}


@pytest.mark.parametrize(("n", "fraction", "expected"), [(1000, 0.1, 100), (24, 0.1, 2), (5, 0.1, 1), (2, 0.9, 1)])
def test_a_fraction_of_each_sections_source_train_clips_is_held_out(n, fraction, expected):
    clips = table(s0=n, s1=n)
    out = clips[held_out_clips(clips, fraction)]
    assert out.groupby("section").size().to_dict() == {0: expected, 1: expected}
    assert set(out["domain"]) == {"source"}


def test_at_least_one_clip_is_held_out_but_never_all_and_none_for_a_fraction_of_0():
    clips = table(s0=1, s1=2, s2=3)
    assert clips[held_out_clips(clips, 0.01)].groupby("section").size().to_dict() == {1: 1, 2: 1}
    assert clips[held_out_clips(clips, 0.99)].groupby("section").size().to_dict() == {1: 1, 2: 2}
    assert not held_out_clips(clips, 0).any()


def test_the_held_out_clips_depend_on_their_names_alone():
    clips = table(s0=40, s1=40)
    chosen = set(clips.loc[held_out_clips(clips, 0.1), "path"])
    shuffled = clips.sample(frac=1, random_state=0)
    assert set(shuffled.loc[held_out_clips(shuffled, 0.1), "path"]) == chosen
    subset = clips[clips["section"] == 1]
    assert set(subset.loc[held_out_clips(subset, 0.1), "path"]) == {path for path in chosen if "section_01" in path}
    beside = pd.concat([table("valve", s0=7), clips], ignore_index=True)
    assert set(beside.loc[held_out_clips(beside, 0.1) & (beside["machine_type"] == "fan"), "path"]) == chosen
    moved = clips.assign(path="elsewhere/" + clips["path"])
    assert set(moved.loc[held_out_clips(moved, 0.1), "path"]) == {f"elsewhere/{path}" for path in chosen}
    assert chosen != set(clips.loc[(clips["domain"] == "source"), "path"].groupby(clips["section"]).head(4))
