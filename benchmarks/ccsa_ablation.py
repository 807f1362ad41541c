"""What helps in the target domain: the fine-tuning of 04_ccsa taken apart, paired over seeds.

For every machine type and seed a classifier is trained as 03_aux does it, and fine-tuned from there in several ways,
all with the same batches of source clips and proxy outliers. Settings are the notebooks' defaults. Results go into two
CSV files; what is there already is not done again.

    python benchmarks/ccsa_ablation.py                                               # all of the embedded data set
    python benchmarks/ccsa_ablation.py --data-root ../shared/data/real bldc          # real recordings
    python benchmarks/ccsa_ablation.py --print                                       # the tables of what is there
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from methods import classifier, fine_tuned, notebook_defaults

from asd.demo.dataset import MACHINE_TYPES
from asd.detection.detector import Detector
from asd.detection.scoring import score_table
from asd.evaluation.cells import evaluate_scores
from asd.notebook.inputs import find_clips
from asd.notebook.parameters import AuxParameters, CcsaParameters
from asd.paths import PROJECT
from asd.training.adaptation import pair_distances
from asd.training.data import TrainingData, training_data

VARIANTS = {  # name: what differs from the defaults of 04_ccsa
    "source clips in their place": {"target_clips": "source", "da_lambda": 0.0},
    "target clips, BatchNorm only": {"da_task": "none"},
    "target clips, labelled": {"da_lambda": 0.0},
    "CCSA, margin 0.5": {},
    "CCSA, margin 3": {"margin": 3.0},
}
START = "03_aux"


def measured(detector: Detector, data: TrainingData, key: dict) -> pd.DataFrame:
    """AUC of every cell, and the median distances that the detector's embeddings have."""
    cells = evaluate_scores(score_table(detector, data, "ablation", "", 0))
    test = data.clips[(data.clips["split"] == "test") & (data.clips["domain"] == "target") & (data.clips["label"] == 0)]
    distances = {}
    for name, clips in (("seen", data.target), ("unseen", data.labelled(test))):
        table = pair_distances(detector.model, data.source, clips, data.n_frames)
        for pair, values in table.groupby("pair")["distance"]:
            distances[f"{name} {pair}"] = values.median()
            distances[f"{name} {pair} below 0.5"] = (values < 0.5).mean()
    return cells[["section", "domain", "part", "auc", "pauc"]].assign(**key, **distances)


def append(rows: pd.DataFrame, path: Path) -> None:
    rows.to_csv(path, mode="a", header=not path.is_file(), index=False)


def run(machine_type: str, seed: int, common: dict, cells: Path, courses: Path) -> None:
    done = set()
    if cells.is_file():
        table = pd.read_csv(cells)
        done = set(table.loc[(table["machine_type"] == machine_type) & (table["seed"] == seed), "variant"])
    if done >= {START, *VARIANTS}:
        return
    common = common | {"machine_type": machine_type, "seed": seed}
    p = AuxParameters(**notebook_defaults("03_aux") | common)
    data = training_data(p, find_clips(p), torch.device("cpu"), other_machines=True)
    start = classifier(p, data)
    key = {"machine_type": machine_type, "seed": seed}
    if START not in done:
        append(measured(start, data, key | {"variant": START}), cells)
    for name, difference in VARIANTS.items():
        if name not in done:
            q = CcsaParameters(**notebook_defaults("04_ccsa") | common | difference)
            adapted, history = fine_tuned(q, start, data)
            course = pd.DataFrame([{"epoch": e.number} | e.means for e in history])
            append(course.reindex(columns=COURSE).assign(**key, variant=name), courses)
            append(measured(adapted, data, key | {"variant": name}), cells)
    print(machine_type, seed, flush=True)


COURSE = ["epoch", "loss", "source", "target", "semantic", "contrastive", "outliers"]
COURSE += [f"gradient_{name}" for name in ("classification", "semantic", "contrastive", "outliers")]


def spread(values: pd.Series) -> str:
    return f"{values.mean():+.3f} ± {values.std():.3f}"


def above_zero(values: pd.Series) -> str:
    return f"{(values > 0).sum()} of {values.count()}"


def tables(cells: pd.DataFrame, courses: pd.DataFrame) -> None:
    """Print the AUC by variant, paired differences, the course of the terms, and the distances."""
    order = [START, *VARIANTS]
    cells = cells[cells["domain"] != "mixed"]
    per_run = cells.groupby(["machine_type", "seed", "domain", "variant"])["auc"].mean().unstack()[order]
    print(f"mean AUC over sections, mean over {cells['seed'].nunique()} seeds")
    print(per_run.groupby(["domain", "machine_type"]).mean().round(3).to_string())
    print("\nall machine types together: mean over seeds ± standard deviation over seeds")
    print(per_run.groupby(["domain", "seed"]).mean().groupby("domain").agg(["mean", "std"]).round(3).T.to_string())
    pairs = {
        "continued training": ("source clips in their place", START),
        "BatchNorm sees the target": ("target clips, BatchNorm only", "source clips in their place"),
        "target labels": ("target clips, labelled", "source clips in their place"),
        "CCSA on top, margin 0.5": ("CCSA, margin 0.5", "target clips, labelled"),
        "CCSA on top, margin 3": ("CCSA, margin 3", "target clips, labelled"),
        "all of 04_ccsa": ("CCSA, margin 0.5", START),
    }
    gains = pd.DataFrame({name: per_run[a] - per_run[b] for name, (a, b) in pairs.items()})
    print("\npaired differences of the mean AUC: mean ± standard deviation over seeds")
    print(gains.groupby(["domain", "machine_type"]).agg(spread).T.stack("machine_type", future_stack=True).to_string())
    print("\nthe same over all machine types and seeds (standard deviation over all pairs), and how many are above 0")
    together = gains.groupby("domain").agg([spread, above_zero])
    print(together.T.unstack().to_string(header=True))
    print("\ncourse of the terms, mean over machine types and seeds")
    shown = courses.groupby(["variant", "epoch"])[[name for name in COURSE if name != "epoch"]].mean()
    print(shown.map(lambda value: f"{value:.3g}").to_string())
    print("\nmedian distances and parts of pairs below 0.5, mean over machine types and seeds")
    names = [name for name in cells if name.startswith(("seen", "unseen"))]
    print(cells.groupby("variant")[names].mean().reindex(order).round(3).T.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description="The fine-tuning of 04_ccsa taken apart")
    parser.add_argument("machine_types", nargs="*", default=MACHINE_TYPES)
    parser.add_argument("--data-root", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--results", type=Path, default=PROJECT / "outputs" / "ccsa_ablation", help="folder of the CSVs"
    )
    parser.add_argument("--print", action="store_true", help="only print the tables of the results so far")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.results.mkdir(parents=True, exist_ok=True)
    cells, courses = args.results / "cells.csv", args.results / "courses.csv"
    if not args.print:
        common = {"data_root": args.data_root, "output_root": "", "device": "cpu"}
        for machine_type in args.machine_types:
            for seed in range(args.seeds):
                run(machine_type, seed, common, cells, courses)
    tables(pd.read_csv(cells), pd.read_csv(courses))


if __name__ == "__main__":
    main()
