"""`Refined`: an encoder whose every fit ends with the stage that learns from a diffusion model."""

from __future__ import annotations

from typing import Any, Self

from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError

__all__ = ["Refined"]


class Refined(BaseEstimator):
    """`fit` fits a copy of an encoder and refines it on the same trials; all else is that of the result.

    So both stages can stand wherever one is fitted: in folds, or anew on a shuffled brain.

    Parameters
    ----------
    encoder : encoder
        With a method `refine`, such as `BrainIT`.
    generator : DiffusionModel
        Shared by all clones, which leave it as it is.
    images : Latents
        Of its autoencoder, by stimulus id.

    Attributes
    ----------
    encoder_ : encoder
    """

    def __init__(self, encoder: Any, generator: Any, images: Any) -> None:
        if not hasattr(encoder, "refine"):
            raise DataError(f"{type(encoder).__name__} has no second stage", expected="BrainIT", fix="leave refine out")
        self.encoder, self.generator, self.images = encoder, generator, images

    def __sklearn_clone__(self) -> Refined:
        return Refined(clone(self.encoder), self.generator, self.images)

    def fit(self, X: Any, y: Any) -> Self:
        """Both stages, from these Trials and Latents."""
        first = clone(self.encoder).fit(X, y)
        self.encoder_ = first.refine(X, y, generator=self.generator, images=self.images)
        return self

    def predict(self, X: Any) -> Any:
        """Latents of the stimuli behind responses."""
        check_is_fitted(self, "encoder_")
        return self.encoder_.predict(X)
