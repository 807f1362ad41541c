"""The detector as MLflow serves it: waveforms in, scores and decisions out; it never opens a file that a request names.

MLflow runs this file when it loads the model ("models from code"), so that no pickled code is stored.
"""

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from asd.detection.detector import load_detector
from asd.errors import InputError


class ServedDetector(mlflow.pyfunc.PythonModel):
    """Scores rows of ``waveform`` (samples in ±1, one channel, the detector's sampling rate) and ``section``."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Read the detector that lies beside the model."""
        self.detector = load_detector(context.artifacts["detector"])

    def predict(self, context: mlflow.pyfunc.PythonModelContext, model_input: pd.DataFrame) -> pd.DataFrame:
        """Score each row: ``score`` and ``anomalous`` (1 above the section's threshold, else 0).

        Raises:
            MlflowException: a waveform that is not an array of finite numbers, or an unknown section: the server then
                answers with status 400 and the message.
        """
        try:
            return self.scored(model_input)
        except InputError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error

    def scored(self, model_input: pd.DataFrame) -> pd.DataFrame:
        """The rows with ``score`` and ``anomalous``."""
        rows = []
        for waveform, section in zip(model_input["waveform"], model_input["section"], strict=True):
            if isinstance(waveform, str | bytes):
                raise InputError("waveform: a text was given; allowed: an array of samples in ±1")
            samples = np.asarray(waveform, dtype=np.float32)
            if samples.ndim != 1 or not np.isfinite(samples).all():
                raise InputError("waveform: allowed is one channel of finite samples in ±1")
            score = self.detector.score(self.detector.frames(samples), int(section))
            threshold = self.detector.statistics[int(section)]["threshold"]
            rows.append({"score": score, "anomalous": int(score > threshold)})
        return pd.DataFrame(rows)


mlflow.models.set_model(ServedDetector())
