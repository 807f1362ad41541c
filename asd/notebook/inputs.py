"""From a notebook's parameters to what they name: the clips table and the feature settings."""

import pandas as pd

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.demo.dataset import make
from asd.notebook.groups import FeatureParameters, Parameters


def feature_settings(p: FeatureParameters) -> FeatureSettings:
    """The ``FeatureSettings`` that the parameters describe."""
    return FeatureSettings(p.sample_rate, p.n_fft, p.hop_length, p.n_mels, p.consistent_with_librosa)


def find_clips(p: Parameters) -> pd.DataFrame:
    """The clips table of the parameters' data root; the embedded data set is made first if it does not exist."""
    if p.embedded:
        make(p.data)
    return clips_table(p.data)
