"""Tiny synthetic trees in the layout of a dataset: same names, formats, dtypes, keys and index bases, no real data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainalign.errors import DataError, SpecError
from brainalign.loaders.trees import bci, ephys, fmri, spikes, story, words
from brainalign.loaders.trees.planting import Planting
from brainalign.specs import DatasetSpec
from brainalign.specs.schema import FactValue, Name

__all__ = ["Tree", "make_tree"]

_PLANTS: dict[str, Callable[[Planting], None]] = {
    "nsd": fmri.plant_nsd,
    "bold5000": fmri.plant_bold5000,
    "things_fmri": fmri.plant_things_fmri,
    "kay2008": fmri.plant_kay2008,
    "haxby": fmri.plant_haxby,
    "fmri": fmri.plant_haxby_slice,
    "miyawaki2008": fmri.plant_miyawaki2008,
    "digits69": fmri.plant_digits69,
    "images92": fmri.plant_images92,
    "fingers7t": fmri.plant_fingers7t,
    "things_eeg2": ephys.plant_things_eeg2,
    "things_meg": ephys.plant_things_meg,
    "moabb": ephys.plant_bci_iv_2a,
    "podcast_ecog": ephys.plant_podcast_ecog,
    "du_in": ephys.plant_du_in,
    "single_word_production": words.plant_single_word_production,
    "eegmmidb": bci.plant_eegmmidb,
    "ephys": ephys.plant_meg_sample,
    "ephys_bids": ephys.plant_ieeg_bids,
    "ssvep_exo": bci.plant_ssvep_exo,
    "muse_erp": bci.plant_muse_erp,
    "spikes_reaching": spikes.plant_spikes_reaching,
    "story_hubs": story.plant_story_hubs,
}


@dataclass(frozen=True)
class Tree:
    """A made tree.

    Attributes
    ----------
    root : Path
        Its folder.
    spec : DatasetSpec
        The dataset's spec with the tree's own small numbers: `check_dataset(tree.spec, tree.root)` is ok.
    truth : dict
        What was planted, by name (see the ``plant_*`` functions). Kept out of the tree.
    skipped : tuple of str
        File entries that were not written: pickled formats without a writer, folders of other software.
    """

    root: Path
    spec: DatasetSpec
    truth: dict[str, Any] = field(repr=False)
    skipped: tuple[str, ...] = ()


def make_tree(
    spec: DatasetSpec | str,
    root: str | Path,
    *,
    seed: int = 0,
    subjects: Iterable[Name] | None = None,
    sizes: Mapping[str, FactValue] | None = None,
    writers: Mapping[str, Callable[[Path, dict], object]] | None = None,
) -> Tree:
    """Write a tiny tree in a dataset's layout, with known responses planted in it.

    Responses are features of the stimuli times weights of the units, plus noise; all three are in `Tree.truth`.

    Parameters
    ----------
    spec : DatasetSpec or str
        A spec or the name of one.
    root : path-like
        Folder to write into; made if absent, must be empty.
    seed : int
        The same seed writes the same values, whichever subjects are asked for.
    subjects : iterable of str or int, optional
        Default: the few that the spec's `tiny` section names.
    sizes : mapping, optional
        Facts to set otherwise than `tiny` does, by name.
    writers : mapping, optional
        ``{format: write(path, content)}`` for formats that the library does not write, such as the pickled
        dictionaries of THINGS-EEG2 (``npy_dict``).

    Returns
    -------
    Tree

    Raises
    ------
    SpecError
        If the dataset has nothing on disk, or `sizes` names no fact of it.
    DataError
        If `root` is not empty.

    Examples
    --------
    >>> import tempfile
    >>> from brainalign.loaders.check import check_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tree = make_tree("kay2008", folder)
    ...     check_dataset(tree.spec, tree.root).ok
    True
    """
    spec = DatasetSpec.load(spec) if isinstance(spec, str) else spec
    if spec.loader not in _PLANTS:
        raise SpecError(
            f"{spec.id} has no files: {spec.access.how}",
            expected=sorted(_PLANTS),
            found=spec.loader,
            fix="choose another data set",
        )
    small = spec.shrunk(**(sizes or {}))
    if subjects is not None:
        names = [small.subject(name) for name in subjects]
        small = small.shrunk(subjects=names)
    root = Path(root)
    if root.exists() and any(root.iterdir()):
        raise DataError(
            "folder is not empty", path=root, expected="an empty or new folder", found="files", fix="name a new folder"
        )
    planting = Planting(small, root, seed=seed, writers=dict(writers or {}))
    _PLANTS[spec.loader](planting)
    return Tree(root, small, planting.truth, tuple(planting.skipped))
