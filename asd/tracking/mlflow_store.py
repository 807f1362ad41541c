"""The store that runs are followed in: MLflow, and nothing else of it than what we use.

Only this module, the served model and the command line import MLflow.
"""

import json
import logging
import os
import sqlite3
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # that it makes a database is no news


import mlflow.artifacts
import mlflow.pyfunc
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema

import asd
from asd.detection.detector import Detector
from asd.errors import InputError
from asd.files import replacing

EXPERIMENT = "asd"
SQLITE = "sqlite:///"
T = TypeVar("T")
SERVING_NEEDS = ("filelock", "mlflow", "numpy", "pandas", "scipy", "soundfile", "torch", "torchaudio")
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(Array(DataType.double), "waveform"), ColSpec(DataType.long, "section")]),
    outputs=Schema([ColSpec(DataType.double, "score"), ColSpec(DataType.long, "anomalous")]),
)


def store_uri(output_root: Path) -> str:
    """``MLFLOW_TRACKING_URI`` if it is set, else a database in the output root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{output_root}/mlflow.db"


class Store:
    """A connection to the store, created first where need be.

    Raises:
        InputError: it cannot be opened: no database, a full disk, no such server.
    """

    def __init__(self, output_root: Path):
        uri = store_uri(output_root)
        try:
            output_root.mkdir(parents=True, exist_ok=True)
            # processes that create a database at the same time crash in its migration: one looks at a time
            with FileLock(output_root / "mlflow.lock"):
                self._open(uri, output_root)
        except Exception as error:  # MLflow passes on whatever its database or network says
            reason = next(iter(str(error).splitlines()), type(error).__name__)  # without the SQL behind it
            raise InputError(f"{uri}: the store of runs cannot be opened ({reason})") from error

    def _open(self, uri: str, output_root: Path) -> None:
        if uri.startswith(SQLITE):
            make_database(Path(uri.removeprefix(SQLITE)))
        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            place = None
            if uri.startswith(SQLITE):
                database = sqlite3.connect(uri.removeprefix(SQLITE))
                database.execute("PRAGMA journal_mode=WAL")  # readers and the writer don't block each other
                database.close()
                place = (output_root / "mlartifacts").as_uri()
            self.experiment = self.client.create_experiment(EXPERIMENT, artifact_location=place)
        else:
            self.experiment = experiment.experiment_id

    def read(self, run_id: str, name: str, reader: Callable[[Path], T]) -> T:
        """What ``reader`` makes of one of a run's files.

        Raises:
            InputError: the run has no such file, or the reader refuses it.
        """
        path = self.artifact(run_id, name)
        try:
            return reader(path)
        except InputError as error:
            raise InputError(f"run {run_id}: {error}; `retrain` trains it anew") from error

    def search(self, query: str) -> list:
        """Runs that match, the latest first."""
        order = ["attributes.start_time DESC"]
        return self.client.search_runs([self.experiment], query, order_by=order, max_results=1000)

    def create_run(self, name: str, parameters: dict, tags: dict[str, str]) -> str:
        """Begin a run and return its id."""
        run_id = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])
        return run_id

    def log_metrics(self, run_id: str, values: dict[str, float], step: int) -> None:
        """Log numbers in one call: a call takes a database tens of milliseconds."""
        now = int(time.time() * 1000)
        self.client.log_batch(run_id, [Metric(name, float(value), now, step) for name, value in values.items()])

    def artifact(self, run_id: str, name: str) -> Path:
        """Local path of one of a run's files, fetched first where the store is elsewhere.

        Raises:
            InputError: the run has no such file.
        """
        uri = self.client.tracking_uri
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=uri))
        except (MlflowException, OSError) as error:
            raise InputError(f"run {run_id}: its file {name} is not in the store {uri} ({error})") from error


def make_database(path: Path) -> None:
    """Make MLflow's tables where there are none: beside their place, since MLflow cannot go on with half of them."""
    if not path.exists():
        for stale in path.parent.glob(f".{path.name}.*"):  # of a killed process: we hold the lock
            stale.unlink()
        with replacing(path) as temporary:
            MlflowClient(f"{SQLITE}{temporary}").get_experiment_by_name(EXPERIMENT)


def known_runs(output_root: Path, run_ids: list[str]) -> dict[str, Run]:
    """Those of the runs that the store knows, by their id; none where there is no store or it cannot be asked."""
    uri = store_uri(output_root)
    if not run_ids or (uri == f"{SQLITE}{output_root}/mlflow.db" and not (output_root / "mlflow.db").is_file()):
        return {}
    try:
        found = Store(output_root).search(f"attributes.run_id IN ({', '.join(map(repr, run_ids))})")
    except (MlflowException, InputError) as error:
        warnings.warn(f"{uri}: the store cannot be asked ({error})", stacklevel=2)
        return {}
    return {run.info.run_id: run for run in found}


def save_servable(detector_file: Path, folder: Path, detector: Detector) -> None:
    """Write the detector as a model that ``mlflow models serve`` serves: its file, our code, and no pickle."""
    package = Path(asd.__file__).parent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example")  # the signature is given: none need be guessed from one
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(package / "detection" / "serving.py"),
            artifacts={"detector": str(detector_file)},
            code_paths=[str(package)],
            signature=SIGNATURE,
            pip_requirements=[f"{name}=={version(name)}" for name in SERVING_NEEDS],
            metadata={"machine_type": detector.machine_type, "features": json.dumps(asdict(detector.features))},
        )
