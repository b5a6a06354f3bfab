"""Bars of models, layers by regions and grids of RDMs show the numbers and tests they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainalign.errors import DataError
from brainalign.report import plots

TABLE = pd.DataFrame(
    {
        "model": list("abc"),
        "value": [0.5, 0.3, 0.1],
        "low": [0.4, 0.2, -0.1],
        "high": [0.6, 0.4, 0.3],
        "q_zero": [0.01, 0.02, 0.4],
        "q_ceiling": [0.5, 0.01, 0.01],
    }
)
PAIRS = pd.DataFrame({"first": ["a", "a", "b"], "second": ["b", "c", "c"], "q": [0.3, 0.001, 0.2]})


def test_bars_marks_and_lines_say_what_the_tests_say():
    figure = plots.model_bars(TABLE, pairs=PAIRS, subjects=np.full((4, 3), 0.2), ceiling=(0.6, 0.7))
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.containers[0]] == [0.5, 0.3, 0.1]
    by_label = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert by_label["above zero"] == [0, 1] and by_label["below the ceiling"] == [1, 2]
    brackets = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 4 and line.get_marker() == "None"]
    assert [(line[0], line[-1]) for line in brackets] == [(0, 2)]


def test_many_models_have_a_matrix_of_pairs():
    names = [f"m{i}" for i in range(8)]
    table = pd.DataFrame({"model": names, "value": np.linspace(0, 0.7, 8)})
    pairs = pd.DataFrame({"first": ["m0", "m3"], "second": ["m7", "m4"], "q": [0.01, 0.9]})
    figure = plots.model_bars(table, pairs=pairs)
    offsets = figure.axes[1].collections[0].get_offsets()
    assert offsets.tolist() == [[0.0, 7.0]]  # m7 (row) is better than m0 (column)


def test_layers_by_regions():
    values = pd.DataFrame({"EVC": [0.3, 0.1], "IT": [np.nan, 0.2]}, index=["early", "late"])
    figure = plots.layer_region_map(values, significant=values > 0.15, ceiling={"EVC": 0.5})
    axes = figure.axes[0]
    shown = {text.get_text() for text in axes.texts}
    assert shown == {"0.3 \u2022", "0.1", "0.2 \u2022"}
    assert [text.get_text() for text in axes.get_xticklabels()] == ["EVC\nceiling 0.5", "IT"]
    frames = [line.get_ydata().mean() for line in axes.lines]
    assert np.allclose(np.round(frames), [0, 1])


def test_a_grid_ranks_every_rdm_on_one_scale():
    d = np.random.default_rng(0).random((2, 10))
    figure = plots.rdm_grid({"one": d[0], "two": 100 * d[0]}, ranked=True, labels=list("abcde"))
    first, second = (ax.images[0].get_array() for ax in figure.axes[:2])
    np.testing.assert_array_equal(first, second)
    plain = plots.rdm_grid({"one": d[0]})
    np.testing.assert_allclose(plain.axes[0].images[0].get_array()[0, 1], d[0, 0])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.model_bars(TABLE.drop(columns="value")),
        lambda: plots.model_bars(TABLE, subjects=np.zeros((3, 2))),
        lambda: plots.layer_region_map(pd.DataFrame({"a": [np.nan]})),
        lambda: plots.rdm_grid({}),
        lambda: plots.rdm_grid({"a": np.array([1.0, np.nan, 2.0])}),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw):
    with pytest.raises(DataError):
        draw()
