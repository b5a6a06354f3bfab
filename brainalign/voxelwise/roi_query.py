"""`ROIQueryEncoder`: a learned query per region looks into the patch tokens of a network, and its units read that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import resolve_device, sha256_file
from brainalign.cache import atomic_folder, to_json
from brainalign.errors import DataError
from brainalign.learning import TrainOptions, seeded, train
from brainalign.splits import folds
from brainalign.voxelwise.query_fit import learn_scales, refit_readout, samples, standardised_error
from brainalign.voxelwise.query_labels import label_units
from brainalign.voxelwise.query_network import QueryNetwork
from brainalign.voxelwise.spatial import Paired, SpatialModel, TokenMaps

__all__ = ["ROIQueryEncoder"]

CONFIG, WEIGHTS, FORMAT = "config.json", "model.safetensors", 1
LEARNT = (
    *("grid_", "n_channels_", "n_units_", "query_names_", "query_of_unit_"),
    *("stimulus_ids_", "latent_space_", "unit_names_", "subjects_", "history_", "best_epoch_"),
)
DEFAULTS = {
    "n_epochs": 60,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
    "patience": 15,
    "schedule": "cosine",
}


class ROIQueryEncoder(SpatialModel):
    """Transformer brain encoder: features are routed to regions by cross-attention, then read linearly.

    Every region has a learned query that attends to the tokens of a stimulus, keys from positions and features,
    values from features (Adeli, Minni & Kriegeskorte 2025, "Transformer brain encoders explain human high-level
    visual responses"; equations in `brainalign.voxelwise.query_network.QueryNetwork`). Where a region looks may
    therefore depend on what is in the picture.

    Parameters
    ----------
    queries : str, list of str, array (n_units,) or None
        Which units share a query: a column of the units table ("roi"), several ("roi" and "hemi"), a label per unit,
        "unit" for a query each, or None for one query in all.
    width : int
        Channels inside, a multiple of 4 and of `n_heads`; as many as the features have lose nothing of them.
    n_heads : int
        One looks at one place (or one kind of content) per query, and its map is what the units read.
    feed_forward : int
        Hidden channels of a layer after the attention; 0 leaves it out, so that units read routed features linearly.
    by_content : bool
        False lets keys see positions only: every query has one fixed map, a spatially factorised model.
    validation : float
        Share of the training stimuli (never of the test) on which training is stopped early; 0 for none.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name, over this model's defaults; ``{"device": "cuda"}``, ...
    refit : bool
        After training, fit the readout of each query anew by cross-validated ridge on what it routes, one
        decomposition a query, on all training samples. Not done where each unit has its own query.
    dropout : float
    grid : (int, int), optional
        Height and width of tokens that do not fill a square.
    seed : int

    Attributes
    ----------
    query_names_ : tuple of str
    query_of_unit_ : ndarray of int, shape (n_units,)
    network_ : QueryNetwork
    history_ : list of dict
        Losses of each epoch.
    best_epoch_ : int

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> maps = rng.standard_normal((200, 4, 3, 3)).astype("float32")
    >>> responses = maps[:, :2, 0, 2]
    >>> model = ROIQueryEncoder(["V1", "V1"], 16, training={"n_epochs": 30}).fit(maps, responses)
    >>> model.query_names_, model.attention_maps(maps[:5]).shape
    (('V1',), (5, 1, 3, 3))
    """

    def __init__(
        self,
        queries: Any = "roi",
        width: int = 64,
        *,
        n_heads: int = 1,
        feed_forward: int = 0,
        by_content: bool = True,
        validation: float = 0.1,
        training: Mapping[str, Any] | None = None,
        refit: bool = True,
        dropout: float = 0.0,
        grid: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        self.queries = queries
        self.width = width
        self.n_heads = n_heads
        self.feed_forward = feed_forward
        self.by_content = by_content
        self.validation = validation
        self.training = training
        self.refit = refit
        self.dropout = dropout
        self.grid = grid
        self.seed = seed

    def fit(self, X: Any, y: Any, groups: Any = None, *, folder: str | PathLike[str] | None = None) -> ROIQueryEncoder:
        """Train queries, attention and readout together.

        Parameters
        ----------
        X : array (n_stimuli, n_tokens, n_channels) or (n_stimuli, n_channels, h, w), or Latents of such
        y : array (n_stimuli, n_units), or Trials when X is Latents
            Trials are joined with their latents by `stimulus_id`.
        groups : array (n_samples,), optional
            Samples that stay on one side of the validation split. The `stimulus_id` of Trials by default.
        folder : path-like, optional
            For checkpoints; a killed fit resumes from there.

        Raises
        ------
        DataError
            When X has no grid, something is not finite, they do not pair, or `queries` do not label every unit.
        """
        options = self._options()
        paired = self._pair(X, y, groups)
        self.query_names_, self.query_of_unit_ = label_units(self.queries, paired.units, self.n_units_)
        kept, held = self._parts(paired)
        self.network_ = self._network()
        learn_scales(self.network_, paired, kept)
        data, validation = (samples(paired, rows) for rows in (kept, held))
        made = train(self.network_, standardised_error, data, options, validation=validation or None, folder=folder)
        self.history_, self.best_epoch_ = made.history, made.best_epoch
        if self.refit and len(self.query_names_) < self.n_units_:
            refit_readout(self.network_, self._apply(paired.maps, self.network_.route), paired, self.query_of_unit_)
        return self

    def _options(self) -> TrainOptions:
        defaults = {**DEFAULTS, "seed": self.seed}
        if not 0 <= self.validation < 1:
            raise DataError("validation is a share of the training stimuli", expected="0 <= validation < 1")
        if self.validation == 0:
            defaults["patience"] = None
        if self.width < 4 or self.width % 4 or self.n_heads < 1 or self.width % self.n_heads:
            raise DataError(
                "width must be a multiple of 4 and of n_heads", found=f"width={self.width}, n_heads={self.n_heads}"
            )
        return TrainOptions.of(self.training, **defaults)

    def _parts(self, paired: Paired) -> tuple[np.ndarray, np.ndarray]:
        """Samples to learn from, and those held out for early stopping; the repetitions of a stimulus together."""
        rows = np.arange(len(paired.rows))
        if not self.validation:
            return rows, rows[:0]
        groups = paired.rows if paired.groups is None else paired.groups
        n_splits = min(max(2, round(1 / self.validation)), len(np.unique(np.asarray(groups).astype(str))))
        first = folds(groups, n_splits=n_splits, seed=self.seed)[0]
        return first.train, first.test

    def _network(self) -> QueryNetwork:
        with seeded(self.seed):
            return QueryNetwork(
                self.grid_,
                self.n_channels_,
                torch.from_numpy(self.query_of_unit_),
                width=self.width,
                n_heads=self.n_heads,
                feed_forward=self.feed_forward,
                dropout=self.dropout,
                by_content=self.by_content,
            )

    def predict(self, X: Any) -> np.ndarray:
        """Responses to stimuli.

        Parameters
        ----------
        X : as in `fit`

        Returns
        -------
        ndarray, shape (n_stimuli, n_units), float32
        """
        check_is_fitted(self, "network_")
        network = self.network_
        predicted = self._apply(self._maps_like_fitted(X), lambda tokens: network.unstandardise(network(tokens)))
        return predicted[:, 0] if self._one_dimensional else predicted

    def attention_maps(self, X: Any, *, heads: bool = False) -> np.ndarray:
        """Where each query looks, as images.

        Parameters
        ----------
        X : as in `fit`
        heads : bool
            Each head by itself; otherwise their mean, each weighted by how much the units read through it.

        Returns
        -------
        ndarray, shape (n_stimuli, n_queries, h, w), or (n_stimuli, n_heads, n_queries, h, w), float32
            In the order of `query_names_`; every map sums to one.
        """
        check_is_fitted(self, "network_")
        network = self.network_
        if heads:
            weights = self._apply(self._maps_like_fitted(X), network.attention)
        else:
            weights = self._apply(
                self._maps_like_fitted(X),
                lambda tokens: torch.einsum("nhqt,qh->nqt", network.attention(tokens), network.head_shares()),
            )
        return weights.reshape(*weights.shape[:-1], *self.grid_)

    def _apply(self, maps: TokenMaps, function: Any) -> np.ndarray:
        device = resolve_device(self._options().device)
        self.network_.to(device)
        extra = 4 * self.n_heads * len(self.query_names_) * maps.shape[1]
        try:
            with torch.inference_mode():
                made = [
                    function(torch.from_numpy(np.array(maps[rows])).to(device)).cpu() for rows in maps.blocks(extra)
                ]
        finally:
            self.network_.to("cpu")
        return torch.cat(made).numpy()

    # -- disk ---------------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> Path:
        """Write ``config.json`` and ``model.safetensors``, whole or not at all."""
        check_is_fitted(self, "network_")
        with atomic_folder(folder) as draft:
            save_file(dict(self.network_.state_dict()), draft / WEIGHTS)
            config = {
                "format": FORMAT,
                "encoder": type(self).__name__,
                "params": self.get_params(deep=False),
                "learnt": {name: getattr(self, name) for name in LEARNT},
                "one_dimensional": self._one_dimensional,
                "sha256": sha256_file(draft / WEIGHTS),
            }
            (draft / CONFIG).write_text(to_json(config, indent=1))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> ROIQueryEncoder:
        """Open what `save` wrote.

        Raises
        ------
        DataError
            When a file is missing, damaged, altered or foreign, or weights and config differ in queries or units.
        """
        root = Path(folder)
        try:
            config = json.loads((root / CONFIG).read_text())
            if (config["format"], config["encoder"]) != (FORMAT, cls.__name__):
                raise DataError("not a model of this kind", path=root, found=(config["encoder"], config["format"]))
            if (found := sha256_file(root / WEIGHTS)) != config["sha256"]:
                raise DataError("the weights are not those that were saved", path=root / WEIGHTS, found=found[:12])
            model = cls(**config["params"])
            model.subjects_ = None  # not noted by models saved earlier
            for name, value in config["learnt"].items():
                setattr(model, name, tuple(value) if isinstance(value, list) and name != "history_" else value)
            model.query_of_unit_ = np.asarray(model.query_of_unit_, dtype=np.int64)
            model._one_dimensional = bool(config["one_dimensional"])
            model.network_ = model._network()
            model.network_.load_state_dict(load_file(root / WEIGHTS))
        except OSError as error:
            raise DataError("no model here", path=root, expected=f"{CONFIG} and {WEIGHTS}") from error
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError("config and weights do not make a model", path=root, found=str(error)) from error
        model.network_.eval()
        return model
