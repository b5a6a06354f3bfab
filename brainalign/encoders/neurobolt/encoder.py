"""`NeuroBOLT`: BOLD of regions at each volume from the EEG before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from brainalign.arrays import check_finite, row_blocks
from brainalign.encoders.ephys.base import UNSEEN, SignalEncoder
from brainalign.encoders.ephys.scaling import percentile_scales
from brainalign.encoders.neurobolt.network import NeuroBOLTNetwork
from brainalign.encoders.provenance import Provenance
from brainalign.encoders.subjects import Samples, pair_samples, several, split_subjects
from brainalign.errors import DataError
from brainalign.learning import Batch, Rows
from brainalign.learning.losses import mse
from brainalign.learning.stacked import Scaled, column_scales
from brainalign.splits import check_windows_apart, contiguous_folds
from brainalign.voxelwise.samples import is_latents, is_trials

__all__ = ["NeuroBOLT"]

_N_FOR_SCALES = 200
"""Windows, spread over those learnt from, that channels are scaled by: neighbours share most of their samples."""


class NeuroBOLT(SignalEncoder):
    """Regional BOLD from spectra at several scales and from patches of the EEG that precedes each volume.

    NeuroBOLT, Li et al. 2024 (NeurIPS). `brainalign.loaders.ephys.bold.pair_bold` makes the trials, one a volume, and
    the BOLD to fit to. Channels are centred and divided by the 95th percentile of their absolute values; the BOLD of
    each region is scaled within each subject, all from the training volumes. The loss is the squared error. The
    published network starts from LaBraM's weights; this one starts from random ones.

    Parameters
    ----------
    sizes : mapping, optional
        Of `NeuroBOLTNetwork`, by name; the published ones by default, for windows of 16 s at 200 Hz.
    adapter : {None, "channels"}
        "channels" gives each subject a linear map of its channels of its own, so that montages may differ.
    unseen : {"refuse", "shared"}
        See `SignalEncoder`. With "shared" a subject never seen is predicted (leave-one-subject-out), in the mean scale
        of the subjects fitted on.
    validation : float
        Share of each run's volumes, its last ones, on which the best epoch is chosen.
    gap : int
        Volumes left out before those. Windows may not reach across: `LeakageError` says so. A run too short for both
        is learnt from whole.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name, over the published schedule (20 epochs, the first 5 rising, in
        batches of 16; of 64 across subjects there).
    seed : int

    Attributes
    ----------
    bold_scales_ : dict of str to dict
        For each subject and target, mean and SD of each region over the training volumes.
    signals_, network_, scales_, history_
        See `SignalEncoder`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> alpha = rng.random((150, 1, 4)).repeat(16, axis=2)
    >>> X = alpha * np.sin(np.arange(64) * np.pi / 4) + 0.3 * rng.standard_normal((150, 2, 64))
    >>> bold = alpha[:, 0, ::16] @ [[0.1], [0.8], [0.3], [0.0]]
    >>> sizes = {"width": 16, "patch": 16, "depth": 1, "n_heads": 2, "shortest": 8, "n_scales": 2}
    >>> sizes |= {"spectral_depth": 1, "spectral_heads": 2, "dropout": 0.0}
    >>> encoder = NeuroBOLT(sizes, training={"learning_rate": 3e-3}).fit(X[:100], bold[:100])
    >>> encoder.predict(X[100:]).shape, encoder.score(X[100:], bold[100:]) > 0.5
    ((50, 1), True)
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 20, "batch_size": 16, "learning_rate": 3e-4, "weight_decay": 0.05},
        **{"schedule": "cosine", "warmup": 0.25},
    }
    _network = NeuroBOLTNetwork
    # Options of `SignalEncoder` that have one sense here.
    target_weights = None
    regression = 1.0
    centre = True
    repetitions = "input"

    def __init__(
        self,
        sizes: Mapping[str, Any] | None = None,
        *,
        adapter: str | None = None,
        unseen: str = "refuse",
        validation: float = 0.1,
        gap: int = 10,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.sizes = sizes
        self.adapter = adapter
        self.unseen = unseen
        self.validation = validation
        self.gap = gap
        self.training = training
        self.seed = seed

    def _loss(self) -> Any:
        def loss(network: Any, batch: Batch) -> dict[str, torch.Tensor]:
            made = network(batch["x"], batch["subject"])
            return {"loss": torch.stack([mse(one, batch[f"target/{name}"]).mean() for name, one in made.items()]).sum()}

        return loss

    # -- windows in, without a copy of them all -----------------------------------------------------------------

    def _paired(self, X: Any, y: Any, groups: Any, *, reset: bool = True) -> dict[str, Samples]:
        targets = dict(y) if isinstance(y, Mapping) else {"latents": y}
        if not (several(X) or is_trials(X)) or not all(map(is_latents, targets.values())):
            return super()._paired(X, y, groups, reset=reset)
        self._check_options()
        named = split_subjects(X)
        flat = {name: _FlatWindows(trials, f"X of subject '{name}'") for name, trials in named.items()}
        # Paired by their first sample: `pair_samples` would copy every window.
        first = {name: trials.select(times=(trials.times[0], trials.times[0])) for name, trials in named.items()}
        samples = {
            name: replace(one, responses=flat[name], provenance=Provenance.of(named[name], targets), trials=named[name])
            for name, one in pair_samples(first, y, groups).items()
        }
        if (n := sum(map(len, flat.values()))) < 2:
            raise DataError("too few volumes to learn from", expected="at least 2", found=n)
        self._keep_shapes(samples, {name: trials.shape[1:] for name, trials in named.items()}, reset=reset)
        if reset:
            self.n_features_in_ = next(iter(flat.values())).shape[1]
        return samples

    def _learn_scales(self, responses: Any, subject: str) -> tuple[np.ndarray, np.ndarray]:
        some = np.unique(np.linspace(0, len(responses) - 1, _N_FOR_SCALES).astype(int))
        signals = responses[some].reshape(len(some), -1, self._n_times)
        return tuple(np.repeat(one, self._n_times) for one in percentile_scales(signals))  # type: ignore[return-value]

    # -- time ---------------------------------------------------------------------------------------------------

    def _divided(self, samples: Mapping[str, Samples]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The last volumes of each run are chosen on, the first ones learnt from, with a gap between."""
        if not isinstance(self.gap, int | np.integer) or self.gap < 0:
            raise DataError("a gap is a number of volumes", expected="gap >= 0", found=self.gap)
        kept: dict[str, Any] = {name: [np.arange(0)] for name in samples}
        held: dict[str, Any] = {name: [np.arange(0)] for name in samples}
        n_splits = max(2, round(1 / self.validation)) if self.validation else 0
        for name, one in samples.items():
            for rows in _runs(one):
                # Half the run at least is learnt from.
                if n_splits and len(rows) > n_splits and len(rows) // n_splits + 1 + self.gap <= len(rows) // 2:
                    fold = contiguous_folds(len(rows), n_splits=n_splits, gap=self.gap)[-1]
                    held[name].append(rows[fold.test])
                    rows = rows[fold.train]
                kept[name].append(rows)
            kept[name], held[name] = np.concatenate(kept[name]), np.concatenate(held[name])
            if one.trials is not None:
                check_windows_apart(one.trials, kept[name], held[name])
        seen = np.concatenate([one.stimulus[held[name]] for name, one in samples.items()])
        return {name: rows[~np.isin(samples[name].stimulus[rows], seen)] for name, rows in kept.items()}, held

    # -- BOLD, scaled within each subject -----------------------------------------------------------------------

    def _learn_target_scales(self, samples: Any, kept: Any) -> dict[str, Any]:
        self.bold_scales_: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        one = next(iter(samples.values()))
        return {target: (np.zeros(values.shape[1]), 1.0) for target, values in one.targets.items()}

    def _train(self, samples: Mapping[str, Samples], kept: Any, held: Any, options: Any, folder: Any) -> None:
        scales = {
            name: {target: column_scales(Rows(values, kept[name])) for target, values in one.targets.items()}
            for name, one in samples.items()
        }
        self.bold_scales_ = {**self.bold_scales_, **scales}
        scaled = {
            name: replace(one, targets={key: Scaled(values, *scales[name][key]) for key, values in one.targets.items()})
            for name, one in samples.items()
        }
        super()._train(scaled, kept, held, options, folder)

    def _run(self, x: np.ndarray, name: str, decode: Any) -> dict[str, np.ndarray]:
        made = super()._run(x, name, decode)
        known = [self.bold_scales_[name]] if name != UNSEEN else list(self.bold_scales_.values())
        out = {}
        for key, values in made.items():
            mean, scale = (np.mean([one[key][part] for one in known], axis=0) for part in (0, 1))
            out[key] = (values * scale + mean).astype(values.dtype)
        return out

    # -- disk ---------------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, np.ndarray]:
        made = super()._state()
        for number, by_target in enumerate(self.bold_scales_.values()):
            for target, (mean, scale) in enumerate(by_target.values()):
                made |= {f"bold/{number}/{target}/mean": mean, f"bold/{number}/{target}/scale": scale}
        return made

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        super()._restore(state)
        self.bold_scales_ = {
            name: {
                target: (state[f"bold/{number}/{place}/mean"], state[f"bold/{number}/{place}/scale"])
                for place, target in enumerate(self.target_shapes_)
            }
            for number, name in enumerate(self.provenances_)
        }


class _FlatWindows:
    """Windows of trials as rows (n_trials, n_channels * n_times) of float32, made when they are asked for.

    Windows that overlap in a view of one recording are never copied all at once.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, trials: Any, name: str) -> None:
        self.windows = trials.responses
        if self.windows.ndim != 3:
            raise DataError(
                f"{name} must be windows of channels by times",
                expected="(n_volumes, n_channels, n_times)",
                found=self.windows.shape,
                fix="brainalign.loaders.ephys.bold.pair_bold makes them",
            )
        self.shape = (len(self.windows), int(np.prod(self.windows.shape[1:])))
        for rows in row_blocks(len(self), 8 * self.shape[1], budget=2**26):
            check_finite(self.windows[rows], name=name)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.windows[rows].reshape(-1, self.shape[1]).astype(np.float32, copy=False)


def _runs(samples: Samples) -> list[np.ndarray]:
    """Rows of each run in the order of time; the rows of an array are one run."""
    if samples.trials is None:
        return [np.arange(len(samples.responses))]
    table = samples.trials.trials
    order = np.argsort(table["onset"].to_numpy(), kind="stable") if "onset" in table else np.arange(len(table))
    groups = table.iloc[order].groupby(["session", "run"], sort=False).indices
    return [order[rows] for rows in groups.values()]
