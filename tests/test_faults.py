"""Faults as a user meets them: in a notebook's kernel, through papermill, on the command line, over HTTP.

One kernel runs the beginnings of the notebooks again and again; what fails there is what papermill or JupyterLab shows.
"""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from click.testing import CliRunner
from conftest import PROJECT, tiny_detector
from jupyter_client.manager import start_new_kernel
from papermill.translators import PythonTranslator
from score_tables import run_table, write_scores

from asd.cli import main
from asd.data.clips import clips_table
from asd.evaluation.score_table import read_table

pytestmark = pytest.mark.xdist_group("faults")  # they share a kernel

FAST = {
    "03_aux": {"base_channels": 2, "validation_fraction": 0.2, "max_epochs": 1, "rampdown_start": 0, "device": "cpu"},
    "05_density": {"hidden_size": 8, "hidden_dims": 1, "max_epochs": 1, "rampdown_start": 0, "device": "cpu"},
    "06_evaluation": {"resamples": 100},
}
DATA = {  # up to this cell a notebook has met its data
    "01_exploration": "open_shard(clips", "02_features": "read_recording(p.data", "03_aux": "= training_data(",
    "04_ccsa": "parent = find_pretrained", "06_evaluation": "with_labels(",
}  # fmt: skip
TOYS = ("logits = torch.tensor", "embed(picture)", "AUC of exp(scores)", "one failure")  # nothing to do with data
TOYS_OF_05 = ("def train_toy", "clips = find_clips(p)")  # from here to there


def cells(name: str, end: str) -> list[str]:
    """A notebook's code up to the first cell that holds ``end``, without toys."""
    notebook = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    if name == "05_density":
        toys, data = (next(i for i, source in enumerate(code) if text in source) for text in TOYS_OF_05)
        del code[toys:data]
    last = next(i for i, source in enumerate(code) if end in source)
    return [source for source in code[: last + 1] if not any(toy in source for toy in TOYS)]


class Kernel:
    """A kernel as papermill and JupyterLab use it."""

    def __init__(self, folder: Path):
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def execute(self, code: str) -> None:
        """Execute a cell. A failure is raised as it is shown, ``InputError: …``."""
        errors = []

        def hear(message: dict) -> None:
            if message["msg_type"] == "error":
                errors.append("{ename}: {evalue}".format(**message["content"]))

        self.client.execute_interactive(code, output_hook=hear, timeout=100)
        if errors:
            raise CellError(errors[0])

    def run(self, name: str, end: str = "", **parameters: object) -> None:
        """Run cells of a notebook, by default up to where it has met its data."""
        for source in cells(name, end or DATA[name]):
            self.execute(source)
            if source.startswith("# Parameters"):
                given = {"machine_type": "fan"} | FAST.get(name, {}) | parameters
                self.execute(PythonTranslator.codify(given))

    def train(self, **parameters: object) -> None:
        """Run 03_aux to its end, without its figures."""
        self.run("03_aux", end="run.log_results(", **parameters)
        self.execute("run.complete()")


class CellError(Exception):
    """What a failing cell shows last."""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ASD_DATA_ROOT", "ASD_OUTPUT_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("MPLBACKEND", "agg")
        kernel = Kernel(tmp_path_factory.mktemp("kernel"))
        yield kernel
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)


def noise(n: int = 8000) -> np.ndarray:
    return np.random.default_rng(n).normal(scale=0.1, size=n)


def written(path: Path, samples: np.ndarray, rate: int = 16000, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype)


def make(root: Path, machine_types: tuple[str, ...] = ("fan", "valve"), sections: tuple[int, ...] = (0, 1)) -> Path:
    """A data set of the challenge's layout, clips of half a second."""
    names = [f"train/section_{{:02}}_source_train_normal_{i:04}.wav" for i in range(3)]
    names += ["train/section_{:02}_target_train_normal_0000.wav"]
    names += [
        f"{domain}_test/section_{{:02}}_{domain}_test_{label}_0000.wav"
        for domain in ("source", "target")
        for label in ("normal", "anomaly")
    ]
    for i, (machine, section, name) in enumerate((m, s, n) for m in machine_types for s in sections for n in names):
        written(root / machine / name.format(section), noise(8000 + i))
    return root


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nobody writes into it."""
    return make(tmp_path_factory.mktemp("good"))


@pytest.fixture
def root(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "data")


@pytest.fixture
def fails(kernel: Kernel, root: Path, tmp_path: Path) -> Callable:
    """Run a notebook's beginning on the data root, and hear that it stops with an InputError of these words."""

    def fails(message: str, name: str = "03_aux", end: str = "", **parameters: object) -> None:
        places = {"data_root": str(root), "output_root": str(tmp_path / "outputs")}
        with pytest.raises(CellError, match=rf"(?s)^InputError: .*{message}"):
            kernel.run(name, end=end, **places | parameters)

    return fails


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "detector.pt"
    tiny_detector("classifier").save(path)
    return path


@pytest.fixture(scope="module")
def finished(kernel: Kernel, good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root of a finished run; who damages something in it puts it right again."""
    outputs = tmp_path_factory.mktemp("finished")
    kernel.train(data_root=str(good), output_root=str(outputs))
    return outputs


# ----------------------------------------------------------------------------------------------------------- recordings

TRAIN = "fan/train/section_00_source_train_normal_0000.wav"
TEST = "fan/source_test/section_00_source_test_normal_0000.wav"
WAVS = {
    "cut short": (lambda path: os.truncate(path, 9000), "cut short: its header announces 16000 bytes"),
    "empty": (lambda path: os.truncate(path, 0), "cannot be read as a recording"),
    "no sound": (lambda path: path.write_text("a text"), "cannot be read as a recording"),
    "no samples": (lambda path: written(path, noise(0)), "holds no samples"),
    "stereo": (lambda path: written(path, noise().reshape(-1, 2)), "channels is 2; allowed: 1"),
    "rate": (lambda path: written(path, noise(), 44100), "sample_rate is 44100; allowed: 16000"),
    "NaN": (lambda path: written(path, noise() * np.nan, subtype="FLOAT"), "holds NaN or infinite samples"),
    "shorter than a frame": (lambda path: written(path, noise(1000)), "1000 samples"),
}


@pytest.mark.parametrize("fault", WAVS)
def test_a_faulty_recording_stops_a_training_before_it_begins_and_is_named(fails, root, fault):
    spoil, said = WAVS[fault]
    spoil(root / TRAIN)
    fails(f"1 of 16 recordings cannot be used:\n{root / TRAIN}: {said}")


@pytest.mark.parametrize("fault", WAVS)
def test_asd_score_names_a_faulty_recording(detector, root, fault):
    spoil, said = WAVS[fault]
    spoil(root / TRAIN)
    told = CliRunner().invoke(main, ["score", str(detector), str(root / TRAIN), "--section", "0"])
    assert told.exit_code == 1
    assert re.search(f"^Error: {root / TRAIN}: .*{said}", told.output)


@pytest.mark.parametrize("name", ["01_exploration", "02_features"])
def test_exploration_and_features_name_it_too(fails, root, name):
    os.truncate(root / TRAIN, 9000)
    fails(f"{TRAIN}: cut short", name)


def test_a_faulty_recording_of_another_machine_type_matters_to_proxy_outliers_alone(kernel, fails, root, tmp_path):
    valve = root / TRAIN.replace("fan", "valve")
    os.truncate(valve, 9000)
    fails(rf"proxy_outliers: .* other machine types; .*'none'\n1 of 16 recordings .*{valve}: cut short")
    kernel.run("03_aux", data_root=str(root), output_root=str(tmp_path), proxy_outliers="none")


@pytest.mark.parametrize("clip", [TRAIN, TEST, TRAIN.replace("fan", "valve")])
def test_digital_silence_that_is_to_be_scaled_is_named_before_training(fails, root, clip):
    written(root / clip, np.zeros(8000))
    fails(f"{clip}: digital silence cannot be scaled to RMS 1 .normalize_waveform", normalize_waveform=True)


def test_snippets_must_fit_into_the_shortest_train_clip_and_hold_what_the_network_needs(fails, root):
    written(root / TRAIN, noise(5000))
    fails(r"snippet_length: 0.4 s make 11 frames; allowed: 0.192 to 0.288 s", snippet_length=0.4)
    fails(r"snippet_length: 0.1 s make 2 frames; allowed: 0.192 to 0.288 s", snippet_length=0.1)
    written(root / TRAIN, noise(2500))
    fails(r"fan: its shortest train clip lasts 0.128 s; this method needs at least 0.192 s \(5 frames\)")


# -------------------------------------------------------------------------------------------------- roots, types, names


def test_roots_that_cannot_be_used_are_named(fails, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    fails(f"data_root: there is no folder {tmp_path}/absent", data_root=str(tmp_path / "absent"))
    fails(f"data_root: no clips in {tmp_path}/empty. Looked for section_", data_root=str(tmp_path / "empty"))
    fails(f"data_root: there is no folder {tmp_path}/file", data_root=str(tmp_path / "file"))
    fails(f"{tmp_path}/file/.* cannot be written there .Not a directory", output_root=str(tmp_path / "file"))
    fails(f"output_root: no score tables in {tmp_path}/outputs/scores; run 03_aux", "06_evaluation")


@pytest.mark.parametrize(
    ("change", "said", "parameters"),
    [
        (lambda root: None, r"machine_type: 'toaster' is unknown; .*'fan', 'valve'", {"machine_type": "toaster"}),
        (lambda root: None, r"sections: fan has no section \[7\]; allowed: \[0, 1\]", {"sections": [7]}),
        (lambda root: None, r"fan has only one section \(00\); a classifier needs two", {"sections": [0]}),
        (lambda root: shutil.rmtree(root / "valve"), r"proxy_outliers: .* no machine type but fan; .*'none'", {}),
        (lambda root: shutil.rmtree(root / "fan/train"), r"fan: sections \[0, 1\] have no \(source\) train clips", {}),
        (lambda root: (root / TRAIN).rename(root / "fan/train/1.wav"), r"train/1\.wav': not a name of the form", {}),
        (lambda root: (root / "fan").rename(root / "my fan"), r"machine type 'my fan'; allowed: letters", {}),
        (lambda root: shutil.copytree(root / "fan", root / "b/fan"), r"32 clips share their name .*'b/fan/", {}),
        (lambda root: (root / TRAIN).rename(root / TRAIN.replace("normal", "anomaly")), r"0000\.wav: an anomal", {}),
        (lambda root: (root / "clips.csv").write_text("path\n"), r"clips\.csv: column machine_type occurs 0", {}),
    ],
    ids=[
        "machine type", "section", "one section", "one machine type", "no train clips", "clip's name",
        "machine type's name", "duplicates", "anomalous train clip", "clips.csv",
    ],
)  # fmt: skip
def test_a_data_set_that_lacks_or_doubles_something_is_told(fails, root, change, said, parameters):
    change(root)
    fails(said, **parameters)


def test_what_is_odd_but_possible_is_trained_on_and_evaluated(kernel, root, tmp_path):
    """Any lengths, a silent clip, a section of one train clip, cells of one class, a batch larger than the set."""
    written(root / TRAIN, noise(7000))
    written(root / TEST, noise(1100))
    written(root / TEST.replace("source", "target"), np.zeros(8000))
    of_one_class, few = root.glob("fan/source_test/*anomaly*"), sorted(root.glob("fan/train/section_01_source*"))[1:]
    for path in [*of_one_class, *few]:
        path.unlink()
    places = {"data_root": str(root), "output_root": str(tmp_path / "outputs")}
    kernel.train(run_name="07", batch_size=64, **places)
    table = read_table(tmp_path / "outputs/scores/fan/07.csv")
    assert set(table["run_name"]) == {"07"} and len(table) == 12
    kernel.run("06_evaluation", end="results_mixed.csv", **places)
    results = pd.read_csv(tmp_path / "outputs/evaluation/results.csv")
    assert results["auc"].isna().tolist() == (results["domain"] == "source").tolist()


def test_a_detector_is_made_without_any_test_clip_but_not_evaluated(kernel, fails, root, tmp_path):
    for folder in root.glob("*/*_test"):
        shutil.rmtree(folder)
    kernel.run("05_density", end="run.complete(", data_root=str(root), output_root=str(tmp_path / "outputs"))
    assert set(read_table(tmp_path / "outputs/scores/fan/ae.csv")["split"]) == {"train"}
    fails("machine_type: fan has no test clips, so there is nothing to evaluate", "06_evaluation")


def test_clips_of_unknown_domain_are_evaluated_all_together(kernel, root, tmp_path):
    clips = clips_table(root).assign(domain="")
    clips.to_csv(root / "clips.csv", index=False)
    for name in ("aux", "ae"):
        write_scores(run_table(clips, name, method=name), tmp_path)
    kernel.run("06_evaluation", end="and report.html in", data_root=str(root), output_root=str(tmp_path))
    board = pd.read_csv(tmp_path / "evaluation/leaderboard.csv").set_index("system")
    assert board["official score"].isna().all() and board.loc["aux", "mixed"] > 40


# ------------------------------------------------------------------------------------------- what earlier work has left


class Code:
    """Runs when a file with it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return self.path.touch, ()


DAMAGES = {
    "cut short": (lambda path: os.truncate(path, path.stat().st_size - 200), "cannot be read: cut short"),
    "foreign": (lambda path: torch.save({"a": 1}, path), "its format is None|the state of another training"),
    "code": (lambda path: torch.save({"a": Code(path.with_name("ran"))}, path), "not opened: .* perhaps code"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_detector_is_refused_by_the_notebooks_and_on_the_command_line(fails, finished, good, damage):
    spoil, said = DAMAGES[damage]
    (path,) = finished.glob("mlartifacts/*/artifacts/detector.pt")
    whole = path.read_bytes()
    spoil(path)
    try:
        places = {"data_root": str(good), "output_root": str(finished)}
        for name, end in (("03_aux", "= run.detector("), ("04_ccsa", "")):
            fails(rf"run {path.parts[-3]}: .*detector\.pt: ({said}).*`retrain` forces a new run", name, end, **places)
        told = CliRunner().invoke(main, ["score", str(path), str(good / TRAIN), "--section", "0"])
        assert told.exit_code == 1 and re.search(rf"^Error: {path}: ({said})", told.output)
        assert not path.with_name("ran").exists()
    finally:
        path.write_bytes(whole)


def test_a_damaged_state_of_a_half_done_training_is_told_and_can_be_deleted(kernel, fails, finished, good):
    half = {"data_root": str(good), "output_root": str(finished), "run_name": "half", "end": "in fit("}
    kernel.run("03_aux", **half)
    (path,) = finished.glob("runs/fan/*/training.pt")
    whole = path.read_bytes()
    for spoil, said in DAMAGES.values():
        path.write_bytes(whole)
        spoil(path)
        fails(rf"{path}: .*({said}).*delete it to start again", **half)
    assert not path.with_name("ran").exists()
    path.unlink()
    kernel.run("03_aux", **half)


@pytest.mark.parametrize("file", ["frames.i16", "clips.csv", "statistics.npy"])
def test_damaged_log_mels_are_told_and_made_anew_once_they_are_removed(kernel, fails, root, tmp_path, file):
    places = {"data_root": str(root), "output_root": str(tmp_path / "outputs")}
    kernel.run("03_aux", **places)
    (path,) = tmp_path.glob(f"outputs/features/*/fan/*/{file}")
    os.truncate(path, 10)
    fails(f"{path.parent}: damaged; remove the folder")
    shutil.rmtree(path.parent)
    kernel.run("03_aux", **places)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a score table"),
        (b"\xff\xfe\x00", "cannot be read as a score table"),
        (b"a,b\n1,2\n", "not a score table: no column"),
        (None, "line 3: no split, clip, score; is the file cut short"),
    ],
    ids=["empty", "binary", "foreign", "cut short"],
)
def test_a_damaged_score_table_is_named(fails, finished, good, content, said):
    path = finished / "scores/fan/aux.csv"
    whole = path.read_bytes()
    path.write_bytes(b"\n".join([*whole.split(b"\n")[:2], b"fan,0,so"]) if content is None else content)
    try:
        for name in ("04_ccsa", "06_evaluation"):
            fails(f"{path}.*{said}", name, data_root=str(good), output_root=str(finished))
    finally:
        path.write_bytes(whole)


def test_a_run_to_start_from_must_be_there(fails, finished):
    fails("run_id: there is no run 0{32} in the store", "04_ccsa", run_id="0" * 32, output_root=str(finished))
    fails(r"run_id: is empty, and there is no .*/aux\.csv .* run 03_aux first", "04_ccsa")
    fails("run_id: 'latest' is not allowed", "04_ccsa", run_id="latest")


def test_a_file_that_is_no_database_is_told(fails, tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/mlflow.db").write_text("no database")
    fails(r"mlflow\.db: the store of runs cannot be opened .*not a database", end="run = open_run")


# ---------------------------------------------------------------------------------------------------------- a full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_full_at_any_moment_is_told_and_with_more_space_the_run_ends_well(kernel, fails, root, disk):
    places = {"data_root": str(root), "output_root": str(disk / "outputs")}

    def full(kilobytes_left: int) -> None:
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 1024 * kilobytes_left))

    full(50)
    fails("fan: the log-mels cannot be written there .No space left", **places)
    (disk / "ballast").unlink()
    kernel.run("03_aux", **places)
    full(200)
    fails(r"mlflow\.db: the store of runs cannot be opened .* full", end="run = open_run", **places)
    (disk / "ballast").unlink()
    kernel.run("03_aux", end="run = open_run", **places)
    full(20)
    fails(r"training\.pt: the state of the training cannot be written; is the disk full", end="in fit(", **places)
    (disk / "ballast").unlink()
    kernel.run("03_aux", end="in fit(", **places)
    full(100)
    with pytest.raises(CellError, match=f"No space left on device.*{disk}"):
        kernel.train(**places)
    assert not (disk / "outputs/scores").exists()
    (disk / "ballast").unlink()
    kernel.train(**places)
    assert len(read_table(disk / "outputs/scores/fan/aux.csv")) == 16


# ----------------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("mini {file}", "'{file}' is a file"),
        ("mini {file}/below", "File exists: '{file}'"),
        ("mini {good}", "{good}: is there and is no embedded data set"),
        ("mini {tmp} --duration 0", "duration: 0.0; allowed are 0.2 to 60"),
        ("download {file}/below", "{file}/below"),
        ("download {tmp} --machines toaster", "machines: .*toaster.*allowed: fan"),
        ("evaluate {tmp}/absent --ground-truth {tmp} --out {tmp}/out.csv", "{tmp}/absent: no such folder"),
        ("evaluate {good} --ground-truth {good} --out {tmp}/out.csv", "{good}: no ground_truth_"),
        ("score {good}/{wav} {good}/{wav} --section 0", "{wav}: .*another kind of file"),
        ("score {detector} {good}/{wav} --section 1", "section 1 is unknown .*allowed: .0, 3, 7"),
        ("score {detector} {tmp} --section 0", "{tmp}: no recordings in this folder"),
    ],
)
def test_a_command_ends_with_a_message_never_with_a_traceback(command, said, good, detector, tmp_path):
    (tmp_path / "file").touch()
    names = {"file": tmp_path / "file", "tmp": tmp_path, "good": good, "detector": detector, "wav": TRAIN}
    told = CliRunner().invoke(main, shlex.split(command.format(**names)))
    assert told.exit_code in (1, 2) and isinstance(told.exception, SystemExit), told.exception
    assert re.search(f"Error: .*{said.format(**names)}", told.output), told.output


def test_doctor_says_what_is_wrong_with_the_data(tmp_path):
    told = CliRunner().invoke(main, ["doctor", "--data-root", str(tmp_path), "--output-root", str(tmp_path)])
    assert told.exit_code == 0 and f"data_root: no clips in {tmp_path}" in told.output and "make run" in told.output


def next_command(root: Path) -> str:
    """What doctor recommends, as a shell would split it."""
    printed = CliRunner().invoke(main, ["doctor", "--data-root", str(root), "--output-root", str(root / "outputs")])
    assert printed.exit_code == 0
    return printed.output.splitlines()[-1]


@pytest.mark.parametrize(("sections", "notebook"), [((0, 1), "03_aux"), ((4,), "05_density")])
def test_doctor_recommends_a_method_that_works_with_the_sections_that_there_are(tmp_path, sections, notebook):
    root = make(tmp_path / "my data", ("fan",), sections)
    command = next_command(root)
    assert f"papermill notebooks/{notebook}.ipynb" in command and "-p machine_type fan" in command
    assert shlex.split(command)[-1] == str(root)


def test_doctor_says_that_there_is_nothing_to_train_on(tmp_path):
    root = make(tmp_path / "data", ("fan",), (0,))
    for path in root.glob("fan/train/*_source_*"):
        path.unlink()
    assert "add train clips" in next_command(root)


# ---------------------------------------------------------------------------------------- commands of the README, as is

README = (PROJECT / "README.md").read_text()
PATH = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def test_own_recordings_go_through_papermill_as_the_readme_says(tmp_path):
    """Its clips.csv and its command, in a shell; the notebook without its toys, and with few epochs."""
    table = re.search(r"\n\n((?: {6}.*\n)+)", README[README.index("Your own recordings") :]).group(1)
    (tmp_path / "DIR").mkdir()
    (tmp_path / "DIR/clips.csv").write_text(table := re.sub("(?m)^ +", "", table))
    paths = [line.partition(",")[0] for line in table.splitlines()[1:]]
    for i, path in enumerate(paths):
        written(tmp_path / "DIR" / path, noise(32000 + i))
    notebook = nbformat.read(PROJECT / "notebooks/05_density.ipynb", as_version=4)
    toys, data = (next(i for i, cell in enumerate(notebook.cells) if text in cell.source) for text in TOYS_OF_05)
    del notebook.cells[toys:data]
    (defaults,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    defaults.source, n = re.subn(r"max_epochs: int = \d+", "max_epochs: int = 2", defaults.source)
    assert n == 1
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks/05_density.ipynb")
    command = re.search(r"`(papermill notebooks/05_density\.ipynb .*)`", README).group(1)
    place = os.environ | PATH | {"ASD_OUTPUT_ROOT": str(tmp_path / "outputs"), "HOME": str(tmp_path)}
    told = subprocess.run(command, shell=True, cwd=tmp_path, env=place, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-3000:]
    assert sorted(read_table(tmp_path / "outputs/scores/press/ae.csv")["clip"]) == sorted(paths)


@pytest.fixture(scope="module")
def service(finished: Path) -> Iterator[str]:
    """The finished run's model, served by the README's command; where it takes requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (command,) = re.findall(r"^ +(MLFLOW_TRACKING_URI=\S+ mlflow models serve .*)$", README, re.MULTILINE)
    (detector,) = finished.glob("mlartifacts/*/artifacts/detector.pt")
    for said, meant in (("outputs/mlflow.db", f"{finished}/mlflow.db"), ("<run_id>", detector.parts[-3])):
        assert said in command
        command = command.replace(said, meant)
    command = re.sub(r"-p \d+", f"-p {port}", command)
    with (finished / "served.txt").open("w") as log:
        process = subprocess.Popen(
            command, shell=True, cwd=finished, env=os.environ | PATH, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1)
                break
            except OSError:
                assert process.poll() is None, (finished / "served.txt").read_text()[-3000:]
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def asked(service: str, *rows: dict) -> tuple[int, dict]:
    """Status and answer of a request."""
    body = json.dumps({"dataframe_records": rows}).encode()
    request = urllib.request.Request(service, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def test_a_served_model_says_of_waveforms_what_asd_score_says_of_their_files(service, finished, good):
    (detector,) = finished.glob("mlartifacts/*/artifacts/detector.pt")
    paths = [str(good / TRAIN), str(good / TEST)]
    waveforms = [soundfile.read(path)[0].tolist() for path in paths]
    status, answer = asked(service, *({"waveform": waveform, "section": 0} for waveform in waveforms))
    told = CliRunner().invoke(main, ["score", str(detector), *paths, "--section", "0"]).stdout.splitlines()
    expected = [(row["score"], row["p_value"], row["decision"]) for row in csv.DictReader(told)]
    assert status == 200
    for row, (score, p_value, verdict) in zip(answer["predictions"], expected, strict=True):
        assert row["score"] == pytest.approx(float(score), rel=1e-4)
        assert row["p_value"] == pytest.approx(float(p_value), rel=1e-3)
        assert row["anomalous"] == (verdict == "anomalous")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"waveform": "{wav}", "section": 0}, "Expected data to be list or numpy array, got str"),
        ({"waveform": ["{wav}"], "section": 0}, "Can not safely convert str to float64"),
        ({"waveform": {"path": "{wav}"}, "section": 0}, "got dict"),
        ({"path": "{wav}", "section": 0}, r"missing inputs \['waveform'\]"),
        ({"waveform": [0.1] * 9000, "section": "{wav}"}, "Failed to convert column section"),
        ({"waveform": [[0.1, 0.1]] * 9000, "section": 0}, "Failed to convert column waveform"),
        ({"waveform": [0.1, None] * 9000, "section": 0}, "waveform: allowed is one channel of finite samples"),
        ({"waveform": [0.1] * 1000, "section": 0}, "the waveform has 1000 samples; one frame takes 1024"),
        ({"waveform": [], "section": 0}, "the waveform has 0 samples"),
        ({"waveform": [0.1] * 9000, "section": 0.7}, "section: 0.7; allowed: a whole number"),
        ({"waveform": [1e30] * 9000, "section": 0}, "samples reach 1e.30; allowed: ±1"),
        ({"waveform": [0.1] * 9000, "section": 5}, r"section 5 is unknown to this detector; allowed: \[0, 1\]"),
    ],
    ids=[
        "path",
        "list of paths",
        "dictionary",
        "column",
        "section",
        "stereo",
        "NaN",
        "short",
        "empty",
        "fraction",
        "loud",
        "unknown",
    ],
)
def test_a_served_model_takes_waveforms_only_and_says_what_is_wrong(service, good, row, said):
    status, answer = asked(service, json.loads(json.dumps(row).replace("{wav}", str(good / TRAIN))))
    assert status == 400 and "predictions" not in answer
    assert re.search(said, answer["message"])
    assert "stack_trace" not in answer
