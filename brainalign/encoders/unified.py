"""`UnifiedEncoder`: EEG, MEG, fMRI and others of several people into one latent space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch

from brainalign.encoders.ephys.network import ContrastLoss
from brainalign.encoders.ephys.scaling import channel_scales
from brainalign.encoders.network import NetworkEncoder
from brainalign.encoders.subjects import Samples, several
from brainalign.encoders.unified_network import Recording, UnifiedNetwork
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.voxelwise.samples import is_trials

__all__ = ["UnifiedEncoder"]


class UnifiedEncoder(NetworkEncoder):
    """Recordings of any modality to latents, through one space that all modalities share.

    After BrainFLORA (ACM MM 2025). Each subject has a linear map into the head of its modality: voxels
    through a few components of low rank, signals through filters in time and over fused channels. Experts, mixed by a
    soft router, and heads of targets are shared. Stimuli need not be the same, nor every modality be there for a
    stimulus: what joins modalities are the latents that all are contrasted with.

    Parameters
    ----------
    width : int
        Of the shared space.
    rank, n_fused : int
        Components of a subject's voxels; channels into which a subject's are fused.
    n_experts, n_blocks : int
    signal : mapping, optional
        Sizes of `brainalign.learning.networks.TSConvNetwork`.
    modalities : mapping of subject to modality, optional
        By default what stands before the hyphen in a subject's name: "eeg-1" is of "eeg".
    balanced : bool
        Draw as many samples of each modality in an epoch, the fewer ones repeatedly.
    target_weights, regression, temperature : as in `brainalign.encoders.ephys.base.SignalEncoder`
    dropout : float
    validation, repetitions, training, seed : see `NetworkEncoder`

    Attributes
    ----------
    network_ : UnifiedNetwork
    modalities_ : dict of str to str
        Of each subject.

    Examples
    --------
    >>> import pandas as pd
    >>> from brainalign.trials import Trials
    >>> rng = np.random.default_rng(0)
    >>> latents = Latents(rng.standard_normal((90, 5)), range(90), space="toy")
    >>> table = pd.DataFrame({"stimulus_id": range(90)})
    >>> fmri = Trials(latents.values @ rng.standard_normal((5, 30)), table)
    >>> signals = (latents.values @ rng.standard_normal((5, 8)))[:, :, None] * np.sin(np.arange(20))
    >>> eeg = Trials(signals, table, times=np.arange(20) / 100)
    >>> encoder = UnifiedEncoder(16, signal={"kernel": 3, "pool": 5, "n_filters": 8}, training={"n_epochs": 3})
    >>> encoder.fit({"fmri-1": fmri, "eeg-1": eeg}, latents).embed(eeg, "eeg-1").values.shape
    (90, 16)
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 40, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 0.02},
        **{"schedule": "one_cycle", "warmup": 0.1},
    }

    def __init__(
        self,
        width: int = 128,
        *,
        rank: int = 64,
        n_fused: int = 16,
        n_experts: int = 3,
        n_blocks: int = 1,
        signal: Mapping[str, Any] | None = None,
        modalities: Mapping[str, str] | None = None,
        balanced: bool = True,
        target_weights: Mapping[str, float] | None = None,
        regression: float = 0.1,
        temperature: float = 0.1,
        dropout: float = 0.2,
        validation: float = 0.1,
        repetitions: str = "input",
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.width = width
        self.rank = rank
        self.n_fused = n_fused
        self.n_experts = n_experts
        self.n_blocks = n_blocks
        self.signal = signal
        self.modalities = modalities
        self.balanced = balanced
        self.target_weights = target_weights
        self.regression = regression
        self.temperature = temperature
        self.dropout = dropout
        self.validation = validation
        self.repetitions = repetitions
        self.training = training
        self.seed = seed

    # -- several modalities -------------------------------------------------------------------------------------

    @property
    def modalities_(self) -> dict[str, str]:
        """Modality of each subject."""
        return {name: self._modality(name) for name in self.provenances_}

    def _modality(self, subject: str) -> str:
        return str((self.modalities or {}).get(subject, subject.split("-")[0]))

    def predict(self, X: Any, subject: str | None = None) -> Any:
        """Latents of the stimuli behind the responses of one subject; see `NetworkEncoder.predict`.

        Parameters
        ----------
        X : Trials or array (n_samples, n_features)
        subject : str, optional
            Whose they are, by the name it was fitted under; else what the trials say.
        """
        return super().predict(_named(X, subject), subject)

    def embed(self, X: Any, subject: str | None = None) -> Any:
        """Where responses lie in the space of all modalities, one row per stimulus for Trials.

        Returns
        -------
        Latents or array (n, width)
            Compare them by cosine, also across modalities: `brainalign.scoring.retrieval` of the embedding of one by
            that of another, joined by stimulus.
        """

        def decode(x: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"embedding": self.network_.features(x, number)}

        return self._applied(_named(X, subject), subject, decode)["embedding"]

    def predict_together(self, X: Mapping[str, Any]) -> Any:
        """Latents from whatever recordings there are of a stimulus: the mean of their predictions.

        Parameters
        ----------
        X : mapping of subject to Trials
            Any of the subjects fitted on; a stimulus may be missing from some.

        Returns
        -------
        Latents, or a dict of them
            Of every stimulus that any recording holds; ``meta["n_recordings"]`` counts the recordings.
        """
        if not several(X) or not X:
            raise DataError("give a mapping of subject to Trials", found=type(X).__name__)
        made = [self.predict(trials, name) for name, trials in X.items()]
        if self._single:
            return _mean_by_id(made)
        return {target: _mean_by_id([one[target] for one in made]) for target in made[0]}

    # -- the base's questions -----------------------------------------------------------------------------------

    def _paired(self, X: Any, y: Any, groups: Any, *, reset: bool = True) -> dict[str, Samples]:
        if not several(X) and not is_trials(X):
            raise DataError(
                "recordings of several modalities are Trials by name",
                expected="{'eeg-1': trials, 'fmri-1': trials}",
                found=type(X).__name__,
            )
        return super()._paired(X, y, groups, reset=reset)

    def _learn_scales(self, responses: Any, subject: str) -> tuple[np.ndarray, np.ndarray]:
        n_times = self.provenances_[subject].n_times
        if n_times is None:
            return super()._learn_scales(responses, subject)
        whole = np.asarray(responses[np.arange(len(responses))]).reshape(len(responses), -1, n_times)
        mean, scale = channel_scales(whole)
        return np.repeat(mean, n_times), np.repeat(scale, n_times)

    def _drawn(self, kept: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if not self.balanced:
            return kept
        totals: dict[str, int] = {}
        for name, rows in kept.items():
            totals[self._modality(name)] = totals.get(self._modality(name), 0) + len(rows)
        most = max(totals.values())
        return {
            name: np.resize(rows, round(len(rows) * most / totals[self._modality(name)])) for name, rows in kept.items()
        }

    def _build(self, n_voxels: Mapping[str, int]) -> UnifiedNetwork:
        numbers = {name: getattr(self, name) for name in ("width", "rank", "n_fused", "n_experts", "n_blocks")}
        if min(numbers.values()) < 1 or not 0 <= self.dropout < 1:
            raise DataError(
                "these sizes make no network", expected="sizes of at least 1, 0 <= dropout < 1", found=numbers
            )
        sizes = {**numbers, "dropout": self.dropout, "signal": dict(self.signal or {})}
        recordings = {name: self._recording(name, n) for name, n in n_voxels.items()}
        return UnifiedNetwork(recordings, {name: prod(one) for name, one in self.target_shapes_.items()}, sizes)

    def _admit(self, subject: str, n_features: int) -> None:
        self.network_.join(subject, self._recording(subject, n_features))

    def _recording(self, name: str, n_flat: int) -> Recording:
        modality, mine = self._modality(name), self.provenances_[name]
        first = next(one for other, one in self.provenances_.items() if self._modality(other) == modality)
        if first.n_times == mine.n_times:
            replace(first, units=mine.units).check_same_layout(mine, whose=f"the trials of '{name}'")
        return Recording(modality, n_flat // (mine.n_times or 1), mine.n_times)

    def _loss(self) -> ContrastLoss:
        return ContrastLoss.over(self.target_shapes_, self.target_weights, self.regression, self.temperature)

    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.network_(x, subject)


def _named(X: Any, subject: str | None) -> Any:
    return X.with_trials(subject=subject) if is_trials(X) and subject is not None else X


def _mean_by_id(parts: list[Latents]) -> Latents:
    ids = list(dict.fromkeys(one for part in parts for one in part.ids))
    sums = np.zeros((len(ids), *parts[0].values.shape[1:]))
    counts = np.zeros(len(ids))
    place = {one: row for row, one in enumerate(ids)}
    for part in parts:
        rows = [place[one] for one in part.ids]
        sums[rows] += part.values
        counts[rows] += 1
    mean = (sums / counts.reshape(-1, *[1] * (sums.ndim - 1))).astype(parts[0].values.dtype)
    return Latents(mean, ids, space=parts[0].space, meta={**parts[0].meta, "n_recordings": counts.astype(int).tolist()})
