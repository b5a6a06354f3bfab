"""Solids, their files and the distance between them: beside the exporter of diffusers and beside loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from brainalign.errors import DataError
from brainalign.reconstruction.shapes import Solid, chamfer, read_ply, shape_agreement, write_ply
from brainalign.reconstruction.shapes.agreement import distance_field


@pytest.fixture
def coloured():
    rng = np.random.default_rng(0)
    return Solid(rng.standard_normal((7, 3)), rng.integers(0, 7, (4, 3)), rng.integers(0, 256, (7, 3), dtype=np.uint8))


def ball(radius: float, n: int = 4000, seed: int = 0) -> Solid:
    points = np.random.default_rng(seed).standard_normal((n, 3))
    return Solid(radius * points / np.linalg.norm(points, axis=1, keepdims=True))


def test_files_are_those_of_diffusers(coloured, tmp_path):
    from diffusers.pipelines.shap_e.renderer import MeshDecoderOutput
    from diffusers.utils import export_to_ply

    tints = torch.tensor(coloured.colours / 255.499, dtype=torch.float64)
    mesh = MeshDecoderOutput(
        verts=torch.tensor(coloured.vertices),
        faces=torch.tensor(coloured.faces),
        vertex_channels=dict(zip("RGB", tints.unbind(1))),
    )
    theirs = export_to_ply(mesh, str(tmp_path / "theirs.ply"))
    ours = write_ply(tmp_path / "ours.ply", coloured)
    assert ours.read_bytes() == (tmp_path / "theirs.ply").read_bytes()
    found = read_ply(theirs)
    for part in ("vertices", "faces", "colours"):
        assert np.array_equal(getattr(found, part), getattr(coloured, part))


def test_clouds_without_faces_and_colours_come_back(tmp_path):
    cloud = ball(0.5, n=30)
    found = read_ply(write_ply(tmp_path / "cloud.ply", cloud))
    assert np.array_equal(found.vertices, cloud.vertices) and not len(found.faces) and found.colours is None


def test_damaged_and_foreign_files_are_refused(coloured, tmp_path):
    path = write_ply(tmp_path / "one.ply", coloured)
    whole = path.read_bytes()
    for content, message in [
        (whole[:-3], "cut short"),
        (whole.replace(b"binary_little_endian", b"ascii"), "cannot|can be read"),
        (whole.replace(b"property float z", b"property float w"), "other properties"),
        (whole.replace(b"\x03" + coloured.faces[0].tobytes(), b"\x04" + coloured.faces[0].tobytes()), "three corners"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_ply(path)
    with pytest.raises(DataError, match="no such file"):
        read_ply(tmp_path / "none.ply")


@pytest.mark.parametrize(
    "parts, message",
    [
        ((np.zeros((0, 3)),), "needs vertices"),
        ((np.full((2, 3), np.nan),), "NaN"),
        ((np.eye(3), [[0, 1, 3]]), "not there"),
        ((np.eye(3), None, np.zeros((3, 3))), "one colour"),
    ],
)
def test_solids_that_cannot_be_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        Solid(*parts)


def test_points_are_even_over_the_surface():
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]])
    points = Solid(square, [[0, 1, 2], [0, 2, 3]]).points(20_000)
    shares = np.histogram2d(points[:, 0], points[:, 1], bins=4, range=[[0, 1], [0, 1]])[0] / len(points)
    assert not points[:, 2].any() and abs(shares - 1 / 16).max() < 0.006
    with pytest.raises(DataError, match="no area"):
        Solid(square, [[0, 0, 0]]).points()


def test_chamfer_is_the_loop():
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((9, 3)), rng.standard_normal((14, 3))
    there = [min(np.linalg.norm(one - other) for other in right) for one in left]
    back = [min(np.linalg.norm(one - other) for other in left) for one in right]
    assert chamfer(left, right) == pytest.approx((np.mean(there) + np.mean(back)) / 2)
    assert chamfer(right, left) == pytest.approx(chamfer(left, right)) and chamfer(left, left) == 0
    for bad in (np.zeros((0, 3)), np.zeros((3, 2)), np.full((1, 3), np.inf)):
        with pytest.raises(DataError):
            chamfer(left, bad)


def test_balls_are_as_far_as_their_radii():
    assert chamfer(ball(0.5).points(), ball(0.8, seed=1).points()) == pytest.approx(0.3, abs=0.01)
    side = np.linspace(-1, 1, 5)
    radius = np.linalg.norm(np.stack(np.meshgrid(side, side, side, indexing="ij"), -1), axis=-1)
    assert np.abs(distance_field(ball(0.5), side=5) - abs(radius - 0.5)).max() < 0.05


def test_each_solid_is_nearest_to_its_own():
    true = {str(row): ball(0.2 + 0.1 * row) for row in range(5)}
    near = {str(row): ball(0.22 + 0.1 * row, seed=9) for row in reversed(range(5))}
    found = shape_agreement(near, true)
    assert found.index.tolist() == list("43210") and (found["percentile"] == 1).all()
    assert ((found["chamfer"] > 0.02) & (found["chamfer"] < 0.05)).all()  # two draws of 1024 points add to 0.02
    turned = dict(zip(near, list(near.values())[::-1]))
    assert shape_agreement(turned, true)["percentile"].mean() < 0.5
    assert shape_agreement({"0": near["0"]}, {"0": true["0"]})["percentile"].isna().all()
    same = dict.fromkeys("abc", ball(0.5))
    assert (shape_agreement(same, same)["percentile"] == 0.5).all()
    with pytest.raises(DataError, match="different stimuli"):
        shape_agreement({"x": near["0"]}, true)
