"""Dataset specs: where a dataset's files lie and what is in them, as data with sources, never as code."""

from brainalign.specs.dataset import DatasetSpec, list_specs
from brainalign.specs.safe import find_inside, read_yaml, resolve_inside
from brainalign.specs.schema import ArrayEntry, Fact, FileEntry, Name

__all__ = [
    "ArrayEntry", "DatasetSpec", "Fact", "FileEntry", "Name", "find_inside", "list_specs", "read_yaml",
    "resolve_inside",
]  # fmt: skip
