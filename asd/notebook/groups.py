"""Groups of parameters that notebooks share, and what is allowed for them: strict models without defaults.

A notebook's own model (:mod:`asd.notebook.parameters`) is made of these. Nothing heavy is imported here.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from asd.paths import absolute, default_data_root, default_output_root

NOT_TRAINING = {"machine_type", "data_root", "output_root", "run_name", "device", "precision", "compile", "retrain"}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def _empty_or_an_id(value: str) -> str:
    if re.fullmatch("([0-9a-f]{32})?", value) is None:
        raise ValueError("allowed: the 32 hexadecimal digits that a notebook prints at its end, or an empty string")
    return value


RunId = Annotated[str, AfterValidator(_empty_or_an_id)]


def _empty_or_a_file_name(value: str) -> str:
    if value and (not value.replace("_", "").replace("-", "").replace(".", "").isalnum() or value[0] in ".-"):
        raise ValueError("allowed: letters, digits, _, - and .")
    return value


FileName = Annotated[str, AfterValidator(_empty_or_a_file_name)]


class Parameters(BaseModel):
    """The parameters that all notebooks share."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    machine_type: Name
    data_root: str
    output_root: str

    @property
    def data(self) -> Path:
        """The data root: the parameter, or its default where it is empty."""
        return absolute(self.data_root) if self.data_root else default_data_root()

    @property
    def outputs(self) -> Path:
        """The output root: the parameter, or its default where it is empty."""
        return absolute(self.output_root) if self.output_root else default_output_root()

    @property
    def embedded(self) -> bool:
        """Whether the data root is that of the embedded data set, because no other was given."""
        return not self.data_root and not os.environ.get("ASD_DATA_ROOT")


class FeatureParameters(Parameters):
    """How waveforms become log-mel frames."""

    sample_rate: Count
    n_fft: Annotated[int, Field(ge=16)]
    hop_length: Count
    n_mels: Count
    consistent_with_librosa: bool

    @model_validator(mode="after")
    def _hop_within_window(self) -> "FeatureParameters":
        if self.hop_length > self.n_fft:
            raise ValueError(f"hop_length {self.hop_length} leaves gaps between windows of n_fft {self.n_fft}")
        return self


class RunParameters(Parameters):
    """What all runs share: their names, where and how they are computed."""

    run_name: FileName
    device: str
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    debug: bool
    retrain: bool

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if value not in ("auto", "cpu", "cuda") and not value.removeprefix("cuda:").isdigit():
            raise ValueError("allowed: 'auto', 'cpu', 'cuda', 'cuda:0', …")
        return value

    def name(self, method: str) -> str:
        """The run's name: the method's if none is given; a debug run does not replace a real one."""
        return self.run_name or (f"{method}-debug" if self.debug else method)

    @property
    def training(self) -> dict[str, Any]:
        """The parameters that the result of a training depends on."""
        return {name: value for name, value in self.model_dump().items() if name not in NOT_TRAINING}


class FittingParameters(RunParameters):
    """How a model is fitted: the parameters that all trainings share."""

    precision: Literal["auto", "float32", "bfloat16"]
    batch_size: Count
    learning_rate: Positive
    min_learning_rate: NotNegative
    weight_decay: NotNegative
    rampdown_start: Annotated[int, Field(ge=0)]
    rampdown_length: Annotated[int, Field(ge=0)]
    max_epochs: Count

    @model_validator(mode="after")
    def _ramp_leads_down(self) -> "FittingParameters":
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is larger than learning_rate {self.learning_rate};"
                " it is what the learning rate falls to"
            )
        return self

    @property
    def schedule(self) -> dict[str, float]:
        """The arguments of :class:`asd.training.loop.Optimisation`; with ``debug``, a single epoch."""
        names = ("learning_rate", "min_learning_rate", "rampdown_start", "rampdown_length", "weight_decay")
        return {name: getattr(self, name) for name in names} | {"max_epochs": 1 if self.debug else self.max_epochs}


class ClipParameters(FeatureParameters, RunParameters):
    """Which clips are used, and in which form."""

    sections: list[Annotated[int, Field(ge=0)]]
    validation_fraction: Annotated[float, Field(ge=0, lt=1)]
    snippet_length: Positive | None
    snippet_hop_size: Positive | None
    reduction: Literal["mean", "max"]
    normalize_waveform: bool
    least_frames: ClassVar[int] = 1  # that a snippet needs

    @field_validator("sections")
    @classmethod
    def _each_once(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError("a section is listed twice")
        return sorted(value)


class TrainingParameters(ClipParameters, FittingParameters):
    """A training from scratch."""


class JudgingParameters(RunParameters):
    """How embeddings are judged."""

    backend: Literal["knn", "lof", "gmm", "mahalanobis"]
    neighbours: Count
    components: Count
    smote: bool
    density_neighbours: Annotated[int, Field(ge=0)]

    @property
    def judging(self) -> dict[str, Any]:
        """The arguments of :class:`asd.training.backends.BackendSettings`."""
        names = ("neighbours", "components", "smote", "density_neighbours")
        return {"kind": self.backend} | {name: getattr(self, name) for name in names}
