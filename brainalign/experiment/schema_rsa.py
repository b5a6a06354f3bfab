"""Analyses of geometries: how RDMs are made, compared with models, and told apart."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from brainalign.experiment.schema_records import _Analysis, _Record

__all__ = ["Rsa", "RsaRegions", "Summary"]

Metric = Literal["correlation", "euclidean", "sqeuclidean", "cosine"]


class _Geometry(_Analysis):
    """How RDMs are made of responses; where a data set comes as RDMs, only `regions` applies.

    ``crossnobis`` cross-validates over `groups`; `noise` whitens ``crossnobis`` and ``mahalanobis`` by the covariance
    of trials about the mean of their condition, shrunk to its "diagonal", to the "identity", or by a number. For
    ``crossnobis`` no pair of runs is whitened by its own residuals (`rsa.whitened_crossnobis`).
    """

    regions: list[str] | None = Field(default=None, min_length=1)
    labels: str = "stimulus_id"
    metric: Metric | Literal["mahalanobis", "crossnobis", "poisson", "poisson_cv"] = "correlation"
    groups: str = "run"
    noise: Literal["diagonal", "identity"] | Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _noise_is_used(self) -> _Geometry:
        if self.noise is not None and self.metric not in ("mahalanobis", "crossnobis"):
            raise ValueError(f"metric {self.metric} takes no noise: metric: crossnobis or mahalanobis")
        return self


class Rsa(_Geometry):
    """Dissimilarities of regions, in one subject or many, beside those of network layers and other models.

    `fit` turns the layers of each latents entry into one model, chosen or mixed on other conditions than it is scored
    on. `bootstrap` says what intervals and tests generalise to; "auto" is both factors where there are two subjects.
    """

    kind: Literal["rsa"]
    latents: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    model_metric: Metric = "correlation"
    method: Literal["spearman", "rho_a", "pearson", "cosine", "whitened_cosine"] = "spearman"
    fit: Literal["selected", "weighted", "interpolated"] | None = None
    folds: int = Field(default=2, ge=2)
    bootstrap: Literal["auto", "both", "stimuli", "subjects", "none"] = "auto"
    test: Literal["t", "bootstrap"] = "t"
    correct: Literal["fdr", "holm", "none"] = "fdr"
    n_draws: int = Field(default=1000, ge=0)
    window: float | None = Field(default=None, gt=0)
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _options_fit(self) -> Rsa:
        if not self.latents and not self.models:
            raise ValueError("rsa compares with something: name `latents` or `models`")
        if self.fit and self.method in ("spearman", "rho_a"):
            raise ValueError("models are not fitted by ranks: method: pearson, cosine or whitened_cosine")
        if self.fit and self.bootstrap not in ("auto", "both"):
            raise ValueError("fitted models are tested by the two-factor bootstrap: leave bootstrap out")
        if self.fit and (self.window or self.n_draws < 10):
            raise ValueError("fitted models need n_draws >= 10 and no window")
        if self.step and not self.window:
            raise ValueError("a step moves a window: give the window too")
        return self


class Summary(_Record):
    """What of a geometry is kept: distances between two quantiles (`low`, `high`), or paths over the graph below."""

    low: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=1.0, ge=0, le=1)
    geodesic: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Summary:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        return self


class RsaRegions(_Geometry):
    """Which summary of a geometry tells regions apart across subjects (topological RSA), by nearest centroid.

    `n_conditions` takes random sets of so many conditions, `n_sets` of them, where all of them would leave no error.
    """

    kind: Literal["rsa_regions"]
    summaries: dict[str, Summary] = Field(min_length=1)
    n_conditions: int | None = Field(default=None, ge=3)
    n_sets: int = Field(default=200, ge=1)
