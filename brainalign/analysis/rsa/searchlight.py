"""Searchlight RSA: an RDM around every place, compared with models and forgotten.

Patterns of all centres of a block are gathered at once, their RDMs come from one batched matrix product, and only the
scores are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.analysis.rsa.backend import namespace, on_device, to_numpy
from brainalign.analysis.rsa.compare import compare
from brainalign.analysis.rsa.condensed import triangle
from brainalign.analysis.rsa.distances import pair_distances
from brainalign.analysis.rsa.inference import check_rdms
from brainalign.analysis.rsa.rdm import n_conditions
from brainalign.analysis.rsa.rdms import RDMs
from brainalign.analysis.rsa.searchlight_space import Neighbours, units_neighbours
from brainalign.arrays import BLOCK_BYTES, check_finite, resolve_device, row_blocks
from brainalign.errors import DataError, unknown
from brainalign.parallel import parallel_map
from brainalign.spaces import SensorSpace, SurfaceSpace, VolumeSpace

if TYPE_CHECKING:
    from brainalign.trials import Trials

__all__ = ["METRICS", "SearchlightResult", "searchlight", "searchlight_scores"]

METRICS = ("correlation", "cosine", "sqeuclidean", "crossnobis")

# Centres of one task of a worker; what is gathered at once should stay in cache.
_CENTRES, _BLOCK_BYTES = 512, 2 * 2**20


@dataclass(frozen=True)
class SearchlightResult:
    """Scores of models around every place.

    Attributes
    ----------
    scores : dict of array (n_units,) or (n_channels, n_times)
        By model name; NaN where the RDM is undefined: fewer than two units (for correlation distances, of which one
        unit has none), or a constant pattern.
    n_units : array, same shape
        How many units (and times) each searchlight held.
    trials : Trials
        Where the units are.
    method, metric : str
    """

    scores: dict[str, NDArray[np.float64]]
    n_units: NDArray[np.int64]
    trials: Trials = field(repr=False)
    method: str
    metric: str

    def map(self, model: str | None = None) -> Any:
        """Scores of one model (the only one, by default) as NIfTI image, GIFTI by hemisphere, or MNE Evoked."""
        values, space = self.scores[self._name(model)], self.trials.space
        if isinstance(space, VolumeSpace):
            return space.to_nifti(values, self.trials.units, fill=np.nan)
        if isinstance(space, SurfaceSpace):
            return space.to_gifti(values, self.trials.units)
        if isinstance(space, SensorSpace):
            return self.trials.to_evoked(values)
        raise DataError("these trials have no space to go back to", expected="Trials with a space", found=space)

    def plot(self, model: str | None = None) -> Any:
        """A first look at one model: slices of the volume, or a line per sensor over time. Returns the Figure.

        `brainalign.report.plots` draws for print, and what `map` gives: ``glass_brain``, ``surface_map``, ``topomap``.
        """
        from matplotlib.figure import Figure

        name = self._name(model)
        figure = Figure(figsize=(8.0, 3.2))
        if isinstance(self.trials.space, VolumeSpace):
            from nilearn.plotting import plot_stat_map

            plot_stat_map(self.map(name), bg_img=None, figure=figure, title=name)
        elif self.trials.times is not None:
            ax = figure.subplots()
            ax.plot(self.trials.times, self.scores[name].T, color="#4c72b0", linewidth=0.8, alpha=0.6)
            ax.axhline(0.0, color="black", linewidth=0.8)
            ax.set(xlabel="time (s)", ylabel=f"{self.method} with {name}")
        else:
            raise DataError(
                "a surface or a head is needed to draw on",
                fix="report.plots.surface_map(values, mesh) or report.plots.topomap(values, sensors)",
            )
        return figure

    def _name(self, model: str | None) -> str:
        if model is None and len(self.scores) == 1:
            model = next(iter(self.scores))
        if model not in self.scores:
            raise unknown("model", model, self.scores)
        return str(model)


def searchlight(
    trials: Trials,
    model_rdms: Mapping[str, ArrayLike] | RDMs | ArrayLike,
    *,
    radius_mm: float | Neighbours,
    method: str = "spearman",
    rdm_options: Mapping[str, Any] | None = None,
    n_jobs: int = 1,
) -> SearchlightResult:
    """Compare the RDM around every voxel, vertex or sensor (and time) with models.

    Parameters
    ----------
    trials : Trials
        Of one subject; trials of a condition are averaged.
    model_rdms : mapping of name to array (n_pairs,), or array (n_models, n_pairs), or RDMs
        Conditions in the order of ``np.unique`` of their labels; `RDMs` are joined by label.
    radius_mm : float or Neighbours
        Balls of voxels (the boundary included, the mask respected) or of sensors at each time; or neighbours made by
        `volume_neighbours` (voxels), `surface_neighbours` (along the cortex), `sensor_neighbours` (with a time window).
    method : str
        As `compare` takes it.
    rdm_options : mapping, optional
        ``metric`` ("correlation", "cosine", "sqeuclidean", "crossnobis"), ``labels`` (a column of the trials,
        "stimulus_id" by default) and, for crossnobis, ``groups`` ("run" by default); ``device`` ("auto", "cuda") to
        do it there.
    n_jobs : int
        Workers over blocks of centres; results do not depend on it.

    Returns
    -------
    SearchlightResult

    Raises
    ------
    DataError
        When models and trials have different conditions, neighbours are not of these trials, units have no places, or
        the radius is so small that no searchlight holds the two units that a correlation distance takes.
    """
    options = {"metric": "correlation", "labels": "stimulus_id", "groups": "run", **(rdm_options or {})}
    device = options.pop("device", None)
    if trials.trials["subject"].nunique() > 1:
        raise DataError("a searchlight looks at one subject", fix="trials.select(\"subject == '1'\")")
    for column in [options["labels"], *([options["groups"]] if options["metric"] == "crossnobis" else [])]:
        if column not in trials.trials:
            raise unknown("column of the trials", column, trials.trials.columns)
    n_times = 1 if trials.times is None else len(trials.times)
    if isinstance(radius_mm, Real):
        neighbours = units_neighbours(trials.space, trials.units, float(radius_mm), n_times=n_times)
    else:
        neighbours = cast("Neighbours", radius_mm)
    _check_fit(neighbours, trials)
    groups = trials.trials[options["groups"]].to_numpy() if options["metric"] == "crossnobis" else None
    parts = pattern_parts(
        trials.matrix(), trials.trials[options["labels"]].to_numpy(), metric=options["metric"], groups=groups
    )
    if isinstance(model_rdms, RDMs):
        model_rdms = _joined(model_rdms, np.unique(trials.trials[options["labels"]].to_numpy()))
    names, models = _models(model_rdms, parts.shape[2])
    if device is not None:
        import torch

        parts, n_jobs = torch.as_tensor(parts, device=resolve_device(device)), 1
    scores, sizes = searchlight_scores(
        parts, neighbours, models, metric=options["metric"], method=method, n_jobs=n_jobs
    )
    if options["metric"] == "correlation" and sizes.max() < 2:
        raise DataError(
            "no searchlight holds two units",
            expected="a radius that reaches a neighbour",
            found=radius_mm if isinstance(radius_mm, Real) else "one unit or none around every centre",
            fix="a larger radius_mm",
        )
    shape = trials.shape[1:]
    maps = {name: scores[:, i].reshape(shape) for i, name in enumerate(names)}
    return SearchlightResult(maps, sizes.reshape(shape), trials, method, options["metric"])


def _check_fit(neighbours: Any, trials: Trials) -> None:
    """Refuse neighbours of other units, whose columns would be other places."""
    n_centres, n_columns = getattr(neighbours, "n_centres", None), int(np.prod(trials.shape[1:]))
    if n_centres != n_columns:
        raise DataError(
            "neighbours are not those of these trials",
            expected=f"one centre for each of {n_columns} columns (units, or channels times samples)",
            found=type(neighbours).__name__ if n_centres is None else n_centres,
            fix="make them from trials.units; sensor_neighbours takes n_times; average voxels over time first",
        )


def pattern_parts(
    patterns: ArrayLike, labels: ArrayLike, *, metric: str = "correlation", groups: ArrayLike | None = None
) -> NDArray:
    """Mean patterns as searchlights gather them: (n_parts, n_features, n_conditions).

    A Gram matrix around a centre is that of the first part, less those of the others: one part for most metrics; for
    crossnobis the sum over groups, and every group.
    """
    if metric not in METRICS:
        raise unknown("searchlight metric", metric, METRICS)
    X = np.asarray(patterns)
    X = X.astype(np.float32 if X.dtype in (np.float32, np.float16) else np.float64, copy=False)
    check_finite(X, name="patterns")
    names, condition = np.unique(np.asarray(labels), return_inverse=True)
    run = np.zeros(len(X), dtype=int) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if metric == "crossnobis" and run.max(initial=0) < 1:
        raise DataError("crossnobis cross-validates over groups", expected="at least 2 groups", found=run.max() + 1)
    parts = []
    for one in range(run.max() + 1):
        counts = np.bincount(condition[run == one], minlength=len(names))
        if not counts.all():
            raise DataError(
                "a condition is missing", expected="every condition in every group", found=names[counts == 0]
            )
        indicator = np.zeros((len(names), np.sum(run == one)), dtype=X.dtype)
        indicator[condition[run == one], np.arange(indicator.shape[1])] = 1
        means = (indicator @ X[run == one]) / counts[:, None].astype(X.dtype)
        parts.append(means.T)
    table = np.stack(parts)
    if metric in ("sqeuclidean", "crossnobis"):
        # What conditions share cancels in every distance.
        table -= table.mean(axis=2, keepdims=True)
    return np.concatenate([table.sum(axis=0)[None], table]) if metric == "crossnobis" else table


def searchlight_scores(
    parts: Any,
    neighbours: Neighbours,
    models: NDArray,
    *,
    metric: str = "correlation",
    method: str = "spearman",
    n_jobs: int = 1,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores (n_centres, n_models) and sizes (n_centres,) of the searchlights; see `searchlight`.

    Parameters
    ----------
    parts : array or tensor (n_parts, n_features, n_conditions)
        From `pattern_parts`. RDMs of a tensor are made and compared on its device; scores and sizes are arrays.
    """
    blocks = [np.arange(i, min(i + _CENTRES, neighbours.n_centres)) for i in range(0, neighbours.n_centres, _CENTRES)]
    work = partial(_block_scores, parts=parts, neighbours=neighbours, models=models, metric=metric, method=method)
    found = parallel_map(work, blocks, n_jobs=n_jobs, description="searchlight")
    scores, sizes = zip(*found)
    return np.concatenate(scores), np.concatenate(sizes)


def _block_scores(
    centres: NDArray, *, parts: Any, neighbours: Neighbours, models: NDArray, metric: str, method: str
) -> tuple[NDArray, NDArray]:
    """Scores and sizes of one worker's centres, a few megabytes of patterns at a time."""
    columns = neighbours.around(centres)
    sizes = np.sum(columns >= 0, axis=1)
    scores = np.full((len(centres), len(models)), np.nan)
    bytes_each = parts.dtype.itemsize * max(columns.shape[1] * parts.shape[2], 2 * models.shape[1])
    budget = _BLOCK_BYTES if namespace(parts) is np else BLOCK_BYTES
    for block in row_blocks(len(centres), bytes_each, budget=budget):
        rdms = block_rdms(parts, columns[block], metric=metric)
        if metric == "correlation" and (sizes[block] == 2).any():
            # Two units correlate at 1 or -1 exactly; ranks would tell apart what only rounding does.
            two = on_device(sizes[block] == 2, rdms)
            rdms[two] = namespace(rdms).round(rdms[two])
        finite = to_numpy(namespace(rdms).isfinite(rdms.sum(1)))
        defined = finite & (sizes[block] > (1 if metric == "correlation" else 0))
        if defined.all():
            scores[block] = to_numpy(compare(rdms, models, method=method))
        elif defined.any():
            scores[block][defined] = to_numpy(compare(rdms[on_device(defined, rdms)], models, method=method))
    return scores, sizes


def block_rdms(parts: Any, columns: NDArray, *, metric: str = "correlation") -> Any:
    """RDMs (n_centres, n_pairs) of the patterns in these columns (n_centres, width), -1 for none."""
    if namespace(parts) is not np:
        return _block_rdms_on_device(parts, columns, metric)
    absent = columns < 0
    sizes = np.sum(~absent, axis=1)
    gram: NDArray = np.zeros(())
    for number, part in enumerate(parts):
        local = part[columns]  # (n_centres, width, n_conditions)
        if absent.any():
            local[absent] = 0.0
        if metric == "correlation":
            mean = np.ones((1, local.shape[1]), dtype=local.dtype) @ local
            mean /= np.maximum(sizes, 1).astype(local.dtype)[:, None, None]
            local -= mean
            if absent.any():
                local[absent] = 0.0
        product = np.swapaxes(local, 1, 2) @ local
        gram = product if number == 0 else np.subtract(gram, product, out=gram)
    if metric in ("correlation", "cosine"):
        norm = np.sqrt(np.einsum("bii->bi", gram))
        if metric == "correlation":
            # Rounding leaves a constant pattern with a tiny norm: it has no direction.
            slack = 8 * np.finfo(gram.dtype).eps * np.abs(mean[:, 0]) * np.sqrt(sizes)[:, None]
            norm[norm <= slack] = np.nan
        return _one_minus_cosine(gram, norm)
    distances = _distances(gram)
    if metric == "crossnobis":
        n_groups = len(parts) - 1
        return distances / (n_groups * (n_groups - 1) * np.maximum(sizes, 1)[:, None])
    return np.maximum(distances, 0.0)


def _block_rdms_on_device(parts: Any, columns: NDArray, metric: str) -> Any:
    """The same for tensors, from the functions for any patterns."""
    xp = namespace(parts)
    there = on_device(columns >= 0, parts)[:, None, :]
    places = on_device(np.maximum(columns, 0).astype(np.int64), parts)
    count = there.sum(-1).to(parts.dtype)
    gram: Any = 0.0
    for number, part in enumerate(parts):
        local = xp.where(there, part[places].swapaxes(1, 2), xp.zeros_like(part[:1, :1]))
        if metric == "correlation":
            mean = local.sum(-1) / xp.clip(count, 1, None)
            local = xp.where(there, local - mean[..., None], xp.zeros_like(local))
        product = local @ local.swapaxes(1, 2)
        gram = product if number == 0 else gram - product
    if metric in ("correlation", "cosine"):
        norm = xp.sqrt(xp.diagonal(gram, 0, 1, 2))
        slack = 8 * xp.finfo(gram.dtype).eps * xp.abs(mean) * xp.sqrt(count) if metric == "correlation" else 0 * norm
        norm = xp.where(norm > slack, norm, xp.full_like(norm, float("nan")))
        return 1 - triangle(gram / norm[:, :, None] / norm[:, None, :])
    distances = pair_distances(gram)
    if metric == "crossnobis":
        n_groups = len(parts) - 1
        return distances / (n_groups * (n_groups - 1) * xp.clip(count, 1, None))
    return xp.clip(distances, 0, None)


def _one_minus_cosine(gram: NDArray, norm: NDArray) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / norm
        gram *= inverse[:, :, None]
        gram *= inverse[:, None, :]
    similarity = _pairs(gram)
    return np.subtract(1.0, similarity, out=similarity)


def _distances(gram: NDArray) -> NDArray[np.float64]:
    norms = np.einsum("bii->bi", gram)
    first, second = np.triu_indices(gram.shape[-1], 1)
    distances = _pairs(gram)
    distances *= -2.0
    distances += norms[:, first]
    distances += norms[:, second]
    return distances


def _pairs(square: NDArray) -> NDArray[np.float64]:
    n = square.shape[-1]
    first, second = np.triu_indices(n, 1)
    return np.take(square.reshape(len(square), n * n), first * n + second, axis=1).astype(np.float64, copy=False)


def _joined(models: RDMs, labels: NDArray) -> dict[str, NDArray]:
    """Models in the order of the conditions, named by the first column of their table."""
    wanted = [str(label) for label in labels]
    if set(wanted) != set(models.conditions):
        only = sorted(set(wanted) ^ set(models.conditions))
        raise DataError("models and trials have different conditions", found=f"in one of the two only: {only[:5]}")
    names = models.table.iloc[:, 0] if len(models.table.columns) else [f"model{i}" for i in range(len(models))]
    if len({str(name) for name in names}) < len(models):
        raise DataError("models need names of their own", expected="a first column without repeats", found=list(names))
    return {str(name): d for name, d in zip(names, models.select(conditions=wanted).values)}


def _models(model_rdms: Any, n: int) -> tuple[list[str], NDArray]:
    if not isinstance(model_rdms, Mapping):
        model_rdms = {f"model{i}": d for i, d in enumerate(np.atleast_2d(np.asarray(model_rdms)))}
    names = [str(name) for name in model_rdms]
    sizes = {name: n_conditions(np.size(d)) for name, d in zip(names, model_rdms.values())}
    if not names or any(size != n for size in sizes.values()):
        raise DataError("models and trials have different conditions", expected=f"RDMs of {n} conditions", found=sizes)
    return names, check_rdms(np.stack([np.asarray(d, dtype=np.float64) for d in model_rdms.values()]), name="models")
