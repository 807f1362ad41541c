"""Is everything installed and in place? What ``asd doctor`` examines, and the command to type next."""

import shlex
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from asd.data.clips import clips_table
from asd.errors import InputError
from asd.paths import default_data_root, default_output_root

STORE_BYTES = 2 * 311 * 128  # of the log-mel frames of a 10 s clip

EXTRAS = {  # and what each is for
    "tracking": "mlflow",
    "course": "jupyterlab",
    "graph": "snakemake",
    "export": "onnx",
    "pretrained": "transformers",
}


def examine(data_root: Path | None = None, output_root: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield (what, finding) for software, device, data, log-mel store, disk and scores, last the next command."""
    data, outputs = data_root or default_data_root(), output_root or default_output_root()
    yield "versions", ", ".join(f"{name} {version(name)}" for name in ("asd", "torch", "torchaudio"))
    yield "extras", extras()
    yield "device", device()
    try:
        clips = clips_table(data)
    except InputError as error:
        yield "data", str(error)
        command = "make run, or asd download DIR and export ASD_DATA_ROOT=DIR"
    else:
        listed = ", ".join(f"{name} {n}" for name, n in clips.groupby("machine_type").size().items())
        yield "data", f"{len(clips)} clips in {data}: {listed}"
        gigabytes = len(clips) * STORE_BYTES / 1e9
        yield "log-mel store", f"{stored(outputs)}; all clips at 10 s take {gigabytes:.1f} GB"
        command = first_training(clips, data)
    existing = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    yield "disk", f"{shutil.disk_usage(existing).free / 1e9:.1f} GB free at {outputs}"
    scores = sorted(str(path.relative_to(outputs / "scores")) for path in outputs.glob("scores/*/*.csv"))
    yield "scores", ", ".join(scores) or "none"
    yield "next", command


def first_training(clips: pd.DataFrame, data_root: Path) -> str:
    """The command that trains on the machine type with the most clips, with a method that its sections allow."""
    trained = clips[(clips["split"] == "train") & (clips["domain"] != "target")]
    if trained.empty:
        return "add train clips: there are none, or only of the target domain"
    counts = clips[clips["machine_type"].isin(trained["machine_type"])].groupby("machine_type").size()
    machine_type = counts.idxmax()
    n_sections = trained.loc[trained["machine_type"] == machine_type, "section"].nunique()
    # a classifier of sections needs two of them; density estimation does with one
    notebook = "03_aux" if n_sections > 1 else "05_density"
    root = shlex.quote(str(data_root))
    return f"papermill notebooks/{notebook}.ipynb out.ipynb -p machine_type {machine_type} -r data_root {root}"


def extras() -> str:
    """Which optional extras are installed, each with the version of its main package, and which are not."""
    found, missing = [], []
    for extra, package in EXTRAS.items():
        try:
            found.append(f"{extra} ({package} {version(package)})")
        except PackageNotFoundError:
            missing.append(extra)
    return "; ".join(filter(None, [", ".join(found), f"not installed: {', '.join(missing)}" if missing else ""]))


def device() -> str:
    """The GPUs that torch can use, or why there are none."""
    import torch  # takes seconds: only where it is needed

    if torch.version.cuda is None:
        return "CPU only: this torch has no CUDA"
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = ", ".join(f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus)
    return found or f"CPU only: torch is for CUDA {torch.version.cuda} but finds no GPU (does nvidia-smi list one?)"


def stored(outputs: Path) -> str:
    """What the log-mel store holds."""
    shards = list(outputs.glob("features/*/*/*/frames.i16"))
    size = sum(path.stat().st_size for path in shards)
    names = sorted({path.parts[-3] for path in shards})
    return f"{len(shards)} shards, {size / 1e9:.2f} GB ({', '.join(names)})" if shards else "empty"
