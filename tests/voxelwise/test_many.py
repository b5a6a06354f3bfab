"""Many encodings: the same numbers as one by one, on one process, on joblib workers and on a Dask cluster over TCP."""

from __future__ import annotations

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.splits import contiguous_folds, folds
from brainalign.trials import Trials
from brainalign.voxelwise import Ridge
from brainalign.voxelwise.folded import within_folds
from brainalign.voxelwise.many import encode_many

N_STIMULI, N_UNITS = 60, 20


def space(seed, n_features=6):
    values = np.random.default_rng(seed).standard_normal((N_STIMULI, n_features)).astype(np.float32)
    return Latents(values, [f"s{number:02d}" for number in range(N_STIMULI)], space=f"toy{seed}")


def subject(latents, seed, *, repetitions=2, noise=1.0):
    """Units that follow `latents`, shown in an order of each subject's own."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(latents.ids, repetitions))
    weights = rng.standard_normal((latents.flat().shape[1], N_UNITS))
    clean = latents.at(ids).reshape(len(ids), -1) @ weights / np.sqrt(len(weights))
    return Trials(
        (clean + noise * rng.standard_normal(clean.shape)).astype(np.float32), pd.DataFrame({"stimulus_id": ids})
    )


@pytest.fixture(scope="module")
def spaces():
    return {"right": space(1), "wrong": space(2), "wide": space(3, 200)}


@pytest.fixture(scope="module")
def subjects(spaces):
    return {"one": subject(spaces["right"], 10), "two": subject(spaces["right"], 11, repetitions=3)}


@pytest.fixture(scope="module")
def serial(subjects, spaces):
    return encode_many(subjects, spaces, cv=4)


def equal_to_the_bit(first, second):
    assert first.keys() == second.keys()
    assert all(first[key].dtype == second[key].dtype and first[key].tobytes() == second[key].tobytes() for key in first)


def test_one_unit_of_work_is_one_plain_fit(subjects, spaces, serial):
    trials = subjects["two"]
    first_seen = list(dict.fromkeys(trials.stimulus_ids))
    for fold in folds(trials, n_splits=4):
        tested = list(dict.fromkeys(trials.stimulus_ids[fold.test]))
        model = Ridge().fit(spaces["right"], trials.select(fold.train))
        rows = [first_seen.index(one) for one in tested]
        np.testing.assert_array_equal(
            serial.predicted["two", "right"][rows], model.predict(spaces["right"].select(tested))
        )


def test_rotated_features_predict_the_same(subjects, spaces, serial):
    trials = subjects["one"]
    fold = folds(trials, n_splits=4)[0]
    tested = list(dict.fromkeys(trials.stimulus_ids[fold.test]))
    wide = Ridge().fit(
        Latents(spaces["wide"].values.astype(float), spaces["wide"].ids, space="w"), trials.select(fold.train)
    )
    found = serial.predicted["one", "wide"][[list(dict.fromkeys(trials.stimulus_ids)).index(one) for one in tested]]
    np.testing.assert_allclose(found, wide.predict(spaces["wide"].at(tested)), atol=1e-5)


def test_the_right_space_wins_in_every_subject_and_noise_gives_nothing(serial):
    scores = serial.scores(n_permutations=500)
    table = serial.table(scores).set_index(["subject", "space"])
    for name in ("one", "two"):
        assert table.loc[(name, "right"), "mean r"] > 0.4
        assert table.loc[(name, "right"), "significant"] > 0.8
        assert table.loc[(name, "wrong"), "significant"] == 0
        assert table.loc[(name, "wrong"), "mean r"] < 0.15


def test_scores_are_those_of_scipy_within_folds(subjects, serial):
    trials = subjects["one"]
    ids = list(dict.fromkeys(trials.stimulus_ids))
    frame = pd.DataFrame(trials.responses.astype(float)).groupby(trials.stimulus_ids).mean().loc[ids].to_numpy()
    predicted = serial.predicted["one", "right"].astype(float)
    number = {one: at for at, fold in enumerate(folds(trials, n_splits=4)) for one in trials.stimulus_ids[fold.test]}
    fold_of = pd.Series([number[one] for one in ids])
    about = [pd.DataFrame(one) - pd.DataFrame(one).groupby(fold_of).transform("mean") for one in (frame, predicted)]
    about[1] /= about[1].groupby(fold_of).transform("std", ddof=0)
    found = serial.scores(n_permutations=0)["one", "right"]
    expected = [pearsonr(about[0][unit], about[1][unit])[0] for unit in range(N_UNITS)]
    np.testing.assert_allclose(found.r, expected, atol=1e-6)
    residual = ((frame - predicted) ** 2).sum(0) / ((frame - frame.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(found.r2, 1 - residual, atol=1e-6)


def test_workers_give_the_same_bits(subjects, spaces, serial, tmp_path):
    for name, trials in subjects.items():
        trials.save(tmp_path / name)
    for name, latents in spaces.items():
        latents.save(tmp_path / name)
    folders = {name: tmp_path / name for name in subjects}
    made = encode_many(folders, {name: tmp_path / name for name in spaces}, cv=4, n_jobs=2)
    equal_to_the_bit(made.predicted, serial.predicted)
    one, two = (some.scores(n_permutations=100, n_jobs=jobs) for some, jobs in ((serial, 1), (made, 2)))
    equal_to_the_bit({key: score.p for key, score in one.items()}, {key: score.p for key, score in two.items()})


def test_a_dask_cluster_over_tcp_gives_the_same_bits(subjects, spaces, serial):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, protocol="tcp://", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = client.scheduler_info()["workers"]
        assert len(workers) == 2 and all(address.startswith("tcp://") for address in workers)
        assert len({*client.run(_process).values(), _process()}) == 3
        with joblib.parallel_config(backend="dask"):
            made = encode_many(subjects, spaces, cv=4, n_jobs=-1)
            scores = made.scores(n_permutations=100, n_jobs=-1)
    equal_to_the_bit(made.predicted, serial.predicted)
    expected = serial.scores(n_permutations=100)
    for measure in ("r", "r2", "ceiling", "p", "q"):
        equal_to_the_bit(
            {key: getattr(one, measure) for key, one in scores.items()},
            {key: getattr(one, measure) for key, one in expected.items()},
        )


def _process():
    import os

    return os.getpid()


def test_names_decide_results_and_not_who_else_is_there(subjects, spaces, serial):
    alone = encode_many({"two": subjects["two"]}, {"wrong": spaces["wrong"]}, cv=4)
    np.testing.assert_array_equal(alone.predicted["two", "wrong"], serial.predicted["two", "wrong"])


def test_of_noise_r_is_zero_on_average_and_p_keeps_its_level():
    """What other folds hold lies on the other side: pooled over folds, r of nothing is far below zero."""
    found, pooled = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        latents = Latents(rng.standard_normal((N_STIMULI, 12)), space(1).ids, space="any")
        trials = Trials(rng.standard_normal((N_STIMULI, 500)), pd.DataFrame({"stimulus_id": latents.ids}))
        made = encode_many({"noise": trials}, {"any": latents}, cv=6)
        found.append(made.scores(n_permutations=500)["noise", "any"])
        pooled.append([pearsonr(*pair)[0] for pair in zip(trials.responses.T, made.predicted["noise", "any"].T)])
    assert np.mean(pooled) < -0.15
    assert abs(np.mean([one.r.mean() for one in found])) < 0.02
    p = np.concatenate([one.p for one in found])
    assert (p < 0.05).mean() < 0.05 and (p < 0.01).mean() < 0.015
    assert np.mean([(one.q < 0.05).any() for one in found]) <= 0.25


def test_continuous_data_keeps_its_gap():
    rng = np.random.default_rng(3)
    n_rows = 400
    ids = [f"bin{number}" for number in range(n_rows)]
    slow = np.cumsum(rng.standard_normal((n_rows, 2)), axis=0)
    trials = Trials(
        slow @ rng.standard_normal((2, 3)) + rng.standard_normal((n_rows, 3)), pd.DataFrame({"stimulus_id": ids})
    )
    division = contiguous_folds(n_rows, n_splits=4, gap=10)
    made = encode_many({"1": trials}, {"slow": Latents(slow, ids, space="slow")}, cv={"1": division})
    for fold in division:
        train, test = trials.responses[fold.train], fold.test
        inner = [tuple(one) for one in contiguous_folds(len(train), gap=10)]
        expected = Ridge(cv=inner).fit(slow[fold.train], train).predict(slow[test])
        np.testing.assert_array_equal(made.predicted["1", "slow"][test], expected)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda given: {**given, "subjects": {}}, DataError, "nothing to encode"),
        (lambda given: {**given, "spaces": {"few": space(1).select(["s00", "s01"])}}, DataError, "without latents"),
        (lambda given: {**given, "cv": {"two": []}}, DataError, "no folds for subject 'one'"),
        (lambda given: {**given, "cv": {"one": folds(given["subjects"]["one"])[1:]}}, DataError, "held out by no fold"),
        (lambda given: {**given, "cv": {"one": folds(given["subjects"]["one"]) * 2}}, DataError, "held out by two"),
        (lambda given: {**given, "cv": {"one": contiguous_folds(120)}}, LeakageError, "both train and test"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(subjects, spaces, change, error, message):
    given = change({"subjects": {"one": subjects["one"]}, "spaces": {"right": spaces["right"]}})
    with pytest.raises(error, match=message):
        encode_many(given.pop("subjects"), given.pop("spaces"), **given)


def test_single_stimuli_cannot_be_compared_within_their_fold():
    with pytest.raises(DataError, match="take fewer folds"):
        within_folds(np.ones((3, 2)), np.array([0, 0, 1]))
