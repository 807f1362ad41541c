"""Do 06_evaluation, ``asd score`` and the served model decide alike? For every clip of a data set.

Each detector scores the machine type's clips from the log-mel store, as a notebook does, and is calibrated with these
scores. Then every clip is decided about three times: from the score table (``asd.evaluation.decisions.decide``, as in
06), by the command ``asd score`` from the recording, and by the model that MLflow serves from its samples.

    python benchmarks/mini_difficulty.py --seeds 1                         # trains detectors
    asd mini DIR
    python benchmarks/agreement.py DIR outputs/bench/detectors/*/*-0.pt    # about 20 ms per clip and detector
"""

import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import soundfile
import torch
from click.testing import CliRunner

from asd.cli import main as asd
from asd.data.clips import clips_table
from asd.data.selection import held_out_clips
from asd.data.store import open_shard
from asd.detection.detector import load_detector
from asd.detection.scoring import score_clips
from asd.detection.serving import ServedDetector
from asd.evaluation.decisions import calibrate, decide

RATES = (0.1, 0.2)


def compare(data_root: Path, path: Path, features: Path, held_out: float) -> dict:
    """Decide about every clip in all three ways: counts, and the largest difference between p-values."""
    torch.set_num_threads(1)
    detector = load_detector(path)
    clips = clips_table(data_root)
    shard = open_shard(clips, data_root, detector.machine_type, detector.features, features, lambda line: None)
    clips = clips[clips["machine_type"] == detector.machine_type].reset_index(drop=True)
    table = clips.rename(columns={"path": "clip"})
    table = table.assign(score=score_clips(detector, shard, clips), held_out=held_out_clips(clips, held_out))
    detector.statistics = calibrate(table)
    row = {"machine_type": detector.machine_type, "method": detector.method, "clips": len(table), "alarms": 0}
    row |= {"decisions": 0, "asd score differs": 0, "served differs": 0, "largest difference of p": 0.0}
    with TemporaryDirectory() as folder:
        calibrated = Path(folder) / "detector.pt"
        detector.save(calibrated)
        model = ServedDetector()
        model.detector = load_detector(calibrated)
        for rate in RATES:
            decided, _ = decide(table, rate)
            for section, group in decided.groupby("section"):
                wavs = [str(data_root / clip) for clip in group["clip"]]
                options = ["--section", str(section), "--false-alarm-rate", str(rate)]
                result = CliRunner().invoke(asd, ["score", str(calibrated), *wavs, *options], catch_exceptions=False)
                printed = pd.DataFrame(csv.DictReader(result.stdout.splitlines()))
                samples = [soundfile.read(wav, dtype="float32")[0] for wav in wavs]
                request = pd.DataFrame({"waveform": samples, "section": section})
                answers = model.predict(None, request, {"false_alarm_rate": rate})
                alarm = (group["decision"] == 1).to_numpy()
                row["decisions"] += len(group)
                row["alarms"] += int(alarm.sum())
                row["asd score differs"] += int(((printed["decision"] == "anomalous").to_numpy() != alarm).sum())
                row["served differs"] += int(((answers["anomalous"] == 1).to_numpy() != alarm).sum())
                difference = np.abs(answers["p_value"].to_numpy(dtype=float) - group["p_value"].to_numpy()).max()
                row["largest difference of p"] = max(row["largest difference of p"], float(difference))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether evaluation, asd score and the served model decide alike")
    parser.add_argument("data_root", type=Path)
    parser.add_argument("detectors", type=Path, nargs="+")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the source train clips, as in training")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    with TemporaryDirectory() as features, ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(compare, args.data_root, path, Path(features), args.held_out) for path in args.detectors]
        table = pd.DataFrame([future.result() for future in futures])
    print(f"each clip decided about at false-alarm rates of {' and '.join(map(str, RATES))}")
    print(table.to_string(index=False))
    different = int(table[["asd score differs", "served differs"]].sum().sum())
    print(f"{table['decisions'].sum()} decisions, {table['alarms'].sum()} alarms, {different} that differ")


if __name__ == "__main__":
    main()
