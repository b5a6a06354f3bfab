"""The simulated subject: responses to given latents, with everything that made them returned beside the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.loaders.simulated.circuit import Circuit, load_simulated_circuit, simulate_circuit
from brainalign.loaders.simulated.design import Design, Truth, plan_trials
from brainalign.loaders.simulated.eeg_fmri import PairTruth, load_pair
from brainalign.loaders.simulated.fmri import SPACE, roi_sizes, simulate_fmri
from brainalign.loaders.simulated.sensors import simulate_sensors, source_sizes
from brainalign.spaces import SensorSpace
from brainalign.stimuli import Stimuli
from brainalign.trials import Trials

__all__ = [
    "Circuit",
    "Design",
    "Truth",
    "load_simulated",
    "load_simulated_circuit",
    "preferred_directions",
    "simulate_circuit",
    "simulate_subject",
]

MODALITIES = ("fmri", "eeg", "seeg")
N_STIMULI, MODEL = 240, "offline:conse"


def simulate_subject(
    latents: Any, *, modality: str = "fmri", seed: int = 0, stimuli: Stimuli | None = None, **options: Any
) -> tuple[Trials, Truth]:
    """Responses of a made-up subject to given latents, and the truth behind them.

    Each ROI (fMRI) or source (EEG, sEEG) listens to a subspace of the latents around one preferred direction. Noise
    is added up to a known ceiling per unit, and sessions drift. Every piece of work has a seed of its own: more
    repetitions or another ROI leave the tuning as it was.

    Parameters
    ----------
    latents : Latents, ndarray (n_stimuli, n_features) or mapping of ROI to either
        What drives the responses. A mapping gives each ROI latents of its own, such as another layer of a network.
        Rows of an array are called ``stimulus-0000``, ...
    modality : {"fmri", "eeg", "seeg"}
        "fmri": voxels on a 4 mm grid. "eeg": 32 electrodes in volts. "seeg": depth-electrode contacts, high-gamma
        envelopes in SD of the noise.
    seed : int
    stimuli : Stimuli, optional
        The pictures, attached to the trials.
    **options
        Fields of `Design`: n_repetitions, n_sessions, n_runs, test_share, n_test_repetitions, ceiling, silent_share,
        n_dimensions, drift, rois, directions, sfreq, tmin, tmax, line_noise.

    Returns
    -------
    trials : Trials
        (n_trials, n_voxels), or (n_trials, n_channels, n_times).
    truth : Truth

    Raises
    ------
    DataError
        When a modality, option or ROI is unknown, or the latents do not vary.

    Examples
    --------
    >>> latents = np.random.default_rng(0).standard_normal((60, 8))
    >>> trials, truth = simulate_subject(latents, rois={"V1": 20, "FFA": 30}, n_repetitions=2)
    >>> trials.shape, truth.weights["FFA"].shape
    ((120, 50), (8, 30))
    """
    if modality not in MODALITIES:
        raise unknown("modality", modality, MODALITIES)
    design = Design.of(options)
    named = tuple(str(name) for name in latents) if isinstance(latents, Mapping) else None
    sizes = roi_sizes(design, named) if modality == "fmri" else source_sizes(modality, design, named)
    _check_names(design.directions, sizes, "directions")
    ids, features = _features(latents, sizes)
    plan = plan_trials(ids, design, modality=modality, seed=seed)
    if modality == "fmri":
        responses, units, truth = simulate_fmri(features, sizes, plan, design, seed)
    else:
        responses, units, truth = simulate_sensors(modality, features, sizes, plan, design=design, seed=seed)
    trials = Trials(
        responses,
        plan.table,
        units,
        times=None if modality == "fmri" else design.times,
        space=SPACE if modality == "fmri" else _sensor_space(modality, design),
        info={"dataset": "simulated", "modality": modality, "seed": seed},
    )
    return (trials if stimuli is None else trials.with_stimuli(stimuli)), truth


def load_simulated(
    spec: Any,
    root: Path,
    *,
    subject: Any = None,
    n_stimuli: int = N_STIMULI,
    model: str = MODEL,
    layers: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
    prefers: Mapping[str, str] | None = None,
    modality: str = "fmri",
    seed: int = 0,
    **options: Any,
) -> tuple[Trials, Truth | PairTruth]:
    """The simulated subject as a data set: drawn scenes, and responses that follow a network's view of them.

    Parameters
    ----------
    spec : DatasetSpec
    root : Path
        Not read: nothing lies on disk.
    subject : int or str, optional
        There is one.
    n_stimuli : int
        Scenes drawn with `seed`.
    model : str
        Network whose latents drive the responses, as `brainalign.extract` takes it.
    layers : mapping of ROI to layer, optional
        Drive each ROI by the spatial mean of another layer of the network, ``{"V1": "blocks.0", "FFA": "blocks.6"}``.
    models : mapping of ROI to model, optional
        Drive each ROI by another network instead, ``{"V1": "pixels:16", "FFA": "offline:conse"}``.
    prefers : mapping of ROI to query, optional
        Make ROIs selective: ``{"FFA": "category == 'face'"}`` (see `preferred_directions`).
    modality, seed, **options
        See `simulate_subject`. With modality "eeg_fmri" nothing is shown: EEG and BOLD recorded together, with the
        options of `brainalign.loaders.simulated.eeg_fmri.PairDesign`.
    """
    if modality == "eeg_fmri":
        if (n_stimuli, model, layers, models, prefers) != (N_STIMULI, MODEL, None, None, None):
            raise DataError(
                "nothing is shown while EEG and BOLD are recorded together",
                expected="options of PairDesign",
                found="stimuli or models",
                fix="leave stimuli and models out",
            )
        return load_pair(seed=seed, **options)
    from brainalign.latents import extract
    from brainalign.scenes import draw_scenes

    scenes = draw_scenes(n_stimuli, seed=seed)
    driving: Any
    if models is not None:
        if layers is not None:
            raise DataError(
                "ROIs are driven by layers of one network or by several models",
                expected="layers or models",
                found="both",
                fix="leave one out",
            )
        made = {one: extract(scenes, one) for one in dict.fromkeys(models.values())}
        driving = {roi: made[one] for roi, one in models.items()}
    elif layers is None:
        driving = extract(scenes, model)
    else:
        by_layer = extract(scenes, model, layers=sorted(set(layers.values())), pool="mean")
        driving = {roi: by_layer[layer] for roi, layer in layers.items()}
    if prefers is not None:
        options["directions"] = preferred_directions(driving, scenes, prefers) | dict(options.get("directions", {}))
    return simulate_subject(driving, modality=modality, seed=seed, stimuli=scenes, **options)


def preferred_directions(latents: Any, stimuli: Stimuli, prefers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The latent direction in which some stimuli differ from all others: what makes a ROI selective for them.

    Parameters
    ----------
    latents : Latents or mapping of ROI to Latents
    stimuli : Stimuli
        With a table.
    prefers : mapping of ROI to query
        On that table: ``{"FFA": "category == 'face'", "OFA": "category == 'face' and size == 'large'"}``.

    Returns
    -------
    dict of str to ndarray, shape (n_features,)
        Mean of the stimuli preferred less mean of the others, for the ``directions`` of `simulate_subject`.

    Raises
    ------
    DataError
        When a query selects nothing or everything, or a ROI has no latents.
    """
    directions = {}
    for roi, query in prefers.items():
        if isinstance(latents, Mapping) and roi not in latents:
            raise unknown("ROI", roi, latents, fix="name ROIs that have latents")
        rows = latents[roi] if isinstance(latents, Mapping) else latents
        chosen = stimuli.select(query).ids
        others = [one for one in stimuli.ids if one not in set(chosen)]
        if not others:
            raise DataError(
                f"'{roi}' prefers every stimulus",
                expected="some of them",
                found=query,
                fix="a query that leaves some out",
            )
        directions[roi] = rows.select(chosen).flat().mean(0) - rows.select(others).flat().mean(0)
    return directions


def _check_names(given: Mapping[str, Any], sizes: Mapping[str, int], what: str) -> None:
    for name in given:
        if name not in sizes:
            raise unknown("ROI", name, sizes, fix=f"name simulated ROIs in the {what}")


def _features(latents: Any, sizes: Mapping[str, int]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Stimulus ids, and for each ROI its centred latents as (n_stimuli, n_features) float64."""
    given = latents if isinstance(latents, Mapping) else dict.fromkeys(sizes, latents)
    _check_names(given, sizes, "latents")
    if missing := [name for name in sizes if name not in given]:
        raise DataError(
            f"no latents for '{missing[0]}'",
            expected=list(sizes),
            found=list(given),
            fix="give latents of every ROI, or one for all",
        )
    named = {name: _named_rows(given[name]) for name in sizes}
    ids = next(iter(named.values())).ids
    features, seen = {}, {}
    for name, rows in named.items():
        key = id(given[name])
        if key not in seen:
            values = rows.select(ids).flat().astype(np.float64)
            if not np.isfinite(values).all():
                raise DataError(
                    f"latents of '{name}' are not finite",
                    expected="finite numbers",
                    found="NaN or inf",
                    fix="leave out the stimuli that have none",
                )
            seen[key] = values - values.mean(axis=0)
        features[name] = seen[key]
    return ids, features


def _named_rows(latents: Any) -> Latents:
    if isinstance(latents, Latents):
        return latents
    values = np.asarray(latents, dtype=np.float64)
    if values.ndim < 2 or len(values) < 2:
        raise DataError(
            "latents need a row a stimulus",
            expected="(n_stimuli >= 2, n_features)",
            found=values.shape,
            fix="stack the latents of the stimuli as rows",
        )
    return Latents(values, [f"stimulus-{row:04d}" for row in range(len(values))], space="given")


def _sensor_space(modality: str, design: Design) -> SensorSpace:
    return SensorSpace(sfreq=design.sfreq, coordinate_frame="head" if modality == "eeg" else "mni_tal")
