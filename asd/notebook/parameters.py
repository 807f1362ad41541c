"""The parameters of each notebook and what is allowed for them: one strict model per notebook, without defaults.

Only the notebooks hold defaults, in the cell tagged ``parameters``. Nothing heavy is imported here.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from asd.data.encoder_names import ALLOWED, check_name, is_encoder
from asd.errors import InputError
from asd.notebook.groups import (
    Count,
    FeatureParameters,
    FileName,
    FittingParameters,
    JudgingParameters,
    Name,
    NotNegative,
    Positive,
    RunId,
    TrainingParameters,
)

STARTS = ("aux", "ccsa", "angular")  # methods that 08_backends can start from
ARCHITECTURES = ("ae", "made", "maf")  # as in asd.models.density, which is too heavy to import here
BATCHNORM = "the last batch might be a single row, of which a BatchNorm knows no variance; allowed: 3 or more"


class ExplorationParameters(FeatureParameters):
    """01_exploration."""

    run_name: FileName


class FeatureNotebookParameters(FeatureParameters):
    """02_features."""


class AuxParameters(TrainingParameters):
    """03_aux."""

    n_mels: Annotated[int, Field(ge=5)]
    proxy_outliers: Literal["none", "other_machines"]
    proxy_outlier_lambda: NotNegative
    pairwise_mixing: bool
    normalize: Literal["batchnorm", "mean_std", "mean_std_learnable", "none"]
    rho_f: Annotated[int, Field(ge=0, le=30)]
    rho_t: Annotated[int, Field(ge=0, le=30)]
    base_channels: Count
    compile: bool
    least_frames: ClassVar[int] = 5  # the network's strides leave nothing of fewer frames, or mel bands


class CcsaParameters(FittingParameters):
    """04_ccsa; its clips and features are those of the classifier that it starts from."""

    run_id: RunId
    da_task: Literal["ccsa", "none"]
    da_lambda: NotNegative
    margin: NotNegative
    target_clips: Literal["target", "source"]
    proxy_outliers: Literal["none", "other_machines"]
    proxy_outlier_lambda: NotNegative


class DensityParameters(TrainingParameters):
    """05_density."""

    architecture: str
    n_gaussians: Count
    hidden_size: Count | None
    hidden_dims: Count | None
    snippet_length: Positive
    snippet_hop_size: Positive
    proxy_outliers: Literal["none", "other_sections", "other_sections_and_machines"]
    proxy_outlier_lambda: NotNegative
    margin: NotNegative
    compile: bool

    @field_validator("architecture")
    @classmethod
    def _in_any_case(cls, value: str) -> str:
        if value.lower() not in ARCHITECTURES:
            raise ValueError("allowed: 'AE', 'MADE' and 'MAF', in any case")
        return value.lower()

    @model_validator(mode="after")
    def _mixtures_of_densities(self) -> "DensityParameters":
        if self.architecture == "ae" and self.n_gaussians > 1:
            raise ValueError(f"n_gaussians {self.n_gaussians}: only MADE and MAF have mixtures; allowed for AE: 1")
        return self

    @model_validator(mode="after")
    def _batches_have_a_variance(self) -> "DensityParameters":
        if self.architecture != "made" and self.batch_size < 3:
            raise ValueError(f"batch_size {self.batch_size}: {BATCHNORM}")
        return self

    @property
    def sizes(self) -> dict[str, int]:
        """The architecture's arguments, without those left empty, for which it has its own defaults."""
        given = {"hidden_size": self.hidden_size, "hidden_dims": self.hidden_dims}
        if self.architecture != "ae":
            given["n_gaussians"] = self.n_gaussians
        return {name: value for name, value in given.items() if value is not None}


class BackendParameters(JudgingParameters):
    """08_backends; clips, features and embeddings are those of the run that it starts from, or of an encoder."""

    start: str
    run_id: RunId

    @field_validator("start")
    @classmethod
    def _method_or_encoder(cls, value: str) -> str:
        if value in STARTS:
            return value
        try:
            check_name(value)
        except InputError:
            raise ValueError(f"allowed: {', '.join(map(repr, STARTS))}, or an encoder: {ALLOWED}") from None
        return value

    @model_validator(mode="after")
    def _run_of_a_method(self) -> "BackendParameters":
        if self.run_id and is_encoder(self.start):
            raise ValueError(f"run_id {self.run_id}: no run has the encoder {self.start!r}; allowed: an empty string")
        return self


class AngularParameters(TrainingParameters, JudgingParameters):
    """07_angular."""

    n_mels: Annotated[int, Field(ge=5)]
    classes: Literal["sections", "attributes"]
    branches: Annotated[list[Literal["frames", "statistics", "modulations", "spectrum"]], Field(min_length=1)]
    loss: Literal["adacos", "subspace"]
    subclusters: Count
    mixup: Annotated[float, Field(ge=0, le=1)]
    feature_exchange: bool
    statistics_exchange: bool
    dimensions: Annotated[int, Field(ge=2)]
    rho_f: Annotated[int, Field(ge=0, le=30)]
    rho_t: Annotated[int, Field(ge=0, le=30)]
    base_channels: Count
    least_frames: ClassVar[int] = 5  # as for 03_aux

    @model_validator(mode="after")
    def _exchange_between_branches(self) -> "AngularParameters":
        if len(set(self.branches)) < len(self.branches):
            raise ValueError(f"branches {self.branches}: a branch is listed twice")
        if "spectrum" in self.branches and len(self.branches) > 1:
            raise ValueError(f"branches {self.branches}: 'spectrum' stands alone, as its frames are no log-mels")
        if "spectrum" in self.branches and self.statistics_exchange:
            raise ValueError("statistics_exchange takes statistics over time, and a spectrum is a single frame")
        if "frames" in self.branches and self.batch_size < 3:
            raise ValueError(f"batch_size {self.batch_size}: {BATCHNORM}")
        if self.feature_exchange and len(self.branches) < 2:
            raise ValueError(f"feature_exchange exchanges one of two branches, and branches are {self.branches}")
        if self.loss == "subspace" and self.subclusters >= self.dimensions * len(self.branches):
            raise ValueError(
                f"subclusters {self.subclusters} span the whole space of {self.dimensions * len(self.branches)}"
                " dimensions; allowed for the loss 'subspace': fewer"
            )
        return self

    @property
    def network(self) -> dict[str, Any]:
        """The parameters that the network depends on, which is the same for all machine types and backends."""
        others = {"backend", "reduction", "snippet_hop_size", *self.judging}
        return {name: value for name, value in self.training.items() if name not in others}


class EvaluationParameters(FeatureParameters):
    """06_evaluation."""

    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)]
    percentile: Annotated[float, Field(gt=0, lt=1)]
    held_out: bool
    ensemble: list[Name] | dict[Literal["source", "target"], Annotated[list[Name], Field(min_length=1)]]
    ensemble_rule: Literal["mean", "min"]
    resamples: Annotated[int, Field(ge=100)]
    submission_run: str
    submission_label: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    authors: Annotated[list[str], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]

    @field_validator("ensemble")
    @classmethod
    def _runs_for_both_domains(cls, value: list[str] | dict[str, list[str]]) -> list[str] | dict[str, list[str]]:
        if isinstance(value, dict) and set(value) != {"source", "target"}:
            raise ValueError('allowed: a list of run names, or {"source": [run names], "target": [run names]}')
        return value

    @field_validator("authors")
    @classmethod
    def _three_parts(cls, value: list[str]) -> list[str]:
        for author in value:
            if len(parts := author.split(",")) != 3 or not all(map(str.strip, parts)):
                raise ValueError('allowed: a list of "lastname, firstname, affiliation"')
        return value
