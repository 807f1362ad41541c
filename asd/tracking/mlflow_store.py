"""The store of runs: the part of MLflow that we use, and nothing more.

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
logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # creating a database is nothing to report


from filelock import FileLock

import asd
from asd.detection.detector import Detector
from asd.errors import InputError, needs_extra
from asd.files import replacing
from asd.tracking.identity import digest

with needs_extra("tracking"):
    import mlflow.artifacts
    import mlflow.pyfunc
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, LoggedModelStatus, Metric, Param
    from mlflow.entities import Run as StoredRun
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

EXPERIMENT = "asd"
MODEL = "model"  # name of a run's servable model: runs:/<run id>/model
SQLITE = "sqlite:///"
PAGE = 1000  # runs that a store returns at once
T = TypeVar("T")
SERVING_NEEDS = ("filelock", "mlflow", "numpy", "pandas", "scipy", "soundfile", "torch", "torchaudio")
SIGNATURE = ModelSignature(
    # a section that is 0.7 must arrive as such, to be refused: MLflow would cut it to an integer
    inputs=Schema([ColSpec(Array(DataType.double), "waveform"), ColSpec(DataType.double, "section")]),
    outputs=Schema(
        [
            ColSpec(DataType.double, "score"),
            ColSpec(DataType.long, "anomalous"),
            ColSpec(DataType.double, "p_value", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("false_alarm_rate", DataType.double, 0.0)]),  # 0: the detector's own
)


def store_uri(output_root: Path) -> str:
    """``MLFLOW_TRACKING_URI`` if it is set, otherwise a database in the output root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{output_root}/mlflow.db"


def has_store(output_root: Path) -> bool:
    """Whether there may be a store: False where opening it would create the output root's own database."""
    database = output_root / "mlflow.db"
    return store_uri(output_root) != f"{SQLITE}{database}" or database.is_file()


class Store:
    """A connection to the store, which is created first if necessary.

    Raises:
        InputError: the store cannot be opened: not a database, a full disk, no such server.
    """

    def __init__(self, output_root: Path):
        uri = store_uri(output_root)
        try:
            output_root.mkdir(parents=True, exist_ok=True)
            # processes that create a database at the same time crash in its migration: one at a time
            with FileLock(output_root / "mlflow.lock"):
                self._open(uri, output_root)
        except Exception as error:  # MLflow passes on whatever its database or network raises
            reason = next(iter(str(error).splitlines()), type(error).__name__)  # without the SQL that follows
            raise InputError(f"{uri}: the store of runs cannot be opened ({reason})") from error

    def _open(self, uri: str, output_root: Path) -> None:
        if uri.startswith(SQLITE):
            make_database(Path(uri.removeprefix(SQLITE)))
        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            artifacts = None
            if uri.startswith(SQLITE):
                database = sqlite3.connect(uri.removeprefix(SQLITE))
                database.execute("PRAGMA journal_mode=WAL")  # readers and the writer don't block each other
                database.close()
                artifacts = (output_root / "mlartifacts").as_uri()
            self.experiment = self.client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        else:
            self.experiment = experiment.experiment_id

    def read(self, run_id: str, name: str, reader: Callable[[Path], T]) -> T:
        """Read one of a run's files with ``reader``.

        Raises:
            InputError: the run has no such file, or the reader rejects it.
        """
        path = self.artifact(run_id, name)
        try:
            return reader(path)
        except InputError as error:
            raise InputError(f"run {run_id}: {error}; `retrain` forces a new run") from error

    def search(self, query: str) -> list[StoredRun]:
        """Runs that match the query, latest first."""
        order = ["attributes.start_time DESC"]
        runs: list[StoredRun] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment], query, order_by=order, max_results=PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def create_run(self, name: str, parameters: dict, tags: dict[str, str]) -> str:
        """Create a run and return its id."""
        run_id = self.client.create_run(self.experiment, tags=tags, run_name=name).info.run_id
        self.client.log_batch(run_id, params=[Param(key, str(value)) for key, value in parameters.items()])
        return run_id

    def log_dataset(self, run_id: str, machine_type: str, fingerprints: dict[str, str]) -> None:
        """Record which data a run was trained on: its name is the machine type, its digest that of all fingerprints."""
        dataset = Dataset(machine_type, digest(fingerprints), "local", json.dumps(fingerprints))
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_model(self, run_id: str, folder: Path, names: dict[str, str]) -> None:
        """Store a servable model as one of the experiment's models, named ``MODEL``, with ``names`` to tell it by.

        A run that was interrupted in between has one already, which is completed.
        """
        known = self.client.search_logged_models([self.experiment], f"source_run_id = '{run_id}'")
        model = known[0] if known else self.client.create_logged_model(self.experiment, MODEL, run_id, params=names)
        self.client.log_model_artifacts(model.model_id, str(folder))
        if model.status != LoggedModelStatus.READY:
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def log_metrics(self, run_id: str, values: dict[str, float], step: int) -> None:
        """Log metrics in a single call, since each call costs a database tens of milliseconds."""
        now = int(time.time() * 1000)
        self.client.log_batch(run_id, [Metric(name, float(value), now, step) for name, value in values.items()])

    def artifact(self, run_id: str, name: str) -> Path:
        """Local path of one of a run's files, downloaded first if the store is remote.

        Raises:
            InputError: the run has no such file.
        """
        uri = self.client.tracking_uri
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=name, tracking_uri=uri))
        except (MlflowException, OSError) as error:
            raise InputError(f"run {run_id}: its file {name} is not in the store {uri} ({error})") from error


def make_database(path: Path) -> None:
    """Create MLflow's database if it does not exist, under a temporary name, since MLflow cannot repair half of one."""
    if not path.exists():
        for stale in path.parent.glob(f".{path.name}.*"):  # left by a killed process, since we hold the lock
            stale.unlink()
        with replacing(path) as temporary:
            MlflowClient(f"{SQLITE}{temporary}").get_experiment_by_name(EXPERIMENT)


def known_runs(output_root: Path, run_ids: list[str]) -> dict[str, StoredRun]:
    """Those of the runs that the store knows, by id; none if there is no store or it cannot be queried."""
    uri = store_uri(output_root)
    if not run_ids or not has_store(output_root):
        return {}
    try:
        found = Store(output_root).search(f"attributes.run_id IN ({', '.join(map(repr, run_ids))})")
    except (MlflowException, InputError) as error:
        warnings.warn(f"{uri}: the store cannot be queried ({error})", stacklevel=2)
        return {}
    return {run.info.run_id: run for run in found}


def save_servable(detector_file: Path, folder: Path, detector: Detector) -> None:
    """Write the detector as a model for ``mlflow models serve``: its file and our code, without a pickle."""
    package = Path(asd.__file__).parent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example")  # the signature is given, so none needs to be inferred
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(package / "detection" / "serving.py"),
            artifacts={"detector": str(detector_file)},
            code_paths=[str(package)],
            signature=SIGNATURE,
            pip_requirements=[f"{name}=={version(name)}" for name in SERVING_NEEDS + detector.features.packages],
            metadata={"machine_type": detector.machine_type, "features": json.dumps(asdict(detector.features))},
        )
