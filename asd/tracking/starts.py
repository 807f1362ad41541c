"""What 08_backends starts from: the network of a finished run, or an encoder from elsewhere."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from asd.data.encoder_names import is_encoder, short_name
from asd.data.encoders import EncoderSettings, encoder_settings
from asd.data.features import FrontEnd
from asd.detection.backends import Network, averaging, network_of
from asd.notebook.groups import ClipParameters, RunParameters
from asd.notebook.inputs import feature_parameters
from asd.notebook.parameters import BackendParameters
from asd.tracking.pretrained import Pretrained, find_pretrained
from asd.training.data import TrainingData

# the defaults of 03_aux: so the same clips are held out, and a snippet is as long as the shortest train clip
ENCODER_CLIPS: dict[str, Any] = {
    "sections": [],
    "validation_fraction": 0.1,
    "snippet_length": None,
    "snippet_hop_size": None,
    "reduction": "mean",
    "normalize_waveform": False,
}


@dataclass(frozen=True)
class Start:
    """Where the embeddings come from, and which clips they are made of.

    Attributes:
        name: first part of the method's name, such as ``aux`` or ``speech``.
        clips: which clips are used, and in which form.
        features: how waveforms become frames.
        network: its kind, its arguments, and itself; see :func:`asd.detection.backends.network_of`.
        run: the finished run; None for an encoder.
    """

    name: str
    clips: ClipParameters
    features: FrontEnd
    network: tuple[str, dict, Network]
    run: Pretrained | None

    @property
    def run_id(self) -> str:
        """The finished run's id; empty for an encoder."""
        return self.run.run_id if self.run else ""

    @property
    def scores(self) -> pd.DataFrame | None:
        """The finished run's own score table; an encoder has none."""
        return self.run.scores if self.run else None

    @property
    def tags(self) -> dict[str, str]:
        """What a run that starts here is tagged with; the MLflow UI shows it below the finished one."""
        return {"parent": self.run_id, "mlflow.parentRunId": self.run_id} if self.run else {}

    @property
    def identity(self) -> dict[str, str]:
        """What a result depends on besides parameters and data: the weights of an encoder."""
        return {"encoder": self.features.digest} if isinstance(self.features, EncoderSettings) else {}

    def settings(self, own: str) -> str:
        """The label of the settings of a run that starts here: the finished run's, unless ``own`` is custom."""
        return own if self.run is None else self.run.tags["settings"] if own == "demo" else "custom"

    def check_clips(self, data: TrainingData) -> None:
        """See :meth:`asd.tracking.pretrained.Pretrained.check_clips`; any clips suit an encoder."""
        if self.run:
            self.run.check_clips(data)

    def __str__(self) -> str:
        if self.run is None:
            return f"{self.name}, {self.features.width} numbers every {self.milliseconds} ms"
        return f"run {self.run_id} ({self.run.tags['run_name']}, settings: {self.run.tags['settings']})"

    @property
    def milliseconds(self) -> int:
        """From one frame to the next."""
        return round(1000 * self.features.hop_length / self.features.sample_rate)


def find_start(p: BackendParameters) -> Start:
    """Find what the parameters ask for.

    Raises:
        InputError: the run or the encoder cannot be used; the message says what is missing.
    """
    if not is_encoder(p.start):
        run = find_pretrained(p.outputs, p.machine_type, p.run_id, p.start)
        p = p.model_copy(update={"run_id": run.run_id})
        return Start(p.start, run.completed(p), run.detector.features, network_of(run.detector), run)
    features = encoder_settings(p.start)
    given = {name: getattr(p, name) for name in RunParameters.model_fields}
    clips = ClipParameters.model_validate(given | ENCODER_CLIPS | feature_parameters(features))
    return Start(short_name(p.start), clips, features, averaging(), None)
