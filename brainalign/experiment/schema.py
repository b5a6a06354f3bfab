"""The experiment file: one YAML that names dataset, preprocessing, latents, analyses and seed."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from brainalign.errors import SpecError, closest
from brainalign.experiment.schema_bci import Bci, BciOnline
from brainalign.experiment.schema_bold import Bold
from brainalign.experiment.schema_people import Segments
from brainalign.experiment.schema_records import Identifier, _Analysis, _Record
from brainalign.experiment.schema_rsa import Rsa, RsaRegions
from brainalign.experiment.schema_signals import Contributions
from brainalign.experiment.schema_spikes import Circuit
from brainalign.experiment.schema_voxels import Ablation, Captions, Synthesis
from brainalign.experiment.system import System

__all__ = [
    "Ablation",
    "Analysis",
    "Bci",
    "BciOnline",
    "Bold",
    "Captions",
    "Contributions",
    "Decode",
    "Encode",
    "Encoding",
    "Evoked",
    "Experiment",
    "Reconstruct",
    "Regress",
    "Rsa",
    "RsaRegions",
    "Segments",
    "Synthesis",
    "Variance",
    "ZeroShot",
    "as_experiment",
    "load_experiment",
]

_MAX_BYTES = 1 << 20


class Dataset(_Record):
    """What to load: a data spec, where the copy lies, and the loader's own options.

    One subject, or several for rsa and decode.
    """

    name: str
    root: str | None = None
    subject: int | str | None = None
    subjects: Literal["all"] | list[int | str] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_or_several(self) -> Dataset:
        if self.subject is not None and self.subjects is not None:
            raise ValueError("name one `subject`, or several `subjects`")
        if isinstance(self.subjects, list) and len(set(map(str, self.subjects))) < max(len(self.subjects), 1):
            raise ValueError("subjects must be named, each once")
        return self


class Select(_Record):
    """Keep some trials, units or times."""

    step: Literal["select"]
    trials: str | None = None
    units: str | None = None
    times: tuple[float, float] | None = None


class Zscore(_Record):
    """Scale each unit within each group; `fit` is "all" or a query."""

    step: Literal["zscore"]
    by: str | list[str] = "session"
    fit: str = "all"


class Average(_Record):
    """Mean over the trials that share `by`."""

    step: Literal["average"]
    by: str | list[str] = "stimulus_id"


class LatentsOf(_Record):
    """A network, and which of its layers; columns of the trials table, such as kinematics; or features as released."""

    model: str | None = None
    released: str | None = None
    columns: list[str] | None = Field(default=None, min_length=1)
    layers: list[str] | None = None
    pool: Literal["mean", "flatten", "cls"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> LatentsOf:
        if sum(one is not None for one in (self.model, self.columns, self.released)) != 1:
            raise ValueError(
                "latents come from a `model`, from `columns` of the trials, or are `released`, one of the three"
            )
        return self


class ModelRdm(_Record):
    """A model geometry that is no network: of a file, of the data set itself, or "same or not" in a column.

    A file is a CSV table with the labels of the conditions as header and first column, or a folder that `RDMs.save`
    wrote (its mean). A column is one of the stimuli's or trials' table.
    """

    file: str | None = None
    dataset: str | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelRdm:
        if sum(one is not None for one in (self.file, self.dataset, self.column)) != 1:
            raise ValueError("a model RDM comes from a `file`, the `dataset` or a `column`, one of the three")
        return self


class _CrossValidated(_Analysis):
    """Folds keep what shares a column `by` together; ``contiguous`` ones are stretches of time, `gap` rows apart."""

    by: str = "stimulus_id"
    n_splits: int | None = Field(default=10, ge=2)
    gap: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _gap_fits(self) -> _CrossValidated:
        if self.by == "contiguous" and self.n_splits is None:
            raise ValueError("contiguous folds need n_splits")
        if self.gap and self.by != "contiguous":
            raise ValueError("a gap stands between contiguous folds: by: contiguous")
        return self


class _Delayed(_CrossValidated):
    """Of rows in the order of time: features at several delays, and what is drawn and shuffled as a block of rows."""

    delays: list[int] = Field(default=[0], min_length=1)
    block: int = Field(default=1, ge=1)
    n_draws: int = Field(default=1000, ge=100)

    @model_validator(mode="after")
    def _no_delay_across(self) -> _Delayed:
        longest = max(map(abs, self.delays))
        if self.by == "contiguous" and self.gap < longest:
            raise ValueError(
                f"gap must be at least the longest delay, {longest}: features would reach into the test set"
            )
        if self.by == "contiguous" and self.block < 2:
            raise ValueError("rows of continuous data depend on each other: give a block of rows longer than that")
        if longest and self.by not in ("contiguous", "run", "session"):
            raise ValueError("delays need folds of whole runs or stretches: by: contiguous, run or session")
        return self


class Decode(_CrossValidated):
    """Class of each trial from its responses, by a cross-validated classifier; over time where there is time.

    Networks of signals take `params`: sizes, clip, training, seed, or those of `DuIN`. A `chosen` classifier takes
    `candidates`, `n_splits`, `gap` and `votes`: one is chosen, or some vote, inside the training trials of each fold.
    Over time a classifier is given `window` seconds together, `every` so many seconds. `subjects` chooses among those
    of the data set.
    """

    kind: Literal["decode"]
    label: str
    classifier: Literal[
        "logistic", "svm", "lda", "ridge", "chosen", "du_in", "eegnet", "recurrent", "shallow", "tsconv"
    ] = "logistic"
    params: dict[str, Any] = Field(default_factory=dict)
    over_time: bool = False
    window: float | None = Field(default=None, gt=0)
    every: float | None = Field(default=None, gt=0)
    metric: Literal["accuracy", "auc"] = "accuracy"
    subjects: list[int | str] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _params_are_used(self) -> Decode:
        if self.params and self.classifier in ("logistic", "svm", "lda", "ridge"):
            raise ValueError(f"classifier {self.classifier} takes no params: a network does")
        if (self.window or self.every) and not self.over_time:
            raise ValueError("a window moves over time: over_time: true")
        return self


class Encode(_CrossValidated):
    """Brain to latents: out-of-fold predictions, identification and retrieval."""

    kind: Literal["encode"]
    latents: list[str] = Field(min_length=1)
    within: str | None = None
    gallery: int | None = Field(default=None, ge=2)


class ZeroShot(_Analysis):
    """Classes that were never trained on, named by the text embedding closest to the prediction."""

    kind: Literal["zero_shot"]
    label: str
    model: str = "offline:minilm"
    texts: dict[str, str]


class Encoding(_Delayed):
    """Latents to brain: which layer explains each unit and region, how much of it, and is that above chance."""

    kind: Literal["encoding"]
    latents: list[str] = Field(min_length=1)
    n_permutations: int = Field(default=1000, ge=99)
    meshes: dict[Literal["left", "right"], str] = Field(default_factory=dict)


class Variance(_Delayed):
    """Several feature spaces in one banded ridge model: how the explained variance divides between them."""

    kind: Literal["variance"]
    latents: list[str] = Field(min_length=1)
    n_candidates: int = Field(default=30, ge=1)


class Regress(_Delayed):
    """Brain to numbers: columns of the trials table, such as velocity, from the responses around each row.

    Of several `regressors` each is compared with the first. `control` also reads the columns rotated by half the rows.
    `settings` are options of a regressor: of `LagNetwork`, or of `Neuroformer`, which takes counts of spikes.
    """

    kind: Literal["regress"]
    columns: list[str] = Field(min_length=1)
    regressors: list[Literal["ridge", "network", "neuroformer"]] = Field(default=["ridge"], min_length=1)
    settings: dict[Literal["network", "neuroformer"], dict[str, Any]] = Field(default_factory=dict)
    control: bool = False

    @model_validator(mode="after")
    def _each_once(self) -> Regress:
        if len(set(self.regressors)) < len(self.regressors):
            raise ValueError("regressors must be named, each once")
        if "neuroformer" in self.regressors and self.delays != list(range(len(self.delays))):
            raise ValueError("neuroformer takes delays of 0, 1, 2, ...: its bins follow each other")
        return self


class Reconstruct(_CrossValidated):
    """Brain to pictures, judged beside the controls.

    Folds are by `by`, whose column may be the category for a test of categories never seen; ``test_size`` asks for a
    single split instead, and ``by: split`` for the one that the data set came with. `scenes` names attributes of drawn
    scenes (category, colour, position, ...) that an independent classifier is to read off the pictures. `brain` names
    latents of pictures from which voxelwise models of each training side predict responses: the reconstruction is then
    also scored by the brain it would have evoked. It should be no target of a system.
    """

    kind: Literal["reconstruct"]
    systems: dict[Identifier, System] = Field(min_length=1)
    metrics: list[str] = Field(default=["PixCorr", "SSIM", "AlexNet"])
    judges: dict[str, str] = Field(default_factory=dict)
    scenes: list[str] = Field(default_factory=list)
    weights: str | None = None
    within: str | None = None
    gallery: int | None = Field(default=None, ge=2)
    test_size: float | None = Field(default=None, gt=0, lt=1)
    protocol: str | None = None
    brain: str | None = None

    @property
    def latents(self) -> list[str]:
        """Every target of every system, and what the models of the brain read."""
        wanted = [name for system in self.systems.values() for name in (*system.latents, system.refine) if name]
        return list(dict.fromkeys([*wanted, *([] if self.brain is None else [self.brain])]))


class Evoked(_Analysis):
    """Mean response over time of each channel, tested against the baseline."""

    kind: Literal["evoked"]
    baseline: tuple[float, float]
    window: tuple[float, float]
    n_permutations: int = Field(default=1000, ge=99)


Preprocessing = Annotated[Select | Zscore | Average, Field(discriminator="step")]
Analysis = Annotated[
    Decode
    | Encode
    | Encoding
    | Variance
    | Reconstruct
    | Regress
    | ZeroShot
    | Rsa
    | RsaRegions
    | Segments
    | Evoked
    | Captions
    | Contributions
    | Synthesis
    | Ablation
    | Circuit
    | Bci
    | BciOnline
    | Bold,
    Field(discriminator="kind"),
]


class Experiment(_Record):
    """A whole experiment.

    Raises
    ------
    SpecError
        From `load_experiment`, when the file is malformed.
    """

    name: Identifier
    title: str
    description: str = ""
    dataset: Dataset
    preprocessing: list[Preprocessing] = Field(default_factory=list)
    latents: dict[str, LatentsOf] = Field(default_factory=dict)
    models: dict[str, ModelRdm] = Field(default_factory=dict)
    analyses: list[Analysis] = Field(min_length=1)
    seed: int = 0
    n_jobs: int = 1

    @model_validator(mode="after")
    def _names_agree(self) -> Experiment:
        names = [one.name for one in self.analyses]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"analyses share the name {sorted(repeated)}")
        for one in self.analyses:
            named: dict[str, Any] = {"latents": self.latents, "models": self.models}
            if isinstance(one, Synthesis):
                named["judges"] = self.latents
            for field, known in named.items():
                for wanted in getattr(one, field, []):
                    if wanted not in known:
                        raise ValueError(
                            f"analysis '{one.name}' wants {field} '{wanted}'.{closest(wanted, known)} "
                            f"Known: {sorted(known)}"
                        )
            if isinstance(one, Reconstruct) and one.brain is not None:
                read = self.latents[one.brain]
                if read.model is None or len(read.layers or [""]) != 1:
                    raise ValueError(f"the brain of '{one.name}' is predicted from one model and one of its layers")
            several = self.dataset.subjects is not None
            if isinstance(one, Reconstruct) and any(system.pretrain for system in one.systems.values()):
                if not several:
                    raise ValueError(f"'{one.name}' pretrains on other subjects: name them in dataset.subjects")
            elif several and not isinstance(one, Rsa | RsaRegions | Segments | Bci | Decode):
                raise ValueError(
                    f"analysis '{one.name}' ({one.kind}) takes one subject: only rsa, segments, bci, decode and "
                    "systems with pretrain take several"
                )
            if isinstance(one, Decode) and one.subjects and not several:
                raise ValueError(f"analysis '{one.name}' chooses among subjects, but the data set names none")
            if isinstance(one, Segments) and not several:
                raise ValueError(f"'{one.name}' compares people: name them in dataset.subjects")
        return self


def load_experiment(path: str | PathLike[str]) -> Experiment:
    """Read and validate an experiment file.

    Raises
    ------
    SpecError
        Naming the file, the field and what was expected there.
    """
    file = Path(path)
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise SpecError("experiment file is too large", path=file, expected=f"under {_MAX_BYTES} bytes")
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read the experiment file: {error.strerror}", path=file) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"not a plain YAML file: {error}", path=file, fix="no tags, UTF-8") from error
    if not isinstance(plain, dict):
        raise SpecError("not an experiment", path=file, expected="a mapping", found=type(plain).__name__)
    return as_experiment(plain, path=file)


def as_experiment(plain: dict[str, Any], *, path: Path | None = None) -> Experiment:
    """Validate an experiment given as plain data; `SpecError` names the field that is wrong."""
    try:
        return Experiment.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(
            f"{error.error_count()} field(s) of this experiment are wrong, first '{where}': {first['msg']}",
            path=path,
            expected="see scripts/experiments/ for examples",
            found=first.get("input"),
        ) from error
