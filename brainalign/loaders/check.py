"""Compare a user's copy of a dataset with its spec: what is missing, what is damaged, what is not as stated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.headers import Content, read_contents
from brainalign.specs import ArrayEntry, DatasetSpec, FileEntry, find_inside, resolve_inside
from brainalign.specs.dataset import fill
from brainalign.specs.schema import Name, placeholders

__all__ = ["CheckResult", "CheckRow", "check_dataset"]

Status = Literal["ok", "missing", "wrong", "unreadable"]


@dataclass(frozen=True)
class CheckRow:
    """One file (or subject) and what was found out about it.

    Attributes
    ----------
    entry : str
        Name of the file entry in the spec.
    file : str
        Path below the dataset's folder.
    status : {"ok", "missing", "wrong", "unreadable"}
    expected, found, mend : str
        Empty where there is nothing to say.
    required : bool
        False for a file without which the copy is still complete.
    """

    entry: str
    file: str
    status: Status
    expected: str = ""
    found: str = ""
    mend: str = ""
    required: bool = True

    @property
    def is_problem(self) -> bool:
        """True unless the file is as it should be, or is absent and may be."""
        return self.status != "ok" and (self.required or self.status != "missing")


@dataclass(frozen=True)
class CheckResult:
    """What `check_dataset` found; prints as a readable summary."""

    dataset: str
    root: Path
    rows: tuple[CheckRow, ...]
    licence: str = "unknown"

    @property
    def ok(self) -> bool:
        """True if every required file is there and nothing is wrong."""
        return not self.problems

    @property
    def problems(self) -> tuple[CheckRow, ...]:
        """The rows that keep the copy from being whole."""
        return tuple(row for row in self.rows if row.is_problem)

    def table(self) -> list[dict[str, str]]:
        """All rows as plain dictionaries: file, status, expected, found, mend."""
        names = ("entry", "file", "status", "expected", "found", "mend")
        return [{name: getattr(row, name) for name in names} for row in self.rows]

    def summary(self, *, max_rows: int = 20) -> str:
        """A page of text: a line per kind of file, then the problems."""
        lines = [f"{self.dataset} at {self.root} (licence: {self.licence})"]
        for entry in dict.fromkeys(row.entry for row in self.rows):
            counts = Counter(row.status for row in self.rows if row.entry == entry)
            optional = "" if any(row.required for row in self.rows if row.entry == entry) else " (optional)"
            lines.append(f"  {entry}{optional}: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
        for row in self.problems[:max_rows]:
            lines.append(f"{row.status}: {row.file}")
            told = {"expected": row.expected, "found": row.found, "mend": row.mend}
            lines += [f"  {name}: {text}" for name, text in told.items() if text]
        if len(self.problems) > max_rows:
            lines.append(f"... and {len(self.problems) - max_rows} more problems")
        lines.append("complete" if self.ok else f"{len(self.problems)} problems")
        return "\n".join(lines)

    __str__ = summary


@dataclass
class _Sizes:
    """Sizes that a spec leaves free but that must agree: the first file that has one decides."""

    seen: dict[str, tuple[int, str]] = field(default_factory=dict)

    def differs(self, shape: Iterable[int | str | None], found: tuple[int, ...], file: str) -> str:
        for expected, size in zip(shape, found, strict=True):
            if isinstance(expected, int) and expected != size:
                return f"{expected} where there are {size}"
            if isinstance(expected, str):
                first, where = self.seen.setdefault(expected, (size, file))
                if first != size:
                    return f"{expected} = {first} as in {where}"
        return ""


def check_dataset(
    spec: DatasetSpec, root: str | Path, subjects: Iterable[Name] | None = None, *, deep: bool = True
) -> CheckResult:
    """Compare a copy of a dataset with its spec. Headers and checksums are read; nothing is loaded or run.

    Parameters
    ----------
    spec : DatasetSpec
    root : path-like
        The dataset's folder.
    subjects : iterable of str or int, optional
        Look only for these; default all that the spec names.
    deep : bool
        Read compressed files to their end, so that their checksums count. ``False`` is quicker on terabytes.

    Returns
    -------
    CheckResult

    Raises
    ------
    DataError
        If `root` is no folder.
    SpecError
        If a subject is unknown.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        fix = spec.access.how if spec.files else None
        raise DataError("dataset folder not found", path=root, expected="a folder", found="none", fix=fix)
    wanted = spec.subjects if subjects is None else tuple(spec.subject(name) for name in subjects)
    check = _Check(spec, root, deep)
    rows = [*check.shared(), *check.strangers()]
    for subject in wanted:
        rows += check.subject(subject)
    return CheckResult(spec.id, root, tuple(rows), licence=str(spec.licence.value))


@dataclass
class _Check:
    spec: DatasetSpec
    root: Path
    deep: bool

    def shared(self) -> list[CheckRow]:
        """Files that belong to no subject."""
        return self._entries(self._names(per_subject=False), {}, _Sizes())

    def subject(self, subject: Name) -> list[CheckRow]:
        """One subject's files; a single row where there is none at all."""
        names = self._names(per_subject=True)
        rows = self._entries(names, {"subject": subject}, _Sizes())
        if rows and all(row.status == "missing" for row in rows) and any(row.required for row in rows):
            mend = f"get the files ({self.spec.access.how}), or check only the subjects you have"
            first = next(row.file for row in rows if row.required)
            return [CheckRow("subjects", f"subject {subject}", "missing", f"{first}, ...", "no file", mend)]
        return rows

    def _names(self, *, per_subject: bool) -> list[str]:
        files = self.spec.files.items()
        return [name for name, entry in files if ("subject" in placeholders(entry.pattern)) is per_subject]

    def _entries(self, names: list[str], fixed: Mapping[str, Name], sizes: _Sizes) -> list[CheckRow]:
        rows: list[CheckRow] = []
        groups: dict[str, dict[str, list[tuple[dict, CheckRow]]]] = {}
        for name in names:
            found = list(self._files(name, fixed, sizes))
            group = self.spec.files[name].group
            if group is None:
                rows += [row for _, row in found]
            else:
                groups.setdefault(group, {})[name] = found
        for members in groups.values():
            rows += self._alternatives(members)
        return rows

    def _alternatives(self, members: Mapping[str, list[tuple[dict, CheckRow]]]) -> list[CheckRow]:
        """Any entry of a group suffices, and for the same session any file of it."""
        present = {name: found for name, found in members.items() if any(r.status != "missing" for _, r in found)}
        if not present:
            entries = [self.spec.files[name] for name in members]
            expected = " or ".join(entry.pattern for entry in entries)
            name, found = next(iter(members.items()))
            file = found[0][1].file if found else entries[0].pattern
            optional = any(entry.optional for entry in entries)
            return [CheckRow(name, file, "missing", expected, "none of them", self.spec.access.how, not optional)]
        covered = [combination for found in present.values() for combination, r in found if r.status != "missing"]
        every = [pair for found in present.values() for pair in found]
        return [row for combination, row in every if row.status != "missing" or combination not in covered]

    def _files(self, name: str, fixed: Mapping[str, Name], sizes: _Sizes) -> Iterator[tuple[dict, CheckRow]]:
        entry = self.spec.files[name]
        for combination in self.spec.expand(name, **fixed):
            relative = self.spec.relative(name, **combination)
            try:
                if "*" in relative:
                    files = [str(path.relative_to(self.root)) for path in find_inside(self.root, relative)]
                else:
                    resolve_inside(self.root, relative)
                    files = [relative]
            except DataError as error:
                yield combination, self._row(name, relative, "wrong", error)
                continue
            for file in files or [relative]:
                yield combination, self._file(name, entry, file, combination, sizes)
            count = self._count(entry, combination)
            if files and count not in (None, len(files)):
                status: Status = "missing" if len(files) < count else "wrong"
                expected, found = f"{count} files", f"{len(files)} files"
                yield combination, CheckRow(name, relative, status, expected, found, _mend(entry))

    def _count(self, entry: FileEntry, combination: Mapping[str, Name]) -> Any:
        return (
            self.spec.size_of(entry.count, combination.get("subject")) if isinstance(entry.count, str) else entry.count
        )

    def _file(self, name: str, entry: FileEntry, file: str, combination: dict, sizes: _Sizes) -> CheckRow:
        path = self.root / file
        if not path.exists():
            mend = "fetch the content (datalad get, git annex get)" if path.is_symlink() else self.spec.access.how
            return CheckRow(name, file, "missing", entry.format, "no file", mend, not entry.optional)
        keys = [fill(array.key, combination) for array in entry.contents if array.key] or list(entry.columns)
        try:
            contents = read_contents(path, entry.format, keys=keys, deep=self.deep)
        except DataError as error:
            return self._row(name, file, "unreadable", error)
        for key in entry.columns:
            if key not in contents:
                columns = [each for each in contents if each]
                return CheckRow(name, file, "wrong", f"column {key!r}", f"columns {columns}", _mend(entry))
        for array in () if entry.format == "npy_dict" else entry.contents:
            key = fill(array.key, combination) if array.key else ""
            fault = self._fault(array, key, contents, combination.get("subject"), sizes, file)
            if fault is not None:
                return CheckRow(name, file, "wrong", *fault, _mend(entry))
        return CheckRow(name, file, "ok", found=_describe(contents), required=not entry.optional)

    def _fault(
        self, array: ArrayEntry, key: str, contents: dict[str, Content], subject: Name | None, sizes: _Sizes, file: str
    ) -> tuple[str, str] | None:
        """What was expected of an array and what was found, or None if it is as stated."""
        if key not in contents:
            return f"array {key!r}", str(list(contents))
        content = contents[key]
        if not _same_dtype(array.dtype, content.dtype):
            return f"{key} of {array.dtype}".strip(), content.dtype
        shape = self.spec.shape_of(array, subject)
        if shape is None:
            return None
        expected, found = f"{key} of shape {_text(shape)}".strip(), _text(content.shape)
        if len(shape) != len(content.shape):
            return expected, found
        difference = sizes.differs(shape, content.shape, file)
        return (f"{expected}: {difference}", found) if difference else None

    def strangers(self) -> list[CheckRow]:
        """Subjects that the spec does not know."""
        found: dict[str, None] = {}
        for entry in self.spec.files.values():
            found.update(dict.fromkeys(self._strangers_of(entry)))
        known = ", ".join(str(name) for name in self.spec.subjects)
        mend = "take it out of the folder, or use a spec that lists it"
        return [CheckRow("subjects", file, "wrong", f"subjects {known}", "another subject", mend) for file in found]

    def _strangers_of(self, entry: FileEntry) -> Iterator[str]:
        parts = entry.pattern.split("/")
        at = next((i for i, part in enumerate(parts) if "subject" in placeholders(part)), None)
        if at is None:
            return
        head = "/".join(parts[: at + 1])
        wild = re.sub(r"\{[^}]*\}", "*", head)
        try:
            candidates = find_inside(self.root, wild)
        except DataError:
            return  # reported where the file itself is looked for
        ours = [re.compile(_regex(parts[at], self.spec, subject)) for subject in self.spec.subjects]
        anyone = re.compile(_regex(parts[at], self.spec, None))
        for path in candidates:
            name = path.name
            if anyone.fullmatch(name) and not any(each.fullmatch(name) for each in ours):
                yield str(path.relative_to(self.root))

    def _row(self, name: str, file: str, status: Status, error: DataError) -> CheckRow:
        texts = ("" if each is None else str(each) for each in (error.expected, error.fix))
        expected, mend = texts
        found = error.what if error.found is None else f"{error.what}: {error.found}"
        return CheckRow(name, file, status, expected, found, mend)


def _mend(entry: FileEntry) -> str:
    doubt = "" if entry.confidence == "verified" else f" (the spec's own statement is {entry.confidence})"
    return f"compare with the release and version that the spec describes{doubt}"


def _regex(part: str, spec: DatasetSpec, subject: Name | None) -> str:
    """Regular expression of a pattern's component: one subject's, or anyone's when `subject` is None."""
    pieces = []
    for literal, name, form in re.findall(r"([^{}]*)(?:\{(\w+)(?::(\w+))?\})?", part):
        pieces.append(re.escape(literal).replace(r"\*", "[^/]*"))
        if name == "subject" and subject is not None:
            pieces.append(re.escape(fill(f"{{subject:{form}}}" if form else "{subject}", {"subject": subject})))
        elif name:
            pieces.append(r"\d+" if form or _all_numbers(spec, name) else r"[A-Za-z0-9+]+")
    return "".join(pieces)


def _all_numbers(spec: DatasetSpec, name: str) -> bool:
    return name == "subject" and all(isinstance(each, int) for each in spec.subjects)


def _same_dtype(expected: str | None, found: str) -> bool:
    if expected in (None, "table", found):
        return True
    if expected != "number":
        return False
    try:
        return np.dtype(found).kind in "biuf"
    except TypeError:
        return False


def _text(shape: Iterable[int | str | None]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape) or "scalar"


def _describe(contents: Mapping[str, Content]) -> str:
    arrays = [f"{key} {_text(c.shape)} {c.dtype}".strip() for key, c in contents.items() if prod(c.shape) and c.shape]
    return "; ".join(arrays[:3]) + ("; ..." if len(arrays) > 3 else "")
