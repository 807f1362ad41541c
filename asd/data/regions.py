"""What is known about where faults are: ``faults.csv`` beside the recordings, to judge explanations by.

The embedded data set has such a table (:mod:`asd.demo.dataset`), one row per region of an anomalous clip::

    path,fault,start,end,low,high
    dev_data/fan/source_test/section_00_source_test_anomaly_0003.wav,rubbing,0.321,0.351,2100,4200

``start`` and ``end`` are in seconds, ``low`` and ``high`` in Hz. One may write it for recordings of one's own.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from asd.data.features import FeatureSettings, mel_frequencies
from asd.errors import InputError

FILE = "faults.csv"
COLUMNS = {"path": str, "fault": str, "start": float, "end": float, "low": float, "high": float}


def fault_regions(data_root: Path | str) -> pd.DataFrame:
    """The regions of all anomalous clips, with the columns of ``faults.csv``; no rows where there is no such file.

    Raises:
        InputError: the file cannot be read, or a column or a number is missing.
    """
    path = Path(data_root) / FILE
    if not path.is_file():
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    try:
        regions = pd.read_csv(path, dtype=COLUMNS, usecols=list(COLUMNS), keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table of {', '.join(COLUMNS)} ({error})") from error
    return regions[list(COLUMNS)]


def region_bins(regions: pd.DataFrame, features: FeatureSettings, n_frames: int) -> np.ndarray:
    """Which bins of a clip's frames lie in its regions: (n_frames, n_mels) bool.

    A frame belongs to a region if its window touches the time from ``start`` to ``end``; a mel band if its centre lies
    from ``low`` to ``high``, or else, where a region is narrower than the bands, if it is the nearest to its middle.

    >>> tone = pd.DataFrame({"start": [0.05], "end": [0.07], "low": [430.0], "high": [450.0]})
    >>> region_bins(tone, FeatureSettings(n_mels=8), n_frames=4).astype(int)
    array([[0, 1, 0, 0, 0, 0, 0, 0],
           [0, 1, 0, 0, 0, 0, 0, 0],
           [0, 1, 0, 0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0, 0]])
    """
    start = np.arange(n_frames) * features.hop_length / features.sample_rate
    end, centre = start + features.n_fft / features.sample_rate, mel_frequencies(features)
    inside = np.zeros((n_frames, features.n_mels), dtype=bool)
    for region in regions.itertuples():
        bands = (centre >= region.low) & (centre <= region.high)
        bands[np.abs(centre - (region.low + region.high) / 2).argmin()] = True
        inside[np.ix_((start < region.end) & (end > region.start), bands)] = True
    return inside
