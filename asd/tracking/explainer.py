"""Explanations of clips in score tables, by the runs that scored them; of an ensemble's, by all its members."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asd.data.features import FeatureSettings
from asd.data.recordings import read_recording
from asd.detection.detector import Detector, load_detector
from asd.detection.explanations import explain
from asd.errors import InputError
from asd.evaluation.ensembles import units
from asd.evaluation.tables import Tables
from asd.tracking.mlflow_store import Store, has_store
from asd.tracking.runs import DETECTOR

DETECTORS_AT_ONCE = 8  # that are kept in memory


class Explainer:
    """Explain clips by the detectors in the store.

    Args:
        output_root: folder of the store, by default.
        data_root: what clips' paths are relative to.
        tables: score tables by run name, of the members of ensembles, too.
        held_out: whether an ensemble's z-scores were made from held-out train clips.
        rule: how they were combined, ``mean`` or ``min``.
    """

    def __init__(self, output_root: Path, data_root: Path, tables: Tables, held_out: bool = False, rule: str = "mean"):
        self.store = Store(output_root) if has_store(output_root) else None
        self.data_root, self.held_out, self.rule = data_root, held_out, rule
        self.tables = {str(run_id): rows for table in tables.values() for run_id, rows in table.groupby("run_id")}
        self.detector = lru_cache(DETECTORS_AT_ONCE)(self._detector)

    def __call__(self, clip: Mapping[str, Any]) -> np.ndarray | None:
        """The explanation of a clip, (N, n_mels), see :func:`asd.detection.explanations.explain`.

        An ensemble's score is the mean of its members' z-scores; so its explanation is the mean of their maps, each
        divided by the deviation of the member's train scores. If it is their minimum, the explanation is the map of the
        member whose z-score is the lowest.

        Args:
            clip: with ``clip``, ``section`` and ``run_id`` as in a score table; an ensemble's id joins those of its
                members by ``+``.

        Returns:
            None if a run is not in the store, as it was made elsewhere, if members differ in their features, or if
            one's are no log-mels.
        """
        run_ids, section = str(clip["run_id"]).split("+"), int(clip["section"])
        maps, z_scores = [], []
        for run_id in run_ids:
            detector = self.detector(run_id)
            if detector is None or (len(run_ids) > 1 and run_id not in self.tables):
                return None
            if not isinstance(detector.features, FeatureSettings):  # other numbers are no mel bands
                return None
            samples = read_recording(self.data_root / clip["clip"], detector.features.sample_rate)
            explanation = explain(detector, detector.frames(samples), section)
            z_score, scale = self.z_score(run_id, section, clip["clip"]) if len(run_ids) > 1 else (0.0, 1.0)
            maps.append(explanation / scale)
            z_scores.append(z_score)
        if len({explanation.shape for explanation in maps}) > 1:
            return None
        return maps[int(np.argmin(z_scores))] if self.rule == "min" else np.mean(maps, axis=0)

    def z_score(self, run_id: str, section: int, clip: str) -> tuple[float, float]:
        """The z-score that a run gives a clip, and the deviation that it is measured in."""
        rows = self.tables[run_id]
        means, deviation = units(rows, self.held_out)
        score = rows.loc[rows["clip"] == clip, "score"].iloc[0]
        return (score - means[section]) / deviation, deviation

    def _detector(self, run_id: str) -> Detector | None:
        try:
            return None if self.store is None else self.store.read(run_id, DETECTOR, load_detector)
        except InputError:
            return None
