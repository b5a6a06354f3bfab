"""`DatasetSpec`: one YAML file that says where a dataset's files lie and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from brainalign.errors import SpecError, closest
from brainalign.specs.safe import find_inside, read_yaml, resolve_inside
from brainalign.specs.schema import (
    Access,
    ArrayEntry,
    Dimension,
    Fact,
    FactValue,
    FileEntry,
    KnownIssue,
    LoaderKind,
    Modality,
    Name,
    Record,
    Roi,
    Sourced,
    SplitRule,
    placeholders,
)

__all__ = ["DatasetSpec", "list_specs"]

_PLURALS = {"subject": "subjects", "session": "sessions", "run": "runs"}
_FACTS = "name one of the facts expected"
_SAFE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class DatasetSpec(Record):
    """Where a dataset's files lie, their formats, units, counts and splits. Data, never code.

    Attributes
    ----------
    id, title, version : str
    modality, loader : str
        What was recorded, and the kind of loader that reads it.
    sources : dict
        Full text of each source that the facts name by key.
    licence, cite : Fact
        ``unknown`` where no licence was found: then nothing derived may be passed on.
    access : Access
        How to get the files.
    fetcher : str or None
        Name of a downloading function of nilearn, MNE or MOABB (``nilearn.fetch_haxby``).
    files : dict of FileEntry
    facts : dict of Fact
        ``subjects`` at least; ``sessions``, ``runs``, ``trials``, ``tr`` or ``sfreq``, ``n_stimuli``, ...
    entities : dict of Fact
        Further placeholders of file patterns with the values they take.
    index_base : dict of Fact
        First index of each kind of id, 0 or 1.
    splits, known_issues, rois : tuple
    tiny : dict
        Values that replace facts and entities in the small synthetic tree of the same layout.

    Examples
    --------
    >>> spec = DatasetSpec.load("nsd")
    >>> spec.fact("trials_per_session")
    750
    >>> spec.files["betas_hdf5"].scale
    300.0
    """

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    version: str
    modality: Modality
    loader: LoaderKind
    sources: dict[str, str]
    licence: Fact
    access: Access
    cite: Fact
    fetcher: str | None = Field(default=None, pattern=r"^(nilearn|mne|moabb)\.[A-Za-z0-9_]+$")
    files: dict[str, FileEntry] = Field(default={})
    facts: dict[str, Fact]
    entities: dict[str, Fact] = Field(default={})
    index_base: dict[str, Fact] = Field(default={})
    splits: tuple[SplitRule, ...] = ()
    known_issues: tuple[KnownIssue, ...] = ()
    rois: tuple[Roi, ...] = ()
    tiny: dict[str, FactValue] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> DatasetSpec:
        unknown = sorted({statement.source for statement in self.statements()} - set(self.sources))
        if unknown:
            raise ValueError(f"sources named but not listed under `sources`: {unknown}")
        if not isinstance(self.facts["subjects"].value if "subjects" in self.facts else None, list):
            raise ValueError("facts.subjects must be a list of subject names")
        for name, entry in self.files.items():
            texts = (entry.pattern, *(array.key or "" for array in entry.contents))
            for placeholder in chain.from_iterable(placeholders(text) for text in texts):
                if placeholder not in self.entities and _PLURALS.get(placeholder) not in self.facts:
                    raise ValueError(f"files.{name}: no values for placeholder {{{placeholder}}}")
        for roi in self.rois:
            if roi.file is not None and roi.file not in self.files:
                raise ValueError(f"rois.{roi.name}: no file entry {roi.file!r}")
        strangers = sorted(set(self.tiny) - set(self.facts) - set(self.entities))
        if strangers:
            raise ValueError(f"tiny replaces facts that do not exist: {strangers}")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> DatasetSpec:
        """Load a spec by name (see `list_specs`) or from a YAML file of one's own.

        Raises
        ------
        SpecError
            If the name is unknown (the closest one is suggested) or the file is not a valid spec.
        """
        text = str(name_or_path)
        if text.endswith((".yaml", ".yml")):
            path = Path(name_or_path)
        elif text in list_specs():
            path = _spec_folder() / f"{text}.yaml"
        else:
            hint = closest(text, list_specs())
            fix = "give one of these names, or the path of a .yaml file"
            raise SpecError(f"unknown dataset {text!r}.{hint}", expected=list_specs(), found=text, fix=fix)
        return cls.from_dict(read_yaml(path), path=path)

    @classmethod
    def from_dict(cls, content: Mapping[str, object], *, path: str | Path | None = None) -> DatasetSpec:
        """Validate plain values; `path` is named in the error."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc'])) or 'spec'}: {e['msg']}" for e in error.errors()[:5]]
            raise SpecError(
                "not a valid dataset spec",
                path=path,
                expected="the fields of DatasetSpec",
                found="; ".join(lines),
                fix="correct these fields; the specs of list_specs() are examples",
            ) from error

    def statements(self) -> Iterator[Sourced]:
        """Every statement of the spec that carries a source and a confidence."""
        yield from (self.licence, self.access, self.cite)
        yield from (*self.files.values(), *self.facts.values(), *self.entities.values(), *self.index_base.values())
        yield from (*self.splits, *self.known_issues, *self.rois)

    def fact(self, name: str, subject: Name | None = None) -> Any:
        """Value of a fact, the subject's own where it differs between subjects."""
        if name not in self.facts:
            raise SpecError(
                f"{self.id} states no {name!r}.{closest(name, self.facts)}",
                expected=sorted(self.facts),
                found=name,
                fix=_FACTS,
            )
        return self.facts[name].of(None if subject is None else self.subject(subject))

    @property
    def subjects(self) -> tuple[Name, ...]:
        """Subject names as the files spell them."""
        return self.values("subject")

    def subject(self, name: Name) -> Name:
        """The spec's own spelling of a subject: ``1``, ``"01"``, ``"sub-01"`` and a release's ``"P1"`` are one person.

        Examples
        --------
        >>> DatasetSpec.load("things_meg").subject("sub-BIGMEG3"), DatasetSpec.load("du_in").subject(2)
        (3, '002')
        """
        for same in (str, _number):
            found = [known for known in self.subjects if same(known) == same(name) is not None]
            if len(found) == 1:
                return found[0]
        raise SpecError(
            f"{self.id} has no subject {name!r}.{closest(str(name), map(str, self.subjects))}",
            expected=list(self.subjects),
            found=name,
            fix="name one of these; your own spec may list others",
        )

    def values(self, placeholder: str, subject: Name | None = None) -> tuple[Name, ...]:
        """The values that a placeholder takes; a count n stands for 1..n."""
        fact = self.entities.get(placeholder) or self.facts.get(_PLURALS.get(placeholder, ""))
        if fact is None:
            raise SpecError(
                f"{self.id} has no placeholder {placeholder!r}",
                expected=[*self.entities, *_PLURALS],
                found=placeholder,
                fix="use one of those expected",
            )
        value = fact.of(subject)
        if isinstance(value, int):
            return tuple(range(1, value + 1))
        return tuple(value) if isinstance(value, list) else (value,)

    def entry(self, name: str) -> FileEntry:
        """The file entry of that name."""
        if name not in self.files:
            what = f"{self.id} has no file entry {name!r}.{closest(name, self.files)}"
            raise SpecError(what, expected=list(self.files), found=name, fix="use one of those expected")
        return self.files[name]

    def expand(self, name: str, **fixed: Name) -> Iterator[dict[str, Name]]:
        """Every combination of placeholder values of a file entry, with some of them fixed."""
        wanted = sorted(placeholders(self.entry(name).pattern), key=lambda each: each != "subject")
        unknown = sorted(set(fixed) - set(wanted) - {"subject"} - set(self.entities) - set(_PLURALS))
        if unknown:
            raise SpecError(
                f"files.{name} of {self.id} has no placeholder {unknown}",
                expected=wanted,
                found=unknown,
                fix="leave it out",
            )
        if "subject" in fixed:
            fixed = {**fixed, "subject": self.subject(fixed["subject"])}
        combinations: list[dict[str, Name]] = [{}]
        for placeholder in wanted:
            combinations = [
                {**partial, placeholder: value}
                for partial in combinations
                for value in self._choices(placeholder, fixed, partial.get("subject", fixed.get("subject")))
            ]
        yield from combinations

    def _choices(self, placeholder: str, fixed: Mapping, subject: Name | None) -> tuple[Name, ...]:
        return (fixed[placeholder],) if placeholder in fixed else self.values(placeholder, subject)

    def relative(self, name: str, **entities: Name) -> str:
        """Path of a file below the dataset's folder, placeholders filled in (``*`` stays)."""
        return fill(self.entry(name).pattern, entities)

    def paths(self, root: str | Path, name: str, **entities: Name) -> list[Path]:
        """Paths of one kind of file in a copy of the dataset.

        Parameters
        ----------
        root : path-like
            The dataset's folder.
        name : str
            A key of `files`.
        **entities
            Values of placeholders; those left out take every value.

        Returns
        -------
        list of Path
            A plain pattern gives its path whether or not the file exists; one with ``*`` gives what matches.

        Raises
        ------
        SpecError, DataError
            If an entity or a link would lead out of `root`; nothing has been opened then.
        """
        found: list[Path] = []
        for combination in self.expand(name, **entities):
            relative = self.relative(name, **combination)
            if "*" in relative:
                found += find_inside(root, relative)
            else:
                resolve_inside(root, relative)
                found.append(Path(root) / relative)
        return list(dict.fromkeys(found))

    def path(self, root: str | Path, name: str, **entities: Name) -> Path:
        """The one file of a kind; `SpecError` unless there is exactly one."""
        found = self.paths(root, name, **entities)
        if len(found) != 1:
            fix = f"fix more of {sorted(placeholders(self.entry(name).pattern))}" if found else "see `brainalign check`"
            raise SpecError(f"{self.id}: not one file for {name!r}", path=root, expected=1, found=len(found), fix=fix)
        return found[0]

    def shape_of(self, array: ArrayEntry, subject: Name | None = None) -> tuple[Dimension, ...] | None:
        """Shape of an array with the named facts put in; names that are no facts stay, null is any size.

        Examples
        --------
        >>> spec = DatasetSpec.load("nsd")
        >>> spec.shape_of(spec.files["betas_hdf5"], subject=1)
        (750, 83, 104, 81)
        """
        if array.shape is None:
            return None
        return tuple(self.size_of(each, subject) if isinstance(each, str) else each for each in array.shape)

    def size_of(self, name: str, subject: Name | None = None) -> int | str:
        """A size given as the name of a fact (``trials``, ``grid[2]``); a name that is no fact comes back as it is."""
        parts = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", name)
        if parts is None or parts[1] not in self.facts:
            return name
        value = self.fact(parts[1], subject)
        if isinstance(value, list) and parts[2] is not None and int(parts[2]) < len(value):
            value = value[int(parts[2])]
        if not isinstance(value, int):
            raise SpecError(
                f"{self.id}: {name!r} is no size",
                expected="an integer",
                found=value,
                fix="name a fact that is an integer",
            )
        return value

    def shrunk(self, **sizes: Any) -> DatasetSpec:
        """The same spec with the small numbers of `tiny` (and `sizes`, which win) in place of the real ones."""
        small = {**self.tiny, **sizes}
        strangers = sorted(set(small) - set(self.facts) - set(self.entities))
        if strangers:
            raise SpecError(
                f"{self.id} has no fact {strangers}",
                expected=sorted({*self.facts, *self.entities}),
                found=strangers,
                fix=_FACTS,
            )
        sources = {**self.sources, "tiny": "small synthetic tree, not the dataset"}
        made = {name: Fact(value=value, source="tiny", confidence="verified") for name, value in small.items()}
        facts = {name: made.get(name, fact) for name, fact in self.facts.items()}
        entities = {name: made.get(name, fact) for name, fact in self.entities.items()}
        update = {"facts": facts, "entities": entities, "sources": sources, "tiny": small}
        return self.model_copy(update=update)


def _number(name: Name) -> int | None:
    """Number at the end of a subject's name, whatever letters stand before it."""
    digits = re.fullmatch(r"(?:sub-|[A-Za-z])*(\d+)", str(name))
    return int(digits[1]) if digits else None


def fill(pattern: str, entities: Mapping[str, Name]) -> str:
    """Fill a pattern's placeholders with plain values; no value may carry a path separator or a dot in front."""
    text = pattern
    for name, form in placeholders(pattern).items():
        if name not in entities:
            raise SpecError(
                f"pattern needs {{{name}}}",
                expected=sorted(placeholders(pattern)),
                found=sorted(entities),
                fix="give a value for every placeholder",
            )
        value = entities[name]
        if not _SAFE_VALUE.fullmatch(str(value)):
            raise SpecError(
                f"not a plain name for {{{name}}}",
                expected="letters, digits, . _ + -",
                found=repr(value),
                fix="use a name without slashes, that begins with a letter or digit",
            )
        if form and not str(value).isdigit():
            raise SpecError(
                f"{{{name}:{form}}} needs a number", expected="digits", found=repr(value), fix="give a whole number"
            )
        filled = format(int(value), form) if form else str(value)
        text = text.replace(f"{{{name}:{form}}}" if form else f"{{{name}}}", filled)
    return text


def list_specs() -> list[str]:
    """Names of the specs that come with brainalign.

    Examples
    --------
    >>> "nsd" in list_specs()
    True
    """
    return sorted(path.stem for path in _spec_folder().glob("*.yaml"))


def _spec_folder() -> Path:
    """Inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside, beside = package / "data_specs", package.parent / "data_specs"
    return inside if inside.is_dir() else beside
