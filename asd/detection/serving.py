"""The detector as MLflow serves it: waveforms in, scores and decisions out; it never opens a file that a request names.

MLflow runs this file when it loads the model ("models from code"), so that no pickled code is stored.
"""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from asd.detection.detector import load_detector
from asd.errors import InputError

WAVEFORM = "waveform: allowed is one channel of finite samples in ±1"


def samples_of(waveform: Any) -> np.ndarray:
    """A request's waveform as float32 samples (N,).

    Raises:
        InputError: anything but one sequence of finite numbers.

    >>> samples_of([0, 0.5])
    array([0. , 0.5], dtype=float32)
    >>> samples_of("recording.wav")
    Traceback (most recent call last):
    asd.errors.InputError: waveform: allowed is one channel of finite samples in ±1; given was a str
    """
    if not isinstance(waveform, list | tuple | np.ndarray):
        raise InputError(f"{WAVEFORM}; given was a {type(waveform).__name__}")
    try:
        samples = np.asarray(waveform)
        numeric = samples.dtype.kind in "iuf" or all(isinstance(value, int | float | np.number) for value in waveform)
        samples = samples.astype(np.float32) if numeric else samples
    except (ValueError, TypeError, OverflowError) as error:  # ragged, or beyond any float
        raise InputError(f"{WAVEFORM} ({error})") from error
    if not numeric or samples.ndim != 1 or not np.isfinite(samples).all():
        raise InputError(WAVEFORM)
    return samples


def section_of(section: Any) -> int:
    """A request's section number; 2.0, as JSON may have it, is 2.

    Raises:
        InputError: anything but a whole number.

    >>> section_of(2.0)
    2
    >>> section_of(0.7)
    Traceback (most recent call last):
    asd.errors.InputError: section: 0.7; allowed: a whole number
    """
    if isinstance(section, bool) or not isinstance(section, int | float | np.integer | np.floating):
        raise InputError(f"section: {str(section)[:40]!r}; allowed: a whole number")
    if not -(2**31) < section < 2**31:  # NaN included
        raise InputError("section: out of range; allowed: a whole number")
    if section != int(section):
        raise InputError(f"section: {section}; allowed: a whole number")
    return int(section)


class ServedDetector(PythonModel):
    """Scores rows of ``waveform`` (samples in ±1, one channel, the detector's sampling rate) and ``section``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the detector that lies beside the model."""
        self.detector = load_detector(context.artifacts["detector"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Score each row.

        Args:
            context: MLflow's.
            model_input: rows with ``waveform`` and ``section``.
            params: ``false_alarm_rate`` is the stated rate; 0, the default, means the detector's own.

        Returns:
            ``score``; ``anomalous`` (1 or 0); ``p_value`` (null for detectors without calibration scores), see
            :meth:`asd.detection.detector.Detector.decide`.

        Raises:
            MlflowException: a waveform that is not an array of finite numbers, an unknown section, an impossible rate:
                the server then answers with status 400 and the message.
        """
        try:
            return self.decisions(model_input, (params or {}).get("false_alarm_rate") or None)
        except InputError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error

    def decisions(self, model_input: pd.DataFrame, false_alarm_rate: float | None) -> pd.DataFrame:
        """The decision for each row."""
        if not isinstance(model_input, pd.DataFrame) or not {"waveform", "section"} <= set(model_input):
            raise InputError("a request has rows of waveform and section")
        rows = []
        for waveform, given in zip(model_input["waveform"], model_input["section"], strict=True):
            section = section_of(given)
            score = self.detector.score(self.detector.frames(samples_of(waveform)), section)
            decision = self.detector.decide(score, section, false_alarm_rate)
            p_value = None if np.isnan(decision.p_value) else decision.p_value  # JSON knows no NaN
            rows.append({"score": score, "anomalous": int(decision.anomalous), "p_value": p_value})
        return pd.DataFrame(rows, columns=["score", "anomalous", "p_value"])


mlflow.models.set_model(ServedDetector())
