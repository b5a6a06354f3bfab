"""How train and test are told apart: by MOABB's public splitters, for our evaluation and for MOABB's own."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

from moabb.evaluations import CrossSessionEvaluation, CrossSubjectEvaluation, WithinSessionEvaluation
from moabb.evaluations.splitters import CrossSessionSplitter, CrossSubjectSplitter, WithinSessionSplitter
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

from brainalign.bci.blocks import BlockedWindows, window_groups
from brainalign.bci.moabb_online import PseudoOnlineEvaluation
from brainalign.bci.pseudo_online import SHUFFLED_LEAKS
from brainalign.bci.results import described, result_key, versions
from brainalign.errors import unknown

__all__ = ["PROTOCOLS", "Protocol", "moabb_evaluation"]

PROTOCOLS = (
    *("within_session", "cross_run", "cross_session", "cross_subject"),
    *("pseudo_online", "pseudo_online_shuffled"),
)


@dataclass(frozen=True)
class Protocol:
    """How train and test are told apart.

    Parameters
    ----------
    name : str
        "within_session": stratified shuffled folds within each session; "cross_run": one run of a session is left
        out; "cross_session": one session of a subject is; "cross_subject": one subject is (or ``n_splits`` groups of
        them are), scored per session; "pseudo_online": blocks of time with a gap (a `PseudoOnlineParadigm`);
        "pseudo_online_shuffled": the folds of the published code, for comparison only, which leak.
    n_splits : int, optional
        5 within a session; None leaves one subject out.
    seed : int, optional
        Of shuffled folds.
    gap : float, optional
    min_purity : float
        Of "pseudo_online", as `BlockedWindows` takes them.

    Examples
    --------
    >>> Protocol("cross_session").splitter().__class__.__name__
    'CrossSessionSplitter'
    """

    name: str = "within_session"
    n_splits: int | None = None
    seed: int | None = 0
    gap: float | None = None
    min_purity: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in PROTOCOLS:
            raise unknown("protocol", self.name, PROTOCOLS)

    @property
    def all_subjects(self) -> bool:
        """Whether one fold needs every subject."""
        return self.name == "cross_subject"

    def splitter(self) -> Any:
        """The splitter, whose ``split(y, metadata)`` gives rows of train and test."""
        if self.name == "cross_session":
            return CrossSessionSplitter()
        if self.name == "cross_subject":
            groups = {} if self.n_splits is None else {"cv_class": GroupKFold, "n_splits": self.n_splits}
            return CrossSubjectSplitter(**groups)
        if self.name == "cross_run":
            return WithinSessionSplitter(shuffle=False, cv_class=LeaveOneGroupOut, groups="run")
        n_folds = self.n_splits or 5
        if self.name == "pseudo_online":
            cut = {"gap": self.gap, "min_purity": self.min_purity}
            return WithinSessionSplitter(n_folds, False, None, BlockedWindows, window_groups, **cut)
        if self.name == "pseudo_online_shuffled":
            warnings.warn(SHUFFLED_LEAKS, stacklevel=3)
        return WithinSessionSplitter(n_folds=n_folds, shuffle=True, random_state=self.seed)


def moabb_evaluation(protocol: Protocol, paradigm: Any, datasets: list[Any], **options: Any) -> Any:
    """MOABB's own evaluation with the folds of a protocol; its ``process(pipelines)`` gives the scores.

    Parameters
    ----------
    protocol : Protocol
    paradigm : MOABB paradigm
    datasets : list of MOABB datasets
    **options
        Of MOABB's evaluations, such as ``hdf5_path``. The suffix of the results file gets a hash of folds, seed,
        scorer and versions, which MOABB's own key leaves out; the data are not in it.
    """
    options = {"random_state": protocol.seed, **options}
    if protocol.name.startswith("pseudo_online"):
        name = "blocked" if protocol.name == "pseudo_online" else "shuffled"
        cut: dict[str, Any] = {"n_splits": protocol.n_splits or 5, "gap": protocol.gap}
        return PseudoOnlineEvaluation(
            paradigm, datasets, protocol=name, min_purity=protocol.min_purity, **cut, **options
        )
    asked = {"protocol": asdict(protocol), "scorer": described(paradigm.scoring), "versions": versions()}
    options["suffix"] = "_".join(filter(None, [options.get("suffix", ""), result_key(asked)[:12]]))
    if protocol.name == "cross_session":
        return CrossSessionEvaluation(paradigm, datasets, **options)
    if protocol.name == "cross_subject":
        options["random_state"] = None  # leaving people out draws nothing, and MOABB refuses a seed there
        return CrossSubjectEvaluation(paradigm, datasets, n_splits=protocol.n_splits, **options)
    if protocol.name == "cross_run":
        left_out: dict[str, Any] = {"cv_class": LeaveOneGroupOut, "cv_kwargs": {"shuffle": False}, "groups": "run"}
        return WithinSessionEvaluation(paradigm, datasets, **left_out, **options)
    return WithinSessionEvaluation(paradigm, datasets, n_splits=protocol.n_splits, **options)
