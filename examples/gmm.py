"""A method of one's own in one file: a mixture of normal distributions for the mean log-mels of a clip.

    python examples/gmm.py --machine-type fan

For each section, the mixture is fitted to the source train clips that are not held out and to the target train clips. A
clip's score is minus its log density: the less probable, the more anomalous. The score table is all that the project
asks of a method; 06_evaluation finds it and compares it with the other runs.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.mixture import GaussianMixture

from asd.data.clips import clips_table
from asd.data.features import FeatureSettings
from asd.data.selection import held_out_clips, select
from asd.data.store import open_shard
from asd.demo.dataset import make
from asd.evaluation.score_table import COLUMNS, table_path, write_table
from asd.paths import EMBEDDED, default_data_root, default_output_root

RUN_NAME = "gmm"


def score(spectra: np.ndarray, is_train: np.ndarray, components: int, seed: int) -> np.ndarray:
    """Anomaly scores (N,) of one section's clips.

    Args:
        spectra: mean log-mels of the clips, (N, n_mels), in dB.
        is_train: which of them the mixture is fitted to, (N,).
        components: normal distributions in the mixture.
        seed: of its initial state.
    """
    mean, std = spectra[is_train].mean(0), spectra[is_train].std(0)
    z = (spectra - mean) / np.maximum(std, 0.5)  # a few clips may differ too little in a band, by chance
    mixture = GaussianMixture(components, covariance_type="diag", reg_covar=0.1, random_state=seed)
    return -mixture.fit(z[is_train]).score_samples(z)


def run(data_root: Path, output_root: Path, machine_type: str, components: int = 2, seed: int = 0) -> Path:
    """Fit and score one machine type, and return the path of its score table."""
    clips = select(clips_table(data_root), machine_type)
    shard = open_shard(clips, data_root, machine_type, FeatureSettings(), output_root / "features")
    spectra = shard.statistics_of(clips["path"])[:, 0]  # (clips, n_mels), in dB
    held_out = held_out_clips(clips, 0.1)  # the same ones as in the notebooks: they calibrate decisions
    is_train = ((clips["split"] == "train") & ~held_out).to_numpy()

    scores = np.empty(len(clips))
    for rows in clips.groupby("section").indices.values():
        scores[rows] = score(spectra[rows], is_train[rows], components, seed)

    table = clips.rename(columns={"path": "clip"}).assign(score=scores, held_out=held_out, seed=seed)
    table = table.assign(method=RUN_NAME, run_name=RUN_NAME, run_id=f"{RUN_NAME}-{components}-{seed}")
    path = table_path(output_root, machine_type, RUN_NAME)
    write_table(pd.DataFrame(table[COLUMNS]), path)
    return path


def main() -> None:
    """Score the machine type that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--machine-type", default="fan")
    parser.add_argument("--components", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    data_root, output_root = default_data_root(), default_output_root()
    if data_root == output_root / EMBEDDED:
        make(data_root)  # unless it is there
    print(run(data_root, output_root, given.machine_type, given.components, given.seed))


if __name__ == "__main__":
    main()
