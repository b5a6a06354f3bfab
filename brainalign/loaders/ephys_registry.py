"""Electrophysiology behind `brainalign.load`: from a spec and a folder to the loaders of `brainalign.loaders.ephys`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainalign.errors import DataError
from brainalign.loaders.ephys import load_bids_ephys, load_ephys
from brainalign.specs import DatasetSpec
from brainalign.trials import Trials

__all__ = ["load_bids_recording", "load_recording"]


def load_recording(
    spec: DatasetSpec,
    root: Path,
    *,
    subject: Any = None,
    name_parts: Sequence[str] | None = None,
    **options: Any,
) -> Trials:
    """One continuous recording whose trigger codes the spec names in order (`event_names`, from 1).

    Parameters
    ----------
    spec, root, subject
        See `brainalign.load`.
    name_parts : sequence of str, optional
        Columns to make of the parts of an event's name: ``["modality", "side"]`` of "auditory_left".
    **options
        Of `brainalign.load_ephys`; `events` defaults to the trigger channel.
    """
    event_id = {name: code for code, name in enumerate(spec.fact("event_names"), start=1)}
    options = {"events": "stim", "event_id": event_id, **options}
    trials = load_ephys(spec.path(root, "recording"), **options)
    return _labelled(_told(trials, spec), name_parts)


def load_bids_recording(spec: DatasetSpec, root: Path, *, subject: Any = None, **options: Any) -> Trials:
    """One subject of a BIDS folder; `options` as `brainalign.loaders.ephys.load_bids_ephys` takes them."""
    chosen = spec.subjects[0] if subject is None else subject
    return _told(load_bids_ephys(root, subject=str(chosen), **options), spec)


def _told(trials: Trials, spec: DatasetSpec) -> Trials:
    trials.info.update(dataset=spec.id, modality=spec.modality)
    return trials


def _labelled(trials: Trials, parts: Sequence[str] | None) -> Trials:
    if not parts:
        return trials
    split = trials.trials["stimulus_id"].str.split("_", n=len(parts) - 1, expand=True)
    if split.shape[1] < len(parts):
        raise DataError(
            "event names have fewer parts than asked for", expected=list(parts), found=trials.stimulus_ids[0]
        )
    return trials.with_trials(**{name: split[number] for number, name in enumerate(parts)})
