"""Single-trial responses from a time series: every estimator here is a matrix of weights over volumes.

Least-squares-all, least-squares-separate and the block mean are all linear in the data. The weights, (n_trials,
n_volumes), are made once per run from the design, whose regressors nilearn makes; one product with the data then gives
the responses of every voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from brainalign.arrays import row_blocks
from brainalign.errors import DataError, unknown
from brainalign.loaders.options import Options

__all__ = ["MODELS", "GLMOptions", "block_weights", "glm_weights", "respond", "run_weights", "trial_regressors"]

MODELS = ("lss", "lsa", "block")
_CHOICES = {
    "hrf": ("spm", "glover"),
    "drift": ("polynomial", "cosine", None),
    "others": ("one", "trial_type"),
    "scale": ("percent", None),
}
_FAINT = 0.05
"""A trial whose regressor keeps less than this of its usual size was cut off by the end of the run."""


@dataclass(frozen=True, kw_only=True)
class GLMOptions(Options):
    """How a run's time series becomes single-trial responses.

    Attributes
    ----------
    hrf : {"spm", "glover"}
        Canonical haemodynamic response.
    drift : {"polynomial", "cosine", None}
        Slow drift taken out; a constant always is. Where a run has few, long trials, what differs between them is slow
        too: eight blocks in five minutes lose most of it to cosines of 0.01 Hz, and least to a straight line.
    drift_order : int, optional
        Of the polynomial; None is half the length of the run in minutes (Kay et al. 2013), at least 1.
    high_pass : float
        Cut-off of the cosines in hertz.
    slice_time_ref : float, optional
        When within its TR a volume was taken, 0 (start) to 1 (end). None takes a sidecar's ``StartTime`` (half a TR
        after fMRIPrep's slice timing), else 0.
    others : {"one", "trial_type"}
        Least-squares-separate: all other trials share one regressor (Mumford et al. 2012), or have one per trial type
        (Turner et al. 2012). The latter lets the labels of other trials into each response, so decode across runs only.
    delay : float
        Block mean: seconds by which the volumes that count lag behind the block.
    scale : {"percent", None}
        Per cent of each voxel's mean over the run, or the units of the image.

    Raises
    ------
    DataError
        When a choice is unknown or a number out of range.

    References
    ----------
    Kay, Rokem, Winawer, Dougherty & Wandell (2013), Frontiers in Neuroscience 7, 247.

    Examples
    --------
    >>> GLMOptions(hrf="spn")
    Traceback (most recent call last):
        ...
    brainalign.errors.DataError: unknown hrf 'spn'. Did you mean 'spm'?
      expected: one of ['spm', 'glover']
      found: 'spn'
      mend: choose one of those expected
    """

    hrf: str = "spm"
    drift: str | None = "polynomial"
    drift_order: int | None = None
    high_pass: float = 0.01
    slice_time_ref: float | None = None
    others: str = "one"
    delay: float = 5.0
    scale: str | None = "percent"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                raise unknown(name, value, known)
        limits = {"high_pass": (0.0, np.inf), "drift_order": (0, 10), "slice_time_ref": (0, 1), "delay": (0, 30)}
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise DataError(
                    f"{name} is out of range",
                    expected=f"{low} to {high}",
                    found=value,
                    fix="choose a number in that range",
                )


def run_weights(
    events: pd.DataFrame,
    *,
    n_volumes: int,
    tr: float,
    model: str = "lss",
    options: GLMOptions | None = None,
    nuisance: np.ndarray | None = None,
) -> np.ndarray:
    """Weights over the volumes of one run that give the response to each of its trials.

    Parameters
    ----------
    events : DataFrame
        From `read_events`. Rows whose optional column ``is_trial`` is false are no trials; the GLM models them per
        trial type as nuisance, the block mean lets them be.
    n_volumes : int
    tr : float
        Seconds per volume.
    model : {"lss", "lsa", "block"}
    options : GLMOptions, optional
    nuisance : ndarray, shape (n_volumes, n_confounds), optional
        Head motion and the like, fitted along with drift and constant.

    Returns
    -------
    ndarray, shape (n_trials, n_volumes)
        One row per event that is a trial, in the order of `events`.

    Raises
    ------
    DataError
        When the model is unknown, or a trial cannot be estimated.
    """
    options = options or GLMOptions()
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    times = (np.arange(n_volumes) + (options.slice_time_ref or 0.0)) * tr
    is_trial = events["is_trial"].to_numpy(bool) if "is_trial" in events else np.ones(len(events), dtype=bool)
    trials, others = events[is_trial], events[~is_trial]
    if not len(trials):
        raise DataError(
            "a run without trials",
            expected="at least one event that is a trial",
            found=0,
            fix="leave the run out, or let select choose its trials",
        )
    columns = [_drift(times, tr, options)] + ([] if nuisance is None else [nuisance])
    if model == "block":
        return block_weights(trials, times, _basis(np.hstack(columns)), delay=options.delay)
    if len(others):
        by_event = trial_regressors(others, times, hrf=options.hrf)
        columns.append(_sum_by(by_event, _kinds(others)))
    groups = _kinds(trials) if options.others == "trial_type" else None
    regressors = trial_regressors(trials, times, hrf=options.hrf)
    _check_seen(regressors, trials, times)
    return glm_weights(regressors, np.hstack(columns), model=model, groups=groups)


def trial_regressors(events: pd.DataFrame, times: np.ndarray, *, hrf: str = "spm") -> np.ndarray:
    """Expected time course of each event alone, (n_volumes, n_events), by nilearn's `compute_regressor`."""
    from nilearn.glm.first_level import compute_regressor

    courses = [
        compute_regressor(([onset], [duration], [1.0]), hrf, times)[0][:, 0]
        for onset, duration in events[["onset", "duration"]].to_numpy(float)
    ]
    return np.stack(courses, axis=1)


def glm_weights(
    regressors: np.ndarray,
    nuisance: np.ndarray,
    *,
    model: str = "lss",
    groups: Sequence[str] | np.ndarray | None = None,
) -> np.ndarray:
    """Weights of least-squares-all (one model of all trials) or least-squares-separate (one model per trial).

    Both take the nuisance out of the regressors first (Frisch-Waugh-Lovell); what is left of least-squares-separate is
    a two-column regression per trial, its own regressor against that of the others, solved for all trials at once.

    Parameters
    ----------
    regressors : ndarray, shape (n_volumes, n_trials)
    nuisance : ndarray, shape (n_volumes, n_nuisance)
    model : {"lsa", "lss"}
    groups : sequence of str, length n_trials, optional
        Least-squares-separate: the other trials have one regressor per group instead of one altogether.

    Returns
    -------
    ndarray, shape (n_trials, n_volumes)

    Raises
    ------
    DataError
        When trials cannot be told apart.

    References
    ----------
    Mumford, Turner, Ashby & Poldrack (2012), NeuroImage 59, 2636-2643. Turner, Mumford, Poldrack & Ashby (2012),
    NeuroImage 62, 1429-1438.

    Examples
    --------
    >>> regressors, constant = np.eye(4)[:, :2], np.ones((4, 1))
    >>> glm_weights(regressors, constant, model="lsa").round(2) + 0.0
    array([[ 1. ,  0. , -0.5, -0.5],
           [ 0. ,  1. , -0.5, -0.5]])
    """
    if model == "lsa":
        return _all_at_once(_without(regressors, _basis(nuisance)))
    names = np.zeros(regressors.shape[1], dtype=int) if groups is None else np.asarray(groups)
    weights = np.empty(regressors.T.shape)
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        columns = [nuisance] if mine.all() else [nuisance, _sum_by(regressors[:, ~mine], names[~mine])]
        weights[mine] = _one_at_a_time(_without(regressors[:, mine], _basis(np.hstack(columns))))
    return weights


def block_weights(events: pd.DataFrame, times: np.ndarray, basis: np.ndarray, *, delay: float) -> np.ndarray:
    """Weights of the mean over the volumes of each block, `delay` seconds late, once nuisance is taken out.

    Parameters
    ----------
    events : DataFrame
        With onset and duration in seconds.
    times : ndarray, shape (n_volumes,)
        When each volume was taken.
    basis : ndarray, shape (n_volumes, n_nuisance)
        Orthonormal columns to take out of the data.
    delay : float
        Seconds.

    Raises
    ------
    DataError
        When no volume falls into a block.
    """
    start = events["onset"].to_numpy(float)[:, None] + delay
    inside = (times >= start - 1e-6) & (times < start + events["duration"].to_numpy(float)[:, None] - 1e-6)
    empty = np.flatnonzero(~inside.any(axis=1))
    if empty.size:
        first = events.iloc[empty[0]]
        raise DataError(
            f"no volume falls into {empty.size} of {len(events)} blocks",
            expected=f"volumes between onset + {delay:g} s and as much after the end",
            found=f"onset {first['onset']:g} s, duration {first['duration']:g} s; the run ends at {times[-1]:g} s",
            fix="model='lss' for brief events, or leave these events out",
        )
    means = inside / inside.sum(axis=1, keepdims=True)
    return means - (means @ basis) @ basis.T


def respond(weights: np.ndarray, data: np.ndarray, *, scale: str | None = None) -> np.ndarray:
    """Responses (n_trials, n_units) of a run's data (n_volumes, n_units), float32.

    Raises
    ------
    DataError
        With ``scale="percent"``, when the mean of a voxel is not positive.
    """
    responses = np.empty((len(weights), data.shape[1]), dtype=np.float32)
    for block in row_blocks(data.shape[1], data.shape[0] * 8):
        series = data[:, block].astype(np.float64)
        mean = series.mean(axis=0)
        series -= mean  # weights sum to zero: the mean drops out exactly, and with it most of the rounding
        if scale == "percent":
            _check_positive(mean)
            series *= 100.0 / mean
        responses[:, block] = weights @ series
    return responses


def _drift(times: np.ndarray, tr: float, options: GLMOptions) -> np.ndarray:
    from nilearn.glm.first_level import make_first_level_design_matrix

    order = max(1, round(len(times) * tr / 120)) if options.drift_order is None else options.drift_order
    design = make_first_level_design_matrix(
        times, drift_model=options.drift, high_pass=options.high_pass, drift_order=order
    )
    return design.to_numpy()


def _basis(columns: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what the columns span, whatever their scales; dependent columns count once."""
    norms = np.linalg.norm(columns, axis=0)
    left, singular, _ = np.linalg.svd(columns[:, norms > 0] / norms[norms > 0], full_matrices=False)
    return left[:, singular > 1e-9 * singular[0]]


def _without(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return columns - basis @ (basis.T @ columns)


def _sum_by(columns: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Sum of the columns that share a name, one column per name."""
    return np.stack([columns[:, names == name].sum(axis=1) for name in dict.fromkeys(names.tolist())], axis=1)


def _all_at_once(residual: np.ndarray) -> np.ndarray:
    left, singular, right = np.linalg.svd(residual, full_matrices=False)
    if residual.shape[1] > residual.shape[0] or singular[-1] < 1e-6 * singular[0]:
        culprit = int(np.abs(right[-1]).argmax()) + 1
        raise DataError(
            "least-squares-all cannot tell the trials of a run apart",
            expected="more volumes than trials and nuisance regressors, no two trials at the same time",
            found=f"{residual.shape[1]} trials in {residual.shape[0]} volumes; trial {culprit} depends on others",
            fix="model='lss', fewer confounds, or join events that coincide",
        )
    return (right.T / singular) @ left.T


def _one_at_a_time(own: np.ndarray) -> np.ndarray:
    """Least-squares-separate among trials that share the regressor of the others; columns are free of nuisance."""
    rest = own.sum(axis=1, keepdims=True) - own
    own_own, rest_rest, own_rest = (np.einsum("ij,ij->j", a, b) for a, b in ((own, own), (rest, rest), (own, rest)))
    alone = rest_rest <= 1e-18 * own_own.max()  # the only trial of its group has no others to hold apart
    rest_rest, own_rest = np.where(alone, 1.0, rest_rest), np.where(alone, 0.0, own_rest)
    determinant = own_own * rest_rest - own_rest**2
    lost = np.flatnonzero(determinant <= 1e-10 * own_own * rest_rest)
    if lost.size:
        raise DataError(
            f"{lost.size} trials cannot be told from the others of their run",
            expected="events at different times",
            found=f"first trial {lost[0] + 1}",
            fix="join events that coincide, or use fewer confounds",
        )
    return ((rest_rest * own - own_rest * rest) / determinant).T


def _check_seen(regressors: np.ndarray, trials: pd.DataFrame, times: np.ndarray) -> None:
    size = pd.Series(np.linalg.norm(regressors, axis=0))
    usual = size.groupby(trials["duration"].round(1).to_numpy()).transform("max")
    faint = np.flatnonzero((size < _FAINT * usual) | (size == 0))
    if faint.size:
        raise DataError(
            f"the run ends before {faint.size} of {len(trials)} trials are answered",
            expected="a few seconds of recording after each trial",
            found=f"onset {trials['onset'].iloc[faint[0]]:g} s, last volume at {times[-1]:g} s",
            fix=f'leave them out of the trials: select="onset < {trials["onset"].iloc[faint[0]]:g}"',
        )


def _check_positive(mean: np.ndarray) -> None:
    bad = np.flatnonzero(~(mean > 0))
    if bad.size:
        raise DataError(
            f"{bad.size} voxels have no positive mean to take per cent of",
            expected="a raw time series",
            found=f"mean {mean[bad[0]]:.3g}",
            fix="scale=None for data that were centred or z-scored already",
        )


def _kinds(events: pd.DataFrame) -> np.ndarray:
    column = "trial_type" if "trial_type" in events else "stimulus_id"
    return events[column].astype(str).to_numpy()
