"""From a detector and clips to the score table, the only thing that evaluation sees."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asd.decisions import reference_scores, thresholds
from asd.detector import Detector
from asd.errors import InputError
from asd.files import replacing
from asd.frames import Frames
from asd.store import Shard

COLUMNS = ["machine_type", "section", "domain", "split", "label", "clip", "score"]
COLUMNS += ["method", "run_name", "run_id", "seed", "held_out"]
TEXTS = ("machine_type", "domain", "split", "clip", "method", "run_name", "run_id")
NEEDED = ["machine_type", "section", "split", "clip", "score"]
CLIPS_AT_ONCE = 64


def score_clips(detector: Detector, shard: Shard, clips: pd.DataFrame) -> np.ndarray:
    """Anomaly scores (N,) of the rows of the clips table, all of one machine type.

    Raises:
        InputError: a score that is not finite, naming its clip.
    """
    detector.model.eval()
    device = next(detector.model.parameters()).device
    frames = Frames([(shard, clips["path"])], device, detector.normalize_waveform)
    scores = torch.empty(len(clips), dtype=torch.float64)
    alike = clips.assign(length=frames.length.cpu().numpy(), row=range(len(clips))).groupby(["section", "length"])
    for (section, length), some in alike:
        for rows in torch.tensor(some["row"].to_numpy()).split(CLIPS_AT_ONCE):
            whole = frames.crop(rows, torch.zeros_like(rows), int(length))
            scores[rows] = detector.reduce(detector.window_scores(whole, int(section))).double().cpu()
    odd = ~np.isfinite(scores.numpy())
    if odd.any():
        raise InputError(f"{clips['path'].iloc[int(odd.argmax())]}: its score is not finite ({odd.sum()} clips)")
    return scores.numpy()


def score_table(
    detector: Detector, shard: Shard, clips: pd.DataFrame, held_out: pd.Series, run_name: str, run_id: str, seed: int
) -> pd.DataFrame:
    """Score all clips of the detector's machine type and sections: one row a clip, columns as in COLUMNS.

    ``held_out`` marks the rows of ``clips`` that were kept out of training.
    """
    scores = score_clips(detector, shard, clips)
    run = {"method": detector.method, "run_name": run_name, "run_id": run_id, "seed": seed}
    table = clips.rename(columns={"path": "clip"}).assign(score=scores, held_out=held_out, **run)
    return table[COLUMNS].reset_index(drop=True)


def calibrate(table: pd.DataFrame) -> dict[int, dict[str, float]]:
    """What a detector keeps of its train scores, by section number: ``mean``, ``std``, ``threshold``, ``n_clips``.

    They are those of the held-out clips where there are any, see :mod:`asd.decisions`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that few clips make no gamma distribution: 06_evaluation looks into that
        limits = thresholds(table).set_index("section")["threshold"]
    statistics = {}
    for section, clips in table[table["split"] == "train"].groupby("section"):
        scores, _ = reference_scores(clips, held_out=True)
        statistics[int(section)] = {
            "mean": float(scores.mean()),
            "std": float(scores.std()),
            "threshold": float(limits[section]),
            "n_clips": len(scores),
        }
    return statistics


def table_path(output_root: Path | str, machine_type: str, run_name: str) -> Path:
    """Where a run's score table lies."""
    return Path(output_root) / "scores" / machine_type / f"{run_name}.csv"


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a score table, whole or not at all; scores with all their digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path | str) -> pd.DataFrame:
    """Read a score table back as it was.

    Raises:
        InputError: no such file, columns are missing, or fields are empty.
    """
    empty = {"section": "", "label": ["", "NA", "nan"], "score": ["", "nan"]}  # a run may be named "07" or "nan"
    kinds = dict.fromkeys(TEXTS, str) | {"label": "Int64"}
    try:
        table = pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=empty)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a score table ({error})") from error
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: not a score table: no column {missing}")
    empty = table[NEEDED].isna() | (table[NEEDED] == "")
    if empty.any(axis=None):
        line = int(empty.any(axis=1).argmax())
        lacking = [column for column in NEEDED if empty[column].iloc[line]]
        raise InputError(f"{path}, line {line + 2}: no {', '.join(lacking)}; is the file cut short?")
    return table


def window_scores(detector: Detector, shard: Shard, clip: str, section: int) -> np.ndarray:
    """Score over time: those of all snippets of one clip, (W,), ``detector.hop`` frames apart."""
    detector.model.eval()
    return detector.window_scores(whole_clip(detector, shard, clip), section).cpu().numpy()


@torch.no_grad()
def bin_scores(detector: Detector, shard: Shard, clip: str, section: int) -> np.ndarray:
    """Where in time and frequency a clip is improbable: −log p of each bin, (N, n_mels). For density models.

    A bin lies in as many windows as a window has frames (at the ends in fewer): the mean of its parts in theirs.
    """
    model, n = detector.model.eval(), detector.n_frames
    frames = whole_clip(detector, shard, clip)
    windows = frames.unfold(0, n, 1).transpose(1, 2)
    index = torch.full((len(windows),), detector.sections.index(section), device=frames.device)
    parts = model.log_prob_per_bin(windows, index)
    scores, count = torch.zeros_like(frames), torch.zeros_like(frames[:, :1])
    for i in range(n):
        scores[i : i + len(windows)] -= parts[:, i]
        count[i : i + len(windows)] += 1
    return (scores / count).cpu().numpy()


def whole_clip(detector: Detector, shard: Shard, clip: str) -> torch.Tensor:
    """A clip's frames as the detector takes them, (N, n_mels) on its device; one short of a snippet is repeated."""
    frames = Frames([(shard, pd.Series([clip]))], next(detector.model.parameters()).device, detector.normalize_waveform)
    start = torch.tensor([0])
    return frames.crop(start, start, max(int(frames.length[0]), detector.n_frames))[0]
