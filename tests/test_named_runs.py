"""From a training to a tool: a finished run is found by its name or id, and scores as its score table says.

The README's commands run here as they stand, in a folder with the files that they name.
"""

import csv
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from click.testing import CliRunner
from conftest import PROJECT
from notebook_process import NotebookProcess

from asd.cli import main
from asd.evaluation.score_table import read_table, write_table
from asd.tracking.mlflow_store import Store

pytestmark = pytest.mark.xdist_group("named runs")  # they share a training

TINY = {
    "machine_type": "fan", "base_channels": 2, "batch_size": 4, "validation_fraction": 0.4, "max_epochs": 1,
    "rampdown_start": 0, "device": "cpu", "proxy_outliers": "none",
}  # fmt: skip


def run(*arguments: object):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(two_machines, tmp_path_factory) -> Path:
    """An output root with the finished runs aux and second of the machine type fan; no test changes it."""
    outputs = tmp_path_factory.mktemp("outputs")
    for changed in ({}, {"run_name": "second", "seed": 1}):
        parameters = TINY | {"data_root": str(two_machines), "output_root": str(outputs)} | changed
        notebook = PROJECT / "notebooks" / "03_aux.ipynb"
        code, _, err = NotebookProcess(notebook, parameters, outputs / "home", "never", "SIGKILL").wait()
        assert code == 0, err[-3000:]
    return outputs


@pytest.fixture(scope="module")
def table(trained):
    return read_table(trained / "scores" / "fan" / "aux.csv")


@pytest.fixture(autouse=True)
def output_root(trained, monkeypatch):
    monkeypatch.setenv("ASD_OUTPUT_ROOT", str(trained))


def test_a_run_scores_recordings_as_its_score_table_says_whatever_it_is_called_by(trained, two_machines, table):
    run_id = table["run_id"][0]
    (file,) = trained.glob(f"mlartifacts/{run_id}/artifacts/detector.pt")
    clips = table.iloc[::9]
    for name in ("fan/aux", run_id, file):
        told = run("score", name, *(two_machines / clip for clip in clips["clip"]))
        assert told.exit_code == 0, told.output
        rows = list(csv.DictReader(told.stdout.splitlines()))
        assert [row["file"] for row in rows] == [str(two_machines / clip) for clip in clips["clip"]]
        np.testing.assert_allclose([float(row["score"]) for row in rows], clips["score"], rtol=1e-4, atol=1e-4)
        assert [(int(row["section"]), row["section_from"]) for row in rows] == [(s, "name") for s in clips["section"]]


def test_a_folder_stands_for_all_recordings_in_it(two_machines, table):
    told = run("score", "fan/aux", two_machines / "dev_data" / "fan")
    rows = {row["file"]: float(row["score"]) for row in csv.DictReader(told.stdout.splitlines())}
    expected = {str(two_machines / row.clip): row.score for row in table.itertuples() if "dev_data" in row.clip}
    assert rows == pytest.approx(expected, rel=1e-4, abs=1e-4) and len(rows) == 3 * (7 + 8)


def test_asd_runs_lists_what_asd_score_takes(trained, table):
    told = run("runs", "--machine-type", "fan")
    header, *lines = told.stdout.splitlines()
    assert header.split()[:4] == ["name", "method", "seed", "settings"]
    names = {line.split()[0]: line for line in lines}
    assert set(names) == {"fan/aux", "fan/second"}
    assert table["run_id"][0] in names["fan/aux"] and names["fan/second"].split()[2] == "1"
    assert re.search(r"dev \d+\.\d, eval \d+\.\d", names["fan/aux"])
    wrong = run("runs", "--machine-type", "van")
    assert wrong.exit_code == 1 and "no finished run of 'van'; allowed: fan" in wrong.output


def test_the_official_score_that_is_listed_is_that_of_the_score_table(table):
    from sklearn.metrics import roc_auc_score

    test = table[(table["split"] == "test") & table["clip"].str.startswith("dev_data")]
    values = []
    for _, clips in test.groupby(["section", "domain"]):
        label, score = clips["label"].astype(int), clips["score"]
        full = roc_auc_score(label, score)
        n_normal = int((label == 0).sum())
        hardest = clips[(label == 1) | (score.where(label == 0).rank(ascending=False) <= max(1, int(0.1 * n_normal)))]
        values += [full, roc_auc_score(hardest["label"].astype(int), hardest["score"])]
    expected = len(values) / sum(1 / max(value, sys.float_info.epsilon) for value in values)
    (line,) = [line for line in run("runs").stdout.splitlines() if line.startswith("fan/aux")]
    assert float(re.search(r"dev (\d+\.\d)", line)[1]) == pytest.approx(100 * expected, abs=0.06)


def test_an_unknown_name_or_id_says_which_there_are_the_nearest_first(table):
    told = run("score", "fan/secnod", "x.wav")
    assert told.exit_code == 1 and "allowed: fan/second, fan/aux" in told.output
    run_id = table["run_id"][0]
    told = run("score", ("0" if run_id[0] != "0" else "1") + run_id[1:], "x.wav")
    assert told.exit_code == 1 and f"allowed: {run_id} (fan/aux), " in told.output


def test_a_score_table_without_a_run_has_no_detector(trained, table, tmp_path):
    path = trained / "scores" / "fan" / "foreign.csv"
    write_table(table.assign(run_id="", run_name="foreign"), path)
    try:
        told = run("score", "fan/foreign", "x.wav")
    finally:
        path.unlink()
    assert told.exit_code == 1 and f"{path} was not written by a finished run" in told.output


def test_where_nothing_was_trained_the_commands_say_what_to_type_and_create_nothing(tmp_path):
    empty = tmp_path / "outputs"
    told = run("runs", "--output-root", empty)
    assert told.exit_code == 1 and f"{empty}/mlflow.db" in told.output and "make run MACHINES=fan" in told.output
    told = run("score", "fan/aux", "x.wav", "--output-root", empty)
    assert told.exit_code == 1 and "knows no finished runs" in told.output and "asd runs" in told.output
    assert not empty.exists()


def test_a_name_stands_for_the_run_that_wrote_its_table_and_the_others_keep_their_ids(trained, table):
    store = Store(trained)
    second = read_table(trained / "scores" / "fan" / "second.csv")["run_id"][0]
    store.client.set_tag(second, "run_name", "aux")
    try:
        lines = [line.split() for line in run("runs").stdout.splitlines()[1:]]
    finally:
        store.client.set_tag(second, "run_name", "second")
    assert {line[0]: line[-1] for line in lines} == {"fan/aux": table["run_id"][0], "[fan/aux]": second}


# ---------------------------------------------------------------------------------------- commands of the README, as is

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^ {4,}((?:[^#\n`]*\| )?asd [^#\n]+)", README, re.MULTILINE)
INLINE = re.findall(r"`(asd [a-z]+ [^`]*)`", README)
COMMANDS = [command.strip() for command in dict.fromkeys([*BLOCKS, *INLINE])]
NOT_HERE = {
    "asd download DIR": "fetches 17.7 GiB; test_download.py runs it against a server of its own",
    "asd mini DIR": "takes half a minute at its full size; test_cli.py makes a small one",
}
ARECORD = """#!{python}
import sys
assert sys.argv[1:] == "-t raw -f S16_LE -r 16000 -c 1".split(), sys.argv
import numpy
samples = numpy.random.default_rng(0).normal(scale=1000, size=16000 * 12)
sys.stdout.buffer.write(samples.astype("<i2").tobytes())
"""


@pytest.fixture(scope="module")
def place(trained, two_machines, tmp_path_factory) -> Path:
    """A folder with everything that the README's commands name."""
    folder = tmp_path_factory.mktemp("place")
    noise = np.random.default_rng(0).normal(scale=0.05, size=16000 * 25)
    soundfile.write(folder / "recording.wav", noise[:32000], 16000)
    soundfile.write(folder / "long.wav", noise, 16000)
    (folder / "recordings" / "monday").mkdir(parents=True)
    for i in range(2):
        soundfile.write(folder / "recordings" / "monday" / f"{i}.flac", noise[i * 16000 :][:16000], 16000)
    (detector,) = trained.glob(f"mlartifacts/{read_table(trained / 'scores/fan/aux.csv')['run_id'][0]}/artifacts/*.pt")
    (folder / "detector.pt").symlink_to(detector)
    (folder / "bin").mkdir()
    (folder / "bin" / "arecord").write_text(ARECORD.format(python=sys.executable))
    (folder / "bin" / "arecord").chmod(0o755)
    return folder


def test_the_readme_has_the_commands_that_are_run_here():
    assert len(COMMANDS) >= 8 and set(NOT_HERE) <= set(COMMANDS)


def test_the_lines_of_python_in_the_readme_say_what_asd_score_does(place, trained, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("ASD_OUTPUT_ROOT", str(trained))
    (lines,) = re.findall(r"^    import soundfile\n(?:    .*\n|\n)+", README, re.MULTILINE)
    exec(textwrap.dedent(lines), {})
    printed = capsys.readouterr().out
    row = next(csv.DictReader(run("score", "fan/aux", "recording.wav", "--section", "0").stdout.splitlines()))
    (score,) = re.findall(r"^Decision\(score=([^,]+), ", printed)
    assert float(score) == pytest.approx(float(row["score"]), abs=1e-4)
    assert f"anomalous={row['decision'] == 'anomalous'}" in printed


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in NOT_HERE])
def test_a_command_of_the_readme_runs_as_it_stands(command, place, table, request, monkeypatch):
    monkeypatch.chdir(place)
    if command.startswith("asd evaluate"):
        for name, target in zip(("TEAM_DIR", "DIR"), request.getfixturevalue("submission"), strict=False):
            Path(name).symlink_to(target)
    if "|" in command:
        path = f"{place / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = subprocess.run(command, shell=True, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        code, printed = told.returncode, told.stdout + told.stderr
    else:
        told = run(*shlex.split(command)[1:])
        code, printed = told.exit_code, told.output
    assert code == 0, printed
    for named in re.findall(r"--(?:plot|explain|out) (\S+)", command):
        assert Path(named).stat().st_size > 0
    if command.startswith("asd export"):
        described = onnxruntime.InferenceSession("fan.onnx").get_modelmeta().custom_metadata_map
        assert described["run_id"] == table["run_id"][0] and described["machine_type"] == "fan"
