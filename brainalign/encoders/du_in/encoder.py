"""`DuIN`: words from stereo-EEG. Channels are fused, cut into tokens, given codes, modelled with gaps, and named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.encoders.du_in.network import DuINNetwork, Sizes, autoencoder_loss, masked_loss
from brainalign.encoders.pretrained import PretrainedEncoder
from brainalign.errors import DataError

__all__ = ["DuIN"]


class DuIN(PretrainedEncoder):
    """Words (or latents) from the channels of one or several people, by codes learnt from their signals alone.

    Zheng et al. 2024, "Du-IN: discrete units-guided mask modeling for decoding speech from intracranial neural
    signals". A linear map of each subject fuses its channels, those of a region that matters, into as many for all;
    convolutions make a token of each segment of time, which a transformer reads. Three stages: an autoencoder whose
    tokens pass through discrete codes ("codes"), prediction of the codes of hidden tokens, with a mask and its
    complement ("mask"), and the words.

    Parameters
    ----------
    n_fused : int
        Fused channels.
    segment, stride : int
        Samples of a token, and of a step inside it.
    n_filters, n_kept : int
        Of the convolutions: inside, and kept of each step. A token has ``n_kept * segment / stride`` channels.
    depth, decoder_depth, n_heads, head_width, expansion : int
        Of the transformers.
    n_codes, code_width : int
    decay, commitment, mask_share : float
        Of the moving averages that codes follow; weight of the distance of tokens to their codes; share of tokens
        hidden by a mask. Few trials need quick codes that bind loosely, else all tokens end at one.
    hidden, dropout
        Of the head of words; of all.
    pretraining : {"mask", "codes", "none"}
        How far it goes: "mask" has all stages, "none" trains for the words alone.
    validation : float
        Share of the training trials of each word on which the best epoch is chosen.
    repetitions : {"input", "output"}
        What is averaged over the repetitions of a stimulus in `predict`.
    training : mapping, optional
        `brainalign.learning.TrainOptions` for the words.
    stage_training : mapping, optional
        The same for each stage, ``{"codes": {"n_epochs": 100}}``.
    seed : int

    Attributes
    ----------
    classes_, stages_
        See `PretrainedEncoder`.
    network_ : DuINNetwork

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> words = np.tile(["ma", "mo"], 40)
    >>> X = rng.standard_normal((80, 5, 40))
    >>> X[words == "mo", 2, 10:20] += 2
    >>> sizes = {"segment": 10, "stride": 5, "n_filters": 8, "n_kept": 4, "depth": 1, "n_heads": 2, "head_width": 4}
    >>> model = DuIN(4, **sizes, pretraining="none", dropout=0.1).fit(X[:60], words[:60])
    >>> model.score(X[60:], words[60:]) > 0.8
    True
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 40, "batch_size": 32, "learning_rate": 5e-3, "schedule": "one_cycle"},
        **{"weight_decay": 0.05, "warmup": 0.1, "drop_last": True},
    }

    def __init__(
        self,
        n_fused: int = 16,
        segment: int = 100,
        stride: int = 10,
        *,
        n_filters: int = 32,
        n_kept: int = 8,
        depth: int = 2,
        decoder_depth: int = 1,
        n_heads: int = 4,
        head_width: int = 16,
        expansion: int = 2,
        n_codes: int = 128,
        code_width: int = 16,
        decay: float = 0.9,
        commitment: float = 0.1,
        mask_share: float = 0.5,
        hidden: int = 64,
        dropout: float = 0.2,
        pretraining: str = "mask",
        validation: float = 0.1,
        repetitions: str = "output",
        training: Mapping[str, Any] | None = None,
        stage_training: Mapping[str, Mapping[str, Any]] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_fused = n_fused
        self.segment = segment
        self.stride = stride
        self.n_filters = n_filters
        self.n_kept = n_kept
        self.depth = depth
        self.decoder_depth = decoder_depth
        self.n_heads = n_heads
        self.head_width = head_width
        self.expansion = expansion
        self.n_codes = n_codes
        self.code_width = code_width
        self.decay = decay
        self.commitment = commitment
        self.mask_share = mask_share
        self.hidden = hidden
        self.dropout = dropout
        self.pretraining = pretraining
        self.validation = validation
        self.repetitions = repetitions
        self.training = training
        self.stage_training = stage_training
        self.seed = seed

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The sizes and schedules of the paper's code, for a GPU; trials of 1000 Hz."""
        like = {"schedule": "cosine", "weight_decay": 0.05, "warmup": 0.1, "device": "auto"}
        given: dict[str, Any] = {
            **{"n_fused": 16, "segment": 100, "stride": 10, "n_filters": 128, "n_kept": 16, "depth": 8},
            **{"decoder_depth": 4, "n_heads": 8, "head_width": 64, "expansion": 2, "n_codes": 2048, "code_width": 64},
            **{"hidden": 128, "dropout": 0.2, "decay": 0.99, "commitment": 1.0},
            "training": {**like, "n_epochs": 200, "batch_size": 32, "learning_rate": 2e-4},
            "stage_training": {
                "codes": {**like, "n_epochs": 800, "batch_size": 32, "learning_rate": 3e-4},
                "mask": {**like, "n_epochs": 400, "batch_size": 64, "learning_rate": 3e-4},
            },
        }
        return cls(**(given | changes))

    def channel_contributions(self, trials: Any, subject: str | None = None) -> pd.DataFrame:
        """How much each channel of a subject gives to the fused ones.

        The norm of a channel's weights in the subject's map; channels were scaled to the same SD, so that weights
        compare. `brainalign.analysis.ablate` tells what decoding loses without a region.

        Parameters
        ----------
        trials : Trials
            For the names and regions of the channels.
        subject : str, optional
            That of the trials by default.

        Returns
        -------
        DataFrame
            The units table with ``contribution``, shares that add up to 1, the largest first.
        """
        check_is_fitted(self, "network_")
        name = self._known(str(trials.trials["subject"].iloc[0]) if subject is None else subject)
        weight = self.network_.own(name).weight.detach()
        if trials.n_units != weight.shape[1]:
            raise DataError("these are not the channels fitted on", expected=weight.shape[1], found=trials.n_units)
        share = (weight.norm(dim=0) / weight.norm(dim=0).sum()).numpy()
        return trials.units.assign(contribution=share).sort_values("contribution", ascending=False)

    def region_contributions(self, trials: Any, subject: str | None = None, *, column: str = "region") -> pd.DataFrame:
        """Contribution of each region: ``total`` and ``mean`` over its ``n_channels``, the largest mean first.

        Raises
        ------
        DataError
            When the units have no regions.
        """
        table = self.channel_contributions(trials, subject)
        if column not in table:
            raise DataError(
                f"units have no column '{column}'", expected=list(table.columns), fix="regions= of the loader"
            )
        made = table.groupby(column)["contribution"].agg(total="sum", mean="mean", n_channels="size")
        return made.sort_values("mean", ascending=False)

    def select_channels(self, trials: Any, n_channels: int = 10, *, column: str | None = "region") -> np.ndarray:
        """Names of the channels that contribute most, region by region from the best, for a second fit.

        Parameters
        ----------
        trials : Trials
        n_channels : int
        column : str or None
            Regions are filled up in the order of their mean contribution; None ranks channels alone.

        Returns
        -------
        array of str (n_channels,)
            ``trials.select(units=trials.units["name"].isin(names).to_numpy())`` keeps them.
        """
        if not 1 <= n_channels <= trials.n_units:
            raise DataError("so many channels cannot be selected", expected=f"1 to {trials.n_units}", found=n_channels)
        table = self.channel_contributions(trials)
        if column is not None:
            order = {name: rank for rank, name in enumerate(self.region_contributions(trials, column=column).index)}
            table = table.assign(rank=table[column].map(order)).sort_values(
                ["rank", "contribution"], ascending=[True, False], kind="stable"
            )
        return table["name"].to_numpy()[:n_channels]

    def codes(self, X: Any, subject: str | None = None) -> np.ndarray:
        """Discrete code of each segment of each trial, (n_trials, n_segments), int.

        Raises
        ------
        DataError
            When no codes were learnt, or not of this subject.
        """
        check_is_fitted(self, "network_")
        autoencoder = self.network_.autoencoder
        if autoencoder is None:
            raise DataError("no codes were learnt", fix="pretraining='mask'")

        def decode(x: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"codes": autoencoder.eval().codes(x, number)}

        name = self._known(str(X.trials["subject"].iloc[0]) if hasattr(X, "trials") else subject)
        if name not in self.pretrained_:
            raise DataError(f"codes were not learnt from subject '{name}'", expected=self.pretrained_, found=name)
        x = self._features(X.responses if hasattr(X, "trials") else X, name)
        return self._run(x, name, decode)["codes"].astype(np.int64)

    def _build(self, n_voxels: Mapping[str, int]) -> DuINNetwork:
        sizes = Sizes(**{field.name: getattr(self, field.name) for field in fields(Sizes)})
        numbers = {
            field.name: getattr(sizes, field.name) for field in fields(Sizes) if field.name not in ("dropout", "decay")
        }
        wrong = (
            min(numbers.values()) < 1
            or not 0 <= self.dropout < 1
            or not 0 <= self.decay < 1
            or not self.commitment >= 0
        )
        if wrong or not 0 < self.mask_share < 1:
            raise DataError(
                "these sizes make no network",
                expected="sizes of at least 1, 0 <= dropout < 1, 0 <= decay < 1, commitment >= 0, 0 < mask_share < 1",
                found={**numbers, "dropout": self.dropout, "mask_share": self.mask_share},
            )
        n_out = {name: math.prod(shape) for name, shape in self.target_shapes_.items()}
        return DuINNetwork(n_voxels, self._n_times, n_out, sizes, codes=self.pretraining != "none")

    def _stages(self) -> Mapping[str, Any]:
        def codes() -> tuple[Any, Any, dict[str, Any]]:
            return self.network_.autoencoder, autoencoder_loss(self.commitment), {}

        def mask() -> tuple[Any, Any, dict[str, Any]]:
            self.network_.begin_from_autoencoder()
            return self.network_, masked_loss(self.mask_share), {}

        return {"codes": codes, "mask": mask}

    def _pretrain(self, samples: Any, kept: Any, folder: Any) -> None:
        super()._pretrain(samples, kept, folder)
        if self.pretraining == "codes":
            self.network_.begin_from_autoencoder()
