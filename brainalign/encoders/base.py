"""`Encoder`: brain responses to latents, by the scikit-learn contract, saved without pickle.

A new encoder subclasses `Encoder`, sets its hyper-parameters in ``__init__``, and writes four short methods on plain
arrays: ``_fit``, ``_predict``, ``_state`` and ``_restore``. Pairing by stimulus, checks, shapes, the leak guard,
saving and loading are done here.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import sha256_file
from brainalign.cache import atomic_folder, to_json
from brainalign.encoders.provenance import Provenance, pair
from brainalign.encoders.registry import encoder_class
from brainalign.encoders.weights import read_weights, write_weights
from brainalign.errors import DataError
from brainalign.latents.base import Latents
from brainalign.scoring.correlation import mean_over_targets, pearson
from brainalign.splits import check_disjoint
from brainalign.voxelwise.samples import as_features, as_targets, is_latents, is_trials
from brainalign.voxelwise.targets import TargetRows

__all__ = ["Encoder", "load_encoder"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


class Encoder(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Base of all encoders.

    Attributes
    ----------
    n_features_in_ : int
    target_shapes_ : dict of str to tuple
        Shape of each target; a single target is called ``"latents"``.
    provenance_ : Provenance
        Stimuli, subjects, units, split and latent spaces fitted on (empty for bare arrays).
    """

    _reads_blocks = False
    """Whether `_fit` takes large targets as `TargetRows`, which stay on disk."""

    # -- what a subclass writes ---------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, X: np.ndarray, targets: Mapping[str, np.ndarray], groups: np.ndarray | None) -> None:
        """Learn from X (n_samples, n_features) and targets, each (n_samples, n_flat); `groups` stay together."""

    @abstractmethod
    def _predict(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Predict each target, (n_samples, n_flat), in the precision of X."""

    @abstractmethod
    def _state(self) -> dict[str, np.ndarray]:
        """All that was learnt, as named arrays."""

    @abstractmethod
    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        """The reverse of `_state`."""

    def _notes(self) -> dict[str, Any]:
        """What was learnt besides arrays, as plain data."""
        return {}

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        """The reverse of `_notes`; called before `_restore`."""

    # -- scikit-learn contract ----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Learn the map from responses to latents.

        Parameters
        ----------
        X : Trials, or array (n_samples, n_features)
        y : Latents, array (n_samples, ...), or a dict of either
            With Trials, Latents are joined by `stimulus_id`; every repetition is a sample (average first,
            ``trials.average("stimulus_id")``, to fit on means). Targets may have any shape. A dict fits several
            targets at once, and `predict` then returns a dict.
        groups : array (n_samples,), optional
            Samples that stay together in cross-validation; the `stimulus_id` of Trials by default.

        Raises
        ------
        DataError
            When something is not finite, does not pair, or is too little.
        """
        responses, targets, groups, self.provenance_ = pair(X, y, groups, in_blocks=self._reads_blocks)
        responses = as_features(self, responses, reset=True)
        self._single = not isinstance(y, Mapping)
        flat: dict[str, Any] = {}
        self.target_shapes_: dict[str, tuple[int, ...]] = {}
        for name, values in targets.items():
            if isinstance(values, TargetRows):
                self.target_shapes_[name], flat[name] = values.item_shape, values
                continue
            values = values if isinstance(values, np.ndarray) or values is None else np.asarray(values)
            self.target_shapes_[name] = () if values is None else values.shape[1:]
            if values is not None and values.ndim > 2:
                values = values.reshape(len(values), -1)
            flat[name] = as_targets(values, n_samples=len(responses))
        self._fit(responses, flat, groups)
        return self

    def predict(self, X: Any) -> Any:
        """Latents of the stimuli behind responses.

        Parameters
        ----------
        X : Trials, or array (n_samples, n_features)
            The repetitions of a stimulus in Trials are averaged before the prediction. For a prediction per trial,
            give ``trials.matrix()``.

        Returns
        -------
        Latents or array, or a dict of either
            Latents with one row per stimulus for Trials; an array (n_samples, \\*space) for an array; a dict where the
            encoder was fitted on one.

        Raises
        ------
        DataError
            When features, units or subject are not those fitted on.
        """
        check_is_fitted(self, "provenance_")
        ids = None
        if is_trials(X):
            self.provenance_.check_same_brain(X)
            X = X.average("stimulus_id")
            ids, X = X.stimulus_ids, X.matrix()
        X = as_features(self, X, reset=False)
        shaped = {name: values.reshape(len(X), *self.target_shapes_[name]) for name, values in self._predict(X).items()}
        made = shaped if ids is None else {name: self._as_latents(one, ids, name) for name, one in shaped.items()}
        return made["latents"] if self._single else made

    def _as_latents(self, values: np.ndarray, ids: np.ndarray, name: str) -> Latents:
        space = self.provenance_.spaces.get(name, {"space": name, "meta": {}})
        made = {
            "predicted_by": type(self).__name__,
            "trained_on_split": self.provenance_.split,
            "n_seen_in_training": len(set(ids) & set(self.provenance_.stimulus_ids)),
        }
        values = values[:, None] if values.ndim == 1 else values
        return Latents(values, ids, space=space["space"], meta=space["meta"] | made)

    def score(self, X: Any, y: Any) -> float:
        """Mean Pearson correlation over latent dimensions (those that vary), on samples that were not fitted on.

        Parameters
        ----------
        X, y
            As in `fit`. Repetitions in Trials are averaged first.

        Raises
        ------
        LeakageError
            When Trials hold a stimulus that was fitted on.
        DataError
            When latents are of another model or revision than those fitted on.
        """
        check_is_fitted(self, "provenance_")
        if is_trials(X):
            check_disjoint(self.provenance_.stimulus_ids, X.stimulus_ids)
        targets = {"latents": y} if self._single else y
        if not isinstance(targets, Mapping) or set(targets) != set(self.target_shapes_):
            raise DataError(
                "other targets than those fitted on",
                expected=sorted(self.target_shapes_),
                found=sorted(targets) if isinstance(targets, Mapping) else type(targets).__name__,
                fix="give the latents of every target fitted on, by its name",
            )
        self.provenance_.check_same_space({name: one for name, one in targets.items() if is_latents(one)})
        predicted = self.predict(X)
        guesses = {"latents": predicted} if self._single else predicted
        scores = []
        for name, guess in guesses.items():
            truth = targets[name]
            if is_latents(guess):
                truth, guess = truth.at(guess.ids), guess.values
            guess = guess.reshape(len(guess), -1)
            scores.append(pearson(as_targets(np.reshape(truth, (len(truth), -1)), n_samples=len(guess)), guess))
        return mean_over_targets(np.concatenate(scores))[0]

    # -- disk ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write ``config.json`` and ``model.safetensors``, whole or not at all.

        Raises
        ------
        DataError
            When a hyper-parameter cannot be written as JSON.
        """
        check_is_fitted(self, "provenance_")
        params = self.get_params(deep=False)
        for name, value in params.items():
            try:
                to_json(value)
            except TypeError as error:
                raise DataError(f"hyper-parameter '{name}' cannot be saved: {error}", found=value) from error
        with atomic_folder(folder) as draft:
            write_weights(draft / WEIGHTS, self._state())
            config = {
                "format": FORMAT,
                "encoder": type(self).__name__,
                "params": params,
                "n_features_in": self.n_features_in_,
                "feature_names_in": getattr(self, "feature_names_in_", None),
                "single": self._single,
                "target_shapes": self.target_shapes_,
                "provenance": self.provenance_.to_dict(),
                "notes": self._notes(),
                "sha256": sha256_file(draft / WEIGHTS),
            }
            (draft / CONFIG).write_text(to_json(config, indent=1))
        return Path(folder)

    def _load(self, config: Mapping[str, Any], state: Mapping[str, np.ndarray]) -> Self:
        self.n_features_in_ = int(config["n_features_in"])
        if config["feature_names_in"] is not None:
            self.feature_names_in_ = np.array(config["feature_names_in"], dtype=object)
        self._single = bool(config["single"])
        self.target_shapes_ = {name: tuple(shape) for name, shape in config["target_shapes"].items()}
        self.provenance_ = Provenance.from_dict(config["provenance"])
        self._take_notes(config.get("notes", {}))
        self._restore(state)
        return self


_ANEW = "copy the whole folder again, or fit and save again"


def load_encoder(folder: str | PathLike[str]) -> Encoder:
    """Open an encoder that `Encoder.save` wrote.

    The class is looked up by name among known encoders (see `brainalign.encoders.register_encoder`); nothing in the
    files is executed.

    Raises
    ------
    DataError
        When a file is missing, damaged, altered or foreign, or the encoder is unknown.
    """
    root = Path(folder)
    try:
        config = json.loads((root / CONFIG).read_text())
        if config["format"] != FORMAT:
            raise DataError("another format of encoder", path=root, expected=FORMAT, found=config["format"], fix=_ANEW)
        name, digest, params = config["encoder"], config["sha256"], dict(config["params"])
    except OSError as error:
        raise DataError(
            "no encoder here",
            path=root,
            expected=f"a folder with {CONFIG} and {WEIGHTS}",
            found=error.strerror,
            fix="name the folder that Encoder.save wrote; of a checkpoint of other code, fit anew",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            "not the config of an encoder",
            path=root / CONFIG,
            expected="what Encoder.save writes: format, encoder, params, sha256, ...",
            found=f"no {error}" if isinstance(error, KeyError) else str(error),
            fix=_ANEW,
        ) from error
    encoder = encoder_class(name, path=root / CONFIG)
    state = read_weights(root / WEIGHTS, digest)
    try:
        return encoder(**params)._load(config, state)
    except (KeyError, TypeError, AttributeError, DataError) as error:
        raise DataError(
            f"config and weights do not make a {name}",
            path=root,
            expected="arrays and shapes that the config asks for",
            found=f"no {error}" if isinstance(error, KeyError) else str(error),
            fix=_ANEW,
        ) from error
