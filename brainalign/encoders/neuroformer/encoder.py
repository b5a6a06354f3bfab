"""`Neuroformer`: spikes as tokens, predicted one after the other, and what they tell of behaviour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from math import prod
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import row_blocks
from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.encoders.neuroformer.network import NeuroformerLoss, NeuroformerNetwork, Sizes
from brainalign.encoders.neuroformer.reading import attention_edges, attribution_edges, log_likelihood, sample_window
from brainalign.encoders.neuroformer.windows import check_apart, check_counts, covered
from brainalign.encoders.subjects import Samples, several
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.voxelwise.samples import is_trials

__all__ = ["Neuroformer"]

WEIGHTS = {"spikes": 1.0, "contrast": 0.1, "behaviour": 1.0}


class Neuroformer(SignalEncoder):
    """A transformer over spikes: what follows, what behaviour goes with it, and which unit follows which.

    Antoniades et al. 2024, "Neuroformer: multimodal and multitask generative pretraining for brain data", ICLR. Every
    spike is a token of a unit and a bin. The spikes of a window are predicted one by one from those before it in the
    window, from the spikes of its history, and from a context such as a stimulus. Beside it, all spikes of a trial are
    aligned with the context, or else with the behaviour, by contrast, and heads read the behaviour. Ours differs in
    that the unit of a spike is predicted given its bin, and only what can follow in the order of time has a chance:
    the probabilities of a window are those of its spike counts.

    Trials hold spike counts, units by bins: the history first, and the window in the last bins. `spike_windows` cuts
    them from a recording in bins, `bin_spikes` from spike times.

    Parameters
    ----------
    window : int
        Bins, the last of each trial, whose spikes are predicted.
    width, depth, n_heads : int
        Of the transformer.
    n_context : int
        Channels, the last ones, that are no units but the course of a stimulus or of behaviour, seen in all bins.
        What is to be predicted as behaviour has no place there.
    history_depth : int
        Blocks in which the spikes of the history attend to each other first.
    hidden : int
        Of the heads.
    contrast_width : int
        Of the space where spikes meet the context or the behaviour.
    dropout : float
    weights : mapping, optional
        Of the losses "spikes", "contrast" and "behaviour"; 1, 0.1 and 1 by default. 0 leaves one out.
    temperature : float
        Divides the cosines of the contrast.
    validation : float
        Share of the stimuli, the last ones to appear, on which the best epoch is chosen.
    gap : int
        Stimuli between these and the ones learnt from that are left out. Where trials overlap, as many as to keep them
        apart: ``n_bins - 1`` for a window at each bin.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name.
    seed : int

    Attributes
    ----------
    network_ : NeuroformerNetwork
    covered_ : list of [session, run, start, stop]
        Stretches of the recording (s) fitted on, where trials have an onset. Trials that overlap them are not scored.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(0.3, (300, 4, 6)).astype("float32")
    >>> counts[:, 1, 4:] = counts[:, 0, 3:5]  # unit 1 repeats unit 0 a bin later
    >>> speed = counts[:, 2:].sum(axis=(1, 2))[:, None]
    >>> model = Neuroformer(2, 16, depth=1, n_heads=2, dropout=0.0, training={"n_epochs": 20, "learning_rate": 0.01})
    >>> model = model.fit(counts[:240], speed[:240])
    >>> model.score(counts[240:], speed[240:]) > 0.8
    True
    >>> model.generate(counts[240:, :, :4], seed=0).shape
    (60, 4, 2)
    """

    # Options of `SignalEncoder` that have one sense here.
    adapter = None
    unseen = "refuse"
    centre = True
    repetitions = "output"
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 30, "batch_size": 128, "learning_rate": 3e-3, "schedule": "one_cycle"},
        **{"weight_decay": 0.05, "warmup": 0.2},
    }

    def __init__(
        self,
        window: int = 5,
        width: int = 32,
        *,
        n_context: int = 0,
        depth: int = 2,
        history_depth: int = 0,
        n_heads: int = 4,
        hidden: int = 64,
        contrast_width: int = 32,
        dropout: float = 0.2,
        weights: Mapping[str, float] | None = None,
        temperature: float = 0.5,
        validation: float = 0.1,
        gap: int = 0,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.window = window
        self.width = width
        self.n_context = n_context
        self.depth = depth
        self.history_depth = history_depth
        self.n_heads = n_heads
        self.hidden = hidden
        self.contrast_width = contrast_width
        self.dropout = dropout
        self.weights = weights
        self.temperature = temperature
        self.validation = validation
        self.gap = gap
        self.training = training
        self.seed = seed

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The sizes of the paper's code for V1 and AL, for a GPU; bins of 10 ms, trials of 20 bins."""
        given: dict[str, Any] = {
            **{"window": 5, "width": 256, "depth": 6, "history_depth": 6, "n_heads": 8, "dropout": 0.2},
            **{"contrast_width": 512, "temperature": 0.5, "training": {"device": "auto"}},
        }
        return cls(**(given | changes))

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        groups: Any = None,
        *,
        views: Sequence[Any] = (),
        folder: str | PathLike[str] | None = None,
    ) -> Self:
        """Learn to predict spikes, and the behaviour where it is given.

        Parameters
        ----------
        X : Trials, or array (n_trials, n_units + n_context, n_bins)
            In the order of time.
        y : Latents, array (n_trials, ...), or a dict of either, optional
            Behaviour, such as a velocity.
        groups, views, folder : as in `NetworkEncoder.fit`

        Raises
        ------
        DataError
            When counts are none, no trial holds a spike, behaviour is not finite, there are several subjects, or an
            option is out of range.
        LeakageError
            When trials on which the epoch is chosen overlap those learnt from.
        """
        return super().fit(X, {} if y is None else y, groups, views=views, folder=folder)

    def transfer(self, X: Any, y: Any, **options: Any) -> Self:
        """There is none: units are those of one subject."""
        raise DataError("units are those of one subject", fix="fit another Neuroformer on the other subject")

    def _paired(self, X: Any, y: Any, groups: Any, *, reset: bool = True) -> dict[str, Samples]:
        self._check_options()
        silent = isinstance(y, Mapping) and not y
        if silent:  # what pairs is not looked at again
            zeros = np.zeros((len(X), 1), dtype=np.float32)
            ids = list(dict.fromkeys(X.stimulus_ids)) if is_trials(X) else []
            y = Latents(zeros[: len(ids)], ids, space="none") if is_trials(X) else zeros
        samples = super()._paired(X, y, groups, reset=reset)
        if several(X) or len(samples) > 1:
            raise DataError("units are those of one subject", found=list(samples), fix="fit one subject at a time")
        name, one = next(iter(samples.items()))
        n_channels, n_bins = self.signals_[name]
        if n_bins < self.window or n_channels <= self.n_context:
            raise DataError(
                "trials hold no window, or no unit",
                expected=f"{self.window} bins, {self.n_context + 1} channels, or more",
                found=f"{n_bins} bins, {n_channels} channels",
                fix="change window or n_context, or cut longer trials",
            )
        spikes = one.responses.reshape(-1, n_channels, n_bins)
        check_counts(spikes, n_channels - self.n_context)
        if not spikes[:, : n_channels - self.n_context].any():
            raise DataError("all trials are empty", expected="spikes in some", found="counts of 0 everywhere")
        self.covered_ = covered(one.trials)
        if silent:
            one = replace(one, targets={}, provenance=replace(one.provenance, spaces={}))
        return {name: one}

    def _check_options(self) -> None:
        least = {"window": 1, "width": 1, "depth": 1, "n_heads": 1, "hidden": 1, "contrast_width": 1}
        least |= {"n_context": 0, "history_depth": 0, "gap": 0}
        wrong = [name for name, number in least.items() if getattr(self, name) < number]
        if wrong or self.width % self.n_heads or not 0 <= self.dropout < 1 or not self.temperature > 0:
            raise DataError(
                "these sizes make no network",
                expected="sizes of at least 1, width a multiple of n_heads, 0 <= dropout < 1, temperature > 0",
                found={name: getattr(self, name) for name in (*least, "dropout", "temperature")},
            )
        for name, weight in (self.weights or {}).items():
            if name not in WEIGHTS:
                raise unknown("loss", name, WEIGHTS)
            if not 0 <= weight < np.inf:
                raise DataError(f"the weight of '{name}' is out of range", expected="at least 0", found=weight)

    def _divided(self, samples: Mapping[str, Samples]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """The last stimuli to appear are held out: neighbours in time are alike, so a random draw would flatter."""
        name, one = next(iter(samples.items()))
        order = one.stimulus[np.sort(np.unique(one.stimulus, return_index=True)[1])]
        n_held = round(self.validation * len(order)) if len(order) >= 4 else 0
        n_kept = len(order) - n_held - (self.gap if n_held else 0)
        if n_kept < 1:
            raise DataError("the gap leaves nothing to learn from", found=f"gap={self.gap} of {len(order)} stimuli")
        kept, held = (
            np.flatnonzero(np.isin(one.stimulus, part)) for part in (order[:n_kept], order[-n_held or len(order) :])
        )
        if one.trials is not None:
            check_apart(*(covered(one.trials.select(side)) for side in (kept, held) if len(held)))
        return {name: kept}, {name: held}

    def _learn_scales(self, responses: Any, subject: str) -> tuple[np.ndarray, np.ndarray]:
        mean, scale = super()._learn_scales(responses, subject)
        n_counts = len(mean) - self.n_context * self._n_times
        mean[:n_counts], scale[:n_counts] = 0.0, 1.0  # counts stay counts
        return mean, scale

    def _build(self, n_voxels: Mapping[str, int]) -> Any:
        sizes = Sizes(**{field.name: getattr(self, field.name) for field in fields(Sizes)})
        n_out = {name: prod(shape) for name, shape in self.target_shapes_.items()}
        n_channels, n_bins = next(iter(self.signals_.values()))
        return NeuroformerNetwork(n_channels, n_bins, n_out, sizes)

    def _pretrain(self, samples: Mapping[str, Samples], kept: Mapping[str, np.ndarray], folder: Any) -> None:
        name, one = next(iter(samples.items()))
        n_channels, n_bins = self.signals_[name]
        spikes = one.responses.reshape(-1, n_channels, n_bins)[kept[name], : n_channels - self.n_context]
        mean = [spikes.sum(axis=(1, 2)).mean(), spikes[:, :, -self.window :].sum(axis=(1, 2)).mean()]
        self.network_.typical.copy_(torch.tensor(np.maximum(mean, 1.0)))

    def _loss(self) -> Any:
        return NeuroformerLoss(WEIGHTS | dict(self.weights or {}), self.temperature)

    # -- behaviour ----------------------------------------------------------------------------------------------

    def _features(self, X: Any, name: str) -> np.ndarray:
        x = super()._features(X, name)
        n_channels, n_bins = self.signals_[name]
        check_counts(x.reshape(-1, n_channels, n_bins), n_channels - self.n_context)
        return x

    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.target_shapes_:
            raise DataError("no behaviour was fitted", fix="fit(X, y) with the behaviour of each trial")
        return self.network_.heads(x)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean correlation of predicted behaviour, see `Encoder.score`; without any, the mean of `log_likelihood`.

        Raises
        ------
        LeakageError
            When Trials were fitted on, or overlap those that were.
        """
        check_is_fitted(self, "network_")
        if is_trials(X):
            check_apart(self.covered_, covered(X))
        return float(self.log_likelihood(X).mean()) if y is None else super().score(X, y)

    # -- spikes -------------------------------------------------------------------------------------------------

    def log_likelihood(self, X: Any) -> np.ndarray:
        """Log-probability of the spike counts in the window of each trial, given all before, (n_trials,), in nats.

        It compares with that of any other model of the counts, such as independent Poisson ones.
        """
        return np.concatenate([one.numpy() for one in self._read(X, log_likelihood)])

    def generate(
        self, X: Any, n_windows: int = 1, *, context: Any = None, seed: int = 0, max_spikes: int = 500
    ) -> np.ndarray:
        """Spikes drawn for the windows that follow a history; each window enters the history of the next.

        Parameters
        ----------
        X : array (n_trials, n_units, n_history)
            Counts of the bins before a window, as many as in the trials fitted on.
        n_windows : int
        context : array (n_trials, n_context, n_history + n_windows * window), optional
            For a network with a context.
        seed : int
            Each trial draws from a sequence of its own.
        max_spikes : int
            In a window, which ends there.

        Returns
        -------
        array (n_trials, n_units, n_windows * window)

        Raises
        ------
        DataError
            When histories or contexts have other shapes than those fitted on.
        """
        check_is_fitted(self, "network_")
        n_channels, n_bins = next(iter(self.signals_.values()))
        n_past, made = n_bins - self.window, np.asarray(X, dtype=np.float32)
        others = np.zeros((len(made), 0, n_past + n_windows * self.window)) if context is None else np.asarray(context)
        expected = {
            "X": (len(made), n_channels - self.n_context, n_past),
            "context": (len(made), self.n_context, n_past + n_windows * self.window),
        }
        for name, array in {"X": made, "context": others}.items():
            if array.shape != expected[name]:
                raise DataError(f"{name} does not fit what was fitted on", expected=expected[name], found=array.shape)
        if n_windows < 1 or max_spikes < 1:
            raise DataError("nothing is to be drawn", expected="n_windows >= 1, max_spikes >= 1")
        generators = [np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(len(made))]
        for number in range(n_windows):
            start = number * self.window
            empty = np.zeros((*made.shape[:2], self.window), dtype=np.float32)
            trials = np.concatenate([made[:, :, start:], empty], axis=2)
            trials = np.concatenate([trials, others[:, :, start : start + n_bins]], axis=1)
            drawn, first = [], 0
            for block in self._read(trials, lambda network, x: x):
                rows = slice(first, first := first + len(block))
                with torch.inference_mode():
                    drawn.append(sample_window(self.network_, block, generators[rows], max_spikes).numpy())
            made = np.concatenate([made, np.concatenate(drawn)], axis=2, dtype=np.float32)
        return made[:, :, n_past:]

    def connectivity(self, X: Any, method: str = "attribution") -> np.ndarray:
        """How much each unit (row) follows from the past of each (column), as the network has learnt it.

        Parameters
        ----------
        X : Trials, or array (n_trials, n_channels, n_bins)
        method : {"attribution", "attention"}
            "attribution": what the spikes of a unit lose in log-probability, in nats a spike, when the history is
            taken away from the other; above 0 where the other excites, below where it inhibits. From each column its
            median is taken, which all units share: a spike of anyone makes the next one earlier.
            "attention": attention paid to the other's spikes while the unit's are predicted, over what even attention
            would pay; it has no sign, and what attends does not yet know whose spike comes.

        Returns
        -------
        array (n_units, n_units)
            NaN where a unit never fires in the history of the other.
        """
        ways: dict[str, Callable[..., Any]] = {"attribution": attribution_edges, "attention": attention_edges}
        if method not in ways:
            raise unknown("way to read connectivity", method, ways)
        made = [np.stack([one.numpy() for one in both]) for both in self._read(X, ways[method])]
        total, number = np.stack(made).sum(axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            edges = np.where(number > 0, total / number, np.nan)
        if method == "attention":
            return edges
        shared = [np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else 0.0 for column in edges.T]
        return edges - np.array(shared)

    def align(self, X: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Spikes, and the context or else the behaviour, where contrast brought them together.

        Parameters
        ----------
        X : Trials, or array (n_trials, n_channels, n_bins)
        y : array (n_trials, ...), or a dict of them, optional
            Behaviour, where there is no context.

        Returns
        -------
        spikes, other : arrays (n_trials, contrast_width), each row of length 1
        """
        check_is_fitted(self, "network_")
        given = {} if y is None else y if isinstance(y, Mapping) else {"latents": y}
        if not self.n_context and set(given) != set(self.target_shapes_):
            raise DataError(
                "align spikes with the behaviours fitted on", expected=list(self.target_shapes_), found=list(given)
            )
        parts = [
            ((np.reshape(given[name], (len(given[name]), -1)) - mean) / scale).astype(np.float32)
            for name, (mean, scale) in ({} if self.n_context else self.target_scales_).items()
        ]
        flat = torch.from_numpy(np.concatenate(parts, axis=1)) if parts else None
        first, made = 0, []
        for summary, context in self._read(X, lambda network, x: (network.summary(x), network.signals(x))):
            rows = slice(first, first := first + len(summary))
            other = context[:, -self.n_context :].flatten(1) if flat is None else flat[rows]
            with torch.inference_mode():
                both = self.network_.aligned(summary, other)
            made.append([torch.nn.functional.normalize(one, dim=1).numpy() for one in both])
        spikes, others = zip(*made, strict=True)
        return np.concatenate(spikes), np.concatenate(others)

    def _read(self, X: Any, what: Callable[[NeuroformerNetwork, torch.Tensor], Any]) -> list[Any]:
        """What a function of network and flat trials returns, in blocks, on the CPU."""
        check_is_fitted(self, "network_")
        if is_trials(X):
            self._check_brain(next(iter(self.provenances_)), X)
            X = X.responses
        x = self._features(X, next(iter(self.provenances_))).astype(np.float32)
        n_bytes = 256 * int(x.sum(axis=1).max(initial=1.0) + 8) * self.width
        network = self.network_.eval()
        with torch.inference_mode():
            return [what(network, torch.from_numpy(x[rows])) for rows in row_blocks(len(x), n_bytes, budget=2**27)]

    # -- disk ---------------------------------------------------------------------------------------------------

    def _notes(self) -> dict[str, Any]:
        return super()._notes() | {"covered": self.covered_}

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        super()._take_notes(notes)
        self.covered_ = list(notes["covered"])
