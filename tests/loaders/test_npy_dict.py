"""The reader of pickled dictionaries: same content as unpickling, and nothing in a file ever runs."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainalign.errors import DataError
from brainalign.loaders.npy_dict import read_npy_dict

rng = np.random.default_rng(0)
CONTENT: dict[str, Any] = {
    "preprocessed_eeg_data": rng.standard_normal((3, 2, 4, 5)),
    "big_endian_fortran": np.asfortranarray(rng.standard_normal((3, 4)).astype(">f4")),
    "integers": np.arange(5, dtype=np.int16),
    "flags": np.array([True, False]),
    "nothing": np.zeros((0, 3)),
    "zero_dimensional": np.array(3.5),
    "unicode": np.array(["Oz", "Pz10"]),
    "mixed": np.array([[1, "a"], [None, 2.5]], dtype=object),
    "ch_names": ["Oz", "Pz", "µ"],
    "scalar": np.float64(2.5),
    "text_scalar": np.str_("q"),
    "small": -3,
    "big": 10**20,
    "raw": b"abc",
    "nested": {"x": [(1, 2, 3, 4), (), (1,)], "none": None, "yes": True},
    "shared": [np.arange(3)] * 3,
}


def _same(found: Any, expected: Any) -> None:
    np.testing.assert_equal(found, expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_bare_pickles_of_every_binary_protocol_give_what_pickle_gives(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "bare.npy"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    found = read_npy_dict(path)
    oracle = pickle.loads(path.read_bytes())
    assert list(found) == list(oracle)
    for key, expected in oracle.items():
        _same(found[key], expected)


def test_what_numpy_saved_comes_back_and_stays_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "eeg.npy"
    large = rng.standard_normal((200, 100))
    np.save(path, {**CONTENT, "large": large})
    found = read_npy_dict(path)
    for key, expected in CONTENT.items():
        _same(found[key], expected)
    _same(found["large"], large)
    assert not found["large"].flags.writeable
    base = found["large"]
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_files_of_the_time_before_numpy_2_are_read(tmp_path: Path) -> None:
    raw = pickle.dumps(CONTENT, 3).replace(b"numpy._core.", b"numpy.core.")
    path = tmp_path / "old.npy"
    path.write_bytes(raw)
    _same(read_npy_dict(path)["preprocessed_eeg_data"], CONTENT["preprocessed_eeg_data"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
            max_leaves=12,
        ),
    ),
    protocol=st.integers(2, 5),
)
def test_any_plain_content_survives(tmp_path: Path, content: dict[str, Any], protocol: int) -> None:
    path = tmp_path / "any.npy"
    path.write_bytes(pickle.dumps(content, protocol))
    assert read_npy_dict(path) == content


# -- attacks ----------------------------------------------------------------------------------------------------


class _Runs:
    """Unpickling it calls `function(*arguments)`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _attacks(sentinel: Path) -> dict[str, tuple[Any, str]]:
    command = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w').close()"
    return {
        "os.system": (_Runs(os.system, command), "system"),
        "eval": (_Runs(eval, code), "builtins.eval"),
        "exec": (_Runs(exec, code), "builtins.exec"),
        "getattr": (_Runs(getattr, "x", "upper"), "builtins.getattr"),
        "numpy function not listed": (_Runs(np.load, str(sentinel), None, True), "load"),
        "numpy fromfile": (_Runs(np.fromfile, str(sentinel)), "fromfile"),
        "nested object array": (np.array([[_Runs(os.system, command)]], dtype=object), "system"),
        "inside a list in a dict": ({"a": [1, _Runs(os.system, command)]}, "system"),
        "path object": (sentinel, "pathlib"),
    }


@pytest.mark.parametrize("attack", list(_attacks(Path("x"))))
@pytest.mark.parametrize("form", ["npy", "bare"])
def test_nothing_in_a_file_runs(tmp_path: Path, attack: str, form: str) -> None:
    sentinel = tmp_path / "sentinel"
    payload, named = _attacks(sentinel)[attack]
    path = tmp_path / "hostile.npy"
    if form == "npy":
        np.save(path, {"data": np.arange(3), "payload": payload})
    else:
        path.write_bytes(pickle.dumps({"payload": payload}, 4))
    with pytest.raises(DataError, match=named) as caught:
        read_npy_dict(path)
    assert "file: " in str(caught.value) and "mend: " in str(caught.value)
    assert not sentinel.exists()
    # The payload is live: unpickling it would have run (shown on one of them).
    if attack == "eval" and form == "bare":
        pickle.loads(path.read_bytes())
        assert sentinel.exists()


def _pickle(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def _reconstruct(arguments: bytes = b"") -> bytes:
    return b"cnumpy._core.multiarray\n_reconstruct\n" + arguments


HAND_MADE = {
    "reconstruct of something else than ndarray": _reconstruct(b"(cnumpy\ndtype\nK\x00\x85C\x01bt"),
    "array state that does not fill its shape": pickle.dumps({"x": np.arange(1000.0)}, 4).replace(
        b"M\xe8\x03\x85", b"M\xff\x7f\x85"
    )[2:-1],
    "persistent id": b"Vx\nP",
    "extension registry": b"\x82\x01",
    "class instance": b"(ios\nsystem\n",
    "new object": b"cnumpy\nndarray\n)\x81",
    "build on a list": b"])b",
    "empty stack": b"0",
    "pop": b"K\x010",
    "memo that was never written": b"h\x07",
    "absurd integer": b"\x8b" + struct.pack("<I", 10_000) + b"\x00" * 10_000,
    "text beyond the end": b"\x8d" + struct.pack("<Q", 2**62),
    "bytes beyond the end": b"\x8e" + struct.pack("<Q", 2**40),
    "structured dtype": pickle.dumps(np.zeros(2, dtype=[("a", "f8")]), 4)[2:-1],
    "date dtype": pickle.dumps(np.zeros(2, dtype="M8[s]"), 4)[2:-1],
    "not a dict": b"K\x01",
    "attribute path in the name": b"\x8c\x05numpy\x8c\x0fndarray.__del__\x93",
}


@pytest.mark.parametrize("name", list(HAND_MADE))
def test_malformed_programs_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hand.npy"
    path.write_bytes(_pickle(HAND_MADE[name]))
    with pytest.raises(DataError):
        read_npy_dict(path)


def test_objects_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npy"
    path.write_bytes(_pickle(b"(" + b"]" * 2000 + b"t"))
    with pytest.raises(DataError, match="too many objects"):
        read_npy_dict(path, max_operations=1000)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.1, 0.5, 0.99, 0.999])
def test_a_cut_file_is_refused(tmp_path: Path, fraction: float) -> None:
    path = tmp_path / "cut.npy"
    np.save(path, CONTENT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(DataError):
        read_npy_dict(path)


def test_every_shorter_prefix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prefix.npy"
    whole = pickle.dumps({"a": np.arange(4.0), "b": ["x"]}, 4)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_npy_dict(path)


def test_plain_arrays_and_other_files_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "plain.npy"
    np.save(path, np.arange(3))
    with pytest.raises(DataError, match=r"numpy\.load"):
        read_npy_dict(path)
    path.write_bytes(b"PK\x03\x04 not numpy at all")
    with pytest.raises(DataError, match=r"not a \.npy file"):
        read_npy_dict(path)
    with pytest.raises(DataError, match="cannot open"):
        read_npy_dict(tmp_path / "absent.npy")
    np.save(path, np.array([{"a": 1}, {"b": 2}], dtype=object))
    with pytest.raises(DataError, match="no dictionary"):
        read_npy_dict(path)
