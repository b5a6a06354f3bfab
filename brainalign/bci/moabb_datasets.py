"""Recordings, `Trials`, BIDS folders and data specs as MOABB datasets, seen by every MOABB paradigm once registered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import moabb.datasets
from moabb.datasets import utils as moabb_utils
from moabb.datasets.base import BaseDataset

from brainalign.bci.moabb_runs import bids_runs, opened_run, runs_of_trials, spec_runs
from brainalign.errors import DataError
from brainalign.trials import Trials

__all__ = ["as_moabb_dataset", "forget_moabb_dataset", "register_moabb_dataset"]

PARADIGMS = ("imagery", "p300", "ssvep", "cvep", "rstate")
Runs = Mapping[Any, Mapping[Any, Mapping[Any, Any]]]
"""{subject: {session: {run: recording, or (recording, events)}}}."""
_INTRACRANIAL = {"seeg": True, "ecog": True, "dbs": True}
_KEPT = {"eeg": False, "ieeg": _INTRACRANIAL, "meg": {"meg": True}}
"""What MOABB is to pick of each modality: False is its own choice, EEG."""


def as_moabb_dataset(
    source: Any,
    *,
    code: str,
    paradigm: str = "imagery",
    interval: tuple[float, float] | None = None,
    events: Sequence[str] | None = None,
    **options: Any,
) -> BaseDataset:
    """Make a MOABB dataset, whose class can be instantiated without arguments, as MOABB's searches do.

    Parameters
    ----------
    source : Trials, nested mapping, path of a BIDS folder, or name of a data spec
        A mapping is ``{subject: {session: {run: recording}}}`` with what `brainalign.load_ephys` takes as recording,
        or ``(recording, events)``. Nothing of a mapping, folder or spec is read before MOABB asks for a subject.
    code : str
        Of letters, digits and dashes; no other registered dataset may have it.
    paradigm : {"imagery", "p300", "ssvep", "cvep", "rstate"}
    interval : (float, float)
        Seconds of the task from the event; for `Trials` their own window.
    events : sequence of str
        Names of the classes; needed where nothing is read now (mapping, folder, spec). By default those of `Trials`.
    **options
        ``modality``: "eeg" (default for mappings), "ieeg" or "meg". ``label``: for `Trials`, the column of the class
        (``trial_type`` or ``stimulus_id``). ``task``, ``datatype``: of a BIDS folder. ``root``, ``subjects``: of a
        data spec. ``event_id``: names of integer events, for mappings. ``doi``.

    Returns
    -------
    moabb.datasets.base.BaseDataset
        Not registered yet: pass it to an evaluation, or see `register_moabb_dataset`.

    Raises
    ------
    DataError
        For a malformed code, an unknown paradigm, no classes or no interval; when data are read, for what
        `brainalign.load_ephys` refuses.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> table = pd.DataFrame({"stimulus_id": ["left_hand", "right_hand"] * 5, "session": [1] * 4 + [2] * 6})
    >>> trials = Trials(np.random.default_rng(0).standard_normal((10, 3, 101)), table, times=np.arange(101) / 100)
    >>> dataset = as_moabb_dataset(trials, code="Planted2024")
    >>> dataset, dataset.event_id, list(dataset.get_data([1])[1])
    (Planted2024, {'left_hand': 1, 'right_hand': 2}, ['1', '2'])
    """
    _check(code, paradigm)
    described = _described(source, interval, events, options)
    doi = options.pop("doi", None)
    if options:
        raise DataError("a MOABB dataset has no such option here", expected="see the docstring", found=sorted(options))
    names, window = list(described["events"] or ()), described["interval"]
    if len(set(names)) < max(len(names), 1) or window is None or not window[0] < window[1]:
        raise DataError(
            "a MOABB dataset needs its classes and the interval of a trial before anything is read",
            expected="events=[each name once], interval=(start, stop)",
            found=(names, window),
        )
    given = {
        "subjects": described["subjects"],
        "sessions_per_subject": described["n_sessions"],
        "events": {name: number for number, name in enumerate(names, start=1)},
        "code": code,
        "interval": list(window),
        "paradigm": paradigm,
        "doi": doi,
        "return_all_modalities": _KEPT[described["modality"]],
    }
    parts = {"given": given, "runs_of": staticmethod(described["runs_of"]), "__doc__": f"{code}, by brainalign."}
    return type(code.replace("-", "_"), (_Given,), parts)()


class _Given(BaseDataset):
    """A dataset whose facts and reader hang on its class."""

    given: dict[str, Any]
    runs_of: Callable[[Any], Mapping[Any, Mapping[Any, Any]]]

    def __init__(self) -> None:
        super().__init__(**{**self.given, "events": dict(self.given["events"])})

    def _get_single_subject_data(self, subject: Any) -> dict[str, dict[str, Any]]:
        """Sessions and runs under names that MOABB allows, in their order."""
        sessions = type(self).runs_of(subject)
        made = {}
        for session, runs in zip(moabb_names(list(sessions)), sessions.values(), strict=True):
            opened = [opened_run(run, self.event_id) for run in runs.values()]
            made[session] = dict(zip(moabb_names(list(runs)), opened, strict=True))
        return made

    def data_path(self, subject: Any, *_: Any, **__: Any) -> list[str]:
        """Nothing is downloaded: the data are where they were when the dataset was made."""
        return []


def moabb_names(names: Sequence[Any]) -> list[str]:
    """Names of sessions or runs as MOABB wants them: an integer each, and letters and digits after it.

    Examples
    --------
    >>> moabb_names(["01", 2]), moabb_names(["train", "test-b"])
    (['1', '2'], ['0train', '1testb'])
    """
    texts = [str(name) for name in names]
    if all(text.isdigit() for text in texts) and len({int(text) for text in texts}) == len(texts):
        return [str(int(text)) for text in texts]
    return [f"{number}{re.sub('^[0-9]+|[^A-Za-z0-9]', '', text)}" for number, text in enumerate(texts)]


def register_moabb_dataset(dataset: BaseDataset) -> BaseDataset:
    """Let MOABB's paradigms find a dataset: it stands in ``paradigm.datasets`` of every paradigm that it fits.

    Raises
    ------
    DataError
        When another dataset has this code (MOABB would take its cached results for this one's) or class name.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> table = pd.DataFrame({"stimulus_id": ["left_hand", "right_hand"] * 5})
    >>> trials = Trials(np.random.default_rng(0).standard_normal((10, 3, 101)), table, times=np.arange(101) / 100)
    >>> dataset = register_moabb_dataset(as_moabb_dataset(trials, code="Seen2024"))
    >>> from moabb.paradigms import LeftRightImagery
    >>> "Seen2024" in [one.code for one in LeftRightImagery().datasets]
    True
    >>> forget_moabb_dataset(dataset)
    """
    made = type(dataset)
    if not moabb_utils.dataset_list:
        moabb_utils.dataset_search()  # fills the list
    for known in moabb_utils.dataset_list:
        if known is made:
            return dataset
        if known.__name__ == made.__name__ or _code_of(known) == dataset.code:
            raise DataError(
                f"MOABB has a dataset of the code '{dataset.code}' already",
                expected="a code of its own: results are stored under it",
                found=f"{known.__module__}.{known.__name__}",
                fix="choose another code, or forget_moabb_dataset(the other)",
            )
    setattr(moabb.datasets, made.__name__, made)
    moabb_utils.dataset_list.append(made)
    moabb_utils.dataset_dict[made.__name__] = made
    return dataset


def forget_moabb_dataset(dataset: BaseDataset) -> None:
    """Undo `register_moabb_dataset`."""
    made = type(dataset)
    if made in moabb_utils.dataset_list:
        moabb_utils.dataset_list.remove(made)
    if moabb_utils.dataset_dict.pop(made.__name__, None) is made:
        delattr(moabb.datasets, made.__name__)


def _code_of(known: type[BaseDataset]) -> str | None:
    given = getattr(known, "given", None)
    return given["code"] if given else known().code


def _check(code: str, paradigm: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", code):
        raise DataError("not a code that MOABB takes", expected="letters, digits and dashes", found=code)
    if paradigm not in PARADIGMS:
        raise DataError(f"MOABB has no paradigm '{paradigm}'", expected=PARADIGMS, found=paradigm)


def _described(source: Any, interval: Any, events: Any, options: dict[str, Any]) -> dict[str, Any]:
    """What is known of a source now, and how one of its subjects is read later."""
    facts: dict[str, Any]
    if isinstance(source, Trials):
        facts = runs_of_trials(source, options.pop("label", None))
    elif isinstance(source, Mapping):
        facts = _of_mapping(source, options.pop("event_id", None))
    elif isinstance(source, PathLike) or (isinstance(source, str) and Path(source).is_dir()):
        facts = bids_runs(source, task=options.pop("task", None), datatype=options.pop("datatype", None))
    elif isinstance(source, str):
        facts = spec_runs(source, root=options.pop("root", None), subjects=options.pop("subjects", None))
    else:
        raise DataError(
            "not a source of a MOABB dataset",
            expected="Trials, a nested mapping of recordings, a BIDS folder, or the name of a data spec",
            found=type(source).__name__,
        )
    facts["modality"] = options.pop("modality", facts["modality"])
    if facts["modality"] not in _KEPT:
        raise DataError("no such modality", expected=list(_KEPT), found=facts["modality"])
    facts["events"] = events if events is not None else facts.get("events")
    facts["interval"] = interval if interval is not None else facts.get("interval")
    return facts


def _of_mapping(source: Runs, event_id: Any) -> dict[str, Any]:
    try:
        counts = [len(sessions) for sessions in source.values() if all(len(runs) for runs in sessions.values())]
    except (TypeError, AttributeError) as error:
        raise DataError("not nested", expected="{subject: {session: {run: recording}}}", found=str(error)) from error
    if not counts or len(counts) < len(source) or not min(counts):
        raise DataError("a subject has no session or a session no run", expected="at least one of each")

    def runs_of(subject: Any) -> dict[Any, dict[Any, Any]]:
        return {
            session: {run: (*(one if isinstance(one, tuple) else (one, None)), event_id) for run, one in runs.items()}
            for session, runs in source[subject].items()
        }

    return {"subjects": list(source), "n_sessions": min(counts), "runs_of": runs_of, "modality": "eeg"}
