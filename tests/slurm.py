"""The graph on a real Slurm: this machine as the only node, with its own configuration in a temporary folder.

    make test-slurm

Two trainings run side by side; one is cancelled midway. The other continues, and the next call does what is missing and
nothing else. It needs Debian's packages slurmctld, slurmd and munge, which it installs if run as root. It ends only the
processes that it has started.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMANDS, PACKAGES = ("munged", "slurmctld", "slurmd", "sbatch"), ("munge", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
NodeName={host} CPUs={cores} RealMemory={memory} Gres=gpu:2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# parameters of a training that takes seconds
TINY = {"03_aux.yaml": "max_epochs: 2\nbase_channels: 4\n", "06_evaluation.yaml": "resamples: 100\n"}


def install() -> None:
    """Ensure that Slurm's commands are installed."""
    os.environ["PATH"] += ":/usr/sbin"
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        sys.exit(f"missing: {', '.join(missing)}; on Debian, as root: apt-get install {' '.join(PACKAGES)}")
    if missing:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES], check=True)
    if os.geteuid() != 0:
        sys.exit("slurmd must be started by root")


def free_ports(number: int) -> list[int]:
    """TCP ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """A Slurm of one node with two fake GPUs."""
    host, ports = socket.gethostname().partition(".")[0], free_ports(2)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for number in range(2):
        os.mknod(folder / f"gpu{number}", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # like /dev/null
    settings = {"host": host, "ports": ports, "folder": folder, "cores": os.cpu_count(), "memory": memory}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**settings))
    # the plugin removes all of Slurm's variables from a job's environment, so that srun would look only in /etc
    (folder / "bin").mkdir()
    (folder / "bin" / "srun").write_text(
        f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n'
    )
    (folder / "bin" / "srun").chmod(0o755)
    os.environ["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    files = {
        name: f"--{name}-file={folder}/munge.{name.removesuffix('-file')}" for name in ("key", "pid", "log", "seed")
    }
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files.values()]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # they keep logs in the folder
    daemons = [subprocess.Popen(munged, **quiet)]
    try:
        wait_for((folder / "munge.socket").exists, 30, "munged")
        daemons.append(subprocess.Popen(["slurmctld", "-D", "-i"], **quiet))
        daemons.append(subprocess.Popen(["slurmd", "-D"], **quiet))
        wait_for(lambda: "idle" in output_of("sinfo", "--noheader", "-o", "%T"), 60, "an idle node")
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        time.sleep(3)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=60)


def output_of(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True).stdout


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.5)


def main() -> None:
    """Start a cluster, run the graph, cancel a job, and run the graph again."""
    install()
    with tempfile.TemporaryDirectory(prefix="asd-slurm-") as name:
        folder = Path(name)
        for directory in ("outputs", "params"):
            (folder / directory).mkdir()
        for file, text in TINY.items():
            (folder / "params" / file).write_text(text)
        os.environ |= {"ASD_OUTPUT_ROOT": str(folder / "outputs")}
        command = [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/slurm"]
        command += ["--slurm-status-command", "squeue", "--slurm-no-account"]  # there is no accounting here
        command += ["--default-resources", "mem_mb=2000", "runtime=60", "--seconds-between-status-checks", "5"]
        command += ["--config", "methods=aux", "seeds=0 1", "threads=1", f"params={folder / 'params'}"]
        scores, notebooks = folder / "outputs" / "scores" / "fan", folder / "outputs" / "notebooks" / "fan"

        with cluster(folder):
            first = subprocess.Popen(command, cwd=PROJECT)
            training = notebooks / "aux-seed0.log"
            wait_for(lambda: "Executing Cell 1" in log(training) or first.poll() is not None, 900, "the first training")
            jobs = dict(line.split() for line in output_of("squeue", "--noheader", "-o", "%k %i").splitlines())
            cancelled = next(job for comment, job in jobs.items() if "seed0" in comment)
            subprocess.run(["scancel", cancelled], check=True)
            print(f"cancelled Slurm's job {cancelled}", flush=True)
            assert first.wait(timeout=1800) != 0, "a cancelled job counts as done"
            assert not (scores / "aux-seed0.csv").exists()
            assert (scores / "aux-seed1.csv").exists(), "a cancelled job stopped another one"
            logs = [log(notebooks / f"aux-seed{seed}.log") for seed in (0, 1)]
            devices = sorted(next(line for line in text.splitlines() if "CUDA_VISIBLE" in line) for text in logs)
            assert devices == ["CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"], devices
            before = (notebooks / "aux-seed1.ipynb").stat().st_mtime_ns

            assert subprocess.run(command, cwd=PROJECT, timeout=1800).returncode == 0
            assert (scores / "aux-seed0.csv").exists()
            assert (notebooks / "06_evaluation.ipynb").exists()
            assert (notebooks / "aux-seed1.ipynb").stat().st_mtime_ns == before, "a finished job was run again"
            plan = subprocess.run([*command, "--dry-run"], cwd=PROJECT, capture_output=True, text=True)
            assert "Nothing to be done" in plan.stdout + plan.stderr, plan.stdout + plan.stderr
    print("Slurm: a cancelled job did not stop the other, and the next call did what was missing, nothing twice")


def log(path: Path) -> str:
    """A log, as far as it has been written."""
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    main()
