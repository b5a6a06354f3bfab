"""Artefacts are whole or absent, checked on reading, and safe for two processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from brainalign import cache as cache_module
from brainalign.cache import Cache, atomic_folder, atomic_write_text, read_artefact, write_artefact
from brainalign.errors import DataError

VALUES = np.arange(24, dtype=np.float32).reshape(6, 4)


@pytest.fixture
def artefact(tmp_path):
    return write_artefact(
        tmp_path / "made", {"values": VALUES, "ids": np.array(["a", "bé"])}, {"model": "toy", "n": np.int64(3)}
    )


def test_round_trip_is_exact_and_memory_mapped(artefact):
    arrays, meta = read_artefact(artefact)
    np.testing.assert_array_equal(arrays["values"], VALUES)
    assert isinstance(arrays["values"], np.memmap)
    assert arrays["ids"].tolist() == ["a", "bé"]
    assert meta == {"model": "toy", "n": 3}


def test_every_flipped_byte_is_found(artefact):
    rng = np.random.default_rng(0)
    file = artefact / "values.npy"
    whole = file.read_bytes()
    for position in rng.integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="content differs"):
            read_artefact(artefact)
    file.write_bytes(whole)
    read_artefact(artefact)


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.99])
def test_a_truncated_array_or_manifest_is_refused(artefact, share):
    for name in ("values.npy", "manifest.json"):
        file = artefact / name
        whole = file.read_bytes()
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError):
            read_artefact(artefact)
        file.write_bytes(whole)


def test_a_missing_array_and_a_missing_folder_are_named(artefact, tmp_path):
    (artefact / "values.npy").unlink()
    with pytest.raises(DataError, match=r"values\.npy"):
        read_artefact(artefact)
    with pytest.raises(DataError, match="no artefact here"):
        read_artefact(tmp_path / "nothing")


def test_a_manifest_cannot_point_outside_its_folder(artefact, tmp_path):
    np.save(tmp_path / "secret.npy", np.ones(3))
    manifest = json.loads((artefact / "manifest.json").read_text())
    manifest["arrays"]["values"]["file"] = "../secret.npy"
    (artefact / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="missing"):
        read_artefact(artefact)


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(DataError, match="Python objects"):
        write_artefact(tmp_path / "x", {"o": np.array([{}, []], dtype=object)}, {})
    assert not (tmp_path / "x").exists()


class CountedFault:
    """Raise on the n-th call of any of the primitives that touch the disk."""

    def __init__(self, monkeypatch, n):
        self.calls, self.n = 0, n
        for name in ("replace", "fsync"):
            self._wrap(monkeypatch, os, name)
        self._wrap(monkeypatch, np, "save")

    def _wrap(self, monkeypatch, module, name):
        real = getattr(module, name)

        def wrapped(*args, **kwargs):
            self.calls += 1
            if self.calls == self.n:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, wrapped)


def test_a_fault_at_any_step_leaves_the_old_version_or_the_new(tmp_path):
    folder = tmp_path / "made"
    write_artefact(folder, {"values": VALUES}, {"version": 0})
    for n in range(1, 40):
        with pytest.MonkeyPatch.context() as patch:
            fault = CountedFault(patch, n)
            try:
                write_artefact(folder, {"values": VALUES + n}, {"version": n})
            except OSError as error:
                assert error.errno == 28
        arrays, meta = read_artefact(folder)
        np.testing.assert_array_equal(arrays["values"], VALUES + meta["version"])
        assert not list(tmp_path.glob(".*.tmp")), "a draft was left behind"
        if fault.calls < n:
            break
    else:
        pytest.fail("the write never completed")
    assert meta["version"] == n > 3


def test_killed_at_random_moments_the_artefact_is_never_torn(tmp_path):
    code = textwrap.dedent(
        """
        import sys, numpy as np
        from brainalign.cache import write_artefact
        print("ready", flush=True)
        for version in range(10**6):
            write_artefact(sys.argv[1], {"values": np.full((200, 50), float(version))}, {"version": version})
        """
    )
    folder = tmp_path / "made"
    rng = np.random.default_rng(0)
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.02 + 0.1 * rng.random())
        process.send_signal(signal.SIGKILL)
        process.wait()
        if folder.exists() or list(tmp_path.glob(".made.old")):
            arrays, meta = read_artefact(folder)
            assert (np.asarray(arrays["values"]) == meta["version"]).all()
    assert folder.exists()


def test_text_is_replaced_whole(tmp_path, monkeypatch):
    path = atomic_write_text(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "x") as draft:
        (draft / "a").write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_key_depends_on_content_alone(tmp_path):
    cache = Cache(tmp_path)
    assert cache.key(a=1, b=[2.0]) == cache.key(b=(2.0,), a=np.int64(1))
    assert cache.key(a=1) != cache.key(a=2)
    with pytest.raises(DataError, match="not a cache key"):
        cache.path("../evil")


def test_stale_drafts_are_swept_and_young_ones_kept(tmp_path):
    for name, age in (("old", 2 * 24 * 3600), ("young", 10)):
        draft = tmp_path / f".{name}.tmp"
        draft.mkdir()
        os.utime(draft, (time.time() - age,) * 2)
    Cache(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".young.tmp"]


def _ask(root, keys, log):
    cache = Cache(root)
    for key in keys:

        def make(key=key):
            with open(log, "a") as file:
                file.write(key + "\n")
            return {"values": np.full(100, int(key[1:]))}, {}

        arrays, _ = cache.get_or_make(key, make)
        assert (np.asarray(arrays["values"]) == int(key[1:])).all()


def test_two_processes_compute_each_entry_once(tmp_path):
    keys = [f"k{number}" for number in range(25)]
    log = tmp_path / "log.txt"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_ask, args=(tmp_path / "cache", keys, log)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(log.read_text().split()) == sorted(keys)


def test_default_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("BRAINALIGN_CACHE", str(tmp_path / "here"))
    assert Cache().root == tmp_path / "here"
    monkeypatch.delenv("BRAINALIGN_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert Cache().root == tmp_path / ".cache" / "brainalign"


def test_json_refuses_what_it_cannot_hold():
    with pytest.raises(TypeError):
        cache_module.to_json({"f": lambda: None})
