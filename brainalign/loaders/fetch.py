"""Download a dataset through the library that already knows how: nilearn or MOABB. A spec names, the code decides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from brainalign.errors import DataError, SpecError
from brainalign.specs import DatasetSpec, Name

__all__ = ["fetch"]


def fetch(name: str | Path, root: str | Path, subjects: Iterable[Name] | None = None) -> Path:
    """Download a dataset whose spec names a fetcher.

    Parameters
    ----------
    name : str or path-like
        A dataset (see `list_specs`) or a spec file.
    root : path-like
        Folder to download into; made if absent.
    subjects : iterable of str or int, optional
        Default: all.

    Returns
    -------
    Path
        The dataset's own folder below `root`, as `check_dataset` and the loaders take it.

    Raises
    ------
    SpecError
        If the dataset has no fetcher: the message says how its files may be had, and under which licence.
    DataError
        If the download fails: no network, a server's refusal, a wrong checksum.

    Notes
    -----
    MOABB fetches without verifying the server's certificate; compare with a copy you trust where that matters.
    """
    spec = DatasetSpec.load(name)
    if spec.fetcher is None:
        raise _no_fetcher(spec)
    if spec.fetcher not in _FETCHERS:
        known = sorted(_FETCHERS)
        raise SpecError(
            f"fetcher {spec.fetcher!r} is not on brainalign's list", expected=known, found=spec.fetcher, fix=_how(spec)
        )
    wanted = spec.subjects if subjects is None else tuple(spec.subject(subject) for subject in subjects)
    root = Path(root).expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _FETCHERS[spec.fetcher](root, wanted)
    except ImportError as error:
        package = spec.fetcher.split(".")[0]
        raise DataError(
            f"{package} is not installed", found=str(error), fix=f"pip install {package}", expected=package
        ) from error
    except (OSError, ValueError) as error:  # requests' and urllib's errors are OSErrors; ValueError is a wrong checksum
        found = f"{type(error).__name__}: {str(error)[:200]}"
        fix = f"check the network and the disk, or get the files by hand: {_how(spec)}"
        raise DataError(
            f"could not download {spec.id}", path=root, found=found, fix=fix, expected="the files of the release"
        ) from error


def _no_fetcher(spec: DatasetSpec) -> SpecError:
    what = f"{spec.id} cannot be downloaded by brainalign"
    licence = f"licence: {spec.licence.value}"
    return SpecError(what, expected="a fetcher", found=f"access: {spec.access.kind}; {licence}", fix=_how(spec))


def _how(spec: DatasetSpec) -> str:
    return spec.access.how + (f" ({spec.access.url})" if spec.access.url else "")


def _fetch_haxby(root: Path, subjects: Sequence[Name]) -> Path:
    from nilearn import datasets

    datasets.fetch_haxby(data_dir=str(root), subjects=[int(subject) for subject in subjects], verbose=0)
    return root / "haxby2001"


def _fetch_miyawaki2008(root: Path, subjects: Sequence[Name]) -> Path:
    from nilearn import datasets

    datasets.fetch_miyawaki2008(data_dir=str(root), verbose=0)
    return root / "miyawaki2008"


def _fetch_bnci2014_001(root: Path, subjects: Sequence[Name]) -> Path:
    with _environment("MNE_DATASETS_BNCI_PATH", str(root)):
        from moabb import datasets

        dataset = datasets.BNCI2014_001()
        files = [Path(file) for subject in subjects for file in dataset.data_path(subject, path=str(root))]
    return files[0].parents[1]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while: without it MOABB writes its default folder into MNE's settings."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


_FETCHERS: dict[str, Callable[[Path, Sequence[Name]], Path]] = {
    "nilearn.fetch_haxby": _fetch_haxby,
    "nilearn.fetch_miyawaki2008": _fetch_miyawaki2008,
    "moabb.BNCI2014_001": _fetch_bnci2014_001,
}
