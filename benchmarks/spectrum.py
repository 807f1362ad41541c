"""What does the spectrum of the whole clip bring to 07_angular?

In the package it is a front end and a network of its own, ``branches`` ["spectrum"], which 06_evaluation may combine
with the others: one way from a waveform to a score. Wilkinghoff
(*Self-supervised learning for anomalous sound detection*, ICASSP 2024) has it as a branch beside the frames. Both
are measured here, the latter in this program only and for whole clips of equal length: networks are trained as
07_angular does and judged by its backend, on a data set of ``mini_difficulty.py`` or on real recordings.

    python benchmarks/spectrum.py outputs/bench/seed_1 --seeds 1
    python benchmarks/spectrum.py ../shared/data/real --machine-types bldc --seeds 0 1 2

Results are appended to ``outputs/bench/spectrum.csv``; what it contains is not done again.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from beyond import cells, empty_table, machine_data, network_training, official
from methods import notebook_defaults
from torch import Tensor
from torch.nn.functional import normalize, pad

from asd.data.clips import clips_table
from asd.data.features import as_float
from asd.data.frames import Frames, LabelledFrames
from asd.data.recordings import read_recording
from asd.data.spectra import SpectrumSettings
from asd.detection.backends import window_embeddings
from asd.evaluation.ensembles import ensemble
from asd.models.angular import AngularNetwork, SpectrumBranch
from asd.notebook.parameters import AngularParameters, AuxParameters
from asd.paths import PROJECT
from asd.training.backends import BackendSettings, fit_backend
from asd.training.machines import all_machines

VARIANTS = {  # name: branches that see frames, and whether one sees the spectrum
    "statistics, modulations": (["statistics", "modulations"], False),
    "spectrum": ([], True),
    "spectrum, frames": (["frames"], True),
    "spectrum, modulations": (["modulations"], True),
    "spectrum, statistics, modulations": (["statistics", "modulations"], True),
}
ALONE, AS_IT_IS = "spectrum", "statistics, modulations"  # these two are combined


class WithSpectrum(AngularNetwork):
    """The network of 07_angular with one more branch; its frames have the spectrum behind the mel bands."""

    def __init__(self, config: dict, n_bins: int):
        super().__init__(**config)
        self.n_mels, self.n_bins = config["n_mels"], n_bins
        self.spectrum = SpectrumBranch(n_bins, config["dimensions"])
        self.dimensions += config["dimensions"]

    def parts(self, frames: Tensor) -> list[Tensor]:
        spectrum = frames[..., self.n_mels :].flatten(1)[:, : self.n_bins]
        embedded = normalize(self.spectrum(spectrum.unsqueeze(1)).float(), dim=1)
        return [embedded, *super().parts(frames[..., : self.n_mels].contiguous())]


@dataclass(frozen=True)
class WholeClips:
    """Frames of clips of equal length, each with its clip's spectrum, cut into as many pieces, behind the mel bands."""

    frames: Frames
    spectrum: Tensor  # (N, T, pieces of the spectrum)

    def __len__(self) -> int:
        return len(self.frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frames, name)

    def crop(self, clip: Tensor, offset: Tensor, n_frames: int) -> Tensor:
        return torch.cat([self.frames.crop(clip, offset, n_frames), self.spectrum[clip]], dim=2)

    def random_crop(self, clip: Tensor, n_frames: int, generator: torch.Generator) -> Tensor:
        return self.crop(clip, torch.zeros_like(clip), n_frames)


def spectra(root: Path, paths: list[str], n_samples: int) -> Tensor:
    """Spectrum in dB of the first samples of each clip: (N, bins)."""
    settings = SpectrumSettings(16000, n_samples)
    return torch.cat([settings.compute(as_float(read_recording(root / path, 16000)))[:1] for path in paths])


def with_spectra(clips: LabelledFrames, root: Path, n_frames: int) -> tuple[LabelledFrames, int]:
    """Clips with their spectra, and the number of bins."""
    paths = [path for _, part in clips.frames.parts for path in part]
    spectrum = spectra(root, paths, clips.frames.features.n_samples(n_frames))
    width = -(-spectrum.shape[1] // n_frames)
    pieces = pad(spectrum, (0, width * n_frames - spectrum.shape[1])).view(len(paths), n_frames, width)
    return LabelledFrames(WholeClips(clips.frames, pieces), clips.section), spectrum.shape[1]


def measure(root: Path, features: Path, machine_types: list[str], seed: int, names: list[str], file: Path) -> None:
    """Train and judge the variants that the file lacks."""
    clips = clips_table(root)
    common = {"data_root": str(root), "output_root": str(features), "device": "cpu", "seed": seed}
    p = AngularParameters(**notebook_defaults("07_angular") | common)
    aux = AuxParameters(**notebook_defaults("03_aux") | common)
    machines = all_machines(p, clips, torch.device("cpu"), lambda line: None)
    train, n_bins = with_spectra(machines.train, root, machines.n_frames)
    done = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=["data", "seed", "variant"])
    done = set(done.loc[(done["data"] == root.name) & (done["seed"] == seed), "variant"])
    tables: dict[str, dict[str, pd.DataFrame]] = {machine_type: {} for machine_type in machine_types}
    for name in (name for name in names if name not in done):
        branches, spectral = VARIANTS[name]
        q = p.model_copy(update={"branches": branches, "feature_exchange": len(branches) + spectral > 1})
        start = time.perf_counter()
        if spectral:
            network, _ = network_training(q, machines, train, lambda config: WithSpectrum(config, n_bins))
        else:
            network, _ = network_training(q, machines, machines.train, lambda config: AngularNetwork(**config))
        seconds, rows = time.perf_counter() - start, []
        for machine_type in machine_types:
            data = machine_data(aux, clips, machine_type)
            judged = data.labelled(data.clips)
            if spectral:
                judged, _ = with_spectra(judged, root, machines.n_frames)
            points, section = window_embeddings(network, judged, machines.n_frames, machines.n_frames)
            known = torch.tensor(((data.clips["split"] == "train") & ~data.is_held_out).to_numpy())
            is_target = torch.tensor((data.clips["domain"] == "target").to_numpy())
            backend, _ = fit_backend(
                BackendSettings(**q.judging), points[known], section[known], is_target[known], seed
            )
            scores = backend.score(points, section).double().numpy()
            tables[machine_type][name] = empty_table(data, name, seed).assign(score=scores)
            rows += rows_of(root, seed, name, machine_type, tables[machine_type][name])
        append(rows, file, f"{seconds:.0f} s")
    if ALONE not in done and {ALONE, AS_IT_IS} <= set(names):
        rows = []
        for machine_type, found in tables.items():
            together = ensemble([found[AS_IT_IS], found[ALONE]])
            rows += rows_of(root, seed, f"mean of both: {AS_IT_IS} | {ALONE}", machine_type, together)
        append(rows, file, "an ensemble")


def rows_of(root: Path, seed: int, name: str, machine_type: str, table: pd.DataFrame) -> list[dict]:
    """A row for each cell of a score table."""
    key = {"data": root.name, "seed": seed, "variant": name, "machine_type": machine_type}
    return [key | cell for cell in cells(table)]


def append(rows: list[dict], file: Path, note: str) -> None:
    """Keep the results of a variant, and print its official score."""
    table = pd.DataFrame(rows)
    table.to_csv(file, mode="a", header=not file.is_file(), index=False)
    print(f"{rows[0]['data']} {rows[0]['seed']} {rows[0]['variant']:40} {official(table):.1f}  ({note})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="07_angular with the spectrum of the whole clip")
    parser.add_argument("data", type=Path, help="folder of the data set")
    parser.add_argument("--machine-types", nargs="*", help="to judge; all if left out")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--results", type=Path, default=PROJECT / "outputs" / "bench", help="folder of the results")
    parser.add_argument("--features", type=Path, help="folder of the log-mels; else beside the results")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    file = args.results / "spectrum.csv"
    machine_types = args.machine_types or sorted(set(clips_table(args.data)["machine_type"]))
    for seed in args.seeds:
        features = args.features or args.results / f"{args.data.name}_features"
        measure(args.data, features, machine_types, seed, args.variants, file)
    results = pd.read_csv(file)
    groups = results.groupby(["data", "variant", "machine_type", "seed"], sort=False)
    scores = groups[["auc", "pauc"]].apply(official).rename("both").to_frame()
    for domain, rows in results.groupby("domain"):
        by_run = rows.groupby(["data", "variant", "machine_type", "seed"])
        scores[domain] = by_run[["auc", "pauc"]].apply(official)
    print("official score in percent: mean over machine types and seeds")
    print(scores.groupby(["data", "variant"], sort=False).mean().round(1).to_string())


if __name__ == "__main__":
    main()
