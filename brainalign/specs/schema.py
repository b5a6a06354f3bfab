"""The records a dataset spec is made of. Each one that states a fact says where it is from and how sure it is."""

from __future__ import annotations

import string
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from brainalign.errors import SpecError
from brainalign.specs.safe import check_relative

__all__ = ["Access", "ArrayEntry", "Fact", "FileEntry", "KnownIssue", "Roi", "Sourced", "SplitRule"]

Confidence = Literal["verified", "paper", "unverified"]
Modality = Literal["fmri", "eeg", "meg", "ieeg", "spikes", "simulated"]
FileFormat = Literal[
    "nifti", "hdf5", "mat", "npy", "npz", "npy_dict", "pickle", "csv", "tsv", "text", "json", "fif", "edf", "gdf",
    "brainvision", "ctf", "image", "mgh", "folder",
]  # fmt: skip
LoaderKind = Literal[
    "nsd", "bold5000", "things_fmri", "things_eeg2", "things_meg", "kay2008", "haxby", "miyawaki2008", "fmri",
    "ephys", "ephys_bids", "moabb", "podcast_ecog", "du_in", "digits69", "images92", "fingers7t", "spikes_reaching",
    "story_hubs", "eegmmidb", "ssvep_exo", "muse_erp", "single_word_production", "simulated", "simulated_circuit",
]  # fmt: skip
Name = int | str  # of a subject, session, run
Scalar = bool | int | float | str
FactValue = Scalar | list[Scalar | list[Scalar]] | dict[int | str, Scalar | list[Scalar]]
Dimension = int | str | None
Dtype = Annotated[str, Field(pattern=r"^(bool|u?int(8|16|32|64)|float(16|32|64)|str|table|number)$")]


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sourced(Record):
    """A statement with its source (a key of the spec's `sources`) and how sure it is.

    ``verified``: read in the named source or measured; ``paper``: stated by its authors; ``unverified``: recalled
    or second-hand, to be checked before it is relied on.
    """

    source: str = Field(min_length=1)
    confidence: Confidence
    note: str | None = None


class Fact(Sourced):
    """A value: a scalar, a list, or a mapping from subject to either."""

    value: FactValue

    def of(self, subject: Name | None = None) -> Any:
        """Return the value, or the subject's own where it is given per subject."""
        if not isinstance(self.value, dict):
            return self.value
        if subject not in self.value:
            raise SpecError(
                f"no value for subject {subject!r}",
                expected=list(self.value),
                found=subject,
                fix="name a subject that has one",
            )
        return self.value[subject]


class Access(Sourced):
    """How the files may be had: openly, after a form, with an account, under a data use agreement, or locally."""

    kind: Literal["open", "form", "account", "dua", "local", "none"]
    how: str
    url: str | None = None


class ArrayEntry(Record):
    """One array inside a file.

    Attributes
    ----------
    key : str or None
        Name of the dataset or variable, for containers. Placeholders as in a file pattern.
    dtype : str or None
        NumPy name as stored; ``number`` for any numeric type, ``table`` for a compound or pandas table.
    scale : float or None
        Stored value = physical value x `scale`; divide by it, as float.
    unit : str or None
        Of the physical value.
    axes : tuple of str
        What each axis is, in the order Python shows.
    shape : tuple of (int, str or None)
        An integer; the name of a fact (``trials``; ``grid[2]`` for an element); another name, which must then be
        equal everywhere in one subject's files (``n_voxels``); or null for any size.
    """

    key: str | None = None
    dtype: Dtype | None = None
    scale: float | None = Field(default=None, gt=0)
    unit: str | None = None
    axes: tuple[str, ...] = ()
    shape: tuple[Dimension, ...] | None = None

    @model_validator(mode="after")
    def _axes_fit_shape(self) -> ArrayEntry:
        if self.axes and self.shape and len(self.axes) != len(self.shape):
            raise ValueError(f"{len(self.axes)} axes named for a shape of {len(self.shape)}")
        return self


class FileEntry(Sourced, ArrayEntry):
    """One kind of file: where it lies and what is in it.

    Attributes
    ----------
    pattern : str
        Path below the dataset's folder. ``{subject}``, ``{session:02d}``, ``{run}`` and the spec's own `entities`
        are filled in; ``*`` stands for any text inside one name.
    optional : bool
        A copy without it is still complete.
    group : str or None
        Entries of one group are alternatives: any one of them suffices.
    columns : tuple of str
        Columns that a table must have.
    count : int or str
        How many files ``*`` matches: a number or the name of a fact.
    wildcards : tuple of str
        What ``*`` may stand for, for synthetic trees.
    arrays : tuple of ArrayEntry
        Further arrays in the same container.
    index_base : int or None
        First index of the ids stored in this file.
    """

    pattern: str
    format: FileFormat
    optional: bool = False
    group: str | None = None
    columns: tuple[str, ...] = ()
    count: int | str | None = None
    wildcards: tuple[str, ...] = ()
    arrays: tuple[ArrayEntry, ...] = ()
    index_base: Literal[0, 1] | None = None

    @field_validator("pattern")
    @classmethod
    def _stays_inside(cls, pattern: str) -> str:
        check_relative(pattern)
        placeholders(pattern)
        return pattern

    @property
    def contents(self) -> tuple[ArrayEntry, ...]:
        """Every array of the file: the main one (if the entry describes one) and the further ones."""
        main = () if self.dtype is None and self.shape is None and self.key is None else (self,)
        return main + self.arrays


class SplitRule(Sourced):
    """A split that the dataset comes with."""

    name: str
    rule: str
    n_expected: int | None = None
    group_by: str = "stimulus_id"


class KnownIssue(Sourced):
    """Something in the released files that a loader or a reader must know."""

    text: str


class Roi(Sourced):
    """A region or family of regions, and the file entry that holds it."""

    name: str
    file: str | None = None
    rule: str | None = None
    labels: dict[int, str] = Field(default={})


def placeholders(pattern: str) -> dict[str, str]:
    """Return ``{name: format}`` of a pattern's placeholders; anything but a plain name raises ValueError.

    Examples
    --------
    >>> placeholders("sub-{subject:02d}/run-{run}.nii.gz")
    {'subject': '02d', 'run': ''}
    """
    found: dict[str, str] = {}
    for _, name, form, conversion in string.Formatter().parse(pattern):
        if name is None:
            continue
        # str.format would follow attributes and indices: `{subject.__class__}` must never reach it.
        if not name.isidentifier() or name.startswith("_") or conversion or form not in ("", "02d", "03d", "04d", "d"):
            raise ValueError(f"placeholder {{{name}:{form}}} is not a plain name with an optional 0Nd format")
        found[name] = form or ""
    return found
