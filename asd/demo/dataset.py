"""The embedded data set: a small DCASE 2021 Task 2 with sounds from simple physics, made in seconds on first use.

Layout, names and contents are the challenge's: seven machine types, sections 00–02 under ``dev_data`` and 03–05 under
``eval_data``, train clips of normal sound only, most of the source domain and few of the target domain, test clips of
both; evaluation test clips carry no label, which stands in ``ground_truth/`` alone. Clips are mono, 16 kHz, 16 bit::

    dev_data/fan/train/section_00_source_train_normal_0000_speed_106_load_50.wav
    dev_data/fan/source_test/section_00_source_test_anomaly_0003.wav
    eval_data/fan/target_test/section_03_target_test_0017.wav
    ground_truth/ground_truth_fan_section_03_target_test.csv

Speed and load in a train clip's name are in per cent, of the product's nominal speed and of full load.

``faults.csv`` tells what is wrong with every anomalous clip, when (seconds) and where (Hz), with one row per region. It
is for looking, and for measuring explanations; no method reads it::

    path,fault,start,end,low,high
    dev_data/fan/source_test/section_00_source_test_anomaly_0003.wav,rubbing,0.321,0.351,2100,4200

How hard it is to find the faults, ``benchmarks/mini_difficulty.py`` measures.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
from filelock import FileLock

from asd.demo.clips import MACHINE_TYPES, Clip, sound
from asd.demo.physics import SAMPLE_RATE
from asd.errors import InputError
from asd.paths import absolute

SECTIONS = range(6)
CONTENTS = "mini.json"  # in the data set's folder, written last: what it holds
FAULTS = "faults.csv"  # in the data set's folder: what is wrong with each anomalous clip, when and where
VERSION = 3  # of the sounds: raise it when a change of the code changes a clip


def _named_clips(
    machine_type: str, train_source: int, train_target: int, test: int, seed: int
) -> Iterator[tuple[Clip, str]]:
    """All clips of a machine type, each with its path in the data set; train clips' names still lack the attribute."""
    for section in SECTIONS:
        part = "dev_data" if section < 3 else "eval_data"
        for domain, n_train in (("source", train_source), ("target", train_target)):
            start = f"section_{section:02d}_{domain}"
            for i in range(n_train):
                yield (
                    Clip(machine_type, section, domain, "train", 0, i),
                    f"{part}/{machine_type}/train/{start}_train_normal_{i:04d}",
                )
            tests = [Clip(machine_type, section, domain, "test", label, i) for label in (0, 1) for i in range(test)]
            # Evaluation clips are numbered in random order, so that a number says nothing about the label
            order = Clip(machine_type, section, domain, "test", 2, 0).generator(seed).permutation(len(tests))
            for clip, number in zip(tests, order, strict=True):
                label = ("normal", "anomaly")[clip.label]
                name = f"{label}_{clip.index:04d}" if part == "dev_data" else f"{number:04d}"
                yield clip, f"{part}/{machine_type}/{domain}_test/{start}_test_{name}"


def _write(directory: Path, options: dict, workers: int) -> None:
    """Write the whole data set into ``directory``, what it holds last."""
    counts = {key: options[key] for key in ("train_source", "train_target", "test", "seed")}
    clips = [pair for machine_type in options["machine_types"] for pair in _named_clips(machine_type, **counts)]
    needed, free = len(clips) * (44 + 2 * options["duration"] * SAMPLE_RATE), shutil.disk_usage(directory).free
    if needed > free:
        raise InputError(f"{directory.parent}: needs {needed / 1e6:.0f} MB, and the disk has {free / 1e6:.0f} MB left")
    truth: dict[str, list[str]] = {}
    for clip, name in clips:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("eval_data") and clip.split == "test":
            table = f"ground_truth_{clip.machine_type}_section_{clip.section:02d}_{clip.domain}_test.csv"
            truth.setdefault(table, []).append(f"{path.name}.wav,{clip.label}\n")

    def write(clip: Clip, name: str) -> list[tuple]:
        """Write the clip, and return its rows of the table of faults."""
        samples, attribute, regions = sound(clip, options["duration"], options["seed"])
        name += f"_{attribute}.wav" if clip.split == "train" else ".wav"
        soundfile.write(directory / name, samples, SAMPLE_RATE, subtype="PCM_16")
        return [(name, clip.fault, r.start, r.end, r.low, r.high) for r in regions]

    # Threads suffice, as numpy leaves Python's lock while it works on arrays of a clip's length; and unlike processes
    # they start from anywhere: a notebook, a test, a script without a main guard
    with ThreadPoolExecutor(workers) as pool:
        try:
            faults = [row for rows in pool.map(write, *zip(*clips, strict=True)) for row in rows]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    (directory / "ground_truth").mkdir()
    for table, rows in truth.items():
        (directory / "ground_truth" / table).write_text("".join(sorted(rows)))
    lines = ["path,fault,start,end,low,high\n"]
    lines += [f"{name},{fault},{a:.3f},{b:.3f},{low:.0f},{high:.0f}\n" for name, fault, a, b, low, high in faults]
    (directory / FAULTS).write_text("".join(lines))
    (directory / CONTENTS).write_text(json.dumps(options, indent=1) + "\n")


def _complete(directory: Path, options: dict) -> bool:
    """Whether the data set is there; an :class:`InputError` if something else is."""
    try:
        found = json.loads((directory / CONTENTS).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise InputError(
                f"{directory}: is there and is no embedded data set (no {CONTENTS}); name a new folder"
            ) from None
        return False
    if found.get("version") != VERSION:
        raise InputError(
            f"{directory}: holds the embedded data set as version {found.get('version')} of it was, and this is version"
            f" {VERSION} with other sounds; delete the folder (rm -r {directory}), and it is made anew"
        )
    other = [
        f"{key} {found.get(key)!r} (asked for: {value!r})" for key, value in options.items() if found.get(key) != value
    ]
    if other:
        raise InputError(
            f"{directory}: holds an embedded data set with other options: {', '.join(other)}; "
            "ask for the same, name another folder, or delete this one"
        )
    return True


def make(
    directory: Path | str,
    *,
    machine_types: Sequence[str] = MACHINE_TYPES,
    train_source: int = 24,
    train_target: int = 3,
    test: int = 16,
    duration: float = 2.0,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Make the embedded data set in ``directory``, unless it is there already, and return the folder.

    The folder appears whole or not at all. Of two processes that ask for the same folder, one makes it and the other
    waits. The same seed gives the same bytes, clip for clip, whatever the number of workers and whichever other
    machine types or how many clips are asked for.

    Args:
        directory: the data root to be.
        machine_types: which of the seven.
        train_source: normal train clips per section of the source domain.
        train_target: normal train clips per section of the target domain.
        test: normal test clips, and as many anomalous ones, per section and domain.
        duration: seconds a clip.
        seed: another seed, other clips of the same machines.
        workers: threads; the number of cores this process may use if left out.

    Raises:
        InputError: an impossible option, or a folder that holds something else.
    """
    directory = absolute(directory).resolve()
    if isinstance(machine_types, str) or not machine_types or set(machine_types) - set(MACHINE_TYPES):
        raise InputError(f"machine_types: {machine_types!r}; allowed is a list of {', '.join(MACHINE_TYPES)}")
    counts = {"train_source": train_source, "train_target": train_target, "test": test, "seed": seed}
    for name, value in counts.items():
        least, most = (1 if name == "train_source" else 0), (2**32 - 1 if name == "seed" else 10_000)
        if not isinstance(value, int) or not least <= value <= most:
            raise InputError(f"{name}: {value!r}; allowed are whole numbers from {least} to {most}")
    if not 0.2 <= duration <= 60:
        raise InputError(f"duration: {duration!r}; allowed are 0.2 to 60 seconds")
    options = {
        "version": VERSION,
        "machine_types": [m for m in MACHINE_TYPES if m in machine_types],
        **counts,
        "duration": float(duration),
    }
    if _complete(directory, options):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f".{directory.name}.lock")):
        if not _complete(directory, options):  # another process may have made it while this one waited
            partial = directory.with_name(f".{directory.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            partial.mkdir()
            try:
                _write(partial, options, workers or len(os.sched_getaffinity(0)))
                partial.rename(directory)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return directory
