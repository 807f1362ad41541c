"""What earlier versions of the package wrote is still understood.

The files in ``tests/earlier`` were written by the last version before the package had rooms: two detectors, the scores
that they gave a tone, and the identity that a run had.
"""

import json

import numpy as np
import pytest
from conftest import PROJECT

from asd.detection.detector import load_detector
from asd.tracking.identity import identity_digest

EARLIER = PROJECT / "tests" / "earlier"
EXPECTED = json.loads((EARLIER / "expected.json").read_text())


@pytest.mark.parametrize("kind", ["classifier", "density"])
def test_an_earlier_detector_loads_and_gives_the_scores_that_it_gave(kind: str):
    detector = load_detector(EARLIER / f"{kind}.pt")
    t = np.arange(16000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 440 * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))).astype(np.float32)
    scores = {str(section): detector.score(detector.frames(tone), section) for section in detector.sections}
    assert scores == pytest.approx(EXPECTED[kind], rel=1e-4)
    assert detector.statistics[3] == {"mean": 0.1 * 3, "std": 4.0, "threshold": 3.5, "n_clips": 3}


def test_a_run_is_found_by_the_identity_that_it_had():
    identity = {"parameters": {"a": 1, "b": [0, 1], "c": None}, "data": {"fan": "00"}}
    tags = {"method": "aux", "machine_type": "fan", "run_name": "aux", "settings": "demo"}
    assert identity_digest(identity, tags) == EXPECTED["identity"]
