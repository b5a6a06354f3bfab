"""Pipelines on datasets under one protocol, fold by fold, with every finished fold kept.

Folds are those of MOABB's public splitters, so that at equal seed the scores are MOABB's own; each subject is loaded
when its turn comes (MOABB holds all of them), and a fold that is done is never done again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.preprocessing import LabelEncoder

from brainalign.arrays import check_finite
from brainalign.bci.energy import measured_energy
from brainalign.bci.protocols import Protocol
from brainalign.bci.results import ResultStore, data_hash, described, versions
from brainalign.errors import DataError
from brainalign.parallel import parallel_map, progress

__all__ = ["evaluate_pipelines", "moabb_results"]

_COLUMNS = [
    *("dataset", "subject", "session", "pipeline", "fold", "protocol", "score", "chance", "n_train", "n_test"),
    *("n_classes", "n_channels", "fit_seconds", "test_seconds", "data_hash", "fold_hash"),
]


def evaluate_pipelines(
    datasets: Sequence[Any],
    pipelines: Mapping[str, Any],
    paradigm: Any,
    *,
    protocol: Protocol | str = "within_session",
    store: ResultStore | str | None = None,
    n_jobs: int = 1,
) -> pd.DataFrame:
    """Fit and score every pipeline in every fold.

    Parameters
    ----------
    datasets : sequence of MOABB datasets
        MOABB's, or from `as_moabb_dataset`.
    pipelines : mapping of str to estimator
        scikit-learn estimators of (n_trials, n_channels, n_times) in microvolts; cloned for each fold.
    paradigm : MOABB paradigm
        Filters, cuts and scores.
    protocol : Protocol or str
    store : ResultStore or path-like, optional
        Where finished folds are kept and taken from; without one nothing is.
    n_jobs : int
        Folds at a time.

    Returns
    -------
    DataFrame
        One row per dataset, subject, session, fold and pipeline: ``score`` by the paradigm's first scorer and
        ``score_<name>`` by its others, ``chance`` (share of the largest class for accuracy), counts, seconds of
        fitting and of scoring, ``energy_kwh`` where codecarbon is installed, hashes of data and fold.

    Raises
    ------
    DataError
        For two datasets of one code, a dataset without what the protocol needs (two sessions, two subjects), one
        class in train, a class in test that was never trained on, or a score that is no number.

    Examples
    --------
    >>> from pyriemann.classification import MDM
    >>> from pyriemann.estimation import Covariances
    >>> from sklearn.pipeline import make_pipeline
    >>> from moabb.datasets.fake import FakeDataset
    >>> from moabb.paradigms import LeftRightImagery
    >>> import mne
    >>> level = mne.set_log_level("ERROR", return_old_level=True)
    >>> fake = FakeDataset(["left_hand", "right_hand"], n_subjects=1, n_sessions=2, n_runs=1, seed=0)
    >>> table = evaluate_pipelines([fake], {"mdm": make_pipeline(Covariances("oas"), MDM())}, LeftRightImagery())
    >>> len(table), sorted(table["session"].unique())
    (10, ['0', '1'])
    >>> mne.set_log_level(level)
    """
    chosen = Protocol(protocol) if isinstance(protocol, str) else protocol
    kept = ResultStore(store) if store is not None and not isinstance(store, ResultStore) else store
    _check_asked(datasets, pipelines, paradigm, chosen)
    common = {
        "protocol": asdict(chosen),
        "scorer": described(paradigm.scoring),
        "paradigm": described(type(paradigm)),
        "versions": versions(),
    }
    tasks = {name: described(pipeline) for name, pipeline in pipelines.items()}
    rows: list[dict[str, Any]] = []
    for dataset in datasets:
        for unit in progress(_units(dataset, chosen), description=dataset.code):
            X, y, metadata = paradigm.get_data(dataset, subjects=unit)
            check_finite(X, name=f"{dataset.code}, subject {unit[0] if len(unit) == 1 else 'any'}")
            y, metadata = np.asarray(y), metadata.reset_index(drop=True)
            identity = {**common, "dataset": dataset.code, "data": data_hash(X, y, metadata)}
            loaded = _Loaded(X, y, metadata, paradigm.scoring)
            folds = list(_folds(chosen, y, metadata))
            work = [
                (pipelines[name], fold, {**identity, "pipeline": tasks[name], "name": name, "fold": fold.hash})
                for fold in folds
                for name in pipelines
            ]
            done = parallel_map(partial(_one_fold, loaded, kept), work, n_jobs=n_jobs)
            rows += [row for some in done for row in some]
    # Rows that come from the store have lost their order of columns.
    table = pd.DataFrame(rows)
    return table[[*_COLUMNS, *sorted(set(table) - set(_COLUMNS))]]


@dataclass(frozen=True)
class _Loaded:
    """What one unit of subjects holds."""

    X: NDArray
    y: NDArray
    metadata: pd.DataFrame
    scoring: Any


@dataclass(frozen=True)
class _Fold:
    """Rows of train and test; `number` counts within a session or subject."""

    train: NDArray
    test: NDArray
    number: int
    per_session: bool

    @property
    def hash(self) -> str:
        """Of the rows in their order."""
        return data_hash(self.train, self.test, pd.DataFrame())[:16]


def _folds(protocol: Protocol, y: NDArray, metadata: pd.DataFrame) -> Iterator[_Fold]:
    counted: dict[tuple[str, str], int] = {}
    for train, test in protocol.splitter().split(y, metadata):
        first = metadata.iloc[test[0]]
        where = (str(first["subject"]), "" if protocol.all_subjects else str(first["session"]))
        counted[where] = counted.get(where, -1) + 1
        yield _Fold(np.asarray(train), np.asarray(test), counted[where], protocol.all_subjects)


def _one_fold(loaded: _Loaded, store: ResultStore | None, work: tuple[Any, _Fold, dict]) -> list[dict[str, Any]]:
    """Rows of a fold: from the store, else by fitting; each session of the test is a row of its own."""
    pipeline, fold, identity = work
    known = store.read(identity) if store is not None else None
    if known is not None:
        return known
    labels = loaded.y[fold.train]
    _check_labels(labels, loaded.y[fold.test], identity)
    encoder = LabelEncoder().fit(labels)
    model = clone(pipeline)
    with measured_energy() as energy:
        start = time.perf_counter()
        model.fit(loaded.X[fold.train], encoder.transform(labels))
        seconds = time.perf_counter() - start
    rows = []
    for subject, session, rows_of in _scored_parts(loaded.metadata, fold):
        start = time.perf_counter()
        scores = _scores(model, loaded.X[rows_of], encoder.transform(loaded.y[rows_of]), loaded.scoring, identity)
        facts = {
            "dataset": identity["dataset"],
            "subject": str(subject),
            "session": str(session),
            "pipeline": identity["name"],
            "fold": fold.number,
            "protocol": identity["protocol"]["name"],
            "chance": _chance(loaded.scoring, loaded.y[np.r_[fold.train, fold.test]]),
            "n_train": len(fold.train),
            "n_test": len(rows_of),
            "n_classes": len(np.unique(loaded.y[rows_of])),
            "n_channels": loaded.X.shape[1],
            "fit_seconds": seconds,
            "test_seconds": time.perf_counter() - start,
            "data_hash": identity["data"],
            "fold_hash": fold.hash,
        }
        rows.append({**facts, **scores, **energy})
    if store is not None:
        store.write(identity, rows)
    return rows


def _scored_parts(metadata: pd.DataFrame, fold: _Fold) -> Iterator[tuple[Any, Any, NDArray]]:
    table = metadata.iloc[fold.test]
    if not fold.per_session:
        yield table["subject"].iloc[0], table["session"].iloc[0], fold.test
        return
    for (subject, session), part in table.groupby(["subject", "session"], sort=True):
        yield subject, session, part.index.to_numpy()


def _scores(model: Any, X: NDArray, y: NDArray, scoring: Any, identity: Mapping[str, Any]) -> dict[str, float]:
    found = check_scoring(model, scoring=scoring)(model, X, y)
    named = found if isinstance(found, dict) else {"": found}
    if not np.isfinite(list(named.values())).all():
        raise DataError(
            f"'{identity['name']}' on {identity['dataset']} scores no number",
            found=named,
            fix="look for flat, missing or linearly dependent channels, and for classes that are absent from the test",
        )
    values = {name: float(value) for name, value in named.items()}
    # The first of several is the score; each stands by its name too, as in MOABB's tables.
    first = next(iter(values.values()))
    return {"score": first, **{f"score_{name}": value for name, value in values.items() if name}}


def _chance(scoring: Any, y: NDArray) -> float | None:
    """What a guess scores; of accuracy, a guess of the class that train and test together hold most of."""
    first = next(iter(scoring)) if isinstance(scoring, dict | list) else scoring
    if first == "accuracy":
        return float(np.unique(y, return_counts=True)[1].max() / len(y))
    return {"roc_auc": 0.5, "nmcc": 0.5, "balanced_accuracy": 1 / len(np.unique(y))}.get(str(first))


def _units(dataset: Any, protocol: Protocol) -> list[list[Any]]:
    """Which subjects are loaded together."""
    subjects = list(dataset.subject_list)
    return [subjects] if protocol.all_subjects else [[one] for one in subjects]


def _check_labels(train: NDArray, test: NDArray, identity: Mapping[str, Any]) -> None:
    known = np.unique(train)
    if len(known) < 2:
        raise DataError(
            "a fold would train on one class", found=[identity["dataset"], known.tolist()], fix="fewer folds"
        )
    if strange := sorted(set(test.tolist()) - set(known.tolist())):
        raise DataError(
            "a fold tests a class that it never trained on",
            expected=known.tolist(),
            found=[identity["dataset"], strange],
            fix="events=[classes that every session has], or fewer folds",
        )


def _check_asked(datasets: Sequence[Any], pipelines: Mapping[str, Any], paradigm: Any, protocol: Protocol) -> None:
    codes = [one.code for one in datasets]
    if len(set(codes)) < max(len(codes), 1) or not pipelines:
        raise DataError(
            "an evaluation needs pipelines and datasets, each dataset of its own code",
            expected="at least one of each; results are filed under the code",
            found=[codes, list(pipelines)],
        )
    for one in datasets:
        if not paradigm.is_valid(one):
            raise DataError(
                f"dataset {one.code} does not fit the paradigm",
                expected=f"tag and events of {type(paradigm).__name__}",
                found=[one.paradigm, sorted(one.event_id)],
            )
        if protocol.name == "cross_session" and one.n_sessions < 2:
            raise DataError("cross-session needs two sessions", expected=">= 2", found=[one.code, one.n_sessions])
        if protocol.name == "cross_subject" and len(one.subject_list) < 2:
            raise DataError("cross-subject needs two subjects", expected=">= 2", found=[one.code, one.subject_list])


def moabb_results(table: pd.DataFrame) -> pd.DataFrame:
    """The table as MOABB's evaluations return theirs, for MOABB's own statistics and plots.

    Scores of folds are averaged within a session, counts and seconds as MOABB does.

    Parameters
    ----------
    table : DataFrame
        From `evaluate_pipelines`.
    """
    by = ["dataset", "subject", "session", "pipeline"]
    made = []
    for keys, part in table.groupby(by, sort=False):
        within = part["protocol"].iloc[0] not in ("cross_session", "cross_subject")
        scores = {name: part[name].mean() for name in part if name == "score" or name.startswith("score_")}
        row = dict(zip(by, keys)) | scores
        row |= {
            "time": part["fit_seconds"].mean(),
            "samples": float(part["n_train"].iloc[0] + (part["n_test"].iloc[0] if within else 0)),
            "samples_test": float(int(part["n_test"].mean())),
            "n_classes": float(part["n_classes"].max()),
            "channels": int(part["n_channels"].iloc[0]),
            "n_sessions": int(table[table["dataset"] == row["dataset"]]["session"].nunique()),
        }
        if "carbon_g" in part:
            row["carbon_emission"] = part["carbon_g"].sum()
        made.append(row)
    return pd.DataFrame(made)
