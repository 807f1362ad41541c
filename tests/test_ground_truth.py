"""Ground truth files are read completely or not at all, and every error names file and line."""

import pytest

from asd.data.ground_truth import FileKey, parse_file_name, read_clip_values, read_ground_truth
from asd.errors import InputError

NAME = "ground_truth_fan_section_03_source_test.csv"


def test_ground_truth_in_the_challenges_layout_is_read_completely(submission):
    _, folder, _ = submission
    table = read_ground_truth(folder)
    assert len(table) == sum(len(path.read_text().splitlines()) for path in folder.iterdir())
    assert table.groupby(["machine_type", "section", "domain"]).ngroups == 42


def test_the_official_ground_truth_has_the_8635_clips_of_the_evaluation_set(shared):
    table = read_ground_truth(shared / "oracle" / "official_evaluator" / "ground_truth")
    assert len(table) == 8635
    assert table.groupby(["machine_type", "section", "domain"]).ngroups == 42


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (NAME, FileKey("ground_truth", "fan", 3, "source")),
        ("anomaly_score_my_own_pump_section_11_target_test.csv", FileKey("anomaly_score", "my_own_pump", 11, "target")),
        ("decision_result_ToyCar_section_00_test.csv", FileKey("decision_result", "ToyCar", 0, "")),
    ],
)
def test_file_names_give_machine_type_section_and_domain_and_can_be_rebuilt_from_them(name, key):
    assert parse_file_name(name) == key
    assert key.file_name == name


@pytest.mark.parametrize("name", ["ground_truth.csv", "anomaly_score_fan_section_x_source_test.csv", "notes_test.csv"])
def test_other_file_names_give_nothing(name):
    assert parse_file_name(name) is None


def test_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm(tmp_path):
    path = tmp_path / NAME
    path.write_bytes("\ufeffa.wav,0\r\nb.wav,1\r\n\r\n".encode())
    assert read_ground_truth(tmp_path)[["clip", "label"]].to_numpy().tolist() == [["a.wav", 0], ["b.wav", 1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.wav,0\nb.wav,2\n", "line 2: '2'"),
        ("a.wav,0\nb.wav\n", "line 2: found 'b.wav'"),
        ("a.wav,0,1\n", "line 1"),
        (",1\n", "line 1"),
        ("a.wav,0\na.wav,0\n", "line 2: a.wav is listed twice, first on line 1"),
        ("a.wav,anomaly\n", "'anomaly'"),
        ("a.wav,nan\n", "'nan'"),
        ("\n\n", "has no rows"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path, text, message):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError) as error:
        read_ground_truth(tmp_path)
    assert NAME in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("text", ["1_0", "inf", "nan", "", "0x1", "1,5"])
def test_scores_are_finite_numbers(tmp_path, text):
    (tmp_path / "scores.csv").write_text(f"a.wav,{text}\n")
    with pytest.raises(InputError, match="line 1"):
        read_clip_values(tmp_path / "scores.csv")


def test_files_that_are_not_text_or_do_not_exist_are_named(tmp_path):
    (tmp_path / NAME).write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=NAME):
        read_ground_truth(tmp_path)
    with pytest.raises(InputError, match=r"absent\.csv"):
        read_clip_values(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no such folder"):
        read_ground_truth(tmp_path / "absent")


def test_one_clip_in_two_files_is_an_error_that_names_both(tmp_path):
    for name in (NAME, "ground_truth_fan_section_04_source_test.csv"):
        (tmp_path / name).write_text("a.wav,0\n")
    with pytest.raises(InputError, match=f"section_04_source.*a.wav.*{NAME}"):
        read_ground_truth(tmp_path)


def test_a_folder_without_ground_truth_gives_an_empty_table(tmp_path):
    table = read_ground_truth(tmp_path)
    assert table.empty
    assert list(table.columns) == ["machine_type", "section", "domain", "clip", "label"]
