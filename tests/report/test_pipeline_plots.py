"""Points of subjects, ranks and decisions stand where the numbers say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection

from brainalign.errors import DataError
from brainalign.report import plots


def test_points_means_intervals_and_chance() -> None:
    scores = pd.DataFrame({"a": [0.5, 0.7], "b": [0.9, np.nan]})
    figure = plots.pipeline_points(scores, intervals={"a": (0.45, 0.75)}, chance=0.25, label="accuracy")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    points = [sorted(one.get_offsets()[:, 0].tolist()) for one in axes.collections if len(one.get_offsets()) > 0]
    assert [0.9] in points and [0.5, 0.7] in points
    lines = [sorted(set(line.get_xdata())) for line in axes.lines]
    assert [0.6] in lines and [0.9] in lines and [0.25] in lines
    drawn = [one for one in axes.collections if isinstance(one, LineCollection)]
    spans = [segment[:, 0].tolist() for one in drawn for segment in one.get_segments() if len(segment)]
    assert [0.45, 0.75] in spans
    with pytest.raises(DataError, match="no pipeline"):
        plots.pipeline_points(pd.DataFrame())


def test_ranks_and_bars_of_what_is_not_told_apart() -> None:
    figure = plots.rank_diagram({"a": 1.2, "b": 1.9, "c": 2.9}, 0.8, [["a", "b"]])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"a  1.2", "b  1.9", "c  2.9", "critical difference 0.8"} <= set(texts)
    spans = [segment[:, 0] for one in figure.axes[0].collections for segment in one.get_segments()]
    bars = [span for span in spans if span[0] < 1.2 and 1.9 < span[1] < 2.5]
    assert len(bars) == 1
    with pytest.raises(DataError, match="two pipelines"):
        plots.rank_diagram({"a": 1.0}, 0.5, [])


def test_decisions_have_the_colour_of_their_class() -> None:
    windows = pd.DataFrame({"stop": [1.0, 1.5, 2.0], "label": ["idle", "left", "left"], "predicted": ["left"] * 3})
    figure = plots.decision_timeline(windows)
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert len(colours) == 6 and colours[0] != colours[1] and len(set(colours[1:])) == 1
    with pytest.raises(DataError, match="no windows"):
        plots.decision_timeline(windows.drop(columns="label"))
