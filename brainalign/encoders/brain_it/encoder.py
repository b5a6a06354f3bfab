"""`BrainIT`: latents from the brains of several subjects, through functional clusters that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from brainalign.arrays import as_matrix
from brainalign.encoders.base import Encoder
from brainalign.encoders.brain_it import storage
from brainalign.encoders.brain_it.decoding import decode, subject_of
from brainalign.encoders.brain_it.diffusion import DiffusionModel, ThroughDiffusion, image_rows, known_samples, roles_of
from brainalign.encoders.brain_it.fitting import TokenLoss, features_of, training_data
from brainalign.encoders.brain_it.network import BrainITNetwork, Shape
from brainalign.encoders.brain_it.settings import DIFFUSION, PUBLISHED, TRAINING, TRANSFER
from brainalign.encoders.brain_it.targets import targets_of
from brainalign.encoders.brain_it.unseen import knowing, unseen_pairs
from brainalign.encoders.subjects import Samples, check_same_latents, pair_samples, several
from brainalign.errors import DataError, unknown
from brainalign.learning import TrainOptions, seeded, train
from brainalign.learning.stacked import Stacked
from brainalign.splits import check_disjoint
from brainalign.voxelwise.functional_clusters import FunctionalClusters
from brainalign.voxelwise.samples import as_features, is_trials
from brainalign.voxelwise.universal import UniversalEncoder

__all__ = ["BrainIT"]


class BrainIT(Encoder):
    """Brain-interaction transformer: one decoder for all subjects, in which a voxel is a vector.

    From the equations of Brain-IT alone. (1) A `UniversalEncoder` from picture features to responses gives every voxel
    of every subject an embedding. (2) A Gaussian mixture over these makes functional clusters that all subjects share.
    (3) For each latent space, voxels are pooled into a token per cluster by a softmax inside the cluster
    (`brainalign.learning.segments.ClusterPool`); cluster tokens attend to each other, and a learned query for each
    latent token attends to them. Another subject joins by `transfer`, which fits only the embeddings of its voxels.

    Latents may have any shape: a vector is one token, (n_tokens, d) are tokens, (c, h, w) are h × w tokens. Several
    latent spaces have a branch each, trained together; predicted tokens of feature maps (the model ids ``maps:``)
    give the layout, which `brainalign.reconstruction.Fusion` joins with the meaning.

    Parameters
    ----------
    n_clusters : int
    width : int
        Channels inside, a multiple of `n_heads`.
    n_self, n_cross : int
        Blocks among cluster tokens, and from queries to them.
    n_heads : int
    dropout : float
    embedding : int
        Dimensions of a voxel's embedding in the universal encoder.
    covariance : {"full", "diag", ...}
        Of the mixture; "full" asks for many more voxels per cluster than `embedding`.
    contrast : float
        Weight of InfoNCE beside the MSE; each token against the same token of other pictures.
    n_tokens : int or sequence of int
        Tokens of each scale that enter a training step.
    n_voxels : int
        Voxels of each subject that do.
    whole : bool
        Take the latents of a picture as one token, whatever their shape.
    voxel_training, training, transfer_training, diffusion_training : mapping, optional
        `brainalign.learning.TrainOptions` by name: of the universal encoder, of the transformer, and changes to both
        for `transfer`, to those of the transformer for `refine`.
    anchor : float
        Weight of the loss between tokens beside that of the diffusion model in `refine`.
    seed : int

    Attributes
    ----------
    subjects_ : tuple of str
    voxels_ : UniversalEncoder
    clusters_ : FunctionalClusters
    network_ : BrainITNetwork
    provenances_ : dict of str to Provenance
        Of each subject.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((200, 4)).astype("float32")
    >>> responses = latents @ rng.standard_normal((4, 30)) + 0.3 * rng.standard_normal((200, 30))
    >>> encoder = BrainIT(6, 32, n_cross=1, embedding=8).fit(responses[:150], latents[:150])
    >>> encoder.predict(responses[150:]).shape, encoder.score(responses[150:], latents[150:]) > 0.8
    ((50, 4), True)
    """

    def __init__(
        self,
        n_clusters: int = 16,
        width: int = 64,
        *,
        n_self: int = 1,
        n_cross: int = 2,
        n_heads: int = 4,
        dropout: float = 0.1,
        embedding: int = 32,
        covariance: str = "diag",
        contrast: float = 0.1,
        n_tokens: Any = 256,
        n_voxels: float = 0.5,
        whole: bool = False,
        voxel_training: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        transfer_training: Mapping[str, Any] | None = None,
        diffusion_training: Mapping[str, Any] | None = None,
        anchor: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.width = width
        self.n_self = n_self
        self.n_cross = n_cross
        self.n_heads = n_heads
        self.dropout = dropout
        self.embedding = embedding
        self.covariance = covariance
        self.contrast = contrast
        self.n_tokens = n_tokens
        self.n_voxels = n_voxels
        self.whole = whole
        self.voxel_training = voxel_training
        self.training = training
        self.transfer_training = transfer_training
        self.diffusion_training = diffusion_training
        self.anchor = anchor
        self.seed = seed

    @classmethod
    def published(cls, **changes: Any) -> BrainIT:
        """The configuration of the paper, for a large GPU: 128 clusters, width 512, 5 + 6 blocks of 8 heads."""
        return cls(**(PUBLISHED | changes))

    # -- fitting ------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        groups: Any = None,
        *,
        features: Any = None,
        unseen: Any = None,
        folder: str | PathLike[str] | None = None,
    ) -> Self:
        """Learn embeddings, clusters and the transformer, from one subject or several.

        Parameters
        ----------
        X : Trials, mapping of subject to Trials, or array (n_samples, n_voxels)
            Trials of several subjects in one are taken apart.
        y : Latents, array (n_samples, ...), or a dict of either
            Latent spaces to decode into; see `brainalign.encoders.Encoder.fit`.
        groups : array (n_samples,), optional
            Of an array: samples of one group show the same picture, and are not contrasted with each other.
        features : Latents or array, optional
            What the universal encoder predicts responses from, such as patch tokens of several layers; the first
            latent space by default, of several scales the coarsest.
        unseen : Latents, or a dict of them, optional
            Of further pictures, which nobody saw: the transformer learns from them too, by the responses that the
            universal encoder predicts (`features`, where given, hold them as well). Nothing can be scored on them.
        folder : path-like, optional
            For the checkpoints of the transformer; a killed fit resumes from there.

        Raises
        ------
        DataError
            When something is not finite, does not pair, or is too little.
        """
        options, shape = self._check()
        by_id = is_trials(X) or several(X)
        if not by_id:
            X = as_features(self, X, reset=True)
        subjects = pair_samples(X, y, groups, flat=False)
        if by_id:
            as_features(self, next(iter(subjects.values())).responses, reset=True)
        if (n := sum(len(one.responses) for one in subjects.values())) < 2:
            raise DataError("too few samples to learn from", expected="at least 2", found=f"n_samples = {n}")
        self._single = not isinstance(y, Mapping)
        self.provenances_ = {name: one.provenance for name, one in subjects.items()}
        self.provenance_ = next(iter(self.provenances_.values()))
        first = next(iter(subjects.values())).targets
        self.target_shapes_ = {name: tuple(values.shape[1:]) for name, values in first.items()}
        self.targets_ = targets_of(first, y, whole=self.whole, n_tokens=self.n_tokens)
        self.voxels_ = self._voxel_model().fit(*features_of(subjects, y, features, whole=self.whole))
        self.clusters_ = self._mixture().fit(np.concatenate(list(self.voxels_.embeddings_.values())))
        ends = np.cumsum([one.responses.shape[1] for one in subjects.values()])[:-1]
        labels = [torch.from_numpy(part) for part in np.split(self.clusters_.labels_, ends)]
        sizes = {name: target.size for name, target in self.targets_.items()}
        with seeded(self.seed):
            self.network_ = BrainITNetwork(shape, sizes)
            embeddings = [torch.from_numpy(one.copy()) for one in self.voxels_.embeddings_.values()]
            self.network_.scale_start(torch.cat(embeddings).square().mean().sqrt())
            for one, known in zip(labels, embeddings, strict=True):
                self.network_.add_subject(one, known)
        for name, target in self.targets_.items():
            mean, spread = target.learn_scale(Stacked([one.targets[name] for one in subjects.values()]), name=name)
            self.network_.branch(name).mean.copy_(torch.from_numpy(mean))
            self.network_.branch(name).spread.copy_(torch.from_numpy(spread))
        pairs = list(subjects.items())
        if unseen is not None:
            more = unseen_pairs(subjects, self.voxels_, unseen, features, whole=self.whole)
            pairs += more.items()
            self.provenances_ = {name: knowing(one, more[name]) for name, one in self.provenances_.items()}
            self.provenance_ = next(iter(self.provenances_.values()))
        self.history_ = self._train(pairs, options, folder)
        return self

    def transfer(self, X: Any, y: Any, *, features: Any = None) -> BrainIT:
        """An encoder that also knows further subjects: only the embeddings of their voxels are fitted.

        Universal embeddings first; each voxel then joins the cluster of the most alike voxel known, begins with the
        transformer's embedding of that voxel, and is trained with all else frozen. This encoder stays as it is.

        Parameters
        ----------
        X : Trials, or mapping of subject to Trials
        y, features : as in `fit`

        Raises
        ------
        DataError
            When a subject is known already, or latents or features are of another space than those fitted on.
        """
        check_is_fitted(self, "network_")
        if not several(X) and not is_trials(X):
            raise DataError("transfer needs Trials, which name their subject", found=type(X).__name__)
        subjects = pair_samples(X, y, flat=False)
        if known := [name for name in subjects if name in self.provenances_]:
            raise DataError(
                f"subject '{known[0]}' was fitted on already",
                expected=f"a subject other than {list(self.provenances_)}",
                found=known[0],
                fix="give the new subject its own name: trials.with_trials(subject='8')",
            )
        check_same_latents(self.provenance_, self.target_shapes_, y)
        made = deepcopy(self)
        given = features_of(subjects, y, features, whole=self.whole)
        made.voxels_ = self.voxels_.with_subject(*given, training=self.transfer_training)
        made.network_.requires_grad_(False)
        fitted = np.concatenate([self.voxels_.embeddings_[name] for name in self.subjects_[: self._n_fitted]])
        for name, one in subjects.items():
            embeddings = made.voxels_.embeddings_[name]
            nearest = self.clusters_.nearest(embeddings)
            made.network_.add_subject(
                torch.from_numpy(self.clusters_.labels_[nearest]),
                made.network_.starting_from(nearest, torch.from_numpy(embeddings - fitted[nearest])),
            )
            made.provenances_[name] = one.provenance
        made.history_ = made._train(
            list(subjects.items()), self._options({**TRANSFER, **(self.transfer_training or {})})
        )
        made.network_.requires_grad_(True)
        return made

    def refine(
        self,
        X: Any,
        y: Any,
        *,
        generator: DiffusionModel,
        images: Any,
        folder: str | PathLike[str] | None = None,
    ) -> BrainIT:
        """Second stage: an encoder trained on through the loss of a frozen diffusion model. This one stays as it is.

        Pictures are noised, and the model is told predicted latents instead of true ones; the error of its denoising
        reaches the transformer and the embeddings of voxels. The loss between tokens stays beside it, `anchor` times.

        Parameters
        ----------
        X : Trials, mapping of subject to Trials, or array (n_samples, n_voxels)
            Of subjects that are known, such as those fitted on. What is refined on counts as seen.
        y : as in `fit`
        generator : DiffusionModel
            Such as ``load_generator("mini")`` or ``"unclip:..."``; led by one of the latent spaces.
        images : Latents or array (n_samples, channels, height, width)
            Of its autoencoder, of the pictures seen.
        folder : path-like, optional
            For checkpoints, another one than that of `fit`.

        Raises
        ------
        DataError
            When subjects, latents, generator and images do not belong together.
        """
        check_is_fitted(self, "network_")
        options = self._options({**DIFFUSION, **(self.diffusion_training or {})})
        subjects = known_samples(self, X, y)
        roles = roles_of(generator, self.targets_, self.provenance_.spaces)
        more = {"images": image_rows(generator, X, images, subjects)}
        made = deepcopy(self)
        with generator.frozen():
            loss = ThroughDiffusion(generator, roles, self._token_loss(), self.anchor)
            made.history_ = made._train(list(subjects.items()), options, folder, loss=loss, more=more)
        made.provenances_ |= {name: knowing(self.provenances_[name], one) for name, one in subjects.items()}
        made.provenance_ = next(iter(made.provenances_.values()))
        return made

    @property
    def subjects_(self) -> tuple[str, ...]:
        """Subjects that can be predicted from."""
        check_is_fitted(self, "provenances_")
        return tuple(self.provenances_)

    @property
    def _n_fitted(self) -> int:
        """Subjects whose voxels made the clusters: those of `fit`, not those that joined by `transfer`."""
        ends = np.cumsum([len(self.network_.clusters(number)) for number in range(self.network_.n_subjects)])
        return int(np.searchsorted(ends, len(self.clusters_.labels_))) + 1

    def _check(self) -> tuple[TrainOptions, Shape]:
        sizes = {name: getattr(self, name) for name in ("n_clusters", "width", "n_heads", "n_cross")}
        if (
            min(sizes.values()) < 1
            or self.n_voxels <= 0
            or self.width % self.n_heads
            or self.n_self < 0
            or self.embedding < 1
        ):
            raise DataError(
                "these sizes make no transformer",
                expected="width a multiple of n_heads; n_cross and the others at least 1, n_self at least 0",
                found={**sizes, "n_self": self.n_self, "embedding": self.embedding},
            )
        shape = Shape(**{field.name: getattr(self, field.name) for field in fields(Shape)})
        return self._options(), shape

    def _voxel_model(self) -> UniversalEncoder:
        width = 4 * ((2 * self.embedding + 3) // 4)  # twice the embedding, and a multiple of 4
        return UniversalEncoder(self.embedding, width, training=self.voxel_training, seed=self.seed)

    def _mixture(self) -> FunctionalClusters:
        return FunctionalClusters(self.n_clusters, covariance=self.covariance, seed=self.seed)

    def _options(self, changes: Mapping[str, Any] | None = None) -> TrainOptions:
        given = {**(self.training or {}), **(changes or {})}
        # The contrast compares the samples of a batch, which must therefore stay whole.
        return TrainOptions.of(given, **TRAINING, split_on_oom=not self.contrast, seed=self.seed)

    def _token_loss(self) -> TokenLoss:
        return TokenLoss(self.targets_, contrast=self.contrast, n_tokens=self.n_tokens, n_voxels=self.n_voxels)

    def _train(
        self,
        pairs: Sequence[tuple[str, Samples]],
        options: TrainOptions,
        folder: Any = None,
        *,
        loss: Any = None,
        more: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        numbers = {name: number for number, name in enumerate(self.provenances_)}
        data = {**training_data(pairs, self.voxels_.scales_, numbers), **(more or {})}
        return train(self.network_, loss or self._token_loss(), data, options, folder=folder).history

    # -- prediction ---------------------------------------------------------------------------------------------

    def predict(self, X: Any, subject: str | None = None) -> Any:
        """Latents of the stimuli behind the responses of one subject.

        Parameters
        ----------
        X : Trials, or array (n_samples, n_voxels)
            The repetitions of a stimulus in Trials are averaged before the prediction.
        subject : str, optional
            Whose responses an array holds; the first subject by default. Trials say it themselves.

        Returns
        -------
        Latents or array, or a dict of either
            As in `brainalign.encoders.Encoder.predict`.

        Raises
        ------
        DataError
            When the subject is unknown, or the voxels are not those fitted on.
        """
        check_is_fitted(self, "network_")
        ids = None
        if is_trials(X):
            subject = subject_of(self, X)
            X = X.average("stimulus_id")
            ids, X = X.stimulus_ids, X.matrix()
        subject = self.subjects_[0] if subject is None else str(subject)
        if subject not in self.provenances_:
            raise unknown("subject", subject, self.subjects_, fix="transfer(trials, latents) lets a subject join")
        X = self.voxels_like_fitted(X, subject)
        device = self._options().device
        decoded = {name: decode(self, name, X, subject=subject, device=device) for name in self.targets_}
        made: dict[str, Any] = decoded
        if ids is not None:
            made = {name: self._as_latents(values, ids, name) for name, values in decoded.items()}
        return made["latents"] if self._single else made

    def score(self, X: Any, y: Any) -> float:
        """Mean Pearson correlation, see `brainalign.encoders.Encoder.score`; no subject may have seen the stimuli."""
        seen = {one for provenance in self.provenances_.values() for one in provenance.stimulus_ids}
        if is_trials(X):
            check_disjoint(seen, X.stimulus_ids)
        return super().score(X, y)

    def voxels_like_fitted(self, X: Any, subject: str) -> np.ndarray:
        """Responses as a matrix, of as many voxels as the subject has."""
        if subject == self.subjects_[0]:
            return as_features(self, X, reset=False)
        X = as_matrix(X)
        n_voxels = len(self.network_.clusters(self.subjects_.index(subject)))
        if X.shape[1] != n_voxels:
            raise DataError(
                f"X has {X.shape[1]} features, but subject '{subject}' has {n_voxels} voxels",
                expected=f"(n_samples, {n_voxels})",
                found=X.shape,
                fix="give the voxels fitted on, in the same order, or name the subject they are of",
            )
        return X

    # -- disk ---------------------------------------------------------------------------------------------------

    def _notes(self) -> dict[str, Any]:
        return storage.notes_of(self)

    def _take_notes(self, notes: Mapping[str, Any]) -> None:
        self.voxels_, self.clusters_ = self._voxel_model(), self._mixture()
        storage.take_notes(self, notes)

    def _state(self) -> dict[str, np.ndarray]:
        return storage.state_of(self)

    def _restore(self, state: Mapping[str, np.ndarray]) -> None:
        sizes = {name: target.size for name, target in self.targets_.items()}
        self.network_ = BrainITNetwork(self._check()[1], sizes)
        storage.restore(self, state)
