"""The baseline set of BCI pipelines by name, as scikit-learn pipelines of arrays (n_trials, n_channels, n_times)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sklearn
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC

from brainalign.bci.augmented import AugmentedCovariance, CheckedTrials
from brainalign.bci.classifiers import MDM, FgMDM, TangentSpace
from brainalign.bci.covariances import Covariances
from brainalign.bci.search import AugmentedSVC
from brainalign.bci.ssvep import TRCA, CanonicalCorrelations, CCAClassifier, NarrowBands
from brainalign.errors import DataError, unknown

__all__ = ["PIPELINES", "Recipe", "build_pipeline", "pipeline_names"]

_ORDER, _LAG = 4, 5
"""Embedding of the pipelines that do not search for one."""


@dataclass(frozen=True)
class Recipe:
    """How a pipeline is built.

    Parameters
    ----------
    paradigm : {"imagery", "p300", "ssvep"}
        As MOABB names them.
    build : callable
        Keyword arguments to a scikit-learn estimator.
    about : str
        One line for tables.
    needs : tuple of str
        Arguments that only the recording knows: "sfreq" (hertz), "frequencies" (hertz).
    """

    paradigm: str
    build: Callable[..., Any]
    about: str
    needs: tuple[str, ...] = ()


def csp_lda() -> Pipeline:
    """Common spatial patterns (six, log power) and linear discriminant."""
    from pyriemann.spatialfilters import CSP

    return make_pipeline(Covariances(), CSP(nfilter=6), LinearDiscriminantAnalysis())


def ts_lr() -> Pipeline:
    """Tangent space and logistic regression."""
    return make_pipeline(Covariances(), TangentSpace(), LogisticRegression(max_iter=1000))


def ts_svm() -> Pipeline:
    """Tangent space and linear support vector machine."""
    return make_pipeline(Covariances(), TangentSpace(), SVC(kernel="linear"))


def ts_en() -> Pipeline:
    """Tangent space and elastic net (15 % of the penalty is L1)."""
    # scikit-learn 1.8 reads the penalty from `l1_ratio` and warns of the name it had before.
    named = {} if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 8) else {"penalty": "elasticnet"}
    net = LogisticRegression(l1_ratio=0.15, solver="saga", max_iter=1000, random_state=0, **named)
    return make_pipeline(Covariances(), TangentSpace(), net)


def mdm() -> Pipeline:
    """Minimum distance to mean."""
    return make_pipeline(Covariances(), MDM())


def fgmdm() -> Pipeline:
    """Minimum distance to mean after geodesic filtering."""
    return make_pipeline(Covariances(), FgMDM())


def acm_ts_svm(order: int = _ORDER, lag: int = _LAG) -> Pipeline:
    """Augmented covariance of one embedding, tangent space and support vector machine."""
    return make_pipeline(AugmentedCovariance(order, lag, retain=0.999), TangentSpace(), SVC(kernel="linear"))


def acm_mdop() -> Pipeline:
    """Augmented covariance embedded by maximal derivatives (MDOP), tangent space and support vector machine."""
    return make_pipeline(AugmentedCovariance("mdop", retain=0.999), TangentSpace(), SVC(kernel="linear"))


def acm_cao() -> Pipeline:
    """Augmented covariance embedded by false nearest neighbours (Cao), tangent space and support vector machine."""
    return make_pipeline(AugmentedCovariance("cao", retain=0.999), TangentSpace(), SVC(kernel="linear"))


def acm_mdm(order: int = _ORDER, lag: int = _LAG) -> Pipeline:
    """Augmented covariance of one embedding and minimum distance to mean."""
    return make_pipeline(AugmentedCovariance(order, lag, retain=0.999), MDM())


def acm_grid(**settings: Any) -> AugmentedSVC:
    """Augmented covariance, tangent space and support vector machine, all chosen by an inner cross-validation."""
    return AugmentedSVC(**settings)


def eegnet(**settings: Any) -> Any:
    """EEGNet (Lawhern et al. 2018), a compact convolutional network."""
    from brainalign.learning import NeuralClassifier

    return NeuralClassifier("eegnet", **settings)


def shallow_convnet(**settings: Any) -> Any:
    """ShallowConvNet (Schirrmeister et al. 2017), log power of learnt filters."""
    from brainalign.learning import NeuralClassifier

    return NeuralClassifier("shallow", **settings)


def xdawn_ts_lr() -> Pipeline:
    """XDAWN covariances, tangent space and logistic regression."""
    return make_pipeline(CheckedTrials(), _xdawn(), TangentSpace(), LogisticRegression(max_iter=1000))


def xdawn_mdm() -> Pipeline:
    """XDAWN covariances and minimum distance to mean."""
    return make_pipeline(CheckedTrials(), _xdawn(), MDM())


def _xdawn() -> Any:
    from pyriemann.estimation import XdawnCovariances

    return XdawnCovariances(nfilter=4, estimator="oas", xdawn_estimator="oas")


def cca(sfreq: float, frequencies: Sequence[float] | None = None) -> CCAClassifier:
    """Canonical correlation with sinusoids, nothing learnt; a frequency for each class."""
    return CCAClassifier(sfreq, frequencies)


def cca_lda(sfreq: float, frequencies: Sequence[float]) -> Pipeline:
    """Canonical correlations with sinusoids and a linear discriminant; a class may be rest."""
    return make_pipeline(CheckedTrials(), CanonicalCorrelations(frequencies, sfreq), LinearDiscriminantAnalysis())


def trca() -> TRCA:
    """Ensemble task-related component analysis."""
    return TRCA()


def bands_ts_lr(sfreq: float, frequencies: Sequence[float]) -> Pipeline:
    """Covariances of narrow bands, tangent space and logistic regression."""
    steps = NarrowBands(frequencies, sfreq), Covariances(), TangentSpace()
    return make_pipeline(*steps, LogisticRegression(max_iter=1000))


def bands_mdm(sfreq: float, frequencies: Sequence[float]) -> Pipeline:
    """Covariances of narrow bands and minimum distance to mean."""
    return make_pipeline(NarrowBands(frequencies, sfreq), Covariances(), MDM())


def _recipe(paradigm: str, build: Callable[..., Any], *needs: str) -> Recipe:
    return Recipe(paradigm, build, (build.__doc__ or "").splitlines()[0].rstrip("."), needs)


PIPELINES: dict[str, Recipe] = {
    build.__name__: _recipe("imagery", build)
    for build in (
        csp_lda,
        ts_lr,
        ts_svm,
        ts_en,
        mdm,
        fgmdm,
        acm_ts_svm,
        acm_mdm,
        acm_mdop,
        acm_cao,
        acm_grid,
        eegnet,
        shallow_convnet,
    )
} | {
    "xdawn_ts_lr": _recipe("p300", xdawn_ts_lr),
    "xdawn_mdm": _recipe("p300", xdawn_mdm),
    "cca": _recipe("ssvep", cca, "sfreq"),
    "cca_lda": _recipe("ssvep", cca_lda, "sfreq", "frequencies"),
    "trca": _recipe("ssvep", trca),
    "bands_ts_lr": _recipe("ssvep", bands_ts_lr, "sfreq", "frequencies"),
    "bands_mdm": _recipe("ssvep", bands_mdm, "sfreq", "frequencies"),
}
"""All of them, by name."""


def pipeline_names(paradigm: str | None = None) -> list[str]:
    """Names of the pipelines for a paradigm, or all.

    Examples
    --------
    >>> pipeline_names("p300")
    ['xdawn_ts_lr', 'xdawn_mdm']
    """
    known = sorted({one.paradigm for one in PIPELINES.values()})
    if paradigm is not None and paradigm not in known:
        raise unknown("paradigm", paradigm, known)
    return [name for name, one in PIPELINES.items() if paradigm in (None, one.paradigm)]


def build_pipeline(name: str, **settings: Any) -> Any:
    """A new estimator of that name.

    Parameters
    ----------
    name : str
        One of `pipeline_names`.
    **settings
        Of its builder, such as ``order`` and ``lag``; "sfreq" and "frequencies" go where they are needed and are
        ignored elsewhere, so that one call serves all pipelines of a dataset. Frequencies of "cca" are one per class,
        in the order of the sorted labels.

    Raises
    ------
    DataError
        When there is no such pipeline, or it needs what is not given.

    Examples
    --------
    >>> [name for name, _ in build_pipeline("ts_lr").steps]
    ['covariances', 'tangentspace', 'logisticregression']
    >>> build_pipeline("bands_mdm", sfreq=256.0, frequencies=[13, 17, 21]).steps[0][1].sfreq
    256.0
    """
    if name not in PIPELINES:
        raise unknown("pipeline", name, PIPELINES)
    recipe = PIPELINES[name]
    missing = [one for one in recipe.needs if settings.get(one) is None]
    if missing:
        raise DataError(f"pipeline '{name}' needs {' and '.join(missing)}", fix="pass them by name")
    facts = ("sfreq", "frequencies")
    takes = recipe.build.__code__.co_varnames[: recipe.build.__code__.co_argcount]
    return recipe.build(**{key: value for key, value in settings.items() if key in takes or key not in facts})
