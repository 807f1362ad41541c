"""How hard the embedded data set is, and whether it ranks methods as real recordings do.

On the challenge's recordings, distances between average spectra and autoencoders find little, section classifiers more.
A data set to learn on must agree, or it teaches that learning is not needed. This prints the area under the ROC curve
(AUC) of every method, per machine type and domain, as the mean over sections and seeds; the same per kind of fault; and
what proxy outliers bring. Each seed has its own clips and its own initial weights. The data sets are like the embedded
one, except that they have 50 + 50 test clips per section and domain, as 16 + 16 say little about an AUC.

    python benchmarks/mini_difficulty.py                # all of it: resumed where it was stopped
    python benchmarks/mini_difficulty.py fan --seeds 1  # one machine type, one seed
    python benchmarks/mini_difficulty.py --ceiling      # aux with ten times the train clips
    python benchmarks/mini_difficulty.py --print        # the tables of what there is

Results are in ``outputs/bench/cells.csv``, one row per machine type, method, seed, section, domain and kind of fault,
in score tables (``outputs/bench/scores``), which ``benchmarks/calibration.py`` reads, and in the files of the detectors
(``outputs/bench/detectors``), from which ``benchmarks/ccsa_ablation.py`` starts.
A data set takes 0.8 GB while its seed is being worked on (with ``--ceiling`` 1.3 GB), and is deleted afterwards.
"""

import argparse
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from methods import UNTRAINED, classifier, density, fine_tuned, notebook_defaults, untrained_scores
from sklearn.metrics import roc_auc_score

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.data.store import open_shard
from asd.demo.dataset import FAULTS, MACHINE_TYPES, make
from asd.detection.detector import Detector
from asd.detection.scoring import score_table
from asd.evaluation.score_table import table_path, write_table
from asd.notebook.parameters import AuxParameters, CcsaParameters, DensityParameters
from asd.paths import PROJECT
from asd.training.data import TrainingData, training_data

TEST = 50  # normal, and anomalous, test clips per section and domain
TRAIN, MANY = 24, 240  # source train clips per section: those of the embedded data set, and of the ceiling
ALL = "all"  # kinds of fault together
WITH_TARGET = " (target train clips, too)"
AUX, AUX_ALONE, CEILING = "aux", "aux, no proxy outliers", "aux, ten times the train clips"
SHORTER = {"max_epochs": 12, "rampdown_start": 5, "rampdown_length": 7}  # of the ceiling: still 3.75 times the steps
TRAININGS = {  # name of a task: the methods that it measures
    "untrained": [name + suffix for name in UNTRAINED for suffix in ("", WITH_TARGET)],
    "ae": ["AE"],
    "made": ["MADE"],
    "maf": ["MAF"],
    "aux alone": [AUX_ALONE],
    "aux": [AUX, "ccsa"],
}
KEY = ["machine_type", "method", "seed", "section", "domain", "fault"]


def detectors(task: str, common: dict, clips: pd.DataFrame) -> tuple[TrainingData, dict[str, Detector]]:
    """Train what a task needs, with the notebooks' defaults: the data, and the detectors by method."""
    cpu, quiet = torch.device("cpu"), {"progress": lambda line: None}
    if task in ("ae", "made", "maf"):
        p = DensityParameters(**notebook_defaults("05_density") | common | {"architecture": task})
        data = training_data(p, clips, cpu, other_machines=p.proxy_outliers == "other_sections_and_machines", **quiet)
        return data, {task.upper(): density(p, data)}
    changed = {"proxy_outliers": "none"} if task in ("aux alone", "untrained") else SHORTER if task == "ceiling" else {}
    p = AuxParameters(**notebook_defaults("03_aux") | common | changed)
    data = training_data(p, clips, cpu, other_machines=p.proxy_outliers == "other_machines", **quiet)
    if task == "untrained":
        return data, {}
    detector = classifier(p, data)
    if task != "aux":
        return data, {AUX_ALONE if task == "aux alone" else CEILING: detector}
    adapted, _ = fine_tuned(CcsaParameters(**notebook_defaults("04_ccsa") | common), detector, data)
    return data, {AUX: detector, "ccsa": adapted}


def measure(root: Path, machine_type: str, task: str, seed: int) -> pd.DataFrame:
    """AUC of a task's methods in every cell, and of each kind of fault in it: one row each."""
    torch.set_num_threads(1)
    clips = clips_table(root)
    common = {"data_root": str(root), "output_root": str(features_of(root)), "device": "cpu"}
    common |= {"machine_type": machine_type, "seed": seed}
    data, trained = detectors(task, common, clips)
    scores = {}
    for name, detector in trained.items():
        run_name = f"{name.lower().replace(',', '').replace(' ', '-')}-{seed}"
        table = score_table(detector, data, run_name, run_name, seed)
        write_table(table, table_path(root.parent, machine_type, run_name))
        detector.save(detector_path(root.parent, machine_type, run_name))
        scores[name] = table["score"].to_numpy()
    if task == "untrained":
        for name in UNTRAINED:
            for suffix in ("", WITH_TARGET):
                scores[name + suffix] = untrained_scores(name, data.shard, data.clips, with_target=bool(suffix))
    broken = pd.read_csv(root / FAULTS).drop_duplicates("path").set_index("path")["fault"]
    table = data.clips.assign(fault=data.clips["path"].map(broken), **scores)
    rows = []
    for (section, domain), cell in table[table["split"] == "test"].groupby(["section", "domain"]):
        for fault in (ALL, *sorted(set(cell["fault"].dropna()))):
            clips = cell if fault == ALL else cell[(cell["label"] == 0) | (cell["fault"] == fault)]
            for name in scores:
                auc = roc_auc_score(clips["label"].astype(int), clips[name])
                rows.append([machine_type, name, seed, section, domain, fault, round(auc, 4)])
    return pd.DataFrame(rows, columns=[*KEY, "auc"])


def detector_path(folder: Path, machine_type: str, run_name: str) -> Path:
    """Where a detector is kept."""
    return folder / "detectors" / machine_type / f"{run_name}.pt"


def make_data(folder: Path, name: str, seed: int, train_source: int = TRAIN) -> Path:
    """A data set with more test clips than the embedded one, and its log-mels: its folder."""
    root = make(folder / name, test=TEST, seed=seed, train_source=train_source)
    clips, features = clips_table(root), features_of(root) / "features"
    for machine_type in MACHINE_TYPES:  # before the workers would all do it
        open_shard(clips, root, machine_type, FeatureSettings(), features, lambda line: None)
    return root


def features_of(root: Path) -> Path:
    """The output root of the trainings on a data set."""
    return root.parent / f"{root.name}_features"


def remove_data(root: Path) -> None:
    """Delete a data set and its log-mels."""
    shutil.rmtree(root)
    shutil.rmtree(features_of(root))


def run(machine_types: list[str], seed: int, ceiling: bool, folder: Path, workers: int) -> None:
    """Measure what ``cells.csv`` lacks of one seed, and append it."""
    cells = folder / "cells.csv"
    done = set()
    if cells.is_file():
        done = set(pd.read_csv(cells).query("seed == @seed")[["machine_type", "method"]].itertuples(index=False))
    tasks = {"ceiling": [CEILING]} if ceiling else TRAININGS
    missing = [
        (machine_type, task)
        for task, methods in tasks.items()
        for machine_type in machine_types
        if not {(machine_type, method) for method in methods} <= done
    ]
    if not missing:
        return
    root = make_data(folder, f"ceiling_{seed}" if ceiling else f"seed_{seed}", seed, MANY if ceiling else TRAIN)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(measure, root, *what, seed): what for what in missing}
        for future in as_completed(futures):
            future.result().to_csv(cells, mode="a", header=not cells.is_file(), index=False)
            print(seed, *futures[future], flush=True)
    remove_data(root)


def stronger(means: pd.DataFrame) -> pd.DataFrame:
    """Of the two variants of an untrained method keep the one that is better on average, for each domain apart."""
    for name in UNTRAINED:
        other = name + WITH_TARGET
        if {name, other} <= set(means.index):
            for domain in ("source", "target"):
                if means.loc[other, domain].mean() > means.loc[name, domain].mean():
                    means.loc[name, domain] = means.loc[other, domain].to_numpy()
    return means[~means.index.str.endswith(WITH_TARGET)]


def interval(differences: pd.Series) -> tuple[float, float]:
    """95% interval of the mean, by drawing anew with replacement."""
    draws = np.random.default_rng(0).choice(differences.to_numpy(), (10_000, len(differences)))
    return tuple(np.quantile(draws.mean(1), [0.025, 0.975]))


def tables(cells: pd.DataFrame) -> None:
    """Print the AUC by method, by kind of fault, and what proxy outliers bring."""
    order = [method for methods in TRAININGS.values() for method in methods] + [CEILING]
    order = [method for method in order if method in set(cells["method"])]
    overall = cells[cells["fault"] == ALL]
    means = overall.groupby(["method", "domain", "machine_type"])["auc"].mean().unstack(["domain", "machine_type"])
    means = stronger(means.reindex(order))
    columns = [m for m in MACHINE_TYPES if m in set(cells["machine_type"])]
    shown = pd.DataFrame(
        {
            column: [
                f"{means.loc[method, 'source'][chosen].mean():.2f} / {means.loc[method, 'target'][chosen].mean():.2f}"
                for method in means.index
            ]
            for column, chosen in {**{m: [m] for m in columns}, "mean": columns}.items()
        },
        index=means.index,
    )
    print(f"AUC, source / target: mean over sections and {overall['seed'].nunique()} seeds\n{shown.to_string()}")
    kinds = cells[(cells["fault"] != ALL) & (cells["method"] != CEILING)]
    kinds = kinds.groupby(["domain", "machine_type", "fault", "method"])["auc"].mean().unstack()
    kinds = kinds[[method for method in means.index if method in kinds]]
    for domain, table in kinds.groupby("domain"):
        best = pd.DataFrame({"best": table.max(axis=1).round(2), "by": table.idxmax(axis=1)})
        shown = table.round(2).join(best).droplevel("domain")
        print(f"\nAUC by kind of fault, {domain} domain\n{shown.to_string()}")
    pairs = overall[overall["method"].isin([AUX, AUX_ALONE])]
    pairs = pairs.groupby(["domain", "machine_type", "section", "method"])["auc"].mean().unstack()
    if {AUX, AUX_ALONE} <= set(pairs):
        gain = (pairs[AUX] - pairs[AUX_ALONE]).dropna()
        print("\naux with minus without proxy outliers: mean over machine types and sections, 95% interval")
        for domain, values in [*gain.groupby("domain"), ("both", gain)]:
            print(f"{domain:>7}: {values.mean():+.3f} [{interval(values)[0]:+.3f}, {interval(values)[1]:+.3f}]")


def main() -> None:
    parser = argparse.ArgumentParser(description="AUC of every method on the embedded data set")
    parser.add_argument("machine_types", nargs="*", default=MACHINE_TYPES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ceiling", action="store_true", help="aux with ten times the train clips")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path, default=PROJECT / "outputs" / "bench", help="folder of the results")
    parser.add_argument("--print", action="store_true", help="only print the tables of the results so far")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    if not args.print:
        for seed in range(args.seeds):
            run(args.machine_types, seed, args.ceiling, args.results, args.workers)
    tables(pd.read_csv(args.results / "cells.csv"))


if __name__ == "__main__":
    main()
