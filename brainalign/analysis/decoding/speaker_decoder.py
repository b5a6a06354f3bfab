"""Which kind of voice does a listener attend to? A recurrent network over the signals names the cluster of speakers.

The intention decoder of AAD-LLM (ACL 2025, arXiv 2502.16794): speakers fall into clusters of voice embeddings, a
recurrent network names the attended speaker's cluster, and the talker nearest to its centre is taken for the attended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from brainalign.analysis.decoding.attention import trial_arrays
from brainalign.arrays import check_finite
from brainalign.errors import DataError

if TYPE_CHECKING:
    from brainalign.learning import NeuralClassifier

__all__ = ["Intention", "SpeakerDecoder", "joined", "paired_voices"]


@dataclass(frozen=True)
class Intention:
    """What a listener attends to, as decoded from one trial.

    Attributes
    ----------
    cluster : int
        Of speakers, the most probable.
    probability : float
        Of that cluster.
    attended : int
        Which of the talkers is nearest to the cluster's centre.
    """

    cluster: int
    probability: float
    attended: int


class SpeakerDecoder(BaseEstimator):
    """Cluster of the attended speaker's voice from the signals, and with it which talker is attended to.

    Voices are standardised and clustered by k-means; each window of a trial is given the cluster of the attended
    voice as its class, and a recurrent network learns to name it. Windows of a trial are joined by the mean of their
    log-probabilities.

    Parameters
    ----------
    n_clusters : int
    window : int
        Samples that the network sees together; windows follow each other without overlap.
    network : NeuralClassifier, optional
        By default a bidirectional recurrent one; ``NeuralClassifier("recurrent", {"bidirectional": False})`` only looks
        back.
    seed : int
        Of the clusters, and of the default network.

    Attributes
    ----------
    clusters_ : Pipeline
        Fitted scaling and k-means.
    network_ : NeuralClassifier

    Examples
    --------
    >>> from brainalign.loaders.simulated.listening import simulate_listening
    >>> heard = simulate_listening(40, attention=2.0)
    >>> decoder = SpeakerDecoder(3, window=50).fit(heard.signals[:30], heard.voices[:30])
    >>> decoder.predict_proba(heard.signals[30:]).shape
    (10, 3)
    >>> decoder.intend(heard.signals[30], heard.voices[30]).attended
    0
    """

    TRAINING: ClassVar[dict[str, Any]] = {"n_epochs": 30, "batch_size": 32, "learning_rate": 5e-3}

    def __init__(
        self, n_clusters: int = 8, *, window: int = 100, network: NeuralClassifier | None = None, seed: int = 0
    ) -> None:
        self.n_clusters = n_clusters
        self.window = window
        self.network = network
        self.seed = seed

    def fit(self, signals: Sequence[ArrayLike], voices: ArrayLike) -> Self:
        """Cluster the voices and train the network.

        Parameters
        ----------
        signals : sequence of array (n_times, n_channels)
            One a trial.
        voices : array (n_trials, n_talkers, n_features)
            Embeddings of the talkers of each trial, the attended one first. All of them make the clusters.

        Raises
        ------
        DataError
            When trials and voices do not pair, a window is longer than a trial, there are fewer voices than clusters,
            or the attended voices fall into one cluster.
        """
        from sklearn.cluster import KMeans
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from brainalign.learning import NeuralClassifier

        trials, known = paired_voices(signals, voices)
        different = np.unique(known.reshape(-1, known.shape[2]), axis=0)
        if not 2 <= self.n_clusters <= len(different):
            raise DataError(
                "so many clusters cannot be made of these voices",
                expected=f"2 to {len(different)}, as there are different voices",
                found=self.n_clusters,
                fix="fewer clusters, or more speakers",
            )
        cut = self._windows(trials)
        kmeans = KMeans(self.n_clusters, n_init=10, random_state=self.seed)
        self.clusters_ = make_pipeline(StandardScaler(), kmeans).fit(different)
        attended = self.clusters_.predict(known[:, 0])
        if len(np.unique(attended)) < 2:
            raise DataError(
                "every attended voice is of one cluster: there is nothing to tell apart",
                expected="attended voices of two clusters or more",
                found=f"cluster {attended[0]} alone",
                fix="more clusters, or trials in which other speakers are attended to",
            )
        network = NeuralClassifier("recurrent", training=self.TRAINING, seed=self.seed)
        network = network if self.network is None else clone(self.network)
        labels = np.repeat(attended, [len(one) for one in cut])
        self.network_ = network.fit(np.concatenate(cut), labels)
        return self

    def _windows(self, trials: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        shortest = min(map(len, trials))
        if not 1 <= self.window <= shortest:
            raise DataError(
                "a window does not fit into a trial",
                expected=f"1 to {shortest} samples",
                found=self.window,
                fix="a shorter window, or trials no shorter than it",
            )
        return [
            one[: len(one) // self.window * self.window].reshape(-1, self.window, one.shape[1]).transpose(0, 2, 1)
            for one in trials
        ]

    def predict_windows(self, signals: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
        """Probability of each cluster in each window of each trial, a list of (n_windows, n_clusters)."""
        check_is_fitted(self, "network_")
        cut = self._windows(trial_arrays(signals))
        told = self.network_.predict_proba(np.concatenate(cut))
        # A cluster whose voices were never attended to in training has no class.
        every = np.zeros((len(told), self.n_clusters))
        every[:, self.network_.classes_] = told
        return np.split(every, np.cumsum([len(one) for one in cut])[:-1])

    def predict_proba(self, signals: Sequence[ArrayLike]) -> NDArray[np.float64]:
        """Probability of each cluster, (n_trials, n_clusters)."""
        return np.array([joined(one) for one in self.predict_windows(signals)])

    def choose(self, probabilities: ArrayLike, voices: ArrayLike) -> NDArray[np.int64]:
        """The talker nearest to the centre of the most probable cluster.

        Parameters
        ----------
        probabilities : array (n, n_clusters)
        voices : array (n, n_talkers, n_features)

        Returns
        -------
        array (n,)
        """
        check_is_fitted(self, "clusters_")
        cluster, known = np.asarray(probabilities).argmax(axis=1), _voices(voices)
        if len(known) != len(cluster) or known.shape[2] != self.clusters_.n_features_in_:
            raise DataError(
                "these voices do not go with the probabilities, or are described otherwise than those fitted on",
                expected=(len(cluster), "n_talkers", self.clusters_.n_features_in_),
                found=known.shape,
            )
        distance = self.clusters_.transform(known.reshape(-1, known.shape[2])).reshape(*known.shape[:2], -1)
        return distance[np.arange(len(cluster)), :, cluster].argmin(axis=1)

    def intend(self, signals: ArrayLike, voices: ArrayLike) -> Intention:
        """What a listener attends to in one trial, (n_times, n_channels), among voices (n_talkers, n_features)."""
        chance = self.predict_proba([signals])
        attended = self.choose(chance, np.asarray(voices)[None])
        return Intention(int(chance[0].argmax()), float(chance[0].max()), int(attended[0]))


def joined(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """One set of probabilities of several windows'."""
    mean = np.log(np.maximum(windows, 1e-12)).mean(axis=0)
    chance = np.exp(mean - mean.max())
    return chance / chance.sum()


def paired_voices(
    signals: Sequence[ArrayLike], voices: ArrayLike
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Trials and the voices of their talkers as arrays that pair; `DataError` where they do not."""
    trials, known = trial_arrays(signals), _voices(voices)
    if len(trials) != len(known) or len(trials) < 2:
        raise DataError(
            "signals and voices do not pair",
            expected="two trials or more, and the voices of each",
            found=f"{len(trials)} trials, voices of {len(known)}",
        )
    return trials, known


def _voices(voices: ArrayLike) -> NDArray[np.float64]:
    known = np.asarray(voices, dtype=np.float64)
    if known.ndim != 3 or known.shape[1] < 2 or not known.shape[2]:
        raise DataError(
            "voices of two talkers or more are compared in each trial, the attended one first",
            expected="(n_trials, n_talkers, n_features)",
            found=known.shape,
            fix="np.stack([attended, other], axis=1)",
        )
    check_finite(known, name="voices")
    return known
