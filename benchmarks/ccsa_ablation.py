"""What helps in the target domain: the fine-tuning of 04_ccsa taken apart, paired over seeds.

For every machine type and seed a classifier is trained as 03_aux does it, and fine-tuned from there in several ways,
all with the same batches of source clips and proxy outliers. Settings are the notebooks' defaults. The data sets are
those of ``benchmarks/mini_difficulty.py``, with 50 + 50 test clips per section and domain, and so are the classifiers
where it has trained them. Results go into two CSV files; what they contain is not done again.

    python benchmarks/ccsa_ablation.py                                               # the embedded machine types
    python benchmarks/ccsa_ablation.py --data-root ../shared/data/real bldc          # real recordings
    python benchmarks/ccsa_ablation.py --print                                       # the tables of what is there
"""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import pandas as pd
import torch
from methods import classifier, fine_tuned, notebook_defaults
from mini_difficulty import detector_path, features_of, make_data, remove_data

from asd.demo.dataset import MACHINE_TYPES
from asd.detection.detector import Detector, load_detector
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
BENCH = PROJECT / "outputs" / "bench"  # data sets and classifiers of mini_difficulty.py


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


def start_classifier(p: AuxParameters, data: TrainingData, path: Path) -> Detector:
    """The classifier that mini_difficulty.py has trained, or one that is trained now and kept in its place."""
    if not path.is_file():
        classifier(p, data).save(path)
    return load_detector(path)


def measure(data_root: str, output_root: str, start: Path, machine_type: str, seed: int) -> list[pd.DataFrame]:
    """Fine-tune in all ways from one classifier: AUC of all cells, and the terms of the loss in every epoch."""
    torch.set_num_threads(1)
    common = {"data_root": data_root, "output_root": output_root, "device": "cpu"}
    common |= {"machine_type": machine_type, "seed": seed}
    p = AuxParameters(**notebook_defaults("03_aux") | common)
    data = training_data(p, find_clips(p), torch.device("cpu"), other_machines=True, progress=lambda line: None)
    begun = start_classifier(p, data, start)
    key = {"machine_type": machine_type, "seed": seed}
    cells, courses = [measured(begun, data, key | {"variant": START})], []
    for name, difference in VARIANTS.items():
        q = CcsaParameters(**notebook_defaults("04_ccsa") | common | difference)
        adapted, history = fine_tuned(q, begun, data)
        course = pd.DataFrame([{"epoch": e.number} | e.means for e in history])
        courses.append(course.reindex(columns=COURSE).assign(**key, variant=name))
        cells.append(measured(adapted, data, key | {"variant": name}))
    return [pd.concat(cells), pd.concat(courses)]


def run(machine_types: list[str], seed: int, data_root: str, results: Path, workers: int) -> None:
    """Measure what the CSV files lack of one seed, and append it."""
    paths = [results / "cells.csv", results / "courses.csv"]
    done = set(pd.read_csv(paths[0]).query("seed == @seed")["machine_type"]) if paths[0].is_file() else set()
    missing = [machine_type for machine_type in machine_types if machine_type not in done]
    if not missing:
        return
    embedded = None if data_root else make_data(BENCH, f"seed_{seed}", seed)
    places = [data_root, str(results)] if embedded is None else [str(embedded), str(features_of(embedded))]
    detectors = results if embedded is None else BENCH
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {
            pool.submit(measure, *places, detector_path(detectors, name, f"aux-{seed}"), name, seed): name
            for name in missing
        }
        for future in as_completed(futures):
            for rows, path in zip(future.result(), paths, strict=True):
                rows.to_csv(path, mode="a", header=not path.is_file(), index=False)
            print(seed, futures[future], flush=True)
    if embedded is not None:
        remove_data(embedded)


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
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--results", type=Path, default=PROJECT / "outputs" / "ccsa_ablation", help="folder of the CSVs"
    )
    parser.add_argument("--print", action="store_true", help="only print the tables of the results so far")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    if not args.print:
        for seed in range(args.seeds):
            run(args.machine_types, seed, args.data_root, args.results, args.workers)
    tables(pd.read_csv(args.results / "cells.csv"), pd.read_csv(args.results / "courses.csv"))


if __name__ == "__main__":
    main()
