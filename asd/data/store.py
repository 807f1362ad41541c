"""The store of frames: those of a machine type's clips, computed once and mapped into memory by all processes.

A *shard* holds one machine type's frames of one front end (log-mel settings, or an encoder): a file of 16-bit numbers,
clip after clip, and a table that says where each clip's frames are. The folder of a shard is named after what it was
made from: names, sizes and times of the recordings. It is built under another name, then renamed, and never changed. So
it is complete, or it does not exist.
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

from asd.data.features import FrontEnd, as_float
from asd.data.recordings import read_recording
from asd.errors import InputError

VERSION = 1  # of the layout of a shard
COLUMNS = {"path": str, "start": int, "length": int, "rms": float, "samples": int, "digest": str}


@dataclass(frozen=True)
class Shard:
    """The frames of one machine type.

    Attributes:
        machine_type: its name.
        features: how the frames were computed.
        frames: (all clips' frames, width) int16, memory-mapped, as the front end's ``stored`` makes them.
        table: one row per clip, indexed by path: ``start`` (first row of ``frames``), ``length`` (in frames), ``rms``
            (of the waveform in ±1), ``samples`` (their number), ``digest`` (of the samples).
        statistics: (clips, 2, width): mean and mean square of each clip's frames, of log-mels in dB and dB².
    """

    machine_type: str
    features: FrontEnd
    frames: np.ndarray
    table: pd.DataFrame
    statistics: np.ndarray

    def frames_of(self, path: str) -> np.ndarray:
        """The frames of one clip, (frames, width), of log-mels in dB."""
        start, length = self.table.loc[path, ["start", "length"]].astype(int)
        return self.features.restored(torch.from_numpy(self.frames[start : start + length])).numpy()

    def statistics_of(self, paths: pd.Series) -> np.ndarray:
        """Rows of ``statistics`` for the given clips."""
        return self.statistics[self.table.index.get_indexer(list(paths))]

    def check_not_silent(self, paths: pd.Series) -> None:
        """Ensure that all of these clips can be scaled to RMS 1.

        Raises:
            InputError: one of them is digital silence.
        """
        rms = self.table.loc[list(paths), "rms"]
        silent = rms.index[rms == 0]
        if len(silent):
            raise InputError(f"{silent[0]}: digital silence cannot be scaled to RMS 1 (normalize_waveform)")

    def fingerprint(self, paths: pd.Series) -> str:
        """Sixteen hexadecimal digits that change with the names or the contents of the clips."""
        digests = self.table.loc[sorted(paths), "digest"]
        listing = "\n".join(f"{path} {digest}" for path, digest in digests.items())
        return hashlib.sha256(listing.encode()).hexdigest()[:16]


def open_shard(
    clips: pd.DataFrame,
    data_root: Path | str,
    machine_type: str,
    features: FrontEnd,
    folder: Path | str,
    progress: Callable[[str], None] = lambda line: None,
) -> Shard:
    """Map the shard of ``machine_type`` into memory; build it first if there is none or the recordings have changed.

    Args:
        clips: the clips table; all clips of the machine type become part of the shard.
        data_root: the folder that the table's paths are relative to.
        machine_type: its name.
        features: how the frames are computed.
        folder: the store's folder.
        progress: called with a line of text now and then while the shard is built.

    Raises:
        InputError: recordings that cannot be used (the message lists them), or a store that cannot be written.
    """
    root = Path(data_root).expanduser().resolve()
    paths = sorted(clips.loc[clips["machine_type"] == machine_type, "path"])
    location = Path(folder) / features.key / machine_type / signature(root, paths)
    for _ in range(3):
        try:
            if not location.is_dir():
                location.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(location.parent / "lock"):
                    if not location.is_dir():
                        build_shard(location, root, paths, features, lambda line: progress(f"{machine_type}: {line}"))
        except OSError as error:
            gigabytes = len(paths) * features.frames(10) * features.width * 2 / 1e9
            raise InputError(
                f"{location.parent}: the {features.content} cannot be written there ({error.strerror or error}); those"
                f" of {len(paths)} clips of 10 s take {gigabytes:.1f} GB"
            ) from error
        try:
            return map_shard(location, machine_type, features)
        except (FileNotFoundError, ValueError) as error:
            reason = error  # another process found the recordings changed and is removing the shard: try again
    raise InputError(f"{location}: damaged; remove the folder to have it rebuilt ({reason})") from reason


def map_shard(location: Path, machine_type: str, features: FrontEnd) -> Shard:
    """Map an existing shard into memory."""
    table = pd.read_csv(location / "clips.csv", dtype=COLUMNS, keep_default_na=False, usecols=list(COLUMNS))
    table = table.set_index("path")
    shape = (int(table["length"].sum()), features.width)
    # copy-on-write: torch expects a writable array, and nobody can write to the file
    frames = np.memmap(location / "frames.i16", dtype=np.int16, mode="c", shape=shape)
    return Shard(machine_type, features, frames, table, np.load(location / "statistics.npy", mmap_mode="r"))


def signature(root: Path, paths: list[str]) -> str:
    """Sixteen hexadecimal digits of what a shard is made from: names, sizes and modification times of the recordings.

    No file is opened.

    Raises:
        InputError: a file does not exist or cannot be accessed.
    """
    digest = hashlib.sha256(f"{VERSION} {root}".encode())
    for path in paths:
        try:
            status = os.stat(f"{root}/{path}")
        except OSError as error:
            raise InputError(f"{root}/{path}: cannot be read ({error.strerror})") from error
        digest.update(f"\n{path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def build_shard(
    location: Path, root: Path, paths: list[str], features: FrontEnd, progress: Callable[[str], None]
) -> None:
    """Compute the frames of ``paths`` into the folder ``location``, which appears when it is complete."""
    for stale in location.parent.glob(".*.tmp"):  # left by a killed build: we hold the lock
        shutil.rmtree(stale)
    unfinished = location.with_name(f".{location.name}.tmp")
    try:
        unfinished.mkdir()
        # filled in place: small arrays of the threads, kept between their large ones, would fragment the heap
        rows: list[dict] = []
        statistics = np.empty((len(paths), 2, features.width))
        with (unfinished / "frames.i16").open("wb") as file:
            start = 0
            for path, frames, row in computed_frames(root, paths, features):
                file.write(frames.data)
                statistics[len(rows)] = row.pop("mean"), row.pop("mean_square")
                rows.append({"path": path, "start": start, "length": len(frames)} | row)
                start += len(frames)
                if len(rows) % 500 == 0:
                    progress(f"{features.content} of {len(rows)} of {len(paths)} clips")
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
        os.replace(unfinished, location)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    for description in location.parent.glob("*/shard.json"):  # shards of the same data set before it changed
        outdated = description.parent
        if outdated != location and json.loads(description.read_text())["data_root"] == str(root):
            os.replace(outdated, unfinished)  # whoever opens it now finds it whole or not at all
            shutil.rmtree(unfinished)


def computed_frames(root: Path, paths: list[str], features: FrontEnd) -> Iterator[tuple[str, np.ndarray, dict]]:
    """Yield path, stored frames and :func:`clip_frames`' other results, in the order of ``paths``.

    Raises:
        InputError: recordings that cannot be used; raised after all files have been read, to list them.
    """
    faults = []
    n_threads = torch.get_num_threads()
    chunk_size = 16 * n_threads  # clips at a time, so that little memory is taken by frames that wait to be written
    try:
        # one core per thread: threads that also split every operation would compete for the cores
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for chunk in (paths[i : i + chunk_size] for i in range(0, len(paths), chunk_size)):
                results = pool.map(lambda path: clip_frames(root / path, features), chunk)
                for path, result in zip(chunk, results, strict=True):
                    if isinstance(result, InputError):
                        faults.append(str(result))
                    elif not faults:
                        yield path, *result
    finally:
        torch.set_num_threads(n_threads)
    if faults:
        more = f"\nand {len(faults) - 20} more" if len(faults) > 20 else ""
        raise InputError(f"{len(faults)} of {len(paths)} recordings cannot be used:\n" + "\n".join(faults[:20]) + more)


def clip_frames(path: Path, features: FrontEnd) -> tuple[np.ndarray, dict] | InputError:
    """Compute one clip's frames and the rest of what the shard holds of it; return what is wrong with it.

    Returns:
        frames (frames, width) int16, and ``mean`` and ``mean_square`` of the frames before rounding, (width,), ``rms``
        of the waveform in ±1, the number of ``samples`` and their ``digest``. Or the error, not raised, so that one
        faulty clip does not hide the next.
    """
    try:
        samples = read_recording(path, features.sample_rate)
    except InputError as error:
        return error
    if features.n_frames(len(samples)) == 0:
        return InputError(f"{path}: {len(samples)} samples; one frame takes {features.window}")
    waveform = as_float(samples)
    frames = features.compute(waveform)
    if fault := features.fault(frames):
        return InputError(f"{path}: {fault}")
    exact = frames.double()
    row = {
        "mean": exact.mean(0).numpy(),
        "mean_square": exact.square_().mean(0).numpy(),
        "rms": float(waveform.double().square().mean().sqrt()),
        "samples": len(samples),
        "digest": hashlib.sha256(samples.data).hexdigest()[:16],
    }
    return features.stored(frames).numpy(), row
