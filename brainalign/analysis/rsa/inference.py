"""Which model explains the brains' geometry, how sure that is, and how much is left to explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.analysis.rsa.backend import as_doubles, check_numbers, to_numpy
from brainalign.analysis.rsa.bootstrap import BOOTSTRAP_METHODS, Resamples, bootstrap_scores
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.condensed import n_conditions
from brainalign.analysis.rsa.contrasts import ContrastTests
from brainalign.analysis.rsa.replicated import REPLICATED_METHODS, replicated_scores
from brainalign.analysis.rsa.result import RSAResult, make_result
from brainalign.analysis.rsa.weighted import weighted_gram
from brainalign.errors import DataError
from brainalign.scoring.ceilings import gram_ceilings, rdm_ceilings

__all__ = ["RSAResult", "ceilings", "check_models", "check_rdms", "check_subjects", "evaluate"]


def evaluate(
    subject_rdms: Any,
    model_rdms: Mapping[str, Any] | Any,
    *,
    method: str = "spearman",
    bootstrap: str | None = "both",
    n_draws: int = 1000,
    seed: int = 0,
) -> RSAResult:
    """Compare model RDMs with the RDMs of subjects, and generalise to new subjects, new stimuli, or both.

    Parameters
    ----------
    subject_rdms : array or tensor (n_subjects, n_pairs)
        The large products of tensors are made on their device; the result holds arrays.
    model_rdms : mapping of name to array (n_pairs,), or array (n_models, n_pairs)
        Fixed models; those with parameters to fit go to `evaluate_fitted`.
    method : str
        Of `compare`; all but "bures_distance", which is not a similarity.
    bootstrap : {"both", "stimuli", "subjects", None}
        What the interval and tests generalise to. "both" corrects the variance for counting noise twice.
    n_draws, seed : int

    Returns
    -------
    RSAResult
        Intervals and p-values from Student's t with the bootstrap standard error, and as degrees of freedom the
        number of subjects (or conditions, or the smaller of the two) less one. Draws are in ``result.tests``.

    Raises
    ------
    DataError
        When pairs do not match, an RDM holds NaN, or there is nothing to resample.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.random(45)
    >>> result = evaluate(truth + 0.2 * rng.random((5, 45)), {"truth": truth, "other": rng.random(45)})
    >>> result.table().index.tolist()
    ['truth', 'other']
    """
    subjects, models, names = check_models(subject_rdms, model_rdms)
    if method not in BOOTSTRAP_METHODS:
        raise DataError(f"no bootstrap for method {method!r}", expected=BOOTSTRAP_METHODS, fix="rsa.compare takes it")
    n = {"n_subjects": len(subjects), "n_stimuli": n_conditions(subjects.shape[1])}
    _check_factors(bootstrap, **n)
    subject_scores = to_numpy(compare(subjects, models, method=method))
    if np.isnan(subject_scores).any():
        constant = [name for name, column in zip(names, subject_scores.T) if np.isnan(column).all()]
        raise DataError("a constant RDM cannot be compared", found=f"constant models: {constant or 'none (a subject)'}")
    draws: dict[str, NDArray] = {}
    if bootstrap is not None:
        resamples = Resamples.draw(n_draws, **n, seed=seed)
        draws = bootstrap_scores(subjects, models, resamples, method=method, factors=bootstrap)
    values = np.r_[subject_scores.mean(axis=0), ceilings(subjects, method=method)]
    tests = ContrastTests(values, draws, **n)
    return make_result(names, tests, subject_scores, method=method, bootstrap=str(bootstrap), models="fixed models")


def ceilings(subject_rdms: Any, *, method: str = "spearman") -> tuple[float, float]:
    """Lower and upper noise ceiling of the mean score; NaN with a single subject."""
    if len(subject_rdms) < 2:
        return np.nan, np.nan
    if method in ("spearman", "rho_a"):
        return rdm_ceilings(to_numpy(subject_rdms), method=method)
    if method in REPLICATED_METHODS:
        whole = np.ones((1, n_conditions(subject_rdms.shape[1])))
        _, below, above = replicated_scores(subject_rdms, subject_rdms[:1], whole, method)
        return float(below.mean()), float(above.mean())
    gram = weighted_gram(subject_rdms, method)(np.ones((1, n_conditions(subject_rdms.shape[1]))))
    lower, upper = gram_ceilings(gram[0])
    return float(lower), float(upper)


def check_subjects(subject_rdms: Any) -> Any:
    """Finite condensed RDMs (n_subjects, n_pairs) as floats, or a `DataError`."""
    subjects = as_doubles(subject_rdms)
    subjects = subjects[None] if subjects.ndim == 1 else subjects
    if subjects.ndim != 2:
        raise DataError(
            "subjects need condensed RDMs",
            expected="(n_subjects, n_pairs)",
            found=tuple(subjects.shape),
            fix="rsa.from_square turns matrices into condensed RDMs",
        )
    return check_rdms(subjects, name="subject_rdms")


def check_rdms(rdms: Any, *, name: str) -> Any:
    """Refuse RDMs that are not finite, or too small to have a geometry."""
    if n_conditions(rdms.shape[-1]) < 3:
        raise DataError(f"{name} have no geometry", expected="3 or more conditions", found=n_conditions(rdms.shape[-1]))
    try:
        check_numbers(rdms, name=name)
    except DataError as error:
        raise DataError(error.what, found=error.found, fix="keep = rsa.complete_conditions(...)") from error
    return rdms


def check_models(subject_rdms: Any, model_rdms: Any) -> tuple[Any, NDArray, list[str]]:
    """Finite subject and model RDMs of the same pairs, and the models' names, or a `DataError`.

    Subjects stay where they are; models, of which there are few, are arrays.
    """
    if not isinstance(model_rdms, Mapping):
        model_rdms = {f"model{i}": d for i, d in enumerate(np.atleast_2d(to_numpy(model_rdms)))}
    subjects = as_doubles(subject_rdms)
    subjects = subjects[None] if subjects.ndim == 1 else subjects
    shapes = {str(name): np.shape(to_numpy(d)) for name, d in model_rdms.items()}
    if not shapes or subjects.ndim != 2 or any(shape != tuple(subjects.shape[1:]) for shape in shapes.values()):
        raise DataError(
            "subjects and models need condensed RDMs of the same pairs",
            expected="(n_subjects, n_pairs), and (n_pairs,) for each model",
            found=f"{tuple(subjects.shape)}, and models {shapes}",
            fix="rsa.from_square turns matrices into condensed RDMs",
        )
    models = np.stack([np.asarray(to_numpy(d), dtype=np.float64) for d in model_rdms.values()])
    return check_rdms(subjects, name="subject_rdms"), check_rdms(models, name="model_rdms"), list(shapes)


def _check_factors(bootstrap: str | None, *, n_subjects: int, n_stimuli: int) -> None:
    if bootstrap not in ("both", "stimuli", "subjects", None):
        raise DataError(f"bootstrap={bootstrap!r}", expected="'both', 'stimuli', 'subjects' or None")
    if bootstrap in ("both", "subjects") and n_subjects < 2:
        raise DataError("one subject cannot be resampled", expected="2 or more subjects", fix="bootstrap='stimuli'")
    if bootstrap in ("both", "stimuli") and n_stimuli < 4:
        raise DataError("too few conditions to resample", expected="4 or more", fix="bootstrap='subjects'")
