"""Silencing a region costs what it carries and nothing else; scores and tests agree with loops and closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from brainalign.analysis.dissociation import DecodingTasks, RegionLosses, _ordered_right, ablate_regions
from brainalign.encoders import LinearEncoder
from brainalign.errors import DataError, LeakageError
from brainalign.latents.base import Latents
from brainalign.trials import Trials

N_TRAIN, N = 120, 200
ATTRIBUTES = {"kind": "kind", "up": "height > 0"}


def planted(seed=0):
    """`kinds` carries the three kinds, `heights` the height, `copy` the height once more, `none` noise."""
    rng = np.random.default_rng(seed)
    kind, height = rng.integers(0, 3, N), rng.standard_normal(N)
    values = np.c_[np.eye(3)[kind], height, height, 0.3 * rng.standard_normal((N, 2))]
    noise = rng.standard_normal((N, 18)) * 0.4
    clean = np.c_[np.eye(3)[kind], np.eye(3)[kind], np.tile(height[:, None], (1, 8)), np.zeros((N, 4))]
    table = pd.DataFrame({"stimulus_id": [f"s{n:03d}" for n in range(N)], "height": height})
    table["kind"] = np.array(list("abc"))[kind]
    units = pd.DataFrame({"roi": np.repeat(["kinds", "heights", "copy", "none"], [6, 4, 4, 4])})
    trials = Trials(clean + noise, table, units)
    latents = {"meaning": Latents(values, table["stimulus_id"], space="toy")}
    return trials.select(np.arange(N_TRAIN)), trials.select(np.arange(N_TRAIN, N)), latents


@pytest.fixture(scope="module")
def subject():
    train, test, latents = planted()
    return train, test, DecodingTasks(train, latents, ATTRIBUTES), LinearEncoder().fit(train, latents)


BY = {"kinds": "roi == 'kinds'", "heights": "roi in ['heights', 'copy']", "none": "roi == 'none'"}


@pytest.mark.parametrize("mode", ["zero", "mean", "permute", "retrain"])
def test_a_region_costs_what_it_carries_and_nothing_else(subject, mode):
    _train, test, tasks, encoder = subject
    result = ablate_regions(encoder, test, tasks, by=BY, mode=mode)
    assert (result.values()["low"] > 0.85).all()
    loss = result.table().pivot(index="region", columns="task", values="loss")
    low = result.table().pivot(index="region", columns="task", values="low")
    assert low.loc["kinds", "kind"] > 0.2 and low.loc["heights", "up"] > 0.2
    assert abs(loss.loc["kinds", "up"]) < 0.03 and abs(loss.loc["heights", "kind"]) < 0.03
    assert loss.loc["none"].abs().max() < 0.03
    first = result.dissociations().iloc[0]
    assert {(first["region"], first["task"]), (first["other_region"], first["other_task"])} == {
        ("kinds", "kind"),
        ("heights", "up"),
    }
    assert first["q"] < 0.05 and min(first["first_low"], first["second_low"]) > 0.2


def test_training_without_a_region_lets_its_copy_step_in(subject):
    _train, test, tasks, encoder = subject
    lost = {
        mode: ablate_regions(encoder, test, tasks, mode=mode).table().set_index(["region", "task"])["loss"]
        for mode in ("mean", "retrain")
    }
    assert lost["retrain"]["copy", "up"] < 0.5 * max(lost["mean"]["copy", "up"], 0.02)
    assert lost["retrain"]["kinds", "kind"] > 0.3


def test_the_mean_is_that_of_training(subject):
    train, test, tasks, encoder = subject
    by_hand = test.responses.copy()
    by_hand[:, :6] = train.responses[:, :6].mean(0)
    made = ablate_regions(encoder, test, tasks, by={"kinds": "roi == 'kinds'"}, mode="mean")
    np.testing.assert_allclose(made.without[0], tasks.scores(encoder.predict(test.with_responses(by_hand)), test))


def test_shuffled_copies_show_nothing(subject):
    _, test, tasks, encoder = subject
    rng, covered, values, found = np.random.default_rng(5), [], [], []
    for _ in range(30):
        mixed = test.with_responses(rng.permutation(test.responses))
        result = ablate_regions(encoder, mixed, tasks, by=BY, mode="mean")
        one = result.values()
        values.append(one["value"])
        covered.append((one["low"] < 0.5) & (one["high"] > 0.5))
        found.append((result.dissociations()["q"] < 0.05).any())
    np.testing.assert_allclose(np.mean(values, axis=0), 0.5, atol=0.04)
    assert np.mean(covered) > 0.85 and np.mean(found) < 0.15


def test_scores_have_the_mean_and_the_variance_of_the_area_under_the_curve():
    rng = np.random.default_rng(0)
    labels = np.array(list("aaaaabbbbbbbbbbbbcc"))
    speak = rng.standard_normal((len(labels), 3)).round(1) + 0.5 * np.eye(3)[[*[0] * 5, *[1] * 12, *[2] * 2]]
    made = _ordered_right(speak, labels, np.array(list("abc")), "kind")
    areas = [roc_auc_score(labels == one, speak[:, at]) for at, one in enumerate("abc")]
    assert made.mean() == pytest.approx(np.average(areas, weights=[5, 12, 2]))
    two = labels == "a"
    made = _ordered_right(np.c_[-speak[:, 0], speak[:, 0]], two.astype(str), np.array(["False", "True"]), "a")
    wins = (speak[two, :1] > speak[~two, 0]) + 0.5 * (speak[two, :1] == speak[~two, 0])
    by_delong = wins.mean(1).var() / two.sum() + wins.mean(0).var() / (~two).sum()
    assert made.var() / len(made) == pytest.approx(by_delong)


def test_a_double_dissociation_needs_both_halves():
    rng = np.random.default_rng(1)
    full = 0.9 + 0.01 * rng.standard_normal((50, 2))
    both = np.stack([full - [0.4, 0.0], full - [0.0, 0.4]]) + 0.01 * rng.standard_normal((2, 50, 2))
    one = np.stack([full - [0.4, 0.1], full - [0.1, 0.1]]) + 0.01 * rng.standard_normal((2, 50, 2))
    tables = [
        RegionLosses(full, without, ("A", "B"), ("s", "t"), (1, 1), "mean").dissociations() for without in (both, one)
    ]
    assert tables[0].loc[0, "q"] < 0.01 and tables[0].loc[0, "first"] == pytest.approx(0.4, abs=0.01)
    assert tables[1].loc[0, "first"] > 0.25 and tables[1].loc[0, "q"] > 0.05


@pytest.mark.parametrize(
    "change, message",
    [
        ({"by": {"FFA": "roi == 'FFA'"}}, "selection.*is empty"),
        ({"by": {"FFA": "area == 'FFA'"}}, "cannot evaluate region 'FFA'"),
        ({"by": "region"}, "unknown column of units 'region'"),
        ({"by": [""] * 18}, "no unit has a label"),
        ({"mode": "zap"}, "unknown mode of silencing"),
        ({"mode": "retrain", "by": ["all"] * 18}, "nothing is left"),
    ],
)
def test_regions_that_cannot_be_silenced_are_refused(subject, change, message):
    _train, test, tasks, encoder = subject
    with pytest.raises(DataError, match=message):
        ablate_regions(encoder, test, tasks, **change)


def test_tasks_that_cannot_be_scored_are_refused(subject):
    train, test, tasks, encoder = subject
    with pytest.raises(LeakageError):
        ablate_regions(encoder, train, tasks)
    for attributes, message in (
        ({"kind": "sort"}, "unknown column"),
        ({"up": "tall > 0"}, "cannot evaluate"),
        ({"up": "height > -99"}, "one label in training"),
        ({"meaning": "kind"}, "share a name"),
    ):
        with pytest.raises(DataError, match=message):
            DecodingTasks(train, tasks.latents, attributes)
    fewer = DecodingTasks(train.select("kind != 'c'"), tasks.latents, {"kind": "kind"})
    with pytest.raises(DataError, match="never showed"):
        ablate_regions(encoder, test, fewer)
    with pytest.raises(DataError, match="other latents"):
        tasks.scores(encoder.predict(test)["meaning"], test)
