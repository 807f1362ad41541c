"""Do explanations point at what is broken? The pointing game on the embedded data set, which knows its faults.

An explanation (:mod:`asd.detection.explanations`) is a map of a clip's bins. For every anomalous test clip,
``faults.csv`` lists regions in time and frequency, and this prints, per method and kind of fault,

* **hit rate**: how often the largest bin of the map lies in a region (Zhang et al., *Top-down neural attention by
  excitation backprop*, ECCV 2016), and
* **share inside**: which share of the sum of its positive bins does,

beside **chance**, the share of a clip's bins that lie in regions, and two maps that know nothing of models: ``loudest``
(level above the clip's quietest bin) and ``deviation`` (absolute difference from the section's mean train spectrum, in
dB). A clip counts as *detected* by a method if it scores above nine tenths of the normal test clips of its section and
domain; for chance and the two maps, all clips are.

How regions are judged: see :func:`asd.data.regions.region_bins`. A region is where the fault can be heard, not where it
always is: a machine that pulsates at a wrong rate has one from the first second to the last, over all frequencies where
the pulsation is, and a stroke that is missing has one around the silence that it leaves. Such regions cover up to half
of a clip; chance is high there and a miss says more than a hit.

    python benchmarks/pointing_game.py --seeds 1 2           # needs benchmarks/mini_difficulty.py's detectors
    python benchmarks/pointing_game.py fan --per-cell 16     # one machine type, all its clips

The detectors have been trained on other clips of the same machines (``asd mini --seed``); so the baseline is taken from
the train clips here. By default, four clips of each section and domain are explained, of different faults.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mini_difficulty import detector_path

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.data.regions import fault_regions, region_bins
from asd.data.store import open_shard
from asd.demo.clips import MACHINE_TYPES
from asd.demo.dataset import make
from asd.detection.detector import load_detector
from asd.detection.explanations import baselines, explain, whole_clip
from asd.detection.scoring import score_clips
from asd.paths import PROJECT, default_data_root, default_output_root

METHODS = ["ae", "made", "maf", "aux", "ccsa"]
CHANCE, LOUDEST, DEVIATION = "chance", "loudest", "deviation"
ORDER = [CHANCE, LOUDEST, DEVIATION, *METHODS]


def play(explanation: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """Whether the largest bin of a map lies inside, and the share of its positive sum that does.

    >>> play(np.array([[3.0, 1.0], [-5.0, 0.0]]), np.array([[True, False], [True, False]]))
    (1.0, 0.75)
    """
    positive = np.maximum(explanation, 0)
    share = positive[inside].sum() / positive.sum() if positive.any() else inside.mean()
    return float(inside.flat[explanation.argmax()]), float(share)


def sample(anomalies: pd.DataFrame, per_cell: int) -> pd.DataFrame:
    """Up to ``per_cell`` clips of each section and domain, of its faults in turn."""
    turn = anomalies.groupby(["section", "domain", "fault"]).cumcount()
    return anomalies.assign(turn=turn).sort_values("turn", kind="stable").groupby(["section", "domain"]).head(per_cell)


def detected(scores: np.ndarray, clips: pd.DataFrame) -> pd.Series:
    """Which test clips score above nine tenths of the normal ones of their section and domain, by path."""
    table = clips.assign(score=scores)
    normal = table[table["label"] == 0].groupby(["section", "domain"])["score"].quantile(0.9)
    limit = normal.reindex(pd.MultiIndex.from_frame(table[["section", "domain"]])).to_numpy()
    return pd.Series(scores > limit, index=table["path"])


def measure(root: Path, store: Path, detectors: Path, machine_type: str, seed: int, per_cell: int) -> pd.DataFrame:
    """Play with all methods on one machine type: one row per clip and map."""
    everything, regions = clips_table(root), fault_regions(root)
    shard = open_shard(everything, root, machine_type, FeatureSettings(), store)
    clips = everything[everything["machine_type"] == machine_type]
    clips = clips.assign(fault=clips["path"].map(regions.drop_duplicates("path").set_index("path")["fault"]))
    test = clips[clips["split"] == "test"]
    chosen = sample(test[test["label"] == 1], per_cell)
    truth = {
        path: region_bins(regions[regions["path"] == path], shard.features, len(shard.frames_of(path)))
        for path in chosen["path"]
    }
    rows = []

    def note(clip: pd.Series, name: str, hit: float, share: float, found: bool) -> None:
        rows.append([machine_type, clip["fault"], clip["path"], seed, name, hit, share, found])

    for method in METHODS:
        detector = load_detector(detector_path(detectors.parent, machine_type, f"{method}-{seed}"))
        detector.baseline = baselines(detector, shard, clips)
        found = detected(score_clips(detector, shard, test), test)
        for _, clip in chosen.iterrows():
            path, inside = clip["path"], truth[clip["path"]]
            frames = whole_clip(detector, shard, path)
            explanation = explain(detector, frames, int(clip["section"]))
            note(clip, method, *play(explanation, inside), found[path])
            if method == "aux":  # whose baseline is the mean spectrum
                spectrum = detector.baseline[int(clip["section"])]
                note(clip, CHANCE, inside.mean(), inside.mean(), True)
                note(clip, LOUDEST, *play((frames - frames.min()).numpy(), inside), True)
                note(clip, DEVIATION, *play((frames - spectrum).abs().numpy(), inside), True)
    columns = ["machine_type", "fault", "path", "seed", "map", "hit", "share", "detected"]
    return pd.DataFrame(rows, columns=columns)


def tables(results: pd.DataFrame) -> None:
    """Print the tables: overall, of detected clips, by machine type and by kind of fault."""
    known = results[results["detected"]]
    n, seeds = results["path"].nunique(), sorted(set(results["seed"]))
    overall = pd.DataFrame(
        {
            "hit rate": results.groupby("map")["hit"].mean(),
            "share inside": results.groupby("map")["share"].mean(),
            "detected": results.groupby("map")["detected"].mean(),
            "hit rate of these": known.groupby("map")["hit"].mean(),
            "share of these": known.groupby("map")["share"].mean(),
        }
    )
    for name in (CHANCE, LOUDEST):
        hit = results[results["map"] == name].drop_duplicates("path").set_index("path")["hit"]
        overall[f"{name} of these"] = known["path"].map(hit).groupby(known["map"]).mean()
    order = [name for name in ORDER if name in overall.index]
    print(f"{n} anomalous test clips, detectors of seeds {seeds}\n{(100 * overall.loc[order]).round(1).to_string()}")
    for title, rows in (("all", results), ("detected", known)):
        for by in ("machine_type", "fault"):
            keys = ["machine_type", "fault"] if by == "fault" else ["machine_type"]
            for value, name in (("hit", "hit rate"), ("share", "share inside")):
                if title == "all" or (value, by) == ("hit", "machine_type"):  # few of a fault are detected
                    table = (100 * rows.groupby([*keys, "map"])[value].mean()).unstack().reindex(columns=order)
                    print(f"\n{name} (%), {title} clips, by {by.replace('_', ' ')}\n{table.round(0).to_string()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="the pointing game: do explanations point at what is broken?")
    parser.add_argument("machine_types", nargs="*", default=MACHINE_TYPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the detectors")
    parser.add_argument("--per-cell", type=int, default=4, help="anomalous clips of each section and domain")
    parser.add_argument("--detectors", type=Path, default=PROJECT / "outputs" / "bench" / "detectors")
    parser.add_argument("--data-root", type=Path, default=default_data_root(), help="the embedded data set")
    parser.add_argument("--results", type=Path, help="CSV file for the rows that the tables are made from")
    args = parser.parse_args()
    torch.set_num_threads(1)
    root = args.data_root if (args.data_root / "mini.json").is_file() else make(args.data_root)
    parts = []
    for machine_type in args.machine_types:
        store = default_output_root() / "features"
        for seed in args.seeds:
            parts.append(measure(root, store, args.detectors, machine_type, seed, args.per_cell))
            print(machine_type, seed, flush=True)
    results = pd.concat(parts, ignore_index=True)
    if args.results:
        results.to_csv(args.results, index=False)
    tables(results)


if __name__ == "__main__":
    main()
