"""From a notebook's parameters to what they name: the clips table and the feature settings."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings, FrontEnd
from asd.demo.dataset import make
from asd.notebook.groups import FeatureParameters, Parameters


def feature_settings(p: FeatureParameters) -> FeatureSettings:
    """The ``FeatureSettings`` that the parameters describe."""
    return FeatureSettings(p.sample_rate, p.n_fft, p.hop_length, p.n_mels, p.consistent_with_librosa)


def feature_parameters(features: FrontEnd) -> dict[str, Any]:
    """The parameters of a front end: those of log-mels, or for others what stands for them, the form of their frames.

    >>> feature_parameters(FeatureSettings(n_mels=64)) == asdict(FeatureSettings(n_mels=64))
    True
    """
    if isinstance(features, FeatureSettings):
        return asdict(features)
    form = {"n_fft": features.window, "hop_length": features.hop_length, "n_mels": features.width}
    return form | {"sample_rate": features.sample_rate, "consistent_with_librosa": False}


def find_clips(p: Parameters) -> pd.DataFrame:
    """The clips table of the parameters' data root; the embedded data set is made first if it does not exist."""
    if p.embedded:
        make(p.data)
    return clips_table(p.data)
