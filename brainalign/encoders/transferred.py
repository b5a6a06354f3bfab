"""`Transferred`: an encoder fitted on other subjects, which learns a new one whenever it is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from brainalign.errors import DataError

__all__ = ["Transferred"]


class Transferred(BaseEstimator):
    """`fit` takes a subject into an encoder of others by `transfer`; all else is that of the result.

    So a pretrained encoder can stand wherever one is fitted: in folds, or anew on a shuffled brain. A clone shares what
    was pretrained and has learnt no new subject yet.

    Parameters
    ----------
    pretrained : encoder
        Fitted, with a method `transfer`.
    options : mapping
        Of that method.

    Attributes
    ----------
    encoder_ : encoder
        With the subject of the last `fit`.
    """

    def __init__(self, pretrained: Any, options: Mapping[str, Any] | None = None) -> None:
        if not hasattr(pretrained, "transfer"):
            raise DataError(
                f"{type(pretrained).__name__} takes in no new subject", expected="MindEye, MindEye2 or BrainIT"
            )
        self.pretrained, self.options = pretrained, options

    def __sklearn_clone__(self) -> Transferred:
        return Transferred(self.pretrained, self.options)

    def fit(self, X: Any, y: Any) -> Self:
        """Take in the subject of these Trials from the latents of what it saw.

        Raises
        ------
        DataError
            When the subject is known already, or latents are of another space than those pretrained on.
        """
        self.encoder_ = self.pretrained.transfer(X, y, **(self.options or {}))
        return self

    def predict(self, X: Any) -> Any:
        """Latents of the stimuli behind the responses of the new subject."""
        check_is_fitted(self, "encoder_")
        return self.encoder_.predict(X)
