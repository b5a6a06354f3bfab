"""`load`: a data set by the name of its spec, through the loader that the spec names."""

from __future__ import annotations

import os
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from brainalign.errors import DataError, closest
from brainalign.specs import DatasetSpec
from brainalign.specs.schema import Name

__all__ = ["data_root", "load"]

# Each function takes (spec, root, *, subject, **options), or the same without spec.
_LOADERS = {
    "bold5000": "brainalign.loaders.bold5000:load_bold5000",
    "digits69": "brainalign.loaders.digits69:load_digits69",
    "du_in": "brainalign.loaders.ephys_datasets:load_du_in",
    "ephys": "brainalign.loaders.ephys_registry:load_recording",
    "ephys_bids": "brainalign.loaders.ephys_registry:load_bids_recording",
    "fmri": "brainalign.loaders.haxby:load_haxby_slice",
    "haxby": "brainalign.loaders.haxby:load_haxby",
    "images92": "brainalign.loaders.images92:load_images92",
    "kay2008": "brainalign.loaders.kay2008:load_kay2008",
    "miyawaki2008": "brainalign.loaders.miyawaki2008:load_miyawaki2008",
    "moabb": "brainalign.loaders.ephys_datasets:load_bci_iv_2a",
    "nsd": "brainalign.loaders.nsd:load_nsd",
    "podcast_ecog": "brainalign.loaders.ephys_datasets:load_podcast_ecog",
    "spikes_reaching": "brainalign.loaders.spikes_reaching:load_spikes_reaching",
    "simulated": "brainalign.loaders.simulated:load_simulated",
    "things_eeg2": "brainalign.loaders.things_eeg:load_things_eeg2",
    "things_fmri": "brainalign.loaders.things_fmri:load_things_fmri",
    "things_meg": "brainalign.loaders.ephys_datasets:load_things_meg",
}


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
        Which subject; by default the first.
    **options
        Of the loader, for example ``roi="nsdgeneral"``.

    Returns
    -------
    Trials
        For most; ``images92`` gives `SubjectRdms`, the simulated subject gives (Trials, Truth).

    Raises
    ------
    SpecError
        When no spec has this name.
    DataError
        When files are missing or damaged, the subject is unknown, or the loader has no such option.
    """
    spec = name if isinstance(name, DatasetSpec) else DatasetSpec.load(name)
    module, _, function = _LOADERS[spec.loader].partition(":")
    loader = getattr(import_module(module), function)
    _check_options(loader, options, spec)
    chosen = None if subject is None else spec.subject(subject)
    folder = Path(root).expanduser() if root is not None else data_root() / spec.id
    if spec.loader == "moabb" and root is None and not folder.is_dir():
        return loader(None, subject=_first(spec, chosen), **options)  # MOABB keeps its own copy
    if spec.loader != "simulated" and not folder.is_dir():
        raise DataError(
            f"no folder with '{spec.id}' here",
            path=folder,
            expected="your copy of the data set",
            found="nothing",
            fix=f"give root=..., set BRAINALIGN_DATA, or see `brainalign fetch {spec.id}` ({spec.access.how})",
        )
    if "spec" not in signature(loader).parameters:
        return loader(folder, subject=_first(spec, chosen), **options)
    return loader(spec, folder, subject=chosen, **options)


def _first(spec: DatasetSpec, subject: Name | None) -> Name:
    return spec.subjects[0] if subject is None else subject


def _check_options(loader: Any, options: dict[str, Any], spec: DatasetSpec) -> None:
    parameters = signature(loader).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return
    known = [one for one in parameters if one not in ("spec", "root", "subject")]
    if unknown := [one for one in options if one not in known]:
        raise DataError(
            f"the loader of '{spec.id}' has no option '{unknown[0]}'.{closest(unknown[0], known)}",
            expected=f"options {known}" if known else "no options",
            found=unknown,
        )
