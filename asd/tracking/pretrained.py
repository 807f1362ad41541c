"""The trained run that another one starts from: how it is found and checked, and what it was trained with."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from asd.detection.detector import Detector, load_detector
from asd.errors import InputError
from asd.evaluation.score_table import read_table, table_path
from asd.notebook.groups import ClipParameters, FittingParameters, RunParameters, TrainingParameters
from asd.notebook.inputs import feature_parameters
from asd.tracking.mlflow_store import Store
from asd.tracking.runs import DETECTOR, SCORES
from asd.training.data import TrainingData

NOTEBOOKS = {"aux": "03_aux", "ccsa": "04_ccsa", "angular": "07_angular"}  # by method: what others may start from


@dataclass(frozen=True)
class Pretrained:
    """A finished run and its results.

    Attributes:
        run_id, tags: as in MLflow.
        validation_fraction: the fraction of the source train clips that it held out.
        detector: the trained network and its feature settings, sections and snippet length.
        scores: its score table.
    """

    run_id: str
    tags: dict[str, str]
    validation_fraction: float
    detector: Detector
    scores: pd.DataFrame

    def completed(self, p: RunParameters) -> ClipParameters:
        """Complete the parameters with the run's own values for everything that concerns clips and features."""
        detector = self.detector
        features = detector.features
        fitting = isinstance(p, FittingParameters)
        own, complete = (FittingParameters, TrainingParameters) if fitting else (RunParameters, ClipParameters)
        given = {name: getattr(p, name) for name in own.model_fields}
        inherited = {
            "sections": detector.sections,
            "validation_fraction": self.validation_fraction,
            "snippet_length": features.n_samples(detector.n_frames) / features.sample_rate,
            "snippet_hop_size": detector.hop * features.hop_length / features.sample_rate,
            "reduction": detector.reduction,
            "normalize_waveform": detector.normalize_waveform,
        }
        return complete.model_validate(given | feature_parameters(features) | inherited)

    @property
    def notebook(self) -> str:
        """The notebook that makes such runs."""
        return NOTEBOOKS[self.tags["method"]]

    def check_clips(self, data: TrainingData) -> None:
        """Ensure that the clips are those that the run was trained on; otherwise its held-out clips are unknown.

        Raises:
            InputError: their names or contents differ.
        """
        machine_type = self.detector.machine_type
        if json.loads(self.tags["data"]).get(machine_type) != data.fingerprint[machine_type]:
            raise InputError(
                f"run_id: the run {self.run_id} was trained on other {machine_type} clips than those in data_root now"
                f" (names or contents differ); run {self.notebook} on these first"
            )


def find_pretrained(output_root: Path, machine_type: str, run_id: str = "", method: str = "aux") -> Pretrained:
    """Load a finished run of ``method``: the one given, or the one that wrote the method's score table.

    Args:
        output_root: folder of the score tables and, by default, of the store.
        machine_type: the machine type that the run must have been trained for.
        run_id: MLflow's; if empty, the run that wrote ``scores/<machine_type>/<method>.csv``.
        method: the run's method, a key of NOTEBOOKS.

    Raises:
        InputError: the run is unknown, unfinished, a debug run, or of another method or machine type, or its files are
            missing.
    """
    run_id = run_id or run_that_wrote(table_path(output_root, machine_type, method), method)
    store = Store(output_root)
    found = store.search(f"attributes.run_id = '{run_id}'")
    if not found:
        raise InputError(
            f"run_id: there is no run {run_id} in the store {store.client.tracking_uri}; {NOTEBOOKS[method]} prints its"
            " run's id as its last result, and the MLflow UI lists all runs"
        )
    run, tags = found[0], found[0].data.tags
    for tag, expected in (("method", method), ("machine_type", machine_type)):
        if tags.get(tag) != expected:
            raise InputError(f"run_id: the run {run_id} has the {tag} {tags.get(tag)!r}; allowed: {expected!r}")
    if "complete" not in tags:
        raise InputError(
            f"run_id: the run {run_id} is unfinished ({run.info.status}); run the same {NOTEBOOKS[method]} again to"
            " resume it"
        )
    if tags.get("debug") != "False":
        raise InputError(f"run_id: the run {run_id} is a debug run; run {NOTEBOOKS[method]} without `debug`")
    return Pretrained(
        run_id=run_id,
        tags=tags,
        validation_fraction=float(run.data.params["validation_fraction"]),
        detector=store.read(run_id, DETECTOR, load_detector),
        scores=store.read(run_id, SCORES, read_table),
    )


def run_that_wrote(path: Path, method: str) -> str:
    """The id of the run that wrote a score table.

    Raises:
        InputError: there is no such table, or it was not written by a single run of the method.
    """
    if not path.is_file():
        raise InputError(f"run_id: is empty, and there is no {path} that names a run; run {NOTEBOOKS[method]} first")
    table = read_table(path)
    runs = sorted(set(table["run_id"].dropna()))
    if len(runs) != 1 or set(table["method"]) != {method}:
        raise InputError(
            f"run_id: is empty, and {path} was written by runs {runs} of methods {sorted(set(table['method']))};"
            f" allowed: one run of {method!r}"
        )
    return runs[0]
