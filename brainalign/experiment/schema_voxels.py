"""Analyses that ask voxels: captions, synthesised stimuli, and decoding without a region."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from brainalign.experiment.schema_records import Identifier, _Analysis, _Record

__all__ = ["Ablation", "Captions", "Sampler", "Synthesis"]


class Bank(_Record):
    """Pictures: drawn `scenes` of a `seed`, files of a folder `pictures`, those `shown` in the training trials.

    Or embeddings alone, in a `folder` that `Latents.save` wrote.
    """

    scenes: int | None = Field(default=None, ge=2)
    seed: int = 1
    pictures: str | None = None
    shown: bool = False
    folder: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Bank:
        if sum((self.scenes is not None, self.pictures is not None, self.shown, self.folder is not None)) != 1:
            raise ValueError("a bank is drawn `scenes`, `pictures`, those `shown` or a `folder`, one of the four")
        return self


class Texts(_Record):
    """Captions: of drawn `scenes`, of a `file` with one a line, or of the pictures `shown` in the training trials.

    They lie where the network reads them (by `text`), or where it sees their pictures (by `picture`), which needs
    no network that reads.
    """

    scenes: int | None = Field(default=None, ge=2)
    seed: int = 1
    file: str | None = None
    shown: bool = False
    by: Literal["text", "picture"] = "text"

    @model_validator(mode="after")
    def _one_source(self) -> Texts:
        if sum((self.scenes is not None, self.file is not None, self.shown)) != 1:
            raise ValueError("texts are of drawn `scenes`, of a `file` or of the pictures `shown`, one of the three")
        if self.file is not None and self.by == "picture":
            raise ValueError("texts of a file have no pictures: by: text")
        return self


class _Voxels(_Analysis):
    """`latents` names a joint space of pictures and texts; `planted` the category of each region, where it is known."""

    latents: list[str] = Field(min_length=1)
    bank: Bank
    test_size: float = Field(default=0.25, gt=0, lt=1)
    categories: dict[str, list[str]] = Field(default_factory=dict)
    planted: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _planted_is_known(self) -> _Voxels:
        if len(self.categories) == 1:
            raise ValueError("one category cannot be told from others: name two or more")
        if unknown := sorted(set(self.planted.values()) - set(self.categories)):
            raise ValueError(f"planted categories without texts: {unknown}. Known: {sorted(self.categories)}")
        return self


class Difference(_Record):
    """Two regions that like the same, and contrasts of texts to read off what each likes best."""

    first: str
    second: str
    attributes: dict[Identifier, tuple[str, str]] = Field(default_factory=dict)


class Captions(_Voxels):
    """What each voxel likes, in words; judged on held-out pictures through the text model `judge`.

    Asked for besides: so many `clusters` of voxels that like the same; captions of so many `keywords` of the `n_best`
    pictures preferred; parts of regions, `subdivide` by name with the number of parts, found in one half of the
    training stimuli and tested in the other; `differences` of two regions; maps of the commonest `words`.
    """

    kind: Literal["captions"]
    texts: Texts
    beta: float = Field(default=150.0, ge=0)
    judge: str = "offline:minilm"
    n_permutations: int = Field(default=1000, ge=99)
    clusters: int = Field(default=0, ge=0)
    keywords: int = Field(default=0, ge=0)
    n_best: int = Field(default=50, ge=2)
    words: int = Field(default=4, ge=0)
    subdivide: dict[str, int] = Field(default_factory=dict)
    differences: dict[Identifier, Difference] = Field(default_factory=dict)

    @property
    def regions_named(self) -> list[str]:
        """Every region that is asked for by name."""
        pairs = [name for one in self.differences.values() for name in (one.first, one.second)]
        return list(dict.fromkeys([*self.planted, *self.subdivide, *pairs]))

    @model_validator(mode="after")
    def _pictures_are_there(self) -> Captions:
        if self.keywords and self.bank.folder is not None:
            raise ValueError("keywords are those of the captions of pictures: a folder of latents holds none")
        return self


class Sampler(_Record):
    """One way to pictures: its kind and the options of that class.

    "optimal" shows the latent that a linear decoder (its options), fitted on what the guide was, predicts from the
    region alone.
    """

    kind: Literal["guided", "prior", "facets", "optimal"]
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
    sampler, or those named `scaled`, at several strengths. With `redraw`, judges are fitted on, and compare with,
    natural pictures as the generator's autoencoder gives them back. `regions` are those of the column roi: by default
    the planted ones, else all. `differences` compares the pictures that the first sampler made for two of them.
    """

    kind: Literal["synthesis"]
    judges: list[str] = Field(min_length=1)
    generator: str = "mini"
    generator_options: dict[str, Any] = Field(default_factory=dict)
    samplers: dict[Identifier, Sampler] = Field(min_length=1)
    natural: Bank
    n: int = Field(default=8, ge=1)
    scales: list[float] = Field(default_factory=list)
    scaled: list[Identifier] = Field(default_factory=list)
    redraw: bool = False
    regions: list[str] | None = Field(default=None, min_length=1)
    differences: dict[Identifier, Difference] = Field(default_factory=dict)
    test_size: float = Field(default=0.5, gt=0, lt=1)

    @property
    def run_scaled(self) -> list[str]:
        """Samplers that `scales` run."""
        return self.scaled or [next(iter(self.samplers))]

    @model_validator(mode="after")
    def _scaled_is_a_sampler(self) -> Synthesis:
        if unknown := [one for one in self.scaled if one not in self.samplers]:
            raise ValueError(f"scaled samplers that are not there: {unknown}. Known: {list(self.samplers)}")
        if self.scales and (fixed := [one for one in self.run_scaled if self.samplers[one].kind == "optimal"]):
            raise ValueError(f"an optimal latent has no scale: {fixed}. Name others in `scaled`")
        return self

    @model_validator(mode="after")
    def _natural_are_pictures(self) -> Synthesis:
        if self.natural.folder is not None:
            raise ValueError("natural pictures are shown to judges: a folder of latents holds none")
        if self.regions is not None and (missing := sorted(set(self.planted) - set(self.regions))):
            raise ValueError(f"planted regions that no picture is made for: {missing}")
        return self


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
