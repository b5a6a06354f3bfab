"""`load`: a data set by the name of its spec, through the loader that the spec names."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from brainalign.errors import DataError, closest
from brainalign.latents.base import Latents
from brainalign.specs import DatasetSpec

__all__ = ["data_root", "load", "load_latents", "spec_folder"]

# Kind of loader in the spec -> function(spec, root, *, subject, **options).
_LOADERS = {
    "bold5000": "datasets.bold5000:load_bold5000",
    "digits69": "datasets.digits69:load_digits69",
    "du_in": "datasets.du_in:load_du_in",
    "eegmmidb": "datasets.bci_runs:load_eegmmidb",
    "ephys": "datasets.recording:load_recording",
    "ephys_bids": "datasets.recording:load_bids_recording",
    "fingers7t": "datasets.fingers7t:load_fingers7t",
    "fmri": "datasets.haxby:load_haxby_slice",
    "haxby": "datasets.haxby:load_haxby",
    "images92": "datasets.images92:load_images92",
    "kay2008": "datasets.kay2008:load_kay2008",
    "miyawaki2008": "datasets.miyawaki2008:load_miyawaki2008",
    "moabb": "datasets.bci_iv_2a:load_bci_iv_2a",
    "muse_erp": "datasets.muse_erp:load_muse_erp",
    "nsd": "datasets.nsd:load_nsd",
    "podcast_ecog": "datasets.podcast_ecog:load_podcast_ecog",
    "simulated": "simulated:load_simulated",
    "simulated_circuit": "simulated:load_simulated_circuit",
    "single_word_production": "datasets.single_word_production:load_single_word_production",
    "spikes_reaching": "datasets.spikes_reaching:load_spikes_reaching",
    "ssvep_exo": "datasets.bci_runs:load_ssvep_exo",
    "story_hubs": "datasets.story_hubs:load_story_hubs",
    "things_eeg2": "datasets.things_eeg2:load_things_eeg2",
    "things_fmri": "datasets.things_fmri:load_things_fmri",
    "things_meg": "datasets.things_meg:load_things_meg",
}
# Kind of loader -> function(spec, root, name): features that a release brings along.
_FEATURES = {"podcast_ecog": "datasets.podcast_ecog:podcast_features"}
# Loaders that find their files by themselves where there is no folder.
_NEED_NO_FOLDER = ("moabb", "simulated", "simulated_circuit")


def data_root() -> Path:
    """Folder that holds one folder per data set: ``$BRAINALIGN_DATA``, else ``../shared/data``."""
    return Path(os.environ.get("BRAINALIGN_DATA") or Path("..") / "shared" / "data")


def load(
    name: str | DatasetSpec,
    *,
    root: str | os.PathLike[str] | None = None,
    subject: int | str | None = None,
    **options: Any,
) -> Any:
    """Load a data set that has a spec.

    Parameters
    ----------
    name : str or DatasetSpec
        Name of a spec (``brainalign.specs.list_specs()``), path of a spec file, or a spec.
    root : path-like, optional
        Folder of your copy; by default the folder of that name under ``$BRAINALIGN_DATA``.
    subject : int or str, optional
        Which subject (1, "01" and "sub-01" are one); by default the first.
    **options
        Of the loader, for example ``roi="nsdgeneral"``.

    Returns
    -------
    Trials
        For most; ``images92`` gives `SubjectRdms` (of every subject by default), the simulated subject gives
        (Trials, Truth).

    Raises
    ------
    SpecError
        When no spec has this name, or the spec no such subject.
    DataError
        When files are missing or damaged, or the loader has no such option.
    """
    spec = name if isinstance(name, DatasetSpec) else DatasetSpec.load(name)
    loader = _function(_LOADERS[spec.loader])
    _check_options(loader, options, spec)
    chosen = None if subject is None else spec.subject(subject)
    if chosen is None and signature(loader).parameters["subject"].default is Parameter.empty:
        chosen = spec.subjects[0]
    loaded = loader(spec, _folder(spec, root), subject=chosen, **options)
    if hasattr(loaded, "info"):
        loaded.info.update(dataset=spec.id, modality=spec.modality)
    return loaded


def load_latents(name: str | DatasetSpec, features: str, *, root: str | os.PathLike[str] | None = None) -> Latents:
    """What a network makes of the stimuli of a data set whose release brings such features along.

    Parameters
    ----------
    name, root
        As `load` takes them.
    features : str
        Which ones, such as "gpt2-xl" of ``podcast_ecog``.

    Raises
    ------
    DataError
        When the data set brings none, or files are missing or damaged.
    """
    spec = name if isinstance(name, DatasetSpec) else DatasetSpec.load(name)
    if spec.loader not in _FEATURES:
        raise DataError(
            f"'{spec.id}' brings no features along",
            expected=sorted(_FEATURES),
            found=spec.loader,
            fix="extract latents from its stimuli: brainalign.extract",
        )
    return _function(_FEATURES[spec.loader])(spec, spec_folder(spec, root), features)


def _function(place: str) -> Callable[..., Any]:
    module, _, function = place.partition(":")
    return getattr(import_module(f"brainalign.loaders.{module}"), function)


def _folder(spec: DatasetSpec, root: str | os.PathLike[str] | None) -> Path | None:
    if root is None and spec.loader in _NEED_NO_FOLDER and not (data_root() / spec.id).is_dir():
        return None
    return spec_folder(spec, root)


def spec_folder(spec: DatasetSpec, root: str | os.PathLike[str] | None) -> Path:
    """The folder of a data set: the one given, else that of its name under `data_root`; refused where absent."""
    folder = Path(root).expanduser() if root is not None else data_root() / spec.id
    if folder.is_dir():
        return folder
    raise DataError(
        f"no folder with '{spec.id}' here",
        path=folder,
        expected="your copy of the data set",
        found="nothing",
        fix=f"give root=..., set BRAINALIGN_DATA, or see `brainalign fetch {spec.id}` ({spec.access.how})",
    )


def _check_options(loader: Callable[..., Any], options: dict[str, Any], spec: DatasetSpec) -> None:
    parameters = signature(loader).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    known = [one for one in parameters if one not in ("spec", "root", "subject")]
    if strange := [one for one in options if one not in known]:
        raise DataError(
            f"the loader of '{spec.id}' has no option '{strange[0]}'.{closest(strange[0], known)}",
            expected=f"options {known}" if known else "no options",
            found=strange,
            fix="leave it out, or take one of those expected",
        )
