"""Is everything there? What ``asd doctor`` looks at, and the command to type next."""

import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from asd.data.clips import clips_table
from asd.errors import InputError
from asd.paths import default_data_root, default_output_root

STORE_BYTES = 2 * 311 * 128  # of the log-mel frames of a 10 s clip


def examine(data_root: Path | None = None, output_root: Path | None = None) -> Iterator[tuple[str, str]]:
    """Yield (what, finding) for software, device, data, disk, log-mel store and runs, and last the next command."""
    data, outputs = data_root or default_data_root(), output_root or default_output_root()
    yield "versions", ", ".join(f"{name} {version(name)}" for name in ("asd", "torch", "torchaudio", "mlflow"))
    yield "device", device()
    commands = []
    try:
        clips = clips_table(data)
    except InputError as error:
        yield "data", str(error)
        commands.append("make run, or asd download DIR and export ASD_DATA_ROOT=DIR")
    else:
        counts = clips.groupby("machine_type").size()
        listed = ", ".join(f"{name} {n}" for name, n in counts.items())
        yield "data", f"{len(clips)} clips in {data}: {listed}"
        needed = len(clips) * STORE_BYTES / 1e9
        yield "log-mel store", f"{stored(outputs)}; all clips at 10 s take {needed:.1f} GB"
        commands.append(
            f"papermill notebooks/03_aux.ipynb out.ipynb -p machine_type {counts.idxmax()} -r data_root {data}"
        )
    place = next(folder for folder in (outputs, *outputs.parents) if folder.is_dir())
    yield "disk", f"{shutil.disk_usage(place).free / 1e9:.1f} GB free at {outputs}"
    yield (
        "scores",
        ", ".join(sorted(str(p.relative_to(outputs / "scores")) for p in outputs.glob("scores/*/*.csv"))) or "none",
    )
    yield "next", commands[0]


def device() -> str:
    """The GPUs that torch can use, or why there are none."""
    import torch  # seconds to import: only here

    if torch.version.cuda is None:
        return "CPU only: this torch has no CUDA"
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found = ", ".join(f"{one.name} with {one.total_memory / 2**30:.0f} GiB" for one in names)
    return found or f"CPU only: torch is for CUDA {torch.version.cuda}, but finds no GPU (nvidia-smi tells of drivers)"


def stored(outputs: Path) -> str:
    """What the log-mel store holds."""
    shards = list(outputs.glob("features/*/*/*/frames.i16"))
    size = sum(path.stat().st_size for path in shards)
    names = sorted({path.parts[-3] for path in shards})
    return f"{len(shards)} shards, {size / 1e9:.2f} GB ({', '.join(names)})" if shards else "empty"
