"""`NetworkEncoder`: base of encoders that are networks, for one subject or several, trained by the one trainer.

A subclass sets its hyper-parameters and writes `_build` (the network), `_loss` and `_decode`. The network takes
``(x, subject)``, knows ``add_subject(name, n_voxels)`` and ``own(name)``, the module that belongs to one subject alone.
Pairing, scales, the validation split, resumption, transfer to new subjects, checks and disk are done here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import as_matrix, resolve_device, row_blocks
from brainalign.encoders.base import Encoder
from brainalign.encoders.provenance import Provenance
from brainalign.encoders.subjects import (
    Samples,
    centre_and_spread,
    check_same_latents,
    pair_samples,
    several,
    stacked,
    with_views,
)
from brainalign.errors import DataError, unknown
from brainalign.learning import Rows, TrainOptions, seeded, train
from brainalign.learning.stacked import Stacked, column_scales
from brainalign.splits import folds
from brainalign.voxelwise.samples import as_features, is_latents, is_trials

__all__ = ["NetworkEncoder"]


class NetworkEncoder(Encoder):
    """Base of network encoders.

    Every subclass has the hyper-parameters ``validation`` (share of the training stimuli on which the best epoch is
    chosen and training is stopped early), ``training`` (`brainalign.learning.TrainOptions` by name), ``repetitions``
    ("input" or "output": what is averaged over the repetitions of a stimulus in a prediction) and ``seed``.

    Attributes
    ----------
    subjects_ : tuple of str
        Those that can be predicted; a bare array is subject "1".
    provenances_ : dict of str to Provenance
        Of each subject.
    network_ : torch.nn.Module
    scales_ : dict of str to (ndarray, ndarray)
        Mean and SD of the features of each subject, from its training samples.
    target_scales_ : dict of str to (ndarray, float)
        Mean of each latent dimension and one SD for all.
    history_ : list of dict
    best_epoch_ : int
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {}
    _takes_views: ClassVar[bool] = False
    validation: float
    training: Mapping[str, Any] | None
    repetitions: str
    seed: int

    # -- what a subclass writes ---------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, n_voxels: Mapping[str, int]) -> Any:
        """A fresh network for these subjects and ``self.target_shapes_``; global generators are seeded."""

    @abstractmethod
    def _loss(self) -> Any:
        """The loss, for batches with x, subject, stimulus, and target/NAME."""

    @abstractmethod
    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        """Targets in their scaled form, (n, n_flat), from standardised responses."""

    # -- what a subclass may change -----------------------------------------------------------------------------

    def _pretrain(self, samples: Mapping[str, Samples], kept: Mapping[str, np.ndarray], folder: Any) -> None:
        """What the network learns in `fit` before it meets the latents; nothing by default."""

    def _admit(self, subject: str, n_features: int) -> None:
        """Give the network a further subject, whose provenance is known already."""
        self.network_.add_subject(subject, n_features)

    def _drawn(self, kept: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Training rows of each subject as an epoch draws them; a row may stand there several times."""
        return kept

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        *,
        views: Sequence[Any] = (),
        folder: str | PathLike[str] | None = None,
    ) -> Self:
        """Train the network, from one subject or several.

        Parameters
        ----------
        X : Trials, mapping of subject to Trials, or array (n_samples, n_features)
            Trials of several subjects in one are taken apart; every repetition is a sample.
        y : Latents, array (n_samples, ...), or a dict of either
            See `Encoder.fit`.
        groups : array (n_samples,), optional
            Which samples of an array show the same stimulus: they stay on one side of the validation split and are
            not contrasted with each other. Trials know it.
        views : sequence of Latents, or of dicts of them
            As `y`, of augmented pictures (`brainalign.stimuli.augmented`), drawn in training as often as it.
        folder : path-like, optional
            For checkpoints and ``metrics.jsonl``; a killed fit resumes from there to the same bits.

        Raises
        ------
        DataError
            When something is not finite, does not pair, or is too little.
        """
        options = self._options()
        samples = self._paired(X, y, groups)
        self._single = not isinstance(y, Mapping)
        self.provenances_ = {name: one.provenance for name, one in samples.items()}
        self.provenance_ = _joint(self.provenances_.values())
        given = {"latents": y} if self._single else y
        self.target_shapes_ = {name: _shape(one)[1:] for name, one in given.items()}
        if views and not self._takes_views:
            raise DataError(f"{type(self).__name__} learns from the pictures as they are", fix="leave views out")
        samples = with_views(samples, X, views, groups, self.target_shapes_)
        kept, held = self._divided(samples)
        self.scales_ = {n: self._learn_scales(Rows(one.responses, kept[n]), n) for n, one in samples.items()}
        self.target_scales_ = self._learn_target_scales(samples, kept)
        with seeded(self.seed):
            self.network_ = self._build({name: one.responses.shape[1] for name, one in samples.items()})
        self._pretrain(samples, kept, folder)
        self._train(samples, kept, held, options, folder)
        return self

    def transfer(
        self,
        X: Any,
        y: Any,
        *,
        freeze_shared: bool = True,
        training: Mapping[str, Any] | None = None,
        folder: str | PathLike[str] | None = None,
    ) -> Self:
        """An encoder that also knows further subjects, from few of their trials. This one stays as it is.

        Parameters
        ----------
        X : Trials, or mapping of subject to Trials
        y : Latents, or a dict of them
            Of the spaces fitted on.
        freeze_shared : bool
            Train only what belongs to the new subjects; False trains all of the network on their trials, which the
            subjects fitted on before may not survive.
        training : mapping, optional
            Changes to the hyper-parameter of that name.
        folder : path-like, optional
            As in `fit`.

        Raises
        ------
        DataError
            When a subject is known already, or latents are of another space, model or shape.
        """
        options = self._options(training)
        made, samples, kept, held = self._with_subjects(X, y)
        if freeze_shared:
            made.network_.requires_grad_(False)
            for name in samples:
                made.network_.own(name).requires_grad_(True)
        if any(one.requires_grad for one in made.network_.parameters()):  # else all is shared, but for the scales
            made._train(samples, kept, held, options, folder)
        made.network_.requires_grad_(True)
        return made

    def _with_subjects(self, X: Any, y: Any) -> tuple[Self, dict[str, Samples], Any, Any]:
        """A copy with fresh modules for further subjects; their samples, and which to learn from and to choose on."""
        check_is_fitted(self, "network_")
        if not several(X) and not is_trials(X):
            raise DataError("transfer needs Trials, which name their subject", found=type(X).__name__)
        samples = self._paired(X, y, None, reset=False)
        if known := [name for name in samples if name in self.provenances_]:
            raise DataError(
                f"subject '{known[0]}' was fitted on already",
                expected=f"a subject other than {list(self.provenances_)}",
                found=known[0],
                fix="give the new subject its own name: trials.with_trials(subject='8')",
            )
        check_same_latents(self.provenance_, self.target_shapes_, y)
        made = deepcopy(self)
        kept, held = made._divided(samples)
        with seeded(self.seed):
            for name, one in samples.items():
                made.provenances_[name] = one.provenance
                made.scales_[name] = made._learn_scales(Rows(one.responses, kept[name]), name)
                made._admit(name, one.responses.shape[1])
        made.provenance_ = _joint(made.provenances_.values())
        return made, samples, kept, held

    def _paired(self, X: Any, y: Any, groups: Any, *, reset: bool = True) -> dict[str, Samples]:
        if not several(X) and not is_trials(X):
            X = as_features(self, X, reset=reset)
        samples = pair_samples(X, y, groups)
        if reset and (several(X) or is_trials(X)):
            as_features(self, next(iter(samples.values())).responses, reset=True)
        samples = {
            name: replace(one, responses=as_matrix(one.responses, name="X", dtype=np.float32))
            for name, one in samples.items()
        }
        if (n := sum(len(one.responses) for one in samples.values())) < 2:
            raise DataError("too few samples to learn from", expected="at least 2", found=f"n_samples = {n}")
        return samples

    def _options(self, changes: Mapping[str, Any] | None = None) -> TrainOptions:
        if not 0 <= self.validation < 1:
            raise DataError("validation is a share of the training stimuli", expected="0 <= validation < 1")
        if self.repetitions not in ("input", "output"):
            raise unknown("average over", self.repetitions, ("input", "output"), fix="repetitions='input'")
        given = {**(self.training or {}), **(changes or {})}
        return TrainOptions.of(given, **{**self.DEFAULTS, "seed": self.seed})

    def _divided(self, samples: Mapping[str, Samples]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Rows to learn from and to choose the epoch on; a stimulus is on one side for all subjects."""
        shown = np.unique(np.concatenate([one.stimulus for one in samples.values()]))
        chosen = shown[:0]
        if self.validation and len(shown) >= 4:
            n_splits = min(max(2, round(1 / self.validation)), len(shown))
            chosen = shown[folds(shown, n_splits=n_splits, seed=self.seed)[0].test]
        held = {name: np.isin(one.stimulus, chosen) for name, one in samples.items()}
        if any(one.all() for one in held.values()):  # a subject that would have nothing left to learn from
            held = {name: np.zeros_like(one) for name, one in held.items()}
        return ({name: np.flatnonzero(~one) for name, one in held.items()},
                {name: np.flatnonzero(one) for name, one in held.items()})  # fmt: skip

    def _learn_scales(self, responses: Any, subject: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and SD of the features of a subject, each (n_features,), from training rows (n, n_features)."""
        return column_scales(responses)

    def _learn_target_scales(self, samples: Mapping[str, Samples], kept: Mapping[str, np.ndarray]) -> dict[str, Any]:
        scales = {}
        for target in self.target_shapes_:
            rows = Stacked([Rows(one.targets[target], kept[name]) for name, one in samples.items()])
            scales[target] = centre_and_spread(rows, target)
        return scales

    def _train(
        self,
        samples: Mapping[str, Samples],
        kept: Mapping[str, np.ndarray],
        held: Mapping[str, np.ndarray],
        options: TrainOptions,
        folder: Any,
    ) -> None:
        everything = stacked(samples, self._numbers, self.scales_, self.target_scales_)
        ends = np.cumsum([0, *(len(one.responses) for one in samples.values())])
        parts = []
        for side in (self._drawn(kept), held):
            rows = np.concatenate([start + side[name] for start, name in zip(ends, samples, strict=False)])
            names = [one for one in everything if side is not held or not one.startswith("view")]
            parts.append({name: Rows(everything[name], rows) for name in names} if len(rows) else None)
        options = options if parts[1] else replace(options, patience=None)
        made = train(self.network_, self._loss(), parts[0] or {}, options, validation=parts[1], folder=folder)
        self.history_, self.best_epoch_ = made.history, made.best_epoch

    @property
    def subjects_(self) -> tuple[str, ...]:
        """Subjects that can be predicted."""
        check_is_fitted(self, "provenances_")
        return tuple(self.provenances_) if any(one.subjects for one in self.provenances_.values()) else ("1",)

    @property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.provenances_)}

    # -- prediction ---------------------------------------------------------------------------------------------

    def predict(self, X: Any, subject: str | None = None) -> Any:
        """Latents of the stimuli behind the responses of one subject.

        Parameters
        ----------
        X : Trials, or array (n_samples, n_features)
            Trials give one prediction a stimulus: from the mean of its repetitions, or the mean of the predictions
            from each (hyper-parameter ``repetitions``; recorded in the meta of the result).
        subject : str, optional
            Whose responses an array holds, where several were fitted on. Trials say it themselves.

        Returns
        -------
        Latents or array, or a dict of either
            As `Encoder.predict`.

        Raises
        ------
        DataError
            When the subject is unknown, or features or units are not those fitted on.
        """
        return self._applied(X, subject, self._decode)

    def _applied(self, X: Any, subject: str | None, decode: Any) -> Any:
        check_is_fitted(self, "network_")
        if not is_trials(X):
            name = self._known(subject)
            made = self._run(self._features(X, name), name, decode)
            shaped = {key: one.reshape(len(one), *self._shape_of(key, one)) for key, one in made.items()}
            return shaped["latents"] if self._single and "latents" in shaped else shaped
        names = sorted(X.trials["subject"].astype(str).unique())
        if len(names) > 1:
            raise DataError("predict one subject at a time", found=names, fix="trials.select(\"subject == '1'\")")
        name = self._known(names[0] if self.provenance_.units or len(self.provenances_) > 1 else subject)
        self._check_brain(name, X)
        given = X.average("stimulus_id") if self.repetitions == "input" else X
        made = self._run(self._features(given.matrix(), name), name, decode)
        ids, place = np.unique(given.stimulus_ids.astype(str), return_inverse=True)
        first = np.sort(np.unique(place, return_index=True)[1])
        order = place[first]  # stimuli as they first appear
        count = np.bincount(place)[:, None]
        out = {}
        for key, values in made.items():
            total = np.zeros((len(ids), values.shape[1]), dtype=values.dtype)
            np.add.at(total, place, values)
            mean = (total / count).astype(values.dtype)[order].reshape(len(ids), *self._shape_of(key, values))
            out[key] = self._as_latents(mean, ids[order], key)
            out[key].meta["repetitions_averaged"] = self.repetitions
        return out["latents"] if self._single and "latents" in out else out

    def _shape_of(self, key: str, values: np.ndarray) -> tuple[int, ...]:
        """Of a target, or of something else that a network was asked for."""
        return self.target_shapes_.get(key, values.shape[1:])

    def _known(self, subject: str | None) -> str:
        names = list(self.provenances_)
        if subject is None and len(names) > 1:
            raise DataError("whose responses are these?", expected=names, fix="predict(X, subject='1')")
        name = names[0] if subject is None else str(subject)
        if name not in names:
            raise DataError(
                f"this encoder was not fitted on subject '{name}'",
                expected=names,
                found=name,
                fix="transfer the encoder to this subject, or predict a subject fitted on",
            )
        return name

    def _check_brain(self, name: str, trials: Any) -> None:
        self.provenances_[name].check_same_brain(trials)

    def _features(self, X: Any, name: str) -> np.ndarray:
        """Standardised responses, float32 or float64 as given."""
        X = as_features(self, X, reset=False) if len(self.provenances_) == 1 else as_matrix(X, name="X")
        mean, scale = self.scales_[name]
        if X.shape[1] != len(mean):
            what, fix = f"subject '{name}' has another number of voxels", "give those fitted on, or name their subject"
            raise DataError(what, expected=len(mean), found=X.shape[1], fix=fix)
        return ((X - mean) / scale).astype(X.dtype)

    def _predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        name = self._known(None)
        return self._run(self._features(X, name), name, self._decode)

    def _run(self, x: np.ndarray, name: str, decode: Any) -> dict[str, np.ndarray]:
        """Targets in their own scale, (n, n_flat), block by block, in the precision of x where the device has it."""
        device = resolve_device(self._options().device)
        dtype = torch.float64 if x.dtype == np.float64 and device == "cpu" else torch.float32
        number = self._numbers[name]
        n_bytes = 4 * (x.shape[1] + 8 * sum(len(mean) for mean, _ in self.target_scales_.values()))
        parts: dict[str, list[np.ndarray]] = {}
        self.network_.to(device=device, dtype=dtype).eval()
        try:
            for rows in row_blocks(len(x), n_bytes, budget=2**26):
                block = torch.from_numpy(np.ascontiguousarray(x[rows])).to(device=device, dtype=dtype)
                with torch.inference_mode():
                    made = decode(block, torch.full((len(block),), number, device=device))
                for key, values in made.items():
                    parts.setdefault(key, []).append(values.to("cpu", torch.float64).numpy())
        finally:
            self.network_.to(device="cpu", dtype=torch.float32)
        scaled = {key: np.concatenate(values) for key, values in parts.items()}
        scales = {key: self.target_scales_.get(key, (0.0, 1.0)) for key in scaled}
        return {key: (values * scales[key][1] + scales[key][0]).astype(x.dtype) for key, values in scaled.items()}

    # -- disk ---------------------------------------------------------------------------------------------------

    def _notes(self) -> dict[str, Any]:
        # Mappings are written in the order of their keys; the order of subjects and targets counts.
        return {
            "subjects": [[name, one.to_dict()] for name, one in self.provenances_.items()],
            "targets": list(self.target_shapes_),
            "history": self.history_,
            "best_epoch": self.best_epoch_,
        }

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        self.provenances_ = {name: Provenance.from_dict(plain) for name, plain in notes["subjects"]}
        self.target_shapes_ = {name: self.target_shapes_[name] for name in notes["targets"]}
        self.history_, self.best_epoch_ = list(notes["history"]), int(notes["best_epoch"])

    def _state(self) -> dict[str, np.ndarray]:
        made = {f"network/{name}": one.detach().numpy() for name, one in self.network_.state_dict().items()}
        for number, (mean, scale) in enumerate(self.scales_.values()):
            made |= {f"scales/{number}/mean": mean, f"scales/{number}/scale": scale}
        for number, (mean, spread) in enumerate(self.target_scales_.values()):
            made |= {f"targets/{number}/mean": mean, f"targets/{number}/scale": np.array([spread])}
        return made

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        def pair_of(group: str, number: int) -> tuple[Any, Any]:
            return state[f"{group}/{number}/mean"], state[f"{group}/{number}/scale"]

        self.scales_ = {name: pair_of("scales", number) for number, name in enumerate(self.provenances_)}
        pairs = {name: pair_of("targets", number) for number, name in enumerate(self.target_shapes_)}
        self.target_scales_ = {name: (mean, float(scale[0])) for name, (mean, scale) in pairs.items()}
        network = self._build({name: len(mean) for name, (mean, _) in self.scales_.items()})
        weights = {name.removeprefix("network/"): one for name, one in state.items() if name.startswith("network/")}
        try:
            network.load_state_dict({name: torch.from_numpy(np.array(one)) for name, one in weights.items()})
        except RuntimeError as error:
            raise DataError(str(error).splitlines()[0]) from error
        self.network_ = network.eval()


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(values.shape) if is_latents(values) else np.asarray(values).shape


def _joint(provenances: Iterable[Provenance]) -> Provenance:
    """Of all subjects together; units only where there is one."""
    every = list(provenances)
    if len(every) == 1:
        return every[0]
    return Provenance(
        stimulus_ids=tuple(sorted({one for some in every for one in some.stimulus_ids})),
        subjects=tuple(sorted({one for some in every for one in some.subjects})),
        split=every[0].split,
        spaces=every[0].spaces,
    )
