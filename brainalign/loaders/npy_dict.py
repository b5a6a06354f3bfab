"""Dictionaries that others saved with ``np.save(path, {...})``: read as data, without running anything in them.

Such a file holds a pickle, and a pickle is a program. Here its instructions are carried out by a small machine that
knows containers, text, numbers and numpy arrays, and nothing else: a name such as ``os.system`` is never looked up,
it is refused. Arrays stay on disk as read-only memory maps, so a file larger than memory opens at once.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from brainalign.errors import DataError
from brainalign.loaders.damage import AGAIN, damaged

__all__ = ["read_npy_dict"]

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and after numpy 2
_ALLOWED = {
    **{(module, "_reconstruct"): "array" for module in _MULTIARRAY},
    **{(module, "scalar"): "scalar" for module in _MULTIARRAY},
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",  # how protocol 2 writes bytes, and empty bytes
    ("__builtin__", "bytes"): "bytes",
}
"""The only names a file may use, and what stands in for each; none of them is called."""

_CONSTANTS = {0x4E: None, 0x88: True, 0x89: False}
_EMPTY: dict[int, Callable[[], Any]] = {0x7D: dict, 0x5D: list, 0x29: tuple, 0x8F: set}
# Instructions that carry a count, and in how many bytes it is written.
_INTEGERS = {0x4B: "<B", 0x4D: "<H", 0x4A: "<i", 0x47: ">d"}
_TEXTS = {0x8C: "<B", 0x58: "<I", 0x8D: "<Q"}
_BYTES = {0x43: "<B", 0x42: "<I", 0x8E: "<Q", 0x96: "<Q"}
_PUTS = {0x71: "<B", 0x72: "<I"}
_GETS = {0x68: "<B", 0x6A: "<I"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_MARK, _STOP = 0x28, 0x2E
_SMALL_BYTES = 4096  # longer strings of bytes stay on disk


def read_npy_dict(path: str | PathLike[str], *, max_operations: int = 5_000_000) -> dict[str, Any]:
    """Read a pickled dictionary of arrays, lists, text and numbers without unpickling it.

    Parameters
    ----------
    path : path-like
        Written by ``np.save(path, dictionary)``, or by ``pickle.dump`` under a ``.npy`` name as some
        preprocessing scripts do (protocols 2 to 5).
    max_operations : int
        Refuse files with more instructions: bounds the memory that small objects may take. Arrays do not count.

    Returns
    -------
    dict
        Arrays are read-only memory maps of the file.

    Raises
    ------
    DataError
        When the file is cut, is not a dictionary, or uses any name besides numpy's own array constructors; the
        message gives the refused name.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "eeg.npy"
    >>> np.save(path, {"data": np.arange(3.0), "ch_names": ["Oz", "Pz"]})
    >>> read_npy_dict(path)["ch_names"]
    ['Oz', 'Pz']
    """
    path = Path(path)
    try:
        buffer = np.memmap(path, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise damaged(path, "a .npy file with content", error, what="cannot open the file") from error
    machine = _Machine(buffer, path, _pickle_start(buffer, path), max_operations)
    content = machine.run()
    if isinstance(content, np.ndarray) and content.shape == () and content.dtype == object:
        content = content.item()
    if not isinstance(content, dict):
        raise DataError(
            "the file holds no dictionary",
            path=path,
            expected="a dict",
            found=type(content).__name__,
            fix="read it with numpy.load(path), or have its author save a dictionary",
        )
    return content


def _pickle_start(buffer: np.memmap, path: Path) -> int:
    """Where the pickle begins: after the .npy header, or at once in a bare pickle."""
    if buffer[0] == 0x80:
        return 0
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as file:
        try:
            shape, _, dtype = readers[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else "no header"
            raise DataError("not a .npy file", path=path, expected="a .npy header", found=reason, fix=AGAIN) from error
        start = file.tell()
    if dtype.kind != "O":
        found, fix = f"{dtype} array of shape {shape}", "read it with numpy.load(path)"
        raise DataError("the file holds a plain array", path=path, expected="a dict", found=found, fix=fix)
    return start


class _Name:
    """One of the allowed names, as a word and not as a function."""

    def __init__(self, role: str) -> None:
        self.role = role


class _Unbuilt:
    """An array or dtype between its construction and its state."""

    def __init__(self, role: str, code: str = "") -> None:
        self.role, self.code = role, code
        self.value: Any = None


class _Machine:
    """Carries out the instructions of one pickle, within bounds."""

    def __init__(self, buffer: np.ndarray, path: Path, position: int, max_operations: int) -> None:
        self.buffer, self.path, self.position, self.max_operations = buffer, path, position, max_operations
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.others: dict[int, Callable[[], None]] = {
            0x80: lambda: self._skip(1),
            0x95: lambda: self._skip(8),
            _MARK: self._mark,
            0x94: self._memoize,
            0x8A: lambda: self._integer("<B"),
            0x8B: lambda: self._integer("<I"),
            0x61: self._append,
            0x65: self._extend,
            0x73: self._set_item,
            0x75: self._set_items,
            0x90: self._add_many,
            0x91: lambda: self._push(frozenset(self._pop_mark())),
            0x74: lambda: self._push(tuple(self._pop_mark())),
            0x63: self._global,
            0x93: self._stack_global,
            0x52: self._reduce,
            0x62: self._build,
        }

    def run(self) -> Any:
        try:
            for _ in range(self.max_operations):
                code = self._number("<B")
                if code == _STOP:
                    return self._finish()
                self._step(code)
        except DataError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            found = f"{type(error).__name__} at byte {self.position}"
            raise self._refusal("the pickle in it is malformed", found=found) from error
        raise self._refusal("too many objects in the file", expected=f"at most {self.max_operations} instructions")

    def _finish(self) -> Any:
        if self.position != len(self.buffer):
            extra = len(self.buffer) - self.position
            raise self._refusal(
                "the file goes on after its content ends", expected=self.position, found=f"{extra} more bytes"
            )
        return self.stack.pop()

    def _step(self, code: int) -> None:
        if code in _CONSTANTS:
            self._push(_CONSTANTS[code])
        elif code in _EMPTY:
            self._push(_EMPTY[code]())
        elif code in _INTEGERS:
            self._push(self._number(_INTEGERS[code]))
        elif code in _TEXTS:
            self._push(self._take(self._number(_TEXTS[code])).tobytes().decode("utf-8", "surrogatepass"))
        elif code in _BYTES:
            raw = self._take(self._number(_BYTES[code]))
            self._push(raw if len(raw) > _SMALL_BYTES else raw.tobytes())
        elif code in _PUTS:
            self.memo[self._number(_PUTS[code])] = self.stack[-1]
        elif code in _GETS:
            self._push(self._remembered(self._number(_GETS[code])))
        elif code in _TUPLES:
            items = self.stack[-_TUPLES[code] :]
            del self.stack[-_TUPLES[code] :]
            self._push(tuple(items))
        elif code in self.others:
            self.others[code]()
        else:
            raise self._refusal("the pickle uses an instruction that data does not need", found=f"opcode {code:#04x}")

    def _refusal(self, what: str, *, expected: Any = None, found: Any = None) -> DataError:
        fix = "have its author save arrays with np.savez, or convert the file in a place you can afford to lose"
        return DataError(what, path=self.path, expected=expected, found=found, fix=fix)

    # -- bytes and stack ----------------------------------------------------------------------------------------

    def _take(self, size: int) -> np.ndarray:
        stop = self.position + size
        if stop > len(self.buffer):
            raise DataError(
                "the file is cut short",
                path=self.path,
                expected=f"at least {stop} bytes",
                found=f"{len(self.buffer)} bytes",
                fix="download or copy it again",
            )
        taken = self.buffer[self.position : stop]
        self.position = stop
        return taken

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)).tobytes())[0]

    def _skip(self, size: int) -> None:
        self._take(size)

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _remembered(self, number: int) -> Any:
        value = self.memo[number]
        if isinstance(value, _Unbuilt):
            if value.value is None:
                raise self._refusal("an array in the file contains itself")
            return value.value
        return value

    def _integer(self, form: str) -> None:
        size = self._number(form)
        if size > 64:
            raise self._refusal("a whole number in the file is absurdly long", expected="at most 64 bytes", found=size)
        self._push(int.from_bytes(self._take(size).tobytes(), "little", signed=True))

    # -- containers ---------------------------------------------------------------------------------------------

    def _container(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise self._refusal(
                "the pickle in it is malformed", expected=kind.__name__, found=type(self.stack[-1]).__name__
            )
        return self.stack[-1]

    def _append(self) -> None:
        item = self.stack.pop()
        self._container(list).append(item)

    def _extend(self) -> None:
        items = self._pop_mark()
        self._container(list).extend(items)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._container(dict)[key] = value

    def _set_items(self) -> None:
        items = self._pop_mark()
        self._container(dict).update(zip(items[::2], items[1::2], strict=True))

    def _add_many(self) -> None:
        items = self._pop_mark()
        self._container(set).update(items)

    # -- numpy --------------------------------------------------------------------------------------------------

    def _global(self) -> None:
        words = []
        for _ in range(2):
            line = bytearray()
            while (byte := self._number("<B")) != 0x0A:
                line.append(byte)
            words.append(line.decode("utf-8", "backslashreplace"))
        self._name(words[0], words[1])

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(module, name)

    def _name(self, module: Any, name: Any) -> None:
        role = _ALLOWED.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if role is None:
            known = sorted({f"{where}.{what}" for where, what in _ALLOWED})
            asked = f"{module}.{name}"
            raise self._refusal(f"the file asks for '{asked}', which is not data", expected=known, found=asked)
        self._push(_Name(role))

    def _reduce(self) -> None:
        arguments, callee = self.stack.pop(), self.stack.pop()
        if not isinstance(callee, _Name) or not isinstance(arguments, tuple):
            raise self._refusal(
                "the pickle in it is malformed", expected="an allowed name", found=type(callee).__name__
            )
        if callee.role == "array" and isinstance(arguments[0], _Name) and arguments[0].role == "ndarray":
            self._push(_Unbuilt("array"))
        elif callee.role == "dtype" and isinstance(arguments[0], str):
            self._push(_Unbuilt("dtype", arguments[0]))
        elif callee.role == "scalar" and isinstance(arguments[0], np.dtype):
            self._push(self._array((), arguments[0], False, arguments[1]).flat[0])
        elif callee.role == "frombuffer" and isinstance(arguments[1], np.dtype):
            raw, dtype, shape, order = arguments[:4]
            self._push(self._array(shape, dtype, order == "F", raw))
        elif callee.role == "bytes" and not arguments:
            self._push(b"")
        elif callee.role == "encode" and arguments[1] == "latin1" and isinstance(arguments[0], str):
            self._push(arguments[0].encode("latin1"))
        else:
            raise self._refusal(f"the file calls numpy's '{callee.role}' in a way that data does not need")

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, _Unbuilt) or not isinstance(state, tuple):
            raise self._refusal(
                "the pickle in it is malformed", expected="an array's state", found=type(state).__name__
            )
        if target.role == "dtype":
            target.value = self._dtype(target.code, state)
        else:
            shape, dtype, fortran, raw = state[-4:]
            target.value = self._array(shape, dtype, fortran, raw)
        self._push(target.value)

    def _dtype(self, code: str, state: tuple) -> np.dtype:
        """A plain dtype: numbers, text or objects; no structures, dates or dtypes with metadata."""
        plain = re.fullmatch(r"[biufcSUO]\d{1,9}", code)
        if not plain or any(part is not None for part in state[2:5]):
            raise self._refusal(
                "an array in the file is of a kind that is not read", expected="a plain dtype", found=code
            )
        dtype = np.dtype(code)
        return dtype.newbyteorder(state[1]) if state[1] in ("<", ">") else dtype

    def _array(self, shape: Any, dtype: Any, fortran: Any, raw: Any) -> np.ndarray:
        sizes = (shape,) if isinstance(shape, int) else shape
        whole = isinstance(sizes, tuple) and all(isinstance(size, int) and size >= 0 for size in sizes)
        if not whole or not isinstance(dtype, np.dtype):
            raise self._refusal("an array in the file has no proper shape or dtype", found=(shape, dtype))
        n_items = math.prod(sizes)
        order: Literal["C", "F"] = "F" if fortran else "C"
        held = len(raw) if isinstance(raw, list) else len(raw) // max(1, dtype.itemsize)
        if isinstance(raw, list) != dtype.hasobject or held != n_items:
            raise self._refusal("an array in the file does not fill its shape", expected=f"{n_items} items", found=held)
        if not dtype.hasobject:
            # A view, also where the bytes are not aligned: numpy reads those correctly.
            return np.ndarray(sizes, dtype=dtype, buffer=raw, order=order)
        flat = np.empty(n_items, dtype=object)
        for number, item in enumerate(raw):  # one by one: numpy would unfold a list of arrays
            flat[number] = item
        return flat.reshape(sizes, order=order)
