"""`BrainMAE`: parcellated BOLD to states, labels or latents, learnt first by filling in hidden windows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.encoders.brain_mae.network import BrainMAENetwork, Sizes, hidden_window_loss
from brainalign.encoders.pretrained import PretrainedEncoder
from brainalign.errors import DataError
from brainalign.learning.masking import random_mask
from brainalign.learning.randomness import seeded

__all__ = ["BrainMAE"]


class BrainMAE(PretrainedEncoder):
    """Short windows of parcels as tokens, after attention between parcels that their learnt embeddings guide.

    BrainMAE, arXiv 2406.17086. Each parcel has an embedding, the same for all times and
    subjects; parcels attend to each other by their embeddings, a window becomes one state, and a transformer reads
    the states. First hidden windows are filled in from the others ("windows"), then labels or latents are learnt.

    Parameters
    ----------
    window : int
        Volumes of a window; trials hold two or more.
    width : int
        Of embeddings and tokens.
    n_guided, n_adaptive : int
        Blocks of attention between parcels: by embeddings alone, and by the signals (the paper's static and adaptive
        state encoders have 3 and 0, 1 and 2).
    n_queries : int
        Weighted means over parcels that make a state.
    depth, n_heads : int
        Of the transformer over windows.
    hidden, dropout
        Of the head of targets; of all.
    mask_share : float
        Of the windows that are hidden.
    unseen : {"shared", "refuse"}
        Whether subjects that were not fitted on may be predicted: parcels are the same for all.
    pretraining : {"windows", "none"}
    validation, repetitions, training, stage_training, seed
        As in `brainalign.encoders.DuIN`.

    Attributes
    ----------
    classes_, stages_
        See `PretrainedEncoder`.
    network_ : BrainMAENetwork

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> state = np.tile(["rest", "task"], 40)
    >>> X = 0.5 * rng.standard_normal((80, 6, 12))
    >>> X[:, :3] += np.sin(np.arange(12))
    >>> X[state == "task", 3:] += np.sin(np.arange(12))
    >>> model = BrainMAE(4, 16, n_guided=1, depth=1, n_heads=2, pretraining="none").fit(X[:60], state[:60])
    >>> model.score(X[60:], state[60:]) > 0.8
    True
    """

    adapter = None  # parcels are the same for all
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 40, "batch_size": 32, "learning_rate": 3e-3, "schedule": "one_cycle"},
        **{"weight_decay": 0.05, "warmup": 0.1},
    }

    def __init__(
        self,
        window: int = 5,
        width: int = 64,
        *,
        n_guided: int = 3,
        n_adaptive: int = 0,
        n_queries: int = 8,
        depth: int = 2,
        n_heads: int = 4,
        hidden: int = 64,
        dropout: float = 0.1,
        mask_share: float = 0.7,
        unseen: str = "shared",
        pretraining: str = "windows",
        validation: float = 0.1,
        repetitions: str = "output",
        training: Mapping[str, Any] | None = None,
        stage_training: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.window = window
        self.width = width
        self.n_guided = n_guided
        self.n_adaptive = n_adaptive
        self.n_queries = n_queries
        self.depth = depth
        self.n_heads = n_heads
        self.hidden = hidden
        self.dropout = dropout
        self.mask_share = mask_share
        self.unseen = unseen
        self.pretraining = pretraining
        self.validation = validation
        self.repetitions = repetitions
        self.training = training
        self.stage_training = stage_training
        self.seed = seed

    def embeddings(self) -> np.ndarray:
        """The learnt embedding of each parcel, (n_parcels, width)."""
        check_is_fitted(self, "network_")
        return self.network_.embeddings.detach().numpy().copy()

    def attention(self) -> np.ndarray:
        """How much each parcel (row) takes from each (column) by embeddings, mean over heads and blocks."""
        check_is_fitted(self, "network_")
        if not len(self.network_.guided):
            raise DataError("no attention follows embeddings in this network", fix="n_guided=1 or more")
        with torch.inference_mode():
            made = [block.attention.weights(self.network_.embeddings) for block in self.network_.guided]
        return torch.stack(made).mean(dim=(0, 1)).numpy()

    def reconstruction_error(self, X: Any, subject: str | None = None) -> float:
        """Mean squared error of hidden windows over the variance of the signals: 1 is the error of a guess of the mean.

        Parameters
        ----------
        X, subject : as in `predict`
        """
        check_is_fitted(self, "network_")
        trials = hasattr(X, "trials")
        name = self._known(str(X.trials["subject"].iloc[0]) if trials else subject)
        x = torch.from_numpy(self._features(X.responses if trials else X, name).astype(np.float32))
        with seeded(self.seed):
            mask = random_mask(len(x), self.network_.n_windows, self.mask_share)
        network = self.network_.eval()
        with torch.inference_mode():
            truth = network.windows(x)
            errors = (network.filled_in(network(x, mask)) - truth).square().mean(dim=(2, 3))
        return float(errors[mask].mean() / truth.square().mean())

    def _build(self, n_voxels: Mapping[str, int]) -> BrainMAENetwork:
        sizes = Sizes(**{field.name: getattr(self, field.name) for field in fields(Sizes)})
        numbers = {name: getattr(self, name) for name in ("window", "width", "n_queries", "depth", "n_heads", "hidden")}
        wrong = min(numbers.values()) < 1 or self.width % self.n_heads or min(self.n_guided, self.n_adaptive) < 0
        if wrong or not 0 <= self.dropout < 1 or not 0 < self.mask_share < 1:
            raise DataError(
                "these sizes make no network",
                expected="sizes of at least 1, width a multiple of n_heads, 0 <= dropout < 1, 0 < mask_share < 1",
                found={**numbers, "dropout": self.dropout, "mask_share": self.mask_share},
            )
        n_out = {name: math.prod(shape) for name, shape in self.target_shapes_.items()}
        n_flat = next(iter(n_voxels.values()))
        network = BrainMAENetwork(n_flat // self._n_times, self._n_times, n_out, sizes)
        for name, n in n_voxels.items():
            network.add_subject(name, n)
        return network

    def _stages(self) -> Mapping[str, Any]:
        return {"windows": lambda: (self.network_, hidden_window_loss(self.mask_share), {})}
