"""`PretrainedEncoder`: base of encoders that learn from signals alone first, then name words or predict latents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import as_matrix
from brainalign.encoders.ephys.base import SignalEncoder
from brainalign.encoders.subjects import Samples, several, split_subjects
from brainalign.errors import DataError, unknown
from brainalign.latents.base import Latents
from brainalign.learning import Batch, Rows, TrainOptions, train
from brainalign.learning.classifier import as_signals
from brainalign.learning.losses import mse
from brainalign.learning.stacked import Scaled, Stacked
from brainalign.splits import folds
from brainalign.voxelwise.samples import is_trials

__all__ = ["PretrainedEncoder"]


class PretrainedEncoder(SignalEncoder):
    """Base of encoders with stages of training on signals alone, then on words (or latents).

    A subclass writes `_stages` and a network with ``heads(x, subject)``, the logits of each target, (n, n_flat).

    Attributes
    ----------
    classes_ : tuple of str or None
        Words, where labels were fitted.
    stages_ : dict of str to list of dict
        History of each stage of pretraining.
    pretrained_ : tuple of str
        Subjects whose signals took part.
    """

    # Options of `SignalEncoder` that have one sense here.
    adapter: str | None = "channels"
    unseen = "refuse"
    centre = True
    pretraining: str
    """The stage with which pretraining ends, or "none" to learn from the targets alone."""
    stage_training: Mapping[str, Mapping[str, Any]] | None
    """Changes to `TrainOptions` for each stage."""

    # -- what a subclass writes ---------------------------------------------------------------------------------

    @abstractmethod
    def _stages(self) -> Mapping[str, Any]:
        """Stages in order: for each name a function of no argument, (module, loss, defaults of TrainOptions)."""

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = "label",
        groups: Any = None,
        *,
        views: Sequence[Any] = (),
        unlabelled: Any = None,
        folder: str | PathLike[str] | None = None,
    ) -> Self:
        """Learn from signals alone, then to name labels or to predict latents.

        Parameters
        ----------
        X : Trials, mapping of subject to Trials, or array (n_trials, n_channels, n_times)
        y : str, array of str (n_trials,), Latents, array (n_trials, ...), or a dict of the latter two
            A column of the trials, or labels beside an array, are words to be told apart. What else there is are
            latents, see `Encoder.fit`.
        groups, views : as in `NetworkEncoder.fit`
        unlabelled : Trials, mapping of subject to Trials, or array, optional
            Further signals of the same subjects and channels, for pretraining. Test trials have no place here.
        folder : path-like, optional
            For checkpoints, a folder a stage; a killed fit resumes from there.

        Raises
        ------
        DataError
            When there are fewer than two labels, one is missing, or something does not pair.
        """
        if self.pretraining not in ("none", *self._stages()):
            raise unknown("stage of pretraining", self.pretraining, ["none", *self._stages()])
        X, y, self.classes_ = _with_classes(X, y)
        self._more = unlabelled
        try:
            return super().fit(X, y, groups, views=views, folder=folder)
        finally:
            del self._more

    def transfer(self, X: Any, y: Any = "label", **options: Any) -> Self:
        """An encoder that also knows further subjects, see `NetworkEncoder.transfer`; nothing is pretrained.

        Labels must be among the words fitted on.
        """
        X, y, classes = _with_classes(X, y, self.classes_)
        if classes != self.classes_:
            raise DataError("other words than those fitted on", expected=self.classes_, found=classes)
        return super().transfer(X, y, **options)

    def _pretrain(self, samples: Mapping[str, Samples], kept: Mapping[str, np.ndarray], folder: Any) -> None:
        self.stages_, self.pretrained_ = {}, () if self.pretraining == "none" else tuple(samples)
        if self.pretraining == "none":
            return
        parts = {name: Rows(one.responses, kept[name]) for name, one in samples.items()}
        more = self._unlabelled(samples)
        arrays = [(name, one) for name, one in (*parts.items(), *more.items())]
        data = {
            "x": Stacked([Scaled(one, *self.scales_[name]) for name, one in arrays]),
            "subject": np.concatenate([np.full(len(one), self._numbers[name]) for name, one in arrays]),
        }
        device = self._options().device
        for stage, prepared in self._stages().items():
            module, loss, defaults = prepared()
            changes = (self.stage_training or {}).get(stage)
            options = TrainOptions.of(changes, **{**self.DEFAULTS, **defaults, "device": device, "seed": self.seed})
            place = None if folder is None else Path(folder) / stage
            self.stages_[stage] = train(module, loss, data, options, folder=place).history
            if stage == self.pretraining:
                break

    def _unlabelled(self, samples: Mapping[str, Samples]) -> dict[str, np.ndarray]:
        if self._more is None:
            return {}
        given = self._more
        if not is_trials(given) and not several(given):
            given = as_signals(given, name="unlabelled").reshape(len(given), -1)
        made = {}
        for name, one in split_subjects(given).items():
            name = name if name in samples else self._known(None if not is_trials(one) else name)
            if is_trials(one):
                self.provenances_[name].check_same_brain(one)
                one = one.matrix()
            made[name] = as_matrix(one, name="unlabelled", dtype=np.float32)
            if made[name].shape[1] != samples[name].responses.shape[1]:
                raise DataError(
                    "unlabelled signals have another number of channels or times",
                    expected=samples[name].responses.shape[1],
                    found=made[name].shape[1],
                )
        return made

    def _train(self, samples: Any, kept: Any, held: Any, options: TrainOptions, folder: Any) -> None:
        place = None if folder is None else Path(folder) / "targets"
        super()._train(samples, kept, held, options, place)

    def _divided(self, samples: Mapping[str, Samples]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        if self.classes_ is None:
            return super()._divided(samples)
        kept, held = {}, {}
        for name, one in samples.items():  # by trial: every word is on both sides
            words = np.asarray(one.targets["latents"][np.arange(len(one.responses))]).argmax(axis=1)
            fewest = np.bincount(words)[np.unique(words)].min()
            held[name] = np.arange(0)
            if self.validation and fewest >= 2:
                n_splits = min(max(2, round(1 / self.validation)), int(fewest))
                trials = np.arange(len(words))
                held[name] = folds(trials, n_splits=n_splits, stratify=words, seed=self.seed)[0].test
            kept[name] = np.setdiff1d(np.arange(len(words)), held[name])
        return kept, held

    def _learn_target_scales(self, samples: Any, kept: Any) -> dict[str, Any]:
        if self.classes_ is not None:  # probabilities have the scale they have
            return {"latents": (np.zeros(len(self.classes_)), 1.0)}
        return super()._learn_target_scales(samples, kept)

    def _loss(self) -> Any:
        words = self.classes_ is not None

        def loss(network: Any, batch: Batch) -> dict[str, torch.Tensor]:
            made, terms = network.heads(batch["x"], batch["subject"]), {}
            for name, logits in made.items():
                target = batch[f"target/{name}"]
                if words:
                    terms[name] = torch.nn.functional.cross_entropy(logits, target)
                else:
                    terms[name] = mse(logits, target.flatten(1)).mean()
            return {"loss": torch.stack(list(terms.values())).sum()}

        return loss

    # -- prediction ---------------------------------------------------------------------------------------------

    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        made = self.network_.heads(x, subject)
        return {name: one.softmax(dim=1) for name, one in made.items()} if self.classes_ is not None else made

    def classify(self, X: Any, subject: str | None = None) -> np.ndarray:
        """Word of each trial, (n_trials,); repetitions are not averaged. Parameters as in `predict`."""
        check_is_fitted(self, "network_")
        if self.classes_ is None:
            raise DataError("this encoder was fitted on latents, not on words", fix="fit(trials, 'label')")
        if is_trials(X):
            every = np.arange(X.n_trials).astype(str)
            X = X.with_trials(stimulus_id=every)
            return np.asarray(self.classes_)[self.predict(X).at(every).argmax(axis=1)]
        return np.asarray(self.classes_)[self.predict(X, subject).argmax(axis=1)]

    def score(self, X: Any, y: Any = "label") -> float:
        """Accuracy over trials where words were fitted, else as `Encoder.score`.

        Raises
        ------
        DataError
            When a label was not fitted on.
        """
        if self.classes_ is None:
            return super().score(X, y)
        labels = _labels_of(X, y)
        if strange := sorted(set(labels) - set(self.classes_)):
            raise DataError("words that were not fitted on", expected=self.classes_[:20], found=strange[:5])
        return float(np.mean(self.classify(X) == labels))

    # -- disk ---------------------------------------------------------------------------------------------------

    def _notes(self) -> dict[str, Any]:
        words = None if self.classes_ is None else list(self.classes_)
        return super()._notes() | {**{"classes": words, "stages": self.stages_, "pretrained": list(self.pretrained_)}}

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        super()._take_notes(notes)
        self.classes_ = None if notes["classes"] is None else tuple(notes["classes"])
        self.stages_, self.pretrained_ = dict(notes["stages"]), tuple(notes["pretrained"])


def _labels_of(X: Any, y: Any) -> np.ndarray:
    if not isinstance(y, str):
        return np.asarray(y).astype(str)
    everyone = list(X.values()) if several(X) else [X]
    if not all(is_trials(one) for one in everyone):
        raise DataError("a column of labels needs Trials", found=type(X).__name__, fix="give the labels themselves")
    for one in everyone:
        if y not in one.trials:
            raise unknown("column of the trials", y, one.trials.columns)
    return np.concatenate([one.trials[y].astype(object).to_numpy() for one in everyone])


def _with_classes(X: Any, y: Any, known: tuple[str, ...] | None = None) -> tuple[Any, Any, tuple[str, ...] | None]:
    """Labels as one-hot rows, with the words they stand for; anything else as it is."""
    if not isinstance(y, str) and (hasattr(y, "at") or isinstance(y, Mapping) or np.asarray(y).dtype.kind not in "OUS"):
        return X, y, None
    if not isinstance(y, str) and np.asarray(y).ndim != 1:
        return X, y, None
    labels = _labels_of(X, y)
    missing = np.flatnonzero([one is None or one != one or not str(one) for one in labels])
    if missing.size:
        raise DataError("labels are missing for some trials", found=f"rows {missing[:5].tolist()}")
    labels = labels.astype(str)
    words = known or tuple(str(one) for one in np.unique(labels))
    if strange := sorted(set(labels) - set(words)):
        raise DataError("words that were not fitted on", expected=words[:20], found=strange[:5])
    if len(words) < 2:
        raise DataError("there is one word only, nothing to tell apart", expected="two or more", found=words)
    table = np.eye(len(words), dtype=np.float32)
    codes = np.searchsorted(words, labels)
    everyone = list(X.values()) if several(X) else [X]
    if not all(is_trials(one) for one in everyone):
        return X, table[codes], words
    ids = np.concatenate([one.stimulus_ids for one in everyone]).astype(str)
    names, first, place = np.unique(ids, return_index=True, return_inverse=True)
    if np.any(codes != codes[first][place]):
        odd = str(ids[np.flatnonzero(codes != codes[first][place])[0]])
        raise DataError(
            "trials of one stimulus have different labels", found=odd, fix="give each label stimuli of its own"
        )
    return X, Latents(table[codes[first]], names, space="words", meta={"words": list(words)}), words
