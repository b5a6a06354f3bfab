"""Layer preference, violins and surfaces: what is drawn is what was given, and nothing is fetched."""

from __future__ import annotations

import socket

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from brainalign.errors import DataError
from brainalign.report import Report, plots
from brainalign.report.plots.preference import layer_colours

LAYERS = ["pixels", "early", "late"]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a plot reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def octahedron(scale=(1.0, 1.0, 1.0)):
    """A folded mesh of six vertices and eight faces."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float) * scale
    faces = np.array([[a, b, c] for a in (0, 1) for b in (2, 3) for c in (4, 5)])
    return points, faces


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_map_of_layers_shows_each_layer_in_its_colour():
    values = np.zeros((5, 4, 2), dtype=np.float32)
    values[0, 0, 0], values[1, 1, 0], values[2, 2, 0] = 1, 2, 3
    figure = plots.layer_preference_map(nib.Nifti1Image(values, np.eye(4)), LAYERS)
    drawn = figure.axes[0].images[0]
    shown = np.asarray(drawn.get_array())
    for layer, (x, y) in enumerate([(0, 0), (1, 1), (2, 2)]):
        assert to_hex(drawn.cmap(drawn.norm(shown[y, x]))) == layer_colours(3)[layer]
    assert np.isnan(shown[0, 1])
    assert legend_of(figure) == LAYERS
    assert len(figure.axes) == 1, "a slice without any preference is left out"


def test_many_layers_have_colours_of_their_own():
    assert len(set(layer_colours(24))) == 24


def test_a_map_of_something_else_is_refused():
    image = nib.Nifti1Image(np.full((3, 3, 1), 0.5, dtype=np.float32), np.eye(4))
    with pytest.raises(DataError, match="not a map of layers"):
        plots.layer_preference_map(image, LAYERS)
    with pytest.raises(DataError, match="empty"):
        plots.layer_preference_map(nib.Nifti1Image(np.zeros((3, 3, 1), dtype=np.float32), np.eye(4)), LAYERS)


def test_shares_add_up_to_one_and_are_counted_right():
    preferred = np.array([0, 0, 1, -1, 2, 2, 2, -1])
    figure = plots.layer_preference_shares(preferred, ["V1"] * 4 + ["V2"] * 4, LAYERS)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == [0.5, 0.25, 0.0, 0.25, 0.0, 0.0, 0.75, 0.25]
    assert legend_of(figure) == [*LAYERS, "no layer explains it"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["V1 (4)", "V2 (4)"]
    with pytest.raises(DataError, match="differ in number"):
        plots.layer_preference_shares(preferred, ["V1"], LAYERS)


def test_violins_stand_at_their_medians_and_quartiles():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"region": ["V1"] * 50 + ["V2"] * 3, "r": rng.uniform(0, 0.8, 53), "top": 0.9})
    table.loc[4, "r"] = np.nan
    figure = plots.unit_violins(table, ceiling="top", label="mean r")
    axes = figure.axes[0]
    v1 = table["r"][:50].dropna()
    medians = [line.get_ydata()[0] for line in axes.lines if len(line.get_ydata()) == 1]
    assert medians == [np.median(v1)]
    (quartiles,) = [part for part in axes.collections if part.get_linewidth()[0] == 2.4]
    np.testing.assert_allclose(quartiles.get_segments()[0][:, 1], np.percentile(v1, [25, 75]))
    points = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]
    np.testing.assert_array_equal(points[0], table["r"][50:])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["V1\n49", "V2\n3"]
    frame = plots.violin_table(table, values={"r": "r"}).set_index("region")
    assert frame.loc["V1", "median r"] == np.median(v1) and frame.loc["V2", "highest r"] == table["r"][50:].max()


def test_violins_refuse_what_they_cannot_draw():
    with pytest.raises(DataError, match="lacks columns"):
        plots.unit_violins(pd.DataFrame({"r": [1.0]}))
    with pytest.raises(DataError, match="no unit has a score"):
        plots.unit_violins(pd.DataFrame({"region": ["V1"], "r": [np.nan]}))


def test_a_surface_is_drawn_from_both_sides_without_the_network(no_network, tmp_path):
    values = np.linspace(0, 1, 6)
    figure = plots.surface_map(values, octahedron(), label="r")
    assert len(figure.axes) == 3  # lateral, medial, colour bar
    assert figure.axes[-1].get_ylabel() == "r"
    assert figure.axes[-1].get_ylim()[1] == pytest.approx(0.99, abs=0.02)
    points, faces = octahedron()
    image = nib.gifti.GiftiImage(
        darrays=[
            nib.gifti.GiftiDataArray(points.astype(np.float32), intent="NIFTI_INTENT_POINTSET"),
            nib.gifti.GiftiDataArray(faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE"),
        ]
    )
    path = tmp_path / "lh.surf.gii"
    nib.save(image, path)
    from_file = plots.surface_map(values, path, sulci=np.zeros(6))
    Report("surface").add_figure(from_file).save(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_flat_mesh_is_looked_at_from_above():
    figure = plots.surface_map(np.linspace(0, 1, 6), octahedron((1, 1, 0)))
    assert len(figure.axes) == 2
    assert (figure.axes[0].elev, figure.axes[0].azim) == (90, -90)


def test_meshes_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"(?s)differ in vertices.*expected.*6.*found.*5"):
        plots.surface_map(np.zeros(5), octahedron())
    with pytest.raises(DataError, match="sulci"):
        plots.surface_map(np.zeros(6), octahedron(), sulci=np.zeros(3))
    with pytest.raises(DataError, match="not a readable mesh"):
        plots.surface_map(np.zeros(6), tmp_path / "none.surf.gii")
    with pytest.raises(DataError, match="hemisphere"):
        plots.surface_map(np.zeros(6), octahedron(), hemi="both")
