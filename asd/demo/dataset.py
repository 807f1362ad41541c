"""The embedded data set: a small DCASE 2021 Task 2 with sounds from simple physics, made in seconds on first use.

Layout, names and contents are the challenge's: seven machine types, sections 00–02 under ``dev_data`` and 03–05 under
``eval_data``, train clips of normal sound only, most of the source domain and few of the target domain, test clips of
both; evaluation test clips carry no label, which stands in ``ground_truth/`` alone. Clips are mono, 16 kHz, 16 bit::

    dev_data/fan/train/section_00_source_train_normal_0000_speed_106_load_50.wav
    dev_data/fan/source_test/section_00_source_test_anomaly_0003.wav
    eval_data/fan/target_test/section_03_target_test_0017.wav
    ground_truth/ground_truth_fan_section_03_target_test.csv

Speed and load in a train clip's name are in per cent, of the product's nominal speed and of full load.

It is neither hopeless nor solved. Mean AUC over the sections, source / target, with 100 + 100 test clips in each cell,
as ``benchmarks/mini_difficulty.py`` printed it; in brackets, of 6 + 6 cells, how many lie outside 0.55–0.97::

                classifier           autoencoder
    fan         0.84 / 0.75          0.92 / 0.80
    gearbox     0.87 / 0.78          0.88 / 0.80
    pump        0.79 / 0.68          0.92 / 0.75
    slider      0.85 / 0.71 (0 + 1)  0.91 / 0.77
    ToyCar      0.81 / 0.67 (0 + 1)  0.91 / 0.76 (0 + 1)
    ToyTrain    0.81 / 0.70 (0 + 1)  0.87 / 0.81
    valve       0.87 / 0.84          0.87 / 0.71 (0 + 1)
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock

from asd.demo.machines import MACHINES, record
from asd.demo.physics import SAMPLE_RATE, Setting
from asd.errors import InputError

MACHINE_TYPES = tuple(MACHINES)
SECTIONS = range(6)
CONTENTS = "mini.json"  # in the data set's folder, written last: what it holds
VERSION = 1  # of the sounds: raise it when a change of the code changes a clip

# What shifts between the domains, per section: as in the challenge, each section has its own kind of shift
SHIFTS = ("speed", "load", "background", "microphone", "speed", "background")
SPEEDS = {"source": (0.94, 1.0, 1.06), "target": (1.12, 1.18)}  # relative to the product's nominal speed
LOADS = {"source": (0.4, 0.5, 0.6), "target": (0.75, 0.85)}
BACKGROUNDS = {"source": ("hall", -12.0), "target": ("workshop", -10.0)}
MICROPHONES = {"source": "near", "target": "far"}


@dataclass(frozen=True)
class Clip:
    """What one clip is; together with the seed it determines every sample of it."""

    machine_type: str
    section: int
    domain: str  # "source" or "target"
    split: str  # "train" or "test"
    label: int  # 0 normal, 1 anomalous
    index: int  # among the clips that are alike in all of the above

    @property
    def fault(self) -> str:
        """What is wrong with the machine, "" if nothing: the machine type's faults take turns."""
        faults = MACHINES[self.machine_type].faults
        return faults[self.index % len(faults)] if self.label else ""

    def generator(self, seed: int) -> np.random.Generator:
        """The clip's own random numbers: the same whoever makes it, and whatever else is made."""
        place = (MACHINE_TYPES.index(self.machine_type), self.section, self.domain == "target", self.split == "test")
        return np.random.default_rng([seed, *map(int, place), self.label, self.index])

    def setting(self, rng: np.random.Generator) -> Setting:
        """Draw the clip's conditions: those of its domain in what shifts in its section, of the source in the rest."""
        shift = SHIFTS[self.section]
        domain = {what: self.domain if what == shift else "source" for what in SHIFTS}
        background, level = BACKGROUNDS[domain["background"]]
        return Setting(
            speed=float(rng.choice(SPEEDS[domain["speed"]])),
            load=float(rng.choice(LOADS[domain["load"]])),
            background=background,
            background_db=level,
            microphone=MICROPHONES[domain["microphone"]],
        )

    def attribute(self, setting: Setting) -> str:
        """The conditions as they stand in a train clip's name."""
        text = f"speed_{100 * setting.speed:.0f}_load_{100 * setting.load:.0f}"
        shift = SHIFTS[self.section]
        return text + (f"_{shift}_{getattr(setting, shift)}" if shift in ("background", "microphone") else "")


def sound(clip: Clip, duration: float, seed: int) -> tuple[np.ndarray, str]:
    """The clip's samples, (16 000 · duration,) int16, and its attribute."""
    rng = clip.generator(seed)
    setting = clip.setting(rng)
    samples = record(rng, clip.machine_type, clip.section, setting, round(duration * SAMPLE_RATE), clip.fault)
    return np.round(samples * 32767).astype(np.int16), clip.attribute(setting)


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

    def write(clip: Clip, name: str) -> None:
        samples, attribute = sound(clip, options["duration"], options["seed"])
        name += f"_{attribute}.wav" if clip.split == "train" else ".wav"
        soundfile.write(directory / name, samples, SAMPLE_RATE, subtype="PCM_16")

    # Threads suffice, as numpy leaves Python's lock while it works on arrays of a clip's length; and unlike processes
    # they start from anywhere: a notebook, a test, a script without a main guard
    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(write, *zip(*clips, strict=True)):
                pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    (directory / "ground_truth").mkdir()
    for table, rows in truth.items():
        (directory / "ground_truth" / table).write_text("".join(sorted(rows)))
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
    directory = Path(directory).expanduser().resolve()
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
