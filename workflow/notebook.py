"""Run one notebook with papermill: its results appear complete or not at all, and a line reports its start and its end.

    python workflow/notebook.py notebooks/03_aux.ipynb OUT.ipynb LOG [--start TABLE] [--jobs-per-gpu N] -- -p seed 1 …

A notebook whose cells have all run becomes OUT.ipynb. A failed one is kept beside it as OUT.failed.ipynb, and the log
ends with the failing cell's error.
"""

import argparse
import csv
import fcntl
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import gpu

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_id(table: Path) -> str:
    """The MLflow run that wrote a score table."""
    with open(table, newline="") as lines:
        return next(csv.DictReader(lines))["run_id"]


def end_with_parent() -> None:
    """End this process when its parent is gone: a killed Snakemake must not leave a notebook running."""
    parent = os.getppid()

    def wait_for_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_parent, daemon=True).start()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait until no other process makes this file: on a cluster, a job may survive its Snakemake."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.stem}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def execute(arguments: list[str]) -> str:
    """Run papermill, printing everything; return the error in one line, or an empty string."""
    from papermill.cli import papermill
    from papermill.exceptions import PapermillExecutionError

    print(shlex.join(["papermill", *arguments]), flush=True)
    try:
        papermill.main([*arguments, "--no-progress-bar", "--log-output"], standalone_mode=False)
    except PapermillExecutionError as error:
        print(f"\ncell {error.exec_count} failed:\n\n{error.source}\n")
        print(ANSI.sub("", "\n".join(error.traceback)))
        problem = f"{error.ename}: {ANSI.sub('', error.evalue)}"
    except Exception as error:  # a killed kernel, a full disk: whatever it is, it must be the last line of the log
        problem = f"{type(error).__name__}: {error}"
    else:
        return ""
    print(f"\n{problem}", flush=True)
    return problem


def main() -> int:
    """Run the notebook given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path, help="the executed notebook")
    parser.add_argument("log", type=Path)
    parser.add_argument("--start", type=Path, help="score table of the run to start from: sets the parameter run_id")
    parser.add_argument("--jobs-per-gpu", type=int, default=0, help="lease one of this machine's GPUs, if any")
    parser.epilog = "papermill's options follow --"
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    given = parser.parse_args(words[:split])
    end_with_parent()
    title, terminal = f"{given.out.parent.name} {given.out.stem}", os.fdopen(os.dup(2), "w")

    def report(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {title:<28} {line}", file=terminal, flush=True)

    with exclusive(given.out), open(given.log, "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        running = given.out.with_name(f".{given.out.stem}.running.ipynb")
        failed = given.out.with_suffix(".failed.ipynb")
        options = [*words[split + 1 :], *(["-r", "run_id", run_id(given.start)] if given.start else [])]
        names = gpu.devices() if given.jobs_per_gpu else []
        with gpu.lease(names, given.jobs_per_gpu) if names else nullcontext("") as device:
            if device:
                os.environ["CUDA_VISIBLE_DEVICES"] = device
            print(f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}", flush=True)
            report("started" + (f" on GPU {device}" if device else ""))
            start = time.monotonic()
            # the kernel starts in the notebook's folder, as it does in JupyterLab
            problem = execute([str(given.notebook), str(running), "--cwd", str(given.notebook.parent), *options])
        seconds = f"{time.monotonic() - start:.0f} s"
        if problem:
            if running.exists():
                running.replace(failed)
            report(f"FAILED after {seconds}: {problem.splitlines()[0][:200]}\n{'':10}see {given.log.absolute()}")
            return 1
        running.replace(given.out)
        failed.unlink(missing_ok=True)
        report(f"finished in {seconds}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
