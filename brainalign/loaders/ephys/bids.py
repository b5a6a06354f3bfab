"""BIDS folders of EEG, MEG and intracranial recordings, through mne-bids."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from brainalign.errors import DataError, closest
from brainalign.loaders.damage import absent
from brainalign.loaders.ephys.load import load_recordings
from brainalign.loaders.ephys.options import EphysOptions
from brainalign.loaders.ephys.recording import Recording, check_sidecars, labels_of, read_quietly
from brainalign.loaders.events import read_table
from brainalign.loaders.recordings import check_recording_file
from brainalign.specs.safe import resolve_inside
from brainalign.trials import Trials

__all__ = ["bids_events", "find_bids_recordings", "load_bids_ephys", "open_bids_recording"]

_DATATYPES = ("eeg", "meg", "ieeg")
_EXTENSIONS = (".vhdr", ".edf", ".bdf", ".set", ".fif", ".ds", ".nwb", ".con", ".sqd", ".mef", ".snirf")


def load_bids_ephys(
    root: str | PathLike[str],
    *,
    subject: str,
    task: str | None = None,
    session: str | None = None,
    run: str | None = None,
    datatype: str | None = None,
    **options: Any,
) -> Trials:
    """Load a subject's recordings from a BIDS folder (EEG-, MEG- or iEEG-BIDS).

    Parameters
    ----------
    root : path-like
        Folder that holds ``sub-.../``.
    subject, task, session, run, datatype : str
        Entities without their prefix, as they stand in the file names. Sessions and runs that are left out are all
        loaded; several tasks or data types must be told apart.
    **options
        ``tmin`` and ``tmax``, ``events`` (in place of ``events.tsv``: ``"annotations"`` or ``"stim"``), and every
        `EphysOptions`. Channels marked bad in ``channels.tsv`` are left out unless ``bads="keep"``; positions come
        from ``electrodes.tsv``, regions from its `region_column` where there is one.

    Returns
    -------
    Trials
        As from `load_ephys`; subject, session and run as in the file names.

    Raises
    ------
    DataError
        When nothing or too much matches, a path leaves the folder, or a recording and its sidecars disagree.
    """
    root = Path(root)
    window = (options.pop("tmin", None), options.pop("tmax", None))
    events = options.pop("events", None)
    chosen = EphysOptions.of(options)
    entities = {"subject": subject, "task": task, "session": session, "run": run, "datatype": datatype}
    found = find_bids_recordings(root, {name: str(value) for name, value in entities.items() if value is not None})
    sources = [events or bids_events(root, path) for path in found]
    if chosen.regions is None:
        chosen = _with_regions(root, found[0], chosen)
    return load_recordings((open_bids_recording(root, path) for path in found), sources, window=window, options=chosen)


def find_bids_recordings(root: Path, wanted: dict[str, str]) -> list[Any]:
    """The recordings that match, one task and data type, in order of session and run."""
    from mne_bids import find_matching_paths

    if not root.is_dir():
        raise absent(root, "a BIDS folder", kind="folder")
    keywords = {f"{name}s": value for name, value in wanted.items() if name != "subject"}
    paths = find_matching_paths(
        root,
        subjects=wanted["subject"],
        suffixes=list(_DATATYPES),
        extensions=list(_EXTENSIONS),
        ignore_nosub=True,
        **keywords,
    )
    # A split FIF is one recording: its first part leads to the others.
    paths = [path for path in paths if path.split in (None, "01", "1") and path.description is None]
    if not paths:
        known = sorted(folder.name[4:] for folder in root.glob("sub-*") if folder.is_dir())
        what = f"no recording of {wanted}.{'' if wanted['subject'] in known else closest(wanted['subject'], known)}"
        raise DataError(
            what,
            path=root,
            expected="at least one",
            found=f"subjects {known[:12]}",
            fix="name a subject, task, session or run that is there",
        )
    for name in ("task", "datatype"):
        values = sorted({str(getattr(path, name)) for path in paths})
        if len(values) > 1:
            what = f"recordings of several {name}s match"
            raise DataError(what, path=root, expected="one", found=values, fix=f"pass {name}='{values[0]}'")
    return sorted(paths, key=lambda path: (path.session or "", (path.run or "").zfill(8), path.basename))


def bids_events(root: Path, bids_path: Any) -> Path | None:
    """The events.tsv of a recording, by BIDS' rules of inheritance."""
    return _sidecar(root, bids_path, "events", ".tsv", needed=True)


def open_bids_recording(root: Path, bids_path: Any) -> Recording:
    """Open a recording of a BIDS folder and hold it against its sidecars."""
    import mne_bids

    path = Path(bids_path.fpath)
    _inside(root, path)
    check_recording_file(path)
    raw = read_quietly(mne_bids.read_raw_bids, bids_path, path=path, verbose="warning")
    recording = Recording(raw, path, labels_of(path.name))
    sidecar = _sidecar(root, bids_path, bids_path.suffix, ".json")
    check_sidecars(recording, sidecar, _sidecar(root, bids_path, "channels", ".tsv"))
    return recording


def _sidecar(root: Path, bids_path: Any, suffix: str, extension: str, *, needed: bool = False) -> Path | None:
    """A sidecar by BIDS' rules of inheritance, inside the folder."""
    found = bids_path.find_matching_sidecar(suffix=suffix, extension=extension, on_error="ignore")
    if found is None:
        if needed:
            fix = "add it, or pass events='annotations' or events='stim'"
            raise DataError(
                f"no {suffix}{extension}", path=bids_path.fpath, expected="one beside it", fix=fix, found="none"
            )
        return None
    return _inside(root, Path(found))


def _inside(root: Path, path: Path) -> Path:
    return resolve_inside(root, path.relative_to(root).as_posix()) and path


def _with_regions(root: Path, bids_path: Any, options: EphysOptions) -> EphysOptions:
    """Take regions from electrodes.tsv where it has the column."""
    from dataclasses import replace

    table = _sidecar(root, bids_path, "electrodes", ".tsv")
    if table is None or (options.region_column not in read_table(table) and options.region_column == "region"):
        return options
    return replace(options, regions=table)
