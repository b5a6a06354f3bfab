"""`Solid`: a coloured surface or point cloud, and the PLY files that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.arrays import check_finite
from brainalign.cache import atomic_write_bytes
from brainalign.errors import DataError

__all__ = ["Solid", "read_ply", "write_ply"]

_PLACE = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
_COLOUR = [("red", "u1"), ("green", "u1"), ("blue", "u1")]
_FACE = np.dtype([("n", "u1"), ("corners", "<i4", 3)])
_HEADER_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Solid:
    """A surface of triangles, or a point cloud where there are none.

    Parameters
    ----------
    vertices : array (n_vertices, 3)
        In the units of the model that made it; Shap-E fills the cube from -1 to 1.
    faces : array of int (n_faces, 3), optional
        Rows of `vertices`.
    colours : array of uint8 (n_vertices, 3), optional
        sRGB.

    Raises
    ------
    DataError
        When there is no vertex, one is not finite, or faces or colours do not fit.

    Examples
    --------
    >>> Solid(np.eye(3), [[0, 1, 2]]).points(5).sum(1).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    colours: NDArray[np.uint8] | None

    def __init__(self, vertices: ArrayLike, faces: ArrayLike | None = None, colours: ArrayLike | None = None) -> None:
        places = np.ascontiguousarray(vertices, dtype=np.float32)
        if places.ndim != 2 or places.shape[1] != 3 or not len(places):
            raise DataError("a solid needs vertices", expected="(n, 3), n from 1", found=places.shape)
        check_finite(places, name="vertices")
        corners = np.zeros((0, 3), np.int64) if faces is None else np.asarray(faces, dtype=np.int64).reshape(-1, 3)
        if corners.size and not 0 <= corners.min() <= corners.max() < len(places):
            raise DataError("faces name vertices that are not there", expected=f"0 to {len(places) - 1}",
                            found=f"{corners.min()} to {corners.max()}")  # fmt: skip
        tints = None if colours is None else np.asarray(colours)
        if tints is not None and (tints.shape != places.shape or tints.dtype != np.uint8):
            raise DataError("each vertex has one colour", expected=f"{places.shape} of uint8",
                            found=f"{tints.shape} of {tints.dtype}")  # fmt: skip
        object.__setattr__(self, "vertices", places)
        object.__setattr__(self, "faces", corners.astype(np.int32))
        object.__setattr__(self, "colours", tints)

    def points(self, n: int = 2048, *, seed: int = 0) -> NDArray[np.float64]:
        """`n` points drawn evenly from the surface, (n, 3); from the vertices where there is no face."""
        rng = np.random.default_rng(seed)
        if not len(self.faces):
            return self.vertices[rng.integers(len(self.vertices), size=n)].astype(np.float64)
        corners = self.vertices[self.faces].astype(np.float64)
        sides = corners[:, 1:] - corners[:, :1]
        area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
        if not area.sum() > 0:
            raise DataError("this surface has no area", found=f"{len(self.faces)} faces")
        chosen = rng.choice(len(area), size=n, p=area / area.sum())
        share = rng.random((n, 2, 1))
        share = np.where(share.sum(1, keepdims=True) > 1, 1 - share, share)  # the far half of the parallelogram
        return corners[chosen, 0] + (share * sides[chosen]).sum(1)


def write_ply(path: str | PathLike[str], solid: Solid) -> Path:
    """Write a solid as binary PLY, whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> path = write_ply(Path(tempfile.mkdtemp()) / "one.ply", Solid(np.eye(3), [[0, 1, 2]]))
    >>> read_ply(path).faces.tolist()
    [[0, 1, 2]]
    """
    coloured = solid.colours is not None
    rows = np.empty(len(solid.vertices), dtype=_PLACE + _COLOUR * coloured)
    for at, (name, _) in enumerate(_PLACE):
        rows[name] = solid.vertices[:, at]
    if solid.colours is not None:
        for at, (name, _) in enumerate(_COLOUR):
            rows[name] = solid.colours[:, at]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    head += [f"property float {name}" for name, _ in _PLACE]
    head += [f"property uchar {name}" for name, _ in _COLOUR * coloured]
    faces = np.empty(len(solid.faces), dtype=_FACE)
    faces["n"], faces["corners"] = 3, solid.faces
    if len(faces):
        head += [f"element face {len(faces)}", "property list uchar int vertex_index"]
    text = "\n".join([*head, "end_header\n"]).encode("ascii")
    return atomic_write_bytes(path, text + rows.tobytes() + faces.tobytes())


def read_ply(path: str | PathLike[str]) -> Solid:
    """Read a binary PLY of triangles or points, as `write_ply` and the exporter of diffusers write it.

    Raises
    ------
    DataError
        When it is another kind of PLY, or is cut short.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError("no such file", path=file)
    content = file.read_bytes()
    end = content[:_HEADER_BYTES].find(b"end_header\n")
    lines = content[: max(end, 0)].decode("ascii", errors="replace").splitlines()
    if lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        raise DataError("not a PLY that can be read here", path=file, expected="binary_little_endian 1.0",
                        found=lines[:2] or content[:20])  # fmt: skip
    counts = {words[1]: int(words[2]) for line in lines if (words := line.split())[:1] == ["element"]}
    told = [line for line in lines[2:] if line.split()[0] == "property"]
    coloured = any(line.endswith(" red") for line in told)
    columns = _PLACE + _COLOUR * coloured
    expected = [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in columns]
    expected += ["property list uchar int vertex_index"] * ("face" in counts)
    if told != expected or not set(counts) <= {"vertex", "face"}:
        raise DataError("a PLY of other properties", path=file, expected=expected, found=told)
    kind, body = np.dtype(columns), content[end + len(b"end_header\n") :]
    size = counts["vertex"] * kind.itemsize
    if len(body) != size + counts.get("face", 0) * _FACE.itemsize:
        raise DataError("this PLY is cut short, or has faces of other than three corners", path=file,
                        expected=f"{size + counts.get('face', 0) * _FACE.itemsize} bytes", found=len(body))  # fmt: skip
    rows = np.frombuffer(body[:size], kind)
    faces = np.frombuffer(body[size:], _FACE)
    if (faces["n"] != 3).any():
        raise DataError("faces have other than three corners", path=file, found=np.unique(faces["n"]).tolist())
    colours = np.stack([rows[name] for name, _ in _COLOUR], 1) if coloured else None
    return Solid(np.stack([rows[name] for name, _ in _PLACE], 1), faces["corners"], colours)
