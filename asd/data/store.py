"""The log-mel store: the frames of a machine type's clips, computed once and mapped into memory by all processes.

A *shard* holds one machine type at one feature setting: a file of 16-bit frames, clip after clip, and a table that says
where each clip's frames lie. A shard's folder is named by what it was made from (names, sizes and times of the wav
files), built beside its place and renamed into it, and never changed: it is right, or it is not there.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from asd.data.features import FeatureSettings, as_float, from_fixed, log_mel, read_wav, to_fixed
from asd.errors import InputError

VERSION = 1  # of the layout of a shard
COLUMNS = {"path": str, "start": int, "length": int, "rms": float, "samples": int, "digest": str}
LOUDEST = 127  # dB: what 16 bits hold; full scale is far below, so what is louder was never in ±1


@dataclass(frozen=True)
class Shard:
    """The frames of one machine type.

    Attributes:
        machine_type: its name.
        features: how the frames were computed.
        frames: (all clips' frames, n_mels) int16, mapped, fixed point as in :func:`asd.data.features.to_fixed`.
        table: indexed by path: ``start`` (first row of ``frames``), ``length`` (in frames), ``rms`` (of the waveform in
            ±1), ``samples``, ``digest`` (of the samples).
        statistics: (clips, 2, n_mels): mean and mean square of each clip's frames, in dB and dB².
    """

    machine_type: str
    features: FeatureSettings
    frames: np.ndarray
    table: pd.DataFrame
    statistics: np.ndarray

    def frames_of(self, path: str) -> np.ndarray:
        """The frames of one clip in dB, (frames, n_mels)."""
        start, length = self.table.loc[path, ["start", "length"]].astype(int)
        return from_fixed(torch.from_numpy(self.frames[start : start + length])).numpy()

    def statistics_of(self, paths: pd.Series) -> np.ndarray:
        """Rows of ``statistics`` for the given clips."""
        return self.statistics[self.table.index.get_indexer(list(paths))]

    def check_not_silent(self, paths: pd.Series) -> None:
        """Ensure that all of these clips can be scaled to RMS 1.

        Raises:
            InputError: names one that is digital silence.
        """
        clips = self.table.loc[list(paths)]
        silent = clips.index[clips["rms"] == 0]
        if len(silent):
            raise InputError(f"{silent[0]}: digital silence cannot be scaled to RMS 1 (normalize_waveform)")

    def fingerprint(self, paths: pd.Series) -> str:
        """Sixteen hex digits that change with the names or the contents of the clips."""
        digests = self.table.loc[sorted(paths), "digest"]
        return hashlib.sha256("\n".join(f"{p} {d}" for p, d in digests.items()).encode()).hexdigest()[:16]


def open_shard(
    clips: pd.DataFrame,
    data_root: Path | str,
    machine_type: str,
    features: FeatureSettings,
    folder: Path | str,
    progress: Callable[[str], None] = lambda line: None,
) -> Shard:
    """Map the shard of ``machine_type``; build it first where it is not there, or the wav files have changed.

    Args:
        clips: the clips table; all clips of the machine type become part of the shard.
        data_root: what the table's paths are relative to.
        folder: where the store lies.
        progress: called with a line of text now and then while building.

    Raises:
        InputError: wav files that cannot be used (all of them are named), or a store that cannot be written.
    """
    root = Path(data_root).expanduser().resolve()
    paths = sorted(clips.loc[clips["machine_type"] == machine_type, "path"])
    place = Path(folder) / features.key / machine_type / signature(root, paths)
    for _ in range(3):
        try:
            if not place.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(place.parent / "lock"):
                    if not place.is_dir():
                        build(place, root, paths, features, lambda line: progress(f"{machine_type}: {line}"))
        except OSError as error:
            gigabytes = len(paths) * features.frames(10) * features.n_mels * 2 / 1e9
            raise InputError(
                f"{place.parent}: the log-mels cannot be written there ({error.strerror or error}); those of"
                f" {len(paths)} clips of 10 s take {gigabytes:.1f} GB"
            ) from error
        try:
            return mapped(place, machine_type, features)
        except (FileNotFoundError, ValueError) as error:
            reason = error  # another process has found the wav files changed, and is taking the shard away: once more
    raise InputError(f"{place}: damaged; remove the folder, and it is made anew ({reason})") from reason


def mapped(place: Path, machine_type: str, features: FeatureSettings) -> Shard:
    """Map a shard that is there."""
    table = pd.read_csv(place / "clips.csv", dtype=COLUMNS, keep_default_na=False, usecols=list(COLUMNS))
    table = table.set_index("path")
    shape = (int(table["length"].sum()), features.n_mels)
    # copy-on-write: torch wants a writable array, and nobody can write into the file
    frames = np.memmap(place / "frames.i16", dtype=np.int16, mode="c", shape=shape)
    return Shard(machine_type, features, frames, table, np.load(place / "statistics.npy", mmap_mode="r"))


def signature(root: Path, paths: list[str]) -> str:
    """What a shard is made from: names, sizes and modification times of the wav files (no file is opened).

    Raises:
        InputError: a file that is not there.
    """
    digest = hashlib.sha256(f"{VERSION} {root}".encode())
    for path in paths:
        try:
            status = os.stat(f"{root}/{path}")
        except OSError as error:
            raise InputError(f"{root}/{path}: cannot be read ({error.strerror})") from error
        digest.update(f"\n{path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def build(place: Path, root: Path, paths: list[str], features: FeatureSettings, progress: Callable) -> None:
    """Compute the frames of ``paths`` into the folder ``place``, which appears when all is done."""
    for stale in place.parent.glob(".*.tmp"):  # of a killed build: we hold the lock
        shutil.rmtree(stale)
    unfinished = place.with_name(f".{place.name}.tmp")
    try:
        unfinished.mkdir()
        # filled in place: small arrays of the threads, kept among their large ones, would tear holes into the heap
        rows, statistics = [], np.empty((len(paths), 2, features.n_mels))
        with (unfinished / "frames.i16").open("wb") as file:
            start = 0
            for path, frames, row in computed(root, paths, features):
                file.write(frames)
                statistics[len(rows)] = row.pop("mean"), row.pop("mean_square")
                rows.append({"path": path, "start": start, "length": len(frames)} | row)
                start += len(frames)
                if len(rows) % 500 == 0:
                    progress(f"log-mels of {len(rows)} of {len(paths)} clips")
        table = pd.DataFrame(rows).set_index("path")
        silent = table.index[table["rms"] == 0].tolist()
        if silent:
            warnings.warn(f"{len(silent)} clips are digital silence: {silent[:5]}", stacklevel=3)
        table.to_csv(unfinished / "clips.csv")
        np.save(unfinished / "statistics.npy", statistics)
        (unfinished / "shard.json").write_text(json.dumps({"data_root": str(root), "features": asdict(features)}))
        for written in unfinished.iterdir():  # on disk before the name points to it: a power cut must not empty it
            with written.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for other in place.parent.iterdir():  # what the same data set was before it changed
        described = other / "shard.json"
        if other != place and described.is_file() and json.loads(described.read_text())["data_root"] == str(root):
            os.replace(other, unfinished)  # who opens it now finds it whole or not at all
            shutil.rmtree(unfinished)


def computed(root: Path, paths: list[str], features: FeatureSettings) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Yield (path, fixed-point frames, what else the table holds) in the order of ``paths``.

    Raises:
        InputError: names all wav files that cannot be used, after having looked at every one.
    """

    def compute(path: str) -> tuple[np.ndarray, dict] | InputError:
        try:
            samples = read_wav(root / path, features.sample_rate)
        except InputError as error:
            return error
        if features.n_frames(len(samples)) == 0:
            return InputError(f"{root / path}: {len(samples)} samples; one frame takes {features.n_fft}")
        waveform = as_float(samples)
        frames = log_mel(waveform, features)
        if (loudest := float(frames.max())) > LOUDEST:
            return InputError(f"{root / path}: {loudest:.0f} dB in a mel band; allowed: samples in ±1, up to {LOUDEST}")
        exact = frames.double()
        row = {
            "mean": exact.mean(0).numpy(),
            "mean_square": exact.square_().mean(0).numpy(),
            "rms": float(waveform.double().square().mean().sqrt()),
            "samples": len(samples),
            "digest": hashlib.sha256(samples).hexdigest()[:16],
        }
        return to_fixed(frames).numpy(), row

    faults = []
    threads = torch.get_num_threads()
    few = 16 * threads  # at a time: what waits to be written stays small
    try:
        # a core for each: threads that share out every operation once more would fight for them
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for some in (paths[i : i + few] for i in range(0, len(paths), few)):
                for path, result in zip(some, pool.map(compute, some), strict=True):
                    if isinstance(result, InputError):
                        faults.append(str(result))
                    elif not faults:
                        yield path, *result
    finally:
        torch.set_num_threads(threads)
    if faults:
        more = f"\nand {len(faults) - 20} more" if len(faults) > 20 else ""
        raise InputError(f"{len(faults)} of {len(paths)} wav files cannot be used:\n" + "\n".join(faults[:20]) + more)
