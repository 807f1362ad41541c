"""Beyond the reference: which backends help which embeddings, and what each part of 07_angular brings.

Every method is measured by the challenge's official score (harmonic mean of AUC and pAUC over sections and domains),
per machine type, on data sets with 50 + 50 test clips per section and domain or on real recordings. Detectors of
``mini_difficulty.py`` are used where they exist. The network of 07_angular is trained once per seed, for all machine
types. Beside all of it stands the Mahalanobis distance of mean and standard deviation of the log-mel spectrum, which
learns nothing.

    python benchmarks/beyond.py                                    # all methods and backends
    python benchmarks/beyond.py bldc --data ../shared/data/real --results outputs/bench_real    # real recordings
    python benchmarks/beyond.py --ablation --seeds 1               # 07_angular taken apart
    python benchmarks/beyond.py --encoder speech                   # an encoder from elsewhere, with each backend
    python benchmarks/beyond.py --print                            # the tables of what there is

Results are in ``outputs/bench/beyond.csv``; what it contains is not done again.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from methods import notebook_defaults, untrained_scores
from mini_difficulty import detector_path, detectors, interval, make_data, remove_data

from asd.data.clips import clips_table
from asd.data.encoder_names import short_name
from asd.data.encoders import encoder_settings
from asd.data.features import FrontEnd
from asd.data.frames import LabelledFrames
from asd.demo.dataset import MACHINE_TYPES
from asd.detection.backends import averaging, network_of, window_embeddings, with_backend
from asd.detection.detector import Detector, load_detector
from asd.detection.scoring import build_detector, score_table
from asd.evaluation.cells import evaluate_scores
from asd.evaluation.ensembles import RULES, ensemble
from asd.evaluation.metrics import harmonic_mean
from asd.evaluation.score_table import COLUMNS
from asd.models.angular import AngularNetwork
from asd.models.embedding import Network
from asd.notebook.parameters import AngularParameters, AuxParameters
from asd.paths import PROJECT
from asd.training.angular import AngularTraining, angular_batches
from asd.training.backends import BackendSettings, fit_backend
from asd.training.data import TrainingData, training_data
from asd.training.loop import Optimisation, fit
from asd.training.machines import AllMachines, all_machines

BASELINE = "Mahalanobis, mean + std"
CLASSIFIERS = ("aux", "ccsa")  # they have embeddings
METHODS = (*CLASSIFIERS, "ae", "made", "maf")
BACKENDS = {  # name: how embeddings are judged
    "knn": BackendSettings("knn"),
    "knn SMOTE": BackendSettings("knn", smote=True),
    "knn local density": BackendSettings("knn", density_neighbours=2),
    "lof": BackendSettings("lof", neighbours=5),
    "gmm": BackendSettings("gmm", components=2),
    "mahalanobis": BackendSettings("mahalanobis"),
    "mahalanobis SMOTE": BackendSettings("mahalanobis", smote=True),
}

FUSED = [("aux", BASELINE), ("aux", "angular, mahalanobis"), ("ccsa, mahalanobis", "angular, mahalanobis", BASELINE)]
ABLATION = {  # name: what differs from the defaults of 07_angular
    "statistics only": {"branches": ["statistics"], "feature_exchange": False},
    "modulations only": {"branches": ["modulations"], "feature_exchange": False},
    "with frames": {"branches": ["frames", "statistics", "modulations"]},
    "without feature exchange": {"feature_exchange": False},
    "without mixup": {"mixup": 0.0},
    "one centre per class": {"subclusters": 1},
    "subspace loss": {"loss": "subspace"},
    "with statistics exchange": {"statistics_exchange": True},
    "all mixed": {"mixup": 1.0},
    "eight times the epochs": {"max_epochs": 192, "rampdown_start": 64, "rampdown_length": 128},
}


def trained_network(p: AngularParameters, machines: AllMachines) -> tuple[AngularNetwork, dict, float]:
    """Train as 07_angular does: the network, its arguments, and the seconds that it took."""
    start = time.perf_counter()
    network, config = network_training(p, machines, machines.train, lambda config: AngularNetwork(**config))
    return network, config, time.perf_counter() - start


def network_training(
    p: AngularParameters, machines: AllMachines, train: LabelledFrames, make: Callable[[dict], AngularNetwork]
) -> tuple[AngularNetwork, dict]:
    """Train the network that ``make`` makes of its arguments: the network, and these."""
    torch.manual_seed(p.seed)
    config = {
        name: getattr(p, name) for name in ("n_mels", "branches", "dimensions", "rho_f", "rho_t", "base_channels")
    }
    config["n_frames"] = machines.n_frames
    network = make(config)
    network.set_normalization(*machines.train.frames.mean_std())
    sizes = (len(machines.classes), p.subclusters)
    model = AngularTraining(network, p.loss, *sizes, p.feature_exchange, p.statistics_exchange)
    model.to(memory_format=torch.channels_last)
    steps = -(-len(train) // p.batch_size)

    def batches(epoch: int) -> Iterator:
        drawn = {"mixup": p.mixup, "seed": p.seed, "epoch": epoch}
        return angular_batches(train, len(machines.classes), machines.n_frames, p.batch_size, **drawn)

    for _ in fit(model, batches, AngularTraining.terms, Optimisation(**p.schedule), steps=steps):
        pass
    return network.eval(), config


def trained_detectors(folder: Path, common: dict, clips: pd.DataFrame) -> dict[str, Detector]:
    """The detectors of ``mini_difficulty.py``, by method; what is missing is trained, and kept in the same place."""

    def path_of(method: str) -> Path:
        return detector_path(folder, common["machine_type"], f"{method}-{common['seed']}")

    for task in ("aux", "ae", "made", "maf"):
        if not all(path_of(method).is_file() for method in (CLASSIFIERS if task == "aux" else [task])):
            for method, detector in detectors(task, common, clips)[1].items():
                path_of(method.lower()).parent.mkdir(parents=True, exist_ok=True)
                detector.save(path_of(method.lower()))
    return {method: load_detector(path_of(method)) for method in METHODS}


def cells(table: pd.DataFrame) -> list[dict]:
    """AUC and pAUC of every cell of a score table that has normal and anomalous test clips."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cells without one of them
        found = evaluate_scores(table).dropna(subset="auc")
    return found[found["domain"] != "mixed"][["section", "domain", "auc", "pauc"]].to_dict("records")


class Bench:
    """The results so far, in a CSV file with one row per machine type, seed, method, section and domain."""

    def __init__(self, path: Path, seed: int):
        self.path, self.seed = path, seed
        self.done = set()
        if path.is_file():
            rows = pd.read_csv(path).query("seed == @seed")
            self.done = set(rows[["machine_type", "method"]].itertuples(index=False, name=None))

    def lacks(self, machine_type: str, method: str) -> bool:
        return (machine_type, method) not in self.done

    def add(self, machine_type: str, method: str, table: pd.DataFrame, seconds: float = np.nan) -> None:
        key = {"machine_type": machine_type, "method": method, "seed": self.seed, "seconds": seconds}
        rows = pd.DataFrame([key | row for row in cells(table)])
        rows.to_csv(self.path, mode="a", header=not self.path.is_file(), index=False)
        official = 100 * harmonic_mean(np.concatenate([rows["auc"], rows["pauc"]]))
        print(f"{self.seed} {machine_type:9} {method:40} {official:.1f}", flush=True)

    def add_missing(self, machine_type: str, tables: dict[str, pd.DataFrame]) -> None:
        for method, table in tables.items():
            if self.lacks(machine_type, method):
                self.add(machine_type, method, table)


def machine_data(
    p: AuxParameters, clips: pd.DataFrame, machine_type: str, features: FrontEnd | None = None
) -> TrainingData:
    p, quiet = p.model_copy(update={"machine_type": machine_type}), {"progress": lambda line: None}
    return training_data(p, clips, torch.device("cpu"), other_machines=False, features=features, **quiet)


def measure_backends(
    bench: Bench,
    trained: dict[str, Detector],
    angular: AngularNetwork,
    data: TrainingData,
    machine_type: str,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Score every detector as it is, and its network and the angular one with each backend: the tables by method.

    Embeddings are computed once; the clips are as long as a snippet, so that each has one.
    """
    tables = {name: score_table(detector, data, name, "", seed) for name, detector in trained.items()}
    networks = {name: network_of(trained[name])[2] for name in CLASSIFIERS} | {"angular": angular}
    for name, network in networks.items():
        tables |= judged(name, network, data, seed)
    bench.add_missing(machine_type, tables)
    return tables


def judged(name: str, network: Network, data: TrainingData, seed: int) -> dict[str, pd.DataFrame]:
    """A network with each backend: the tables by method."""
    tables, train = {}, (data.clips["split"] == "train") & ~data.is_held_out
    rows, is_target = torch.tensor(train.to_numpy()), torch.tensor((data.clips["domain"] == "target").to_numpy())
    points, section = window_embeddings(network, data.labelled(data.clips), data.n_frames, data.hop)
    for backend, settings in BACKENDS.items():
        fitted, _ = fit_backend(settings, points[rows], section[rows], is_target[rows], seed)
        scores = fitted.score(points, section).double().numpy()
        tables[f"{name}, {backend}"] = empty_table(data, f"{name}-{backend}", seed).assign(score=scores)
    return tables


def measure_encoder(
    bench: Bench, encoder: str, p: AuxParameters, clips: pd.DataFrame, machine_types: list[str]
) -> None:
    """Score the clips by an encoder's embeddings, with each backend."""
    _, _, network = averaging()
    for machine_type in machine_types:
        data = machine_data(p, clips, machine_type, encoder_settings(encoder))
        bench.add_missing(machine_type, judged(short_name(encoder), network, data, bench.seed))


def empty_table(data: TrainingData, name: str, seed: int) -> pd.DataFrame:
    """A score table without scores."""
    run = {"method": name, "run_name": name, "run_id": name, "seed": seed, "score": np.nan}
    return data.clips.rename(columns={"path": "clip"}).assign(held_out=data.is_held_out, **run)[COLUMNS]


def measure_fusions(bench: Bench, tables: dict[str, pd.DataFrame], machine_type: str) -> None:
    """Combine methods that were chosen in advance, by both rules."""
    for members in FUSED:
        for rule in RULES:
            name = f"{rule} of {' | '.join(members)}"
            if set(members) <= set(tables) and bench.lacks(machine_type, name):
                bench.add(machine_type, name, ensemble([tables[member] for member in members], rule=rule))


def run(machine_types: list[str], seed: int, args: argparse.Namespace) -> None:
    """Measure what the CSV file lacks of one seed."""
    bench = Bench(args.results / "beyond.csv", seed)
    root = args.data or make_data(args.results, f"seed_{seed}", seed)
    clips = clips_table(root)
    outputs = args.features or args.results / f"{root.name}_features"
    common = {"data_root": str(root), "output_root": str(outputs), "device": "cpu", "seed": seed}
    p = AngularParameters(**notebook_defaults("07_angular") | common)
    aux = AuxParameters(**notebook_defaults("03_aux") | common)
    if args.encoder:
        measure_encoder(bench, args.encoder, aux, clips, machine_types)
        if not args.data:
            remove_data(root)
        return
    machines = all_machines(p, clips, torch.device("cpu"), lambda line: None)
    if args.ablation:
        for name in args.variants or ABLATION:
            if any(bench.lacks(machine_type, f"angular {name}") for machine_type in machine_types):
                q = AngularParameters(**p.model_dump() | ABLATION[name])
                network, config, seconds = trained_network(q, machines)
                print(f"{name}: trained in {seconds:.0f} s", flush=True)
                for machine_type in machine_types:
                    data = machine_data(aux, clips, machine_type)
                    model, whole = with_backend("angular", config, network, data, BackendSettings(**q.judging), seed)
                    detector = build_detector(q, data, "angular", "embedding", whole, model)
                    bench.add(machine_type, f"angular {name}", score_table(detector, data, name, "", seed), seconds)
    else:
        network, config, seconds = trained_network(p, machines)
        print(f"angular: trained in {seconds:.0f} s", flush=True)
        for machine_type in machine_types:
            data = machine_data(aux, clips, machine_type)
            trained = trained_detectors(args.detectors, common | {"machine_type": machine_type}, clips)
            tables = measure_backends(bench, trained, network, data, machine_type, seed)
            known = data.clips.assign(split=data.clips["split"].mask(data.is_held_out, "held out"))
            scores = untrained_scores(BASELINE, data.shard, known, with_target=True)
            tables[BASELINE] = empty_table(data, "baseline", seed).assign(score=scores)
            if bench.lacks(machine_type, BASELINE):
                bench.add(machine_type, BASELINE, tables[BASELINE])
            measure_fusions(bench, tables, machine_type)
    if not args.data:
        remove_data(root)


def official(rows: pd.DataFrame) -> float:
    """The official score of cells, in percent."""
    return 100 * float(harmonic_mean(np.concatenate([rows["auc"], rows["pauc"]])))


def tables(results: pd.DataFrame) -> None:
    """Print the official score of every method, and its paired differences from aux."""
    groups = results.groupby(["method", "machine_type", "seed"], sort=False)
    scores = groups[["auc", "pauc"]].apply(official).rename("both").to_frame()
    for domain, rows in results.groupby("domain"):
        scores[domain] = rows.groupby(["method", "machine_type", "seed"])[["auc", "pauc"]].apply(official)
    shown = scores["both"].groupby(["method", "machine_type"], sort=False).mean().unstack(sort=False)
    order = list(dict.fromkeys(results["method"]))
    for name in ("source", "target", "both"):
        shown[name] = scores[name].groupby("method").mean()
    if "aux" in order:
        pairs = scores["both"].unstack("method")
        for method in order:
            gain = (pairs[method] - pairs["aux"]).dropna()
            if method != "aux" and len(gain):
                low, high = interval(gain)
                shown.loc[method, "minus aux"] = f"{gain.mean():+.1f} [{low:+.1f}, {high:+.1f}]"
    print(f"official score in percent, {results['seed'].nunique()} seeds")
    print(shown.reindex(order).round(1).fillna("").to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description="Backends and 07_angular on the embedded data set")
    parser.add_argument("machine_types", nargs="*", default=MACHINE_TYPES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ablation", action="store_true", help="take 07_angular apart")
    parser.add_argument("--encoder", help="measure this one alone, named as `start` of 08_backends")
    parser.add_argument("--variants", nargs="*", choices=ABLATION, help="of the ablation; all if left out")
    parser.add_argument("--results", type=Path, default=PROJECT / "outputs" / "bench", help="folder of the results")
    parser.add_argument("--detectors", type=Path, help="where detectors are kept; else with the results")
    parser.add_argument("--data", type=Path, help="an existing data set of this seed")
    parser.add_argument("--features", type=Path, help="and the folder of its log-mels")
    parser.add_argument("--print", action="store_true", help="only print the tables of the results so far")
    args = parser.parse_args()
    args.detectors = args.detectors or args.results
    args.results.mkdir(parents=True, exist_ok=True)
    if not args.print:
        for seed in args.seeds:
            run(list(args.machine_types), seed, args)
    tables(pd.read_csv(args.results / "beyond.csv"))


if __name__ == "__main__":
    main()
