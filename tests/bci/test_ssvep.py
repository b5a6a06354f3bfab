"""CCA and TRCA against other computations and MOABB; what is planted is found, noise is not."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from scipy.linalg import eig
from sklearn.base import clone
from sklearn.cross_decomposition import CCA
from sklearn.model_selection import cross_val_score

from brainalign.bci import TRCA, CanonicalCorrelations, CCAClassifier, build_pipeline, canonical_correlations
from brainalign.bci.ssvep import _reproducible
from brainalign.errors import DataError

SFREQ, FREQUENCIES = 100.0, [8.0, 11.0, 15.0]


def responses(*, gain: float = 0.6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Trials that follow a flicker of one of three frequencies through a mixing of five channels."""
    rng = np.random.default_rng(seed)
    y = np.arange(45) % 3
    t = np.arange(200) / SFREQ
    wave = np.sin(2 * np.pi * np.array(FREQUENCIES)[y, None] * t + 0.4)
    return gain * wave[:, None] * rng.standard_normal(5)[:, None] + rng.standard_normal((45, 5, 200)), y


def test_canonical_correlations_equal_scikit_learn():
    X, _ = responses()
    references = CanonicalCorrelations(FREQUENCIES, SFREQ, n_harmonics=2).fit(X).references_
    made = canonical_correlations(X[:4], references)
    for trial, row in zip(X[:4], made, strict=True):
        for reference, value in zip(references, row, strict=True):
            a, b = CCA(n_components=1, max_iter=5000, tol=1e-12).fit_transform(trial.T, reference.T)
            assert value == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)


def test_a_lost_rank_adds_no_correlation():
    X, _ = responses()
    doubled = np.concatenate([X, X.sum(axis=1, keepdims=True)], axis=1)
    references = CanonicalCorrelations(FREQUENCIES, SFREQ).fit(X).references_
    np.testing.assert_allclose(
        canonical_correlations(doubled, references), canonical_correlations(X, references), atol=1e-8
    )


def test_trca_filter_solves_the_problem_of_the_paper():
    X, y = responses()
    X = X[y == 0] - X[y == 0].mean(axis=2, keepdims=True)
    between = sum(X[i] @ X[j].T for i in range(len(X)) for j in range(len(X)) if i != j)
    within = sum(one @ one.T for one in X)
    values, vectors = eig(between, within)
    best = vectors[:, values.real.argmax()].real
    mine = _reproducible(X)
    assert abs(best @ mine) / np.linalg.norm(best) / np.linalg.norm(mine) == pytest.approx(1, abs=1e-8)


def test_cca_and_trca_agree_with_moabb():
    moabb = pytest.importorskip("moabb.pipelines.classification")
    mne = pytest.importorskip("mne")
    X, y = responses(gain=0.5)
    names = np.array(["8", "11", "15"])[y]
    info = mne.create_info(5, SFREQ, "eeg", verbose="error")
    codes = {"8": 1, "11": 2, "15": 3}
    events = np.stack([300 * np.arange(45), np.zeros(45, int), y + 1], axis=1)
    epochs = mne.EpochsArray(1e-6 * X, info, events, event_id=codes, verbose="error")
    theirs = moabb.SSVEP_CCA(n_harmonics=3).fit(epochs[:30], names[:30]).predict(epochs[30:])
    ours = CCAClassifier(SFREQ).fit(X[:30], names[:30]).predict(X[30:])
    assert np.mean(np.asarray(theirs) == ours) > 0.9
    # Its TRCA filters trials in a band first; ours takes them as they come.
    banded = import_module("moabb.pipelines.utils").filterbank(X, SFREQ, 0, np.sort(FREQUENCIES))
    peer = moabb.SSVEP_TRCA(n_fbands=1).fit(epochs[:30], names[:30]).predict(epochs[30:])
    assert np.mean(np.asarray(peer) == TRCA().fit(banded[:30], names[:30]).predict(banded[30:])) > 0.9


@pytest.mark.parametrize("name", ["cca", "cca_lda", "trca", "bands_ts_lr", "bands_mdm"])
def test_pipelines_find_the_flicker_and_nothing_in_noise(name):
    settings = {"sfreq": SFREQ, "frequencies": FREQUENCIES}
    X, y = responses()
    assert cross_val_score(build_pipeline(name, **settings), X, y, cv=3).mean() > 0.85
    noise = [
        cross_val_score(build_pipeline(name, **settings), *responses(gain=0.0, seed=seed), cv=3).mean()
        for seed in range(1, 6)
    ]
    assert abs(np.mean(noise) - 1 / 3) < 0.12


def test_two_classes_have_one_column_of_decisions():
    X, y = responses()
    kept = y < 2
    for model in (TRCA(), TRCA(ensemble=False), CCAClassifier(SFREQ, FREQUENCIES[:2])):
        fitted = clone(model).fit(X[kept], y[kept])
        np.testing.assert_array_equal(fitted.predict(X[kept]), (fitted.decision_function(X[kept]) > 0).astype(int))


def test_bad_settings_are_refused():
    X, y = responses()
    for frequencies, said in (([8.0, 11.0], "one frequency per class"), ([8.0, 11.0, 60.0], "half the sampling rate")):
        with pytest.raises(DataError, match=said):
            CCAClassifier(SFREQ, frequencies).fit(X, y)
    with pytest.raises(DataError, match="not known"):
        CCAClassifier(SFREQ).fit(X, y)
    with pytest.raises(DataError, match="no frequency"):
        CCAClassifier(SFREQ).fit(X, np.array(["8", "11", "rest"])[y])
    with pytest.raises(DataError, match="two trials"):
        TRCA().fit(X[:3], y[:3])
    with pytest.raises(DataError, match="shape"):
        TRCA().fit(X, y).predict(X[:, :, :50])
    with pytest.raises(DataError, match="range"):
        build_pipeline("bands_mdm", sfreq=20.0, frequencies=[12.0]).fit(X, y)
