"""Analyses that ask voxels: captions, synthesised stimuli, and decoding without a region."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from brainalign.experiment.schema_records import Identifier, _Analysis, _Record

__all__ = ["Ablation", "Captions", "Sampler", "Synthesis"]


class Bank(_Record):
    """Pictures with captions: so many drawn `scenes` of a `seed`, or latents saved in a `folder` (no captions)."""

    scenes: int | None = Field(default=None, ge=2)
    seed: int = 1
    folder: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Bank:
        if (self.scenes is None) == (self.folder is None):
            raise ValueError("a bank is drawn `scenes` or a `folder` of latents, one of the two")
        return self


class _Voxels(_Analysis):
    """`latents` names a joint space of pictures and texts; `planted` the category of each region, where it is known."""

    latents: list[str] = Field(min_length=1)
    bank: Bank
    test_size: float = Field(default=0.25, gt=0, lt=1)
    categories: dict[str, list[str]] = Field(min_length=2)
    planted: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _planted_is_known(self) -> _Voxels:
        if unknown := sorted(set(self.planted.values()) - set(self.categories)):
            raise ValueError(f"planted categories without texts: {unknown}. Known: {sorted(self.categories)}")
        return self


class Captions(_Voxels):
    """What each voxel likes, in words; judged on held-out pictures through the text model `judge`."""

    kind: Literal["captions"]
    texts: Bank
    beta: float = Field(default=150.0, ge=0)
    judge: str = "offline:minilm"
    n_permutations: int = Field(default=1000, ge=99)


class Sampler(_Record):
    """One way to pictures: its kind and the options of that class."""

    kind: Literal["guided", "prior", "facets"]
    options: dict[str, Any] = Field(default_factory=dict)
    told: bool = False

    @model_validator(mode="after")
    def _only_guidance_is_told(self) -> Sampler:
        if self.told and self.kind != "guided":
            raise ValueError("told: true gives a guided sampler an embedding from the latent prior")
        return self


class Synthesis(_Voxels):
    """Pictures that drive each region, judged by encoders of other networks or other data.

    The first of `latents` guides; `judges` are fitted on the other half of the stimuli. `scales` runs the first
    sampler at several strengths.
    """

    kind: Literal["synthesis"]
    judges: list[str] = Field(min_length=1)
    generator: str = "mini"
    generator_options: dict[str, Any] = Field(default_factory=dict)
    samplers: dict[Identifier, Sampler] = Field(min_length=1)
    natural: Bank
    n: int = Field(default=8, ge=1)
    scales: list[float] = Field(default_factory=list)
    test_size: float = Field(default=0.5, gt=0, lt=1)


class Ablation(_Analysis):
    """Silence each region of a fitted encoder and decode again: what each adds to each latent and attribute.

    `regions` names units by query, otherwise the column `by` does. `attributes` are columns or queries of the trials
    table. `planted` says which attribute each region carries, where it is known.
    """

    kind: Literal["ablation"]
    latents: list[str] = Field(min_length=1)
    attributes: dict[Identifier, str] = Field(default_factory=dict)
    by: str = "roi"
    regions: dict[str, str] | None = Field(default=None, min_length=1)
    mode: Literal["zero", "mean", "permute", "retrain"] = "permute"
    encoder: dict[str, Any] = Field(default_factory=dict)
    planted: dict[str, str] = Field(default_factory=dict)
    test_size: float = Field(default=0.25, gt=0, lt=1)

    @model_validator(mode="after")
    def _planted_is_known(self) -> Ablation:
        if unknown := sorted(set(self.planted.values()) - set(self.attributes)):
            raise ValueError(f"planted attributes that are not decoded: {unknown}. Known: {sorted(self.attributes)}")
        if self.regions is not None and (unknown := sorted(set(self.planted) - set(self.regions))):
            raise ValueError(f"planted regions that are not silenced: {unknown}. Known: {sorted(self.regions)}")
        return self
