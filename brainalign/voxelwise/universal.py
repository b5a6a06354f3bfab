"""`UniversalEncoder`: one voxelwise model for all voxels of all subjects, in which a voxel is a vector."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional

from brainalign.arrays import check_finite, row_blocks
from brainalign.errors import DataError, unknown
from brainalign.learning import Rows, TrainOptions, seeded, train
from brainalign.learning.stacked import Scaled, Stacked, column_scales
from brainalign.voxelwise.samples import as_targets, is_latents, is_trials
from brainalign.voxelwise.spatial import Paired, TokenMaps
from brainalign.voxelwise.universal_network import UniversalNetwork

__all__ = ["UniversalEncoder"]

DEFAULTS = {"n_epochs": 30, "batch_size": 32, "learning_rate": 3e-3, "schedule": "cosine", "weight_decay": 1e-3}
TRANSFER = {"n_epochs": 100, "learning_rate": 1e-2}


class UniversalEncoder(BaseEstimator):
    """Responses of every voxel of every subject from picture features, through one network and a vector per voxel.

    The image-to-fMRI model of Brain-IT, from its equations (see `brainalign.voxelwise.universal_network`): where a
    voxel looks and what it reads there both follow from its embedding. The loss is ``MSE - cosine_weight * cosine``,
    the cosine over the voxels of a picture. The features are taken as they come; layers of several depths are
    concatenated along channels.

    Parameters
    ----------
    embedding : int
        Dimensions of a voxel's vector.
    width : int
        Channels of keys and values, a multiple of 4.
    n_sampled : int
        Voxels of each subject that enter a step, drawn anew each time.
    cosine_weight : float
    grid : (int, int), optional
        Height and width of tokens that do not fill a square.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name, over this model's defaults.
    seed : int

    Attributes
    ----------
    embeddings_ : dict of str to ndarray (n_voxels, embedding)
    network_ : UniversalNetwork
    scales_ : dict of str to (mean, SD) of each voxel, over the samples fitted on

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((300, 4))
    >>> responses = features @ rng.standard_normal((4, 6))
    >>> model = UniversalEncoder(8, 16).fit({"a": features, "b": features}, {"a": responses, "b": responses})
    >>> one, other = model.embeddings_["a"], model.embeddings_["b"]
    >>> bool(np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95)
    True
    """

    def __init__(
        self,
        embedding: int = 32,
        width: int = 64,
        *,
        n_sampled: int = 5000,
        cosine_weight: float = 0.1,
        grid: tuple[int, int] | None = None,
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.embedding = embedding
        self.width = width
        self.n_sampled = n_sampled
        self.cosine_weight = cosine_weight
        self.grid = grid
        self.training = training
        self.seed = seed

    def fit(self, X: Any, y: Any) -> UniversalEncoder:
        """Learn the shared network and the embedding of every voxel.

        Parameters
        ----------
        X : Latents, array, or a mapping of subject to array
            Features of the pictures: vectors (n, n_channels), tokens (n, n_tokens, n_channels) or maps (n, n_channels,
            h, w); with arrays, row i of a subject goes with row i of the responses.
        y : Trials, array (n, n_voxels), or a mapping of subject to either
            Trials need Latents, and are joined with them by `stimulus_id`. A lone array is subject "1".

        Raises
        ------
        DataError
            When something is not finite, or does not pair.
        """
        options = self._options()
        paired = _pairs(X, y, self.grid)
        first = next(iter(paired.values())).maps
        self.grid_, self.n_channels_ = first.grid, first.shape[2]
        self.scales_ = {subject: column_scales(one.responses) for subject, one in paired.items()}
        self.network_ = self.blank_network()
        _learn_channel_scales(self.network_, list(paired.values()))
        self._train(paired, options)
        return self

    def blank_network(self) -> UniversalNetwork:
        """The network before training, of the sizes that this model has learnt."""
        n_voxels = {subject: len(mean) for subject, (mean, _) in self.scales_.items()}
        with seeded(self.seed):
            return UniversalNetwork(self.grid_, self.n_channels_, n_voxels, embedding=self.embedding, width=self.width)

    def with_subject(self, X: Any, y: Any, *, training: Mapping[str, Any] | None = None) -> UniversalEncoder:
        """A copy that knows one or more further subjects; only their embeddings are fitted, all else stays.

        Parameters
        ----------
        X, y : as in `fit`
        training : mapping, optional
            Options over those of `fit`.

        Raises
        ------
        DataError
            When a subject is known already, or the features differ from those fitted on.
        """
        check_is_fitted(self, "network_")
        paired = _pairs(X, y, self.grid_)
        model = deepcopy(self)
        model.network_.requires_grad_(False)
        for subject, one in paired.items():
            if subject in self.scales_:
                raise DataError(f"subject '{subject}' was fitted on already", expected="a new subject")
            self._check_channels(one.maps)
            model.scales_[subject] = column_scales(one.responses)
            model.network_.add_subject(subject, one.responses.shape[1])
        given = {**(self.training or {}), **TRANSFER, **(training or {})}
        known = np.concatenate(list(self.embeddings_.values())).astype(np.float64)
        spread = known.T @ known / len(known)
        spread += 1e-3 * np.trace(spread) / len(spread) * np.eye(len(spread))
        prior = torch.from_numpy(np.linalg.inv(spread).astype(np.float32))
        model._train(paired, TrainOptions.of(given, **self._defaults()), prior)
        model.network_.requires_grad_(True)
        return model

    def predict(self, X: Any, subject: str | None = None) -> np.ndarray:
        """Responses (n, n_voxels) of a subject to pictures, float32, in the units fitted on."""
        check_is_fitted(self, "network_")
        subject = next(iter(self.scales_)) if subject is None else str(subject)
        if subject not in self.scales_:
            raise unknown("subject", subject, self.scales_)
        tokens = _tokens(X.values if is_latents(X) else X, self.grid_)
        self._check_channels(tokens)
        mean, scale = self.scales_[subject]
        embeddings = self.network_.of_subject(subject)
        with torch.inference_mode():
            made = [
                self.network_(torch.from_numpy(np.array(tokens[rows])), embeddings).numpy()
                for rows in row_blocks(len(tokens), 8 * len(mean) * tokens.shape[1])
            ]
        return (np.concatenate(made) * scale + mean).astype(np.float32)

    @property
    def embeddings_(self) -> dict[str, np.ndarray]:
        """Embeddings of each subject's voxels."""
        check_is_fitted(self, "network_")
        return {one: self.network_.of_subject(one).detach().numpy() for one in self.scales_}

    def _defaults(self) -> dict[str, Any]:
        return {**DEFAULTS, "seed": self.seed}

    def _options(self) -> TrainOptions:
        if self.width < 4 or self.width % 4 or self.embedding < 1 or self.n_sampled < 1:
            raise DataError(
                "width must be a multiple of 4; embedding and n_sampled at least 1",
                found=f"width={self.width}, embedding={self.embedding}, n_sampled={self.n_sampled}",
            )
        return TrainOptions.of(self.training, **self._defaults())

    def _check_channels(self, tokens: TokenMaps) -> None:
        if tokens.shape[2] != self.n_channels_ or tokens.grid != self.grid_:
            raise DataError(
                "these features have another grid or number of channels than those fitted on",
                expected=f"grid {self.grid_}, {self.n_channels_} channels",
                found=f"grid {tokens.grid}, {tokens.shape[2]} channels",
            )

    def _train(self, paired: Mapping[str, Paired], options: TrainOptions, prior: Any = None) -> None:
        responses = Stacked([Scaled(one.responses, *self.scales_[subject]) for subject, one in paired.items()])
        data = {
            "tokens": Stacked([Rows(one.maps, one.rows) for one in paired.values()]),
            "responses": responses,
            "subject": responses.part,
        }
        names = list(paired)
        n_samples = [len(one.rows) for one in paired.values()]

        def loss(network: Any, batch: Any) -> Any:
            total: Any = 0.0
            for number in torch.unique(batch["subject"]).tolist():
                here = batch["subject"] == number
                embeddings = network.of_subject(names[number])
                measured = batch["responses"][here][:, : len(embeddings)]
                if len(embeddings) > self.n_sampled:
                    chosen = torch.randperm(len(embeddings), device=embeddings.device)[: self.n_sampled]
                    embeddings, measured = embeddings[chosen], measured[:, chosen]
                predicted = network(batch["tokens"][here], embeddings)
                error = (predicted - measured).square().mean()
                alike = functional.cosine_similarity(predicted, measured, dim=1, eps=1e-6).mean()
                total = total + (error - self.cosine_weight * alike) * (here.sum() / len(here))
                if prior is not None:
                    unlikely = torch.einsum("vd,de,ve->v", embeddings, prior.to(embeddings.device), embeddings).mean()
                    total = total + unlikely * (here.sum() / len(here)) / n_samples[number]
            return total

        self.history_ = train(self.network_, loss, data, options).history


def _tokens(X: Any, grid: tuple[int, int] | None) -> TokenMaps:
    """Features on a grid; vectors are one token."""
    values = X if isinstance(X, np.ndarray) else np.asarray(X)
    return TokenMaps(values[:, None] if values.ndim == 2 else values, grid)


def _pairs(X: Any, y: Any, grid: tuple[int, int] | None) -> dict[str, Paired]:
    """Features and responses of each subject, row by row."""
    by_subject = y if isinstance(y, Mapping) else {_name(y): y}
    if not by_subject:
        raise DataError("no subject to fit on")
    shared = _tokens(X.values, grid) if is_latents(X) else None
    made = {}
    for subject, given in by_subject.items():
        features = X[subject] if isinstance(X, Mapping) else X
        if is_latents(features) != is_trials(given):
            raise DataError(
                "a universal encoder pairs Latents with Trials, or arrays with arrays",
                found=f"X {type(features).__name__}, y {type(given).__name__} of subject '{subject}'",
            )
        if is_trials(given):
            maps = _tokens(features.values, grid) if shared is None else shared
            rows, responses = features.rows(given.stimulus_ids), given.matrix()
        else:
            maps, responses = _tokens(features, grid), given
            rows = np.arange(len(maps))
        responses = as_targets(responses, n_samples=len(rows))
        check_finite(responses, name=f"responses of subject '{subject}'")
        made[str(subject)] = Paired(maps, rows, responses, None)
    if len({(one.maps.grid, one.maps.shape[2]) for one in made.values()}) > 1:
        raise DataError("subjects differ in grid or channels of their features", fix="extract the same layers for all")
    return made


def _name(y: Any) -> str:
    return str(y.trials["subject"].iloc[0]) if is_trials(y) else "1"


def _learn_channel_scales(network: UniversalNetwork, all_paired: list[Paired]) -> None:
    """Mean and SD of each channel over the tokens of the training pictures, those of all subjects."""
    total, squares, n = 0.0, 0.0, 0
    for one in all_paired:
        shown = np.unique(one.rows)
        for rows in one.maps.blocks():
            block = one.maps[shown[(shown >= rows.start) & (shown < rows.stop)]].astype(np.float64)
            total, squares = total + block.sum(axis=(0, 1)), squares + np.square(block).sum(axis=(0, 1))
            n += block.shape[0] * block.shape[1]
    mean = total / n
    scale = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
    network.x_mean.copy_(torch.from_numpy(mean))
    network.x_scale.copy_(torch.from_numpy(np.where(scale > 1e-7 * np.abs(mean) + 1e-30, scale, 1.0)))
