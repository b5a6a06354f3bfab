"""Every plot shows the numbers it was given: read back from the drawing, not from its pixels."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.metrics import confusion_matrix as sklearn_confusion

from brainalign.errors import DataError
from brainalign.report import plots
from brainalign.report.style import PAPER, SERIES, WEAK
from brainalign.scoring.score import Score

RNG = np.random.default_rng(7)


def a_score(name, value, low, high, **fields):
    given = {"ceiling": 0.8, "chance": 0.1, "n": 10, "split": "ab", "protocol": "5 folds"}
    return Score(name, value, low=low, high=high, **(given | fields))


def drawn(figure):
    """Text of everything on the figure, after one drawing pass."""
    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_visible()]


def test_score_bars_are_as_long_as_their_values():
    figure = plots.score_bars([a_score("a", 0.5, 0.3, 0.6), a_score("b", 0.15, 0.05, 0.2)])
    bars, bands = ([p for p in figure.axes[0].patches if round(p.get_height(), 2) == tall] for tall in (0.34, 0.62))
    assert [bar.get_width() for bar in bars] == [0.5, 0.15]
    # Only the first interval excludes chance.
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [SERIES[0], WEAK]
    assert [band.get_width() for band in bands] == [0.8, 0.8]
    assert {"a", "b", "0.5", "0.15"} <= set(drawn(figure))


def test_a_missing_score_is_said_in_words():
    why = {"value": "no test trial", "low": "no value", "high": "no value", "ceiling": "unknown"}
    figure = plots.score_bars([a_score("a", None, None, None, ceiling=None, why=why)])
    assert any("no test trial" in text for text in drawn(figure))


def test_confusion_rows_are_shares_as_scikit_learn_has_them():
    true, decoded = RNG.integers(0, 4, 200), RNG.integers(0, 4, 200)
    figure = plots.confusion_matrix(sklearn_confusion(true, decoded), list("abcd"))
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, sklearn_confusion(true, decoded, normalize="true"))
    counts = plots.confusion_matrix(sklearn_confusion(true, decoded), list("abcd"), normalise=False)
    assert counts.axes[0].images[0].get_array().sum() == 200


def test_a_class_that_was_never_shown_has_an_empty_row():
    shown = plots.confusion_matrix(np.array([[3, 1], [0, 0]]), "ab").axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, [[0.75, 0.25], [0, 0]])


def test_unit_scores_leave_out_what_has_no_number():
    scores, ceiling = RNG.uniform(-0.1, 0.8, 300), RNG.uniform(0.2, 1, 300)
    scores[:7], ceiling[5:10] = np.nan, np.inf
    figure = plots.unit_scores(scores, ceiling=ceiling)
    keep = np.isfinite(scores) & np.isfinite(ceiling)
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == keep.sum() == 290
    np.testing.assert_allclose(figure.axes[1].collections[0].get_offsets(), np.c_[ceiling, scores][keep])
    assert "290 units, 10 without a score" in drawn(figure)


def test_many_units_become_bins_that_count_them_all():
    scores, ceiling = RNG.uniform(0, 0.8, 4000), RNG.uniform(0.2, 1, 4000)
    figure = plots.unit_scores(scores, ceiling=ceiling)
    bins = figure.axes[1].collections[0]
    assert bins.get_array().sum() == 4000
    assert not [text for text in drawn(figure) if "$" in text]


def test_groups_become_lines():
    table = pd.DataFrame(
        [
            {
                "layer": layer,
                "roi": roi,
                "value": value,
                "low": value - 0.1,
                "high": value + 0.1,
                "ceiling": 0.9,
                "chance": 0.0,
            }
            for roi, values in {"V1": (0.3, 0.2, 0.1), "IT": (0.1, 0.2, 0.4)}.items()
            for layer, value in zip(("conv1", "conv2", "fc"), values)
        ]
    )
    figure = plots.score_by_group(table, x="layer", series="roi")
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["V1"].get_ydata(), [0.3, 0.2, 0.1])
    np.testing.assert_allclose(lines["IT"].get_ydata(), [0.1, 0.2, 0.4])
    assert [round(x) for x in lines["IT"].get_xdata()] == [0, 1, 2]
    np.testing.assert_allclose(lines["chance"].get_ydata(), 0)
    assert {"conv1", "conv2", "fc", "V1", "IT", "noise ceiling"} <= set(drawn(figure))


def test_a_table_without_the_named_column_is_refused():
    with pytest.raises(DataError, match=r"lacks columns[\s\S]*layer"):
        plots.score_by_group(pd.DataFrame({"value": [1.0]}), x="layer")


def test_time_courses_carry_interval_chance_and_ceiling():
    times = np.linspace(-0.1, 0.4, 26)
    curve = np.exp(-((times - 0.15) ** 2) / 0.002)
    figure = plots.time_course(times, {"EEG": curve}, interval={"EEG": (curve - 0.1, curve + 0.2)}, chance=0.5)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["EEG"].get_xydata(), np.c_[times, curve])
    np.testing.assert_allclose(lines["chance"].get_ydata(), 0.5)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == pytest.approx(((curve - 0.1).min(), (curve + 0.2).max()))
    with pytest.raises(DataError, match="does not fit its times"):
        plots.time_course(times, curve[:-1])


def test_retrieval_counts_ranks_as_a_loop_does():
    ranks = RNG.integers(1, 31, 57)
    figure = plots.retrieval_curve({"brain": ranks}, gallery=30)
    curve, chance = figure.axes[0].lines[:2]
    assert not [text for text in drawn(figure) if "$" in text]
    expected = [sum(rank <= k for rank in ranks) / 57 for k in range(1, 31)]
    np.testing.assert_allclose(curve.get_ydata(), expected)
    np.testing.assert_allclose(chance.get_ydata(), np.arange(1, 31) / 30)


@pytest.mark.parametrize("ranks", [[0, 1], [1, 31], []])
def test_ranks_outside_the_gallery_are_refused(ranks):
    with pytest.raises(DataError, match=r"outside the gallery[\s\S]*1\.\.30"):
        plots.retrieval_curve(np.array(ranks, dtype=int), gallery=30)


def test_channel_maps_stand_in_their_order():
    values = RNG.standard_normal((5, 20))
    axes = plots.channel_map(values, np.linspace(0, 1, 20), names=list("abcde")).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), values)
    assert [label.get_text() for label in axes.get_yticklabels()] == list("abcde")
    assert axes.get_ylim() == (4.5, -0.5)
    with pytest.raises(DataError, match="channel map does not fit"):
        plots.channel_map(values, np.linspace(0, 1, 19), names=list("abcde"))


def test_square_and_condensed_matrices_draw_the_same():
    condensed = pdist(RNG.standard_normal((9, 4)))
    one, two = (plots.rdm(form).axes[0].images[0].get_array() for form in (condensed, squareform(condensed)))
    np.testing.assert_array_equal(np.ma.getdata(one), np.ma.getdata(two))
    off = ~np.eye(9, dtype=bool)
    np.testing.assert_allclose(np.ma.getdata(one)[off], squareform(condensed)[off])
    assert np.ma.getmaskarray(np.ma.masked_invalid(one)).sum() == 9


def test_ranked_matrices_keep_the_order_and_fill_the_percentiles():
    condensed = pdist(RNG.standard_normal((12, 4))) ** 3
    shown = np.ma.getdata(plots.rdm(condensed, ranked=True).axes[0].images[0].get_array())
    values = shown[np.triu_indices(12, 1)]
    assert spearmanr(values, condensed).statistic == pytest.approx(1)
    assert 0 < values.min() < 2
    assert 98 < values.max() < 100


@pytest.mark.parametrize("n", [6, 30, 92])
def test_icons_stand_at_their_row_and_column(n):
    """Each icon has a grey level of its own; sample both strips at the centre that icon i must have."""
    levels = np.arange(1, n + 1) * 2
    icons = [np.full((10, 10), level, dtype=np.uint8) for level in levels]
    axes = plots.rdm(np.ones(n * (n - 1) // 2), icons=icons).axes[0]
    strips = {"left": axes.images[1], "above": axes.images[2]}
    lanes = min(4, -(-n // 22))
    for name, strip in strips.items():
        pixels = np.asarray(strip.get_array())[..., 0]
        x0, x1, y0, y1 = strip.get_extent()
        for i in (0, 1, n // 2, n - 1):
            along = i + 0.5
            # The lane nearest to the matrix holds the first icon, the farthest the last of each turn.
            if name == "left":
                column = round((x1 - x0 - (i % lanes + 0.5) * lanes) / (x1 - x0) * pixels.shape[1] - 0.5)
                row = int((along - y1) / (y0 - y1) * pixels.shape[0])
            else:
                row = round((y0 - y1 - (i % lanes + 0.5) * lanes) / (y0 - y1) * pixels.shape[0] - 0.5)
                column = int((along - x0) / (x1 - x0) * pixels.shape[1])
            assert pixels[row, column] == levels[i], (name, i)


def test_equal_names_in_a_run_are_written_once():
    figure = plots.rdm(pdist(RNG.standard_normal((6, 3))), labels=["a", "a", "a", "b", "b", "c"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(figure.axes[0].get_xticks(), [1.5, 4, 5.5])


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((3, 4)), np.ones((1, 1)), np.ones((2, 2, 2))])
def test_what_is_no_dissimilarity_matrix_is_refused(bad):
    with pytest.raises(DataError, match="not a"):
        plots.rdm(bad)


def test_icons_of_another_number_are_refused():
    with pytest.raises(DataError, match=r"icons do not fit[\s\S]*expected: 3[\s\S]*found: 2"):
        plots.rdm(np.ones(3), icons=[np.zeros((2, 2))] * 2)


def test_scaling_recovers_a_planar_map():
    points = RNG.standard_normal((15, 2))
    figure = plots.mds(pdist(points))
    offsets = np.asarray(figure.axes[0].collections[0].get_offsets())
    np.testing.assert_allclose(pdist(offsets), pdist(points), atol=1e-9)
    assert any("100 %" in text for text in drawn(figure))


def test_scaling_tells_when_the_plane_holds_little():
    figure = plots.mds(np.ones(15 * 14 // 2))
    assert any("14 %" in text for text in drawn(figure))  # 2 of 14 equal dimensions


def test_scaling_does_not_depend_on_the_order_of_the_stimuli():
    points, order = RNG.standard_normal((10, 2)), RNG.permutation(10)
    one, two = (
        np.asarray(plots.mds(pdist(some)).axes[0].collections[0].get_offsets()) for some in (points, points[order])
    )
    np.testing.assert_allclose(one[order], two, atol=1e-9)


def test_icons_lie_where_their_points_are():
    points = RNG.standard_normal((8, 2)) * [3, 1]
    icons = [np.full((5, 5), 20 * i, dtype=np.uint8) for i in range(8)]
    axes = plots.mds(pdist(points), icons=icons, labels=list("aaaabbbb")).axes[0]
    centres = np.array([np.reshape(image.get_extent(), (2, 2)).mean(axis=1) for image in axes.images])
    np.testing.assert_allclose(pdist(centres), pdist(points), atol=1e-9)
    assert [int(np.asarray(image.get_array())[28, 28, 0]) for image in axes.images] == [20 * i for i in range(8)]


def test_image_grid_leaves_places_empty():
    figure = plots.image_grid([("seen", [np.zeros((2, 2)), np.ones((2, 2))]), ("read", [None])], columns=["one", "two"])
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 0, 0]
    assert {"seen", "read", "one", "two"} <= set(drawn(figure))
    with pytest.raises(DataError, match="no picture"):
        plots.image_grid([("seen", [])])


def test_the_house_style_neither_takes_nor_leaves_settings():
    before, open_before = dict(matplotlib.rcParams), pyplot.get_fignums()
    with matplotlib.rc_context({"figure.facecolor": "red", "axes.facecolor": "red"}):
        figure = plots.score_bars([a_score("a", 0.5, 0.3, 0.6)])
    assert to_hex(figure.get_facecolor()) == to_hex(figure.axes[0].get_facecolor()) == PAPER
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == open_before


def test_a_name_with_dollars_is_a_name():
    name = "cost $\\frac$ & <b>"
    assert name in drawn(plots.confusion_matrix(np.eye(2), [name, "b"]))


def test_no_plot_writes_into_its_input():
    matrix = squareform(pdist(RNG.standard_normal((6, 3))))
    scores = RNG.standard_normal(20)
    copies = matrix.copy(), scores.copy()
    plots.rdm(matrix, ranked=True)
    plots.mds(matrix)
    plots.unit_scores(scores)
    plots.confusion_matrix(matrix, range(6))
    np.testing.assert_array_equal(matrix, copies[0])
    np.testing.assert_array_equal(scores, copies[1])
