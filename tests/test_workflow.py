"""The graph of notebooks: what it plans, what it repeats and what not, and that a kill loses nothing.

Most tests let the real workflow run notebooks of a few lines, in a project of their own. Each waits while a file
``hold-<run>`` exists, fails while a file ``fail-<machine type>`` exists, and records when it started and ended.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from select import select

import nbformat
import psutil
import pytest
from conftest import PROJECT

sys.path.insert(0, str(PROJECT / "workflow"))
import gpu

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/local"]
RUN_ID = "0000000000000000000000000000001e5"  # a string that papermill's -p would read as a number
PARAMETERS = """# Parameters
machine_type: str = ""
run_name: str = ""
data_root: str = ""
output_root: str = ""
run_id: str = ""
architecture: str = ""
seed: int = 0
level: int = 0"""
WORK = """
import os, time
from pathlib import Path
root, name = Path(os.environ["ASD_OUTPUT_ROOT"]), run_name or NOTEBOOK
def note(what):
    known = [os.getpid(), os.getppid(), os.environ["OMP_NUM_THREADS"], run_id, level]
    with open(root / "journal", "a") as journal:
        print(what, f"{machine_type} {name}", *known, sep=",", file=journal)
note("start")
while (root / f"hold-{name}").exists():
    time.sleep(0.02)
if (root / f"fail-{machine_type}").exists():
    raise ValueError(f"no {machine_type} today")
if run_name:
    table = root / "scores" / machine_type / f"{run_name}.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(f"run_id,level,started_from\\nRUN_ID,{level},{run_id}\\n")
note("end")
"""


def counted(output: str) -> Counter:
    """How many times Snakemake plans each rule."""
    table = re.findall(r"^(?!-)([\w-]+) +(\d+)$", output, re.M)
    return Counter({rule: int(count) for rule, count in table if rule not in ("total", "all")})


class Graph:
    """A project with the real workflow and tiny notebooks."""

    def __init__(self, folder: Path):
        self.folder, self.root = folder, folder / "outputs"
        shutil.copytree(PROJECT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("01_exploration", "02_features", "03_aux", "04_ccsa", "05_density", "06_evaluation"):
            parameters = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
            work = nbformat.v4.new_code_cell(WORK.replace("NOTEBOOK", repr(name)).replace("RUN_ID", RUN_ID))
            notebook = nbformat.v4.new_notebook(cells=[parameters, work])
            notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
            (folder / "notebooks").mkdir(exist_ok=True)
            nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
        (folder / "params" / "test").mkdir(parents=True)
        (self.root / "workflow").mkdir(parents=True)
        (self.root / "workflow" / "prepared").touch()

    def start(self, *config: str, options: tuple[str, ...] = ()) -> subprocess.Popen:
        """Start Snakemake as the Makefile does."""
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--profile",
            "workflow/profiles/local",
            *options,
            "--config",
            *config,
        ]
        roots = {"ASD_OUTPUT_ROOT": str(self.root), "ASD_DATA_ROOT": str(self.folder)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        # a process group of its own, as a terminal would give it
        return subprocess.Popen(command, cwd=self.folder, env=os.environ | roots, start_new_session=True, **pipes)

    def run(self, *config: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run Snakemake to its end: return its exit code and output."""
        process = self.start(*config, options=options)
        output = process.communicate(timeout=300)[0]
        return process.returncode, output

    def plan(self, *config: str) -> Counter:
        """How many times each rule would run."""
        code, output = self.run(*config, options=("--dry-run",))
        assert code == 0, output
        return counted(output)

    def journal(self, what: str = "end") -> list[list[str]]:
        """What the notebooks recorded: name, pid, parent's pid, threads, run_id, level."""
        path = self.root / "journal"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [line.split(",")[1:] for line in lines if line.split(",")[0] == what]

    def ended(self) -> Counter:
        """How many times each notebook finished."""
        return Counter(name for name, *_ in self.journal())


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return Graph(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, str]:
    """A graph of two machine types and a chain of two trainings, after its run, and the output."""
    graph = Graph(tmp_path_factory.mktemp("workflow"))
    (graph.folder / "params" / "test" / "03_aux.yaml").write_text("level: 1\n")
    (graph.folder / "params" / "test" / "03_aux.pump.yaml").write_text("level: 2\n")
    code, output = graph.run(*FINISHED)
    assert code == 0, output
    return graph, output


FINISHED = ("machines=fan pump", "methods=aux ccsa", "params=test", "jobs=2")
CHAIN = ("01_exploration", "02_features", "aux", "ccsa", "06_evaluation")
together = pytest.mark.xdist_group("workflow")  # these share the fixture's result


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


# ---- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "rules"),
    [
        (("machines=all",), ("features", "baseline", "aux", "ccsa", "ae", "made", "maf", "evaluation")),
        # an encoder starts from no run
        (("machines=all", "methods=speech-knn"), ("features", "baseline", "speech-knn", "evaluation")),
    ],
)
def test_methods_are_planned_for_all_seven_machine_types(tmp_path, monkeypatch, config, rules):
    monkeypatch.setenv("ASD_OUTPUT_ROOT", str(tmp_path))
    monkeypatch.delenv("ASD_DATA_ROOT", raising=False)
    command = [*SNAKEMAKE, "--dry-run", "--config", *config]
    process = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert counted(process.stdout) == dict.fromkeys(rules, 7) | {"prepare": 1}


def test_a_sweep_is_a_list_of_seeds(graph):
    plan = graph.plan("methods=aux ccsa", "seeds=0 7")
    assert plan == {"features": 1, "baseline": 1, "aux": 2, "ccsa": 2, "evaluation": 1}


def test_a_method_includes_the_run_it_starts_from(graph):
    assert graph.plan("methods=ccsa") == {"features": 1, "baseline": 1, "aux": 1, "ccsa": 1, "evaluation": 1}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("methods=aux vae", "methods: vae unknown; allowed: aux, ccsa, ae, made, maf"),
        ("params=dcase", "params: there is no folder"),
    ],
)
def test_an_unknown_choice_is_named(graph, config, message):
    code, output = graph.run(config, options=("--dry-run",))
    assert code != 0
    assert message in output


# ---- a run, and what makes it run again ----------------------------------------------------------


@together
def test_each_notebook_ran_once_and_is_stored_under_its_name(finished):
    graph, _ = finished
    assert graph.ended() == {f"{machine} {name}": 1 for machine in ("fan", "pump") for name in CHAIN}
    for machine in ("fan", "pump"):
        assert visible(graph.root / "notebooks" / machine) == {
            f"{name}{suffix}" for name in CHAIN for suffix in (".ipynb", ".log")
        }


@together
def test_a_line_reports_when_a_notebook_starts_and_ends(finished):
    lines = re.findall(r"^\d\d:\d\d:\d\d  (?:fan|pump) (?:aux|ccsa) +(?:started|finished in \d+ s)$", finished[1], re.M)
    assert len(lines) == 8


@together
def test_the_run_to_start_from_is_passed_by_its_id(finished):
    graph, _ = finished
    assert {entry[4] for entry in graph.journal() if entry[0].endswith("ccsa")} == {RUN_ID}


@together
def test_parameter_files_are_merged_from_general_to_specific(finished):
    graph, _ = finished
    levels = {entry[0]: entry[5] for entry in graph.journal() if entry[0].endswith("aux")}
    assert levels == {"fan aux": "1", "pump aux": "2"}


@together
def test_jobs_share_the_cores(finished):
    graph, _ = finished
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {entry[3] for entry in graph.journal()} == {str(share)}


@together
def test_a_second_call_does_nothing(finished):
    graph, _ = finished
    before = graph.journal("start")
    code, output = graph.run(*FINISHED)
    assert code == 0
    assert "Nothing to be done" in output
    assert graph.journal("start") == before


@together
def test_only_what_depends_on_a_changed_parameter_file_runs_again(finished):
    graph, _ = finished
    changed = graph.folder / "params" / "test" / "03_aux.pump.yaml"
    changed.touch()
    assert graph.plan(*FINISHED) == {}, "rewritten, but unchanged"
    kept = changed.read_text()
    changed.write_text("level: 3\n")
    try:
        assert graph.plan(*FINISHED) == {"aux": 1, "ccsa": 1, "evaluation": 1}
    finally:
        changed.write_text(kept)


@together
def test_a_new_parameter_file_counts(finished):
    graph, _ = finished
    new = graph.folder / "params" / "test" / "04_ccsa.fan.yaml"
    new.write_text("level: 5\n")
    try:
        assert graph.plan(*FINISHED) == {"ccsa": 1, "evaluation": 1}
    finally:
        new.unlink()


@together
def test_another_method_leaves_finished_ones_alone(finished):
    graph, _ = finished
    plan = graph.plan("machines=fan pump", "methods=aux ccsa maf", "params=test")
    assert plan == {"maf": 2, "evaluation": 2}


# ---- faults --------------------------------------------------------------------------------------


def test_a_machine_type_that_fails_does_not_stop_the_others(graph):
    (graph.root / "fail-pump").touch()
    config, options = ("machines=pump fan", "methods=aux"), ("--until", "aux")
    code, output = graph.run(*config, options=options)
    assert code != 0
    assert graph.ended() == {"fan 02_features": 1, "fan aux": 1}
    assert re.search(r"pump 02_features +FAILED after \d+ s: ValueError: no pump today", output)
    pump = graph.root / "notebooks" / "pump"
    assert visible(pump) == {"02_features.failed.ipynb", "02_features.log"}
    cells = json.loads((pump / "02_features.failed.ipynb").read_text())["cells"]
    assert any("no pump today" in json.dumps(cell.get("outputs")) for cell in cells)
    assert (pump / "02_features.log").read_text().splitlines()[-1] == "ValueError: no pump today"

    (graph.root / "fail-pump").unlink()
    code, output = graph.run(*config, options=options)
    assert code == 0, output
    assert graph.ended() == {f"{machine} {name}": 1 for machine in ("fan", "pump") for name in ("02_features", "aux")}
    assert visible(pump) == {"02_features.ipynb", "02_features.log", "aux.ipynb", "aux.log"}


@pytest.mark.parametrize("victim", ["kernel", "notebook", "snakemake", "all, by Ctrl-C"])
def test_after_a_kill_the_next_call_does_what_is_missing_and_nothing_twice(graph, victim):
    options = ("--until", "aux")
    (graph.root / "hold-aux").touch()
    snakemake = graph.start("methods=aux", options=options)
    wait_for(lambda: len(graph.journal("start")) == 2)
    _, kernel, notebook, *_ = graph.journal("start")[-1]
    if victim in (processes := {"kernel": int(kernel), "notebook": int(notebook), "snakemake": snakemake.pid}):
        os.kill(processes[victim], signal.SIGKILL)
    else:
        os.killpg(snakemake.pid, signal.SIGINT)
    snakemake.communicate(timeout=120)
    assert snakemake.returncode != 0
    wait_for(lambda: not psutil.pid_exists(int(kernel)))
    wait_for(lambda: not psutil.pid_exists(int(notebook)))
    assert not (graph.root / "notebooks" / "fan" / "aux.ipynb").exists()
    assert not (graph.root / "scores" / "fan" / "aux.csv").exists()

    (graph.root / "hold-aux").unlink()
    code, output = graph.run("methods=aux", options=options)
    assert code == 0, output
    assert graph.ended() == {"fan 02_features": 1, "fan aux": 1}
    assert visible(graph.root / "notebooks" / "fan") == {"02_features.ipynb", "02_features.log", "aux.ipynb", "aux.log"}


def test_two_calls_at_once_do_not_interfere(graph):
    (graph.root / "hold-02_features").touch()
    options = ("--until", "features")
    first = graph.start(options=options)
    wait_for(lambda: graph.journal("start") != [])
    code, output = graph.run(options=options)
    assert code != 0
    assert "another Snakemake is running" in output
    (graph.root / "hold-02_features").unlink()
    output = first.communicate(timeout=300)[0]
    assert first.returncode == 0, output
    assert graph.ended() == {"fan 02_features": 1}


# ---- the lease of a GPU --------------------------------------------------------------------------

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
import gpu
from pathlib import Path
with gpu.lease(sys.argv[3].split(), int(sys.argv[4]), Path(sys.argv[2])) as name:
    print(name, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path) -> Iterator[Callable[[str, int], subprocess.Popen]]:
    """Start processes that lease one of the named GPUs until they receive a line."""
    started = []

    def start(names: str, jobs_per_gpu: int) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDER, str(PROJECT / "workflow"), str(tmp_path), names, str(jobs_per_gpu)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_job_gets_its_own_gpu_and_a_killed_one_returns_it(holder, tmp_path):
    jobs = [holder("0 1", 1) for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in jobs) == ["0", "1"]
    waiting = holder("0 1", 1)
    time.sleep(2)
    assert select([waiting.stdout], [], [], 0)[0] == [], "it got a slot, although all were taken"
    jobs[0].kill()
    assert waiting.stdout.readline() != ""


def test_several_jobs_share_a_gpu_only_when_all_have_one(holder):
    first = [holder("0 1", 2).stdout.readline().strip() for _ in range(2)]
    second = [holder("0 1", 2).stdout.readline().strip() for _ in range(2)]
    assert sorted(first) == sorted(second) == ["0", "1"]


def test_a_preset_choice_of_gpus_is_respected(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert gpu.devices() == ["3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.devices() == []


def test_a_gpu_that_is_divided_is_leased_by_its_instances(tmp_path, monkeypatch):
    lines = (
        "GPU 0: NVIDIA T4 (UUID: GPU-5c89852c)",
        "GPU 1: NVIDIA H100 (UUID: GPU-b8ea3855)",
        "  MIG 3g.40gb     Device  0: (UUID: MIG-c7384736)",
        "  MIG 3g.40gb     Device  1: (UUID: MIG-a28ad590)",
        "GPU 10: NVIDIA T4 (UUID: GPU-2ac76354)",
    )
    program = tmp_path / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines)]))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu.devices() == ["0", "MIG-c7384736", "MIG-a28ad590", "10"]
    program.write_text("#!/bin/sh\necho no driver\nexit 9")
    assert gpu.devices() == []
