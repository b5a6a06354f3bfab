"""Measures of online BCI: normalised Matthews correlation and information transfer rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from brainalign.errors import DataError
from brainalign.scoring.classification import confusion_matrix

__all__ = ["information_transfer_rate", "normalised_mcc"]


def normalised_mcc(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Matthews correlation of any number of classes, moved to [0, 1]: (MCC + 1) / 2.

    Chance is 0.5 at any number of classes and any imbalance; a constant prediction scores 0.5.
    (Gorodkin 2004; as used by Carrara & Papadopoulo 2024, "Pseudo-online framework for BCI evaluation".)

    Examples
    --------
    >>> normalised_mcc([0, 0, 0, 1], [0, 0, 0, 1]), normalised_mcc([0, 0, 0, 1], [0, 0, 0, 0])
    (1.0, 0.5)
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise DataError("labels must be two equally long lists", found=f"{true.shape} and {predicted.shape}")
    table = confusion_matrix(true, predicted, classes=np.unique(np.concatenate([true, predicted])).tolist()).astype(
        float
    )
    n, correct, rows, columns = table.sum(), np.trace(table), table.sum(axis=1), table.sum(axis=0)
    spread = (n**2 - rows @ rows) * (n**2 - columns @ columns)
    mcc = 0.0 if spread == 0 else (correct * n - rows @ columns) / np.sqrt(spread)
    return float((mcc + 1) / 2)


def information_transfer_rate(accuracy: float, n_classes: int, seconds: float) -> float:
    """Bits per minute by Wolpaw's formula (Wolpaw et al. 2002, Clin. Neurophysiol. 113, 767-791).

    Per decision log2 K + P log2 P + (1 - P) log2((1 - P) / (K - 1)) bits; 0 at or below chance, where the formula
    would rise again, and for a single class.

    Parameters
    ----------
    accuracy : float
        P, in [0, 1].
    n_classes : int
        K, all classes that can be decided for, an idle class included.
    seconds : float
        Per decision.

    Examples
    --------
    >>> information_transfer_rate(1.0, 2, 60.0), information_transfer_rate(0.25, 4, 1.0)
    (1.0, 0.0)
    """
    if not 0 <= accuracy <= 1 or n_classes < 1 or n_classes != int(n_classes) or not 0 < seconds < np.inf:
        raise DataError(
            "a rate needs an accuracy, a number of classes and a duration",
            expected="0 <= accuracy <= 1, n_classes >= 1, seconds > 0",
            found=f"{accuracy}, {n_classes}, {seconds}",
        )
    if n_classes == 1 or accuracy <= 1 / n_classes:
        return 0.0
    bits = np.log2(n_classes) + accuracy * np.log2(accuracy)
    if accuracy < 1:
        bits += (1 - accuracy) * np.log2((1 - accuracy) / (n_classes - 1))
    return float(60 * bits / seconds)
