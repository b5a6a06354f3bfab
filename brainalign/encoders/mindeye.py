"""`MindEye` and `MindEye2`: brain responses to latent tokens by contrast, regression and a diffusion prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import torch

from brainalign.encoders.mindeye_network import MindEyeLoss, MindEyeNetwork, Sizes, TokenBranch, decode_mean
from brainalign.encoders.network import NetworkEncoder
from brainalign.encoders.subjects import pair_samples, several, split_subjects
from brainalign.errors import DataError, unknown
from brainalign.voxelwise.ridge import Ridge
from brainalign.voxelwise.samples import is_trials

__all__ = ["MindEye", "MindEye2"]

_LARGE = {"schedule": "one_cycle", "learning_rate": 3e-4, "weight_decay": 0.01, "warmup": 0.02, "device": "auto"}


class MindEye(NetworkEncoder):
    """Residual perceptron from voxels to latents, with a branch for retrieval and one for reconstruction.

    Scotti et al. 2023, "Reconstructing the mind's eye: fMRI-to-image with contrastive learning and diffusion priors".
    Responses of each subject go through a linear map of their own, LayerNorm, GELU and dropout, then residual blocks.
    Tokens (or one vector) are regressed; a projector of them is contrasted with the latents, BiMixCo first, SoftCLIP
    after; a diffusion prior of the first latent space turns the regression, which is blurred by uncertainty, into a
    draw of latents as they are of real pictures. Latents of shape (channels, height, width), such as those of an image
    autoencoder, have a low-level branch of convolutions; any further ones, such as those of captions, a token branch.

    Latents are centred and divided by one SD for all dimensions, learnt from the training samples. Several subjects
    may be fitted at once and further ones added by `transfer`.

    Parameters
    ----------
    hidden : int
    n_blocks : int
    prior_depth : int
        Blocks of the prior; 0 leaves it out.
    output : {"mean", "sample"}
        What `predict` returns for the first latent space: the regression, best for scores, or a draw of the prior,
        which has the spread that generators expect.
    n_steps, guidance
        Of the draw, see `brainalign.learning.prior.DiffusionPrior.sample`.
    dropout : float
        After the map of the subject; later ones have at most 0.15.
    temperature, mixed_share : float
        Of the contrast, see `brainalign.encoders.mindeye_network.MindEyeLoss`.
    loss_weights : mapping, optional
        Of "contrast", "regression", "prior", "low_level" and "features", over 0.1, 1, 1, 1, 0.1.
    low_level_features : str, optional
        Name of a target of features of a network that keeps the layout, such as a layer of ``timm:convnext_...``: maps
        inside the low-level branch are contrasted with it, softly.
    projector, head_width, map_channels : int
        Width of the projector, of a head of the prior's attention, and of the maps of the low-level branch.
    validation : float
        Share of the training stimuli on which the best epoch is chosen; never of the test.
    repetitions : {"input", "output"}
        What is averaged over the repetitions of a stimulus in `predict`.
    training : mapping, optional
        `brainalign.learning.TrainOptions` by name, over this model's defaults.
    seed : int

    Attributes
    ----------
    network_ : MindEyeNetwork
    subjects_, provenances_, history_, best_epoch_
        See `NetworkEncoder`.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> latents = rng.standard_normal((200, 4)).astype("float32")
    >>> responses = latents @ rng.standard_normal((4, 30)) + 0.3 * rng.standard_normal((200, 30))
    >>> encoder = MindEye(64, 1, dropout=0.1, training={"n_epochs": 15}).fit(responses[:150], latents[:150])
    >>> encoder.predict(responses[150:]).shape, encoder.score(responses[150:], latents[150:]) > 0.8
    ((50, 4), True)
    """

    DEFAULTS: ClassVar[dict[str, Any]] = {
        **{"n_epochs": 40, "batch_size": 32, "learning_rate": 5e-3, "schedule": "one_cycle"},
        **{"weight_decay": 0.05, "warmup": 0.1},
    }
    _mixer: ClassVar[bool] = False
    _takes_views: ClassVar[bool] = True

    def __init__(
        self,
        hidden: int = 256,
        n_blocks: int = 2,
        *,
        prior_depth: int = 1,
        output: str = "mean",
        n_steps: int = 20,
        guidance: float = 1.0,
        dropout: float = 0.5,
        temperature: float = 0.05,
        mixed_share: float = 1 / 3,
        loss_weights: Mapping[str, float] | None = None,
        low_level_features: str | None = None,
        projector: int = 128,
        head_width: int = 64,
        map_channels: int = 32,
        validation: float = 0.1,
        repetitions: str = "input",
        training: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.hidden = hidden
        self.n_blocks = n_blocks
        self.prior_depth = prior_depth
        self.output = output
        self.n_steps = n_steps
        self.guidance = guidance
        self.dropout = dropout
        self.temperature = temperature
        self.mixed_share = mixed_share
        self.loss_weights = loss_weights
        self.low_level_features = low_level_features
        self.projector = projector
        self.head_width = head_width
        self.map_channels = map_channels
        self.validation = validation
        self.repetitions = repetitions
        self.training = training
        self.seed = seed

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The sizes and schedule of the paper, for a large GPU."""
        given: dict[str, Any] = {
            **{"hidden": 4096, "n_blocks": 4, "projector": 2048, "prior_depth": 6, "head_width": 64},
            **{"map_channels": 64, "temperature": 0.006, "output": "sample", "n_steps": 100},
            "loss_weights": {"contrast": 1.0, "regression": 0.0, "prior": 30.0, "low_level": 1.0},
            "training": {**_LARGE, "n_epochs": 240, "batch_size": 32},
        }
        return cls(**(given | changes))

    def project(self, X: Any, subject: str | None = None) -> Any:
        """Where the retrieval branch puts responses, to be compared with latents; token branches alone.

        Parameters
        ----------
        X, subject : as in `predict`

        Returns
        -------
        Latents or array, or a dict of either
            Compare them by correlation or cosine: their length is arbitrary.
        """

        def decode(x: torch.Tensor, number: torch.Tensor) -> dict[str, torch.Tensor]:
            hidden = self.network_(x, number)
            named = zip(self.network_.names, self.network_.branches, strict=True)
            return {name: branch.project(branch(hidden)) for name, branch in named if isinstance(branch, TokenBranch)}

        return self._applied(X, subject, decode)

    def align(self, X: Any, y: Any, *, reference: Mapping[str, Any], alphas: Any = "auto") -> Self:
        """An encoder that also knows further subjects, whose maps are found in closed form: no training.

        The Trials of known subjects say where in the shared space pictures lie: ridge from latents to what their maps
        make of their responses. That is what the new map is fitted to, by ridge from the new responses, so that the new
        subject may have seen other pictures than the reference. Penalties are chosen for each dimension by
        leave-one-out.

        Parameters
        ----------
        X : Trials, or mapping of subject to Trials
        y : Latents, or a dict of them
            Of the pictures of both sides.
        reference : mapping of subject to Trials
            Of subjects fitted on.
        alphas : array or "auto"

        Raises
        ------
        DataError
            When a subject is known already, or a subject of the reference is not.
        """
        if not several(X) and not is_trials(X):
            raise DataError("align needs Trials, which name their subject", found=type(X).__name__)
        # Leave-one-out is over pictures: the repetitions of one would tell each other.
        made, samples, *_ = self._with_subjects(_means(X), y)
        known = pair_samples(_means(dict(reference)), y)
        parts = []
        for name, one in known.items():
            x = torch.from_numpy(self._features(one.responses, self._known(name)).astype(np.float32))
            with torch.no_grad():
                parts.append(self.network_.adapters(x, torch.full((len(x),), self._numbers[name])).numpy())
        places = Ridge(alphas=alphas, cv="loo").fit(self._joined(known.values()), np.concatenate(parts))
        for name, one in samples.items():
            scaled = made._features(one.responses, name).astype(np.float32)
            fitted = Ridge(alphas=alphas, cv="loo").fit(scaled, places.predict(self._joined([one])))
            weight, bias = (
                torch.from_numpy(np.asarray(part, np.float32)) for part in (fitted.coef_, fitted.intercept_)
            )
            made.network_.adapters.set_map(name, weight, bias)
        made.network_.eval()
        return made

    def _joined(self, samples: Any) -> np.ndarray:
        """Scaled latents of all spaces side by side, sample by sample."""
        rows = []
        for one in samples:
            every = np.arange(len(one.responses))
            parts = [(one.targets[name][every] - mean) / spread for name, (mean, spread) in self.target_scales_.items()]
            rows.append(np.concatenate(parts, axis=1))
        return np.concatenate(rows).astype(np.float32)

    def _decode(self, x: torch.Tensor, subject: torch.Tensor) -> dict[str, torch.Tensor]:
        made = decode_mean(self.network_, x, subject)
        if self.output == "sample":
            for name, branch in zip(self.network_.names, self.network_.branches, strict=True):
                if isinstance(branch, TokenBranch) and branch.prior is not None:
                    condition = made[name].unflatten(1, (branch.n_tokens, branch.width))
                    drawn = branch.prior.sample(condition, self.n_steps, self.guidance, self.seed)
                    made[name] = drawn.flatten(1)
        return made

    def _build(self, n_voxels: Mapping[str, int]) -> MindEyeNetwork:
        sizes = {
            name: getattr(self, name) for name in ("hidden", "n_blocks", "projector", "head_width", "map_channels")
        }
        if min(sizes.values()) < 1 or self.prior_depth < 0 or not 0 <= self.dropout < 1:
            raise DataError(
                "these sizes make no network",
                expected="sizes of at least 1, prior_depth >= 0, 0 <= dropout < 1",
                found={**sizes, "prior_depth": self.prior_depth, "dropout": self.dropout},
            )
        if self.output not in ("mean", "sample"):
            raise unknown("output", self.output, ("mean", "sample"), fix="output='mean'")
        if self.output == "sample" and not self.prior_depth:
            raise DataError("without a prior nothing can be drawn", fix="prior_depth=1, or output='mean'")
        made = Sizes(**sizes, mixer=self._mixer, dropout=self.dropout, prior_depth=self.prior_depth)
        return MindEyeNetwork(n_voxels, self.target_shapes_, made, self._contrast_shape())

    def _contrast_shape(self) -> tuple[int, ...] | None:
        """Shape of the features that the low-level branch is contrasted with."""
        name = self.low_level_features
        if name is None:
            return None
        if name not in self.target_shapes_:
            raise unknown("target for low_level_features", name, self.target_shapes_)
        if not any(len(shape) == 3 for other, shape in self.target_shapes_.items() if other != name):
            raise DataError(
                "there is no low-level branch to contrast with features",
                expected="a target of shape (channels, height, width)",
                found=self.target_shapes_,
            )
        return self.target_shapes_[name]

    def _loss(self) -> MindEyeLoss:
        weights = {"contrast": 0.1, "regression": 1.0, "prior": 1.0, "low_level": 1.0, "features": 0.1}
        for name in self.loss_weights or {}:
            if name not in weights:
                raise unknown("loss", name, weights)
        if not (0 <= self.mixed_share <= 1 and self.temperature > 0):
            raise DataError("an option is out of range", expected="0 <= mixed_share <= 1, temperature > 0")
        weights |= dict(self.loss_weights or {})
        return MindEyeLoss(weights, self.mixed_share, self.temperature, self.low_level_features)


def _means(X: Any) -> dict[str, Any]:
    """Means over repetitions, by subject."""
    return {name: trials.average("stimulus_id") for name, trials in split_subjects(X).items()}


class MindEye2(MindEye):
    """MindEye for many subjects: linear maps into a shared space, mixer blocks, and transfer to a new subject.

    Scotti et al. 2024, "MindEye2: shared-subject models enable fMRI-to-image with 1 hour of data". Fit it on several
    subjects, then `transfer` it to another one from few trials: with the shared part frozen only the linear map of the
    new subject is learnt. All parameters are those of `MindEye`; there is no nonlinearity between the map of a subject
    and the shared space.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from brainalign.latents import Latents
    >>> from brainalign.trials import Trials
    >>> rng = np.random.default_rng(0)
    >>> latents = Latents(rng.standard_normal((150, 4)), range(150), space="toy")
    >>> def person(n_voxels, n_trials):
    ...     clean = latents.values[:n_trials] @ rng.standard_normal((4, n_voxels))
    ...     table = pd.DataFrame({"stimulus_id": range(n_trials)})
    ...     return Trials(clean + 0.5 * rng.standard_normal(clean.shape), table)
    >>> model = MindEye2(32, 1, training={"n_epochs": 3}).fit({"1": person(30, 150), "2": person(20, 150)}, latents)
    >>> model.transfer(person(25, 40).with_trials(subject="3"), latents).subjects_
    ('1', '2', '3')
    """

    _mixer: ClassVar[bool] = True

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """The sizes and schedule of the paper, for a large GPU; latents are (256, 1664) and (4, 28, 28)."""
        given: dict[str, Any] = {
            **{"hidden": 4096, "n_blocks": 4, "projector": 2048, "prior_depth": 6, "head_width": 52},
            **{"map_channels": 64, "temperature": 0.006, "output": "sample", "n_steps": 20},
            **{"mixed_share": 0.33, "repetitions": "output"},
            "loss_weights": {"contrast": 1.0, "regression": 0.0, "prior": 30.0, "low_level": 0.5},
            "training": {**_LARGE, "n_epochs": 150, "batch_size": 42},
        }
        return cls(**(given | changes))
