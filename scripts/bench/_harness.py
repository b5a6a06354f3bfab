"""Side-by-side benchmarks: each case of each side in a fresh process, with the same inputs and number of threads.

A script lists its `Case` objects and calls `main`. Timing starts after the inputs are in memory, the side's library is
imported and BLAS is warm; peak memory is counted from there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
TURNS = "turns"
COLUMNS = (
    "case",
    "ours",
    "peer",
    "ours_cpu_s",
    "peer_cpu_s",
    "ours_wall_s",
    "peer_wall_s",
    "ours_peak_mb",
    "peer_peak_mb",
    "ratio",
    "max_abs_diff",
    "floor_cpu_s",
)


@dataclass(frozen=True)
class Side:
    """One implementation: `prepare` imports its library and returns the function that is timed.

    With `build`, what it makes of the inputs is handed to that function, and is not timed itself.
    """

    name: str
    prepare: Callable[[], Callable[[Any], Arrays]]
    build: Callable[[Arrays], Any] | None = None


@dataclass(frozen=True)
class Case:
    """One problem for our side and one or several peers, each of which makes a row of the table.

    Parameters
    ----------
    name : str
    make : callable
        ``make(quick)`` returns the inputs as named arrays.
    ours : Side
    peer : Side or tuple of Side
    compare : callable
        ``compare(ours, peer)`` of the outputs; returns the largest absolute difference, or a dict with
        ``max_abs_diff`` and further columns; from ``samples`` come those that each side takes in a processor second.
    floor : Side, optional
        The matrix products and decompositions that cannot be avoided, alone.
    bars : mapping of str to float
        What is asked of ours beside the peer of fewest processor seconds: "ratio" of these at least, at most so much
        of its "memory", at most so many times the "floor".
    turns : int
        Where the machine is busy: seconds are medians of so many runs in one process, in which the sides take turns,
        and ``ratio`` is the median over turns. Memory is still that of a process of its own.
    """

    name: str
    make: Callable[[bool], Arrays]
    ours: Side
    peer: Side | tuple[Side, ...]
    compare: Callable[[Arrays, Arrays], Any]
    floor: Side | None = None
    bars: Mapping[str, float] = field(default_factory=dict)
    turns: int = 0

    @property
    def sides(self) -> dict[str, Side]:
        """By role: "ours", "floor" where there is one, "peer0", "peer1" ..."""
        peers = self.peer if isinstance(self.peer, tuple) else (self.peer,)
        ours = {"ours": self.ours} | ({"floor": self.floor} if self.floor else {})
        return ours | {f"peer{number}": peer for number, peer in enumerate(peers)}


def main(cases: list[Case], script: str) -> None:
    """Run the cases asked for on the command line, print their table and write it as JSON."""
    names = list(dict.fromkeys(case.name for case in cases))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=names, help="repeatable; all cases by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--worker", nargs=2, metavar=("ROLE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [case for case in cases if not options.case or case.name in options.case]
    if options.worker and options.worker[0] == TURNS:
        _work_in_turns(chosen[0], options.worker[1])
        return
    if options.worker:
        _work(chosen[0].sides[options.worker[0]], *options.worker)
        return
    rows: list[dict[str, Any]] = []
    for case in chosen:
        own: list[dict[str, Any]] = []
        for row in _rows(case, script, quick=options.quick, n_threads=options.threads):
            print(_line(row, header=not rows), flush=True)
            rows.append(row)
            own.append(row)
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1))
        if case.bars and not options.quick:
            print(verdict(own, case.bars), flush=True)


def verdict(rows: list[dict[str, Any]], bars: Mapping[str, float]) -> str:
    """The rows of one case beside what is asked for, in a line."""
    best = min(rows, key=lambda row: row["peer_cpu_s"])
    leanest = min(row["peer_peak_mb"] for row in rows)
    found = {"ratio": best["ratio"], "memory": best["ours_peak_mb"] / max(best["peer_peak_mb"], 1e-9)}
    if best["floor_cpu_s"]:
        found["floor"] = best["ours_cpu_s"] / best["floor_cpu_s"]
    words = {
        "ratio": f"{found['ratio']:.2f} times fewer CPU seconds than {best['peer']}",
        "memory": f"{found['memory']:.2f} of its memory ({best['ours_peak_mb']:.0f} MB; leanest peer {leanest:.0f} MB)",
    }
    if "floor" in found:
        words["floor"] = f"{found['floor']:.2f} times the floor"
    said = []
    for name, text in words.items():
        if name in bars:
            met = found[name] >= bars[name] if name == "ratio" else found.get(name, float("inf")) <= bars[name]
            text += f" [{'met' if met else 'MISSED'}: {'>=' if name == 'ratio' else '<='} {bars[name]:g}]"
        said.append(text)
    return f"{rows[0]['case']}: {'; '.join(said)}"


def _rows(case: Case, script: str, *, quick: bool, n_threads: int) -> Iterator[dict[str, Any]]:
    """Run the sides of a case one after the other, and put the figures of ours and of each peer side by side."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in case.make(quick).items():
            np.save(Path(folder) / f"{name}.npy", array)
        ours, made = _run(case, "ours", folder, script, n_threads)
        floor = _run(case, "floor", folder, script, n_threads)[0]["cpu_s"] if case.floor else None
        turns = _turns(case, folder, script, n_threads) if case.turns else {}
        ours |= _medians(turns, "ours")
        for role, side in case.sides.items():
            if not role.startswith("peer"):
                continue
            peer, theirs = _run(case, role, folder, script, n_threads)
            peer |= _medians(turns, role)
            difference = case.compare(made, theirs)
            more = dict(difference) if isinstance(difference, Mapping) else {"max_abs_diff": difference}
            row: dict[str, Any] = {"case": case.name, "ours": case.ours.name, "peer": side.name}
            for figure in ("cpu_s", "wall_s", "peak_mb"):
                row |= {f"ours_{figure}": ours[figure], f"peer_{figure}": peer[figure]}
            ratio = peer["cpu_s"] / ours["cpu_s"]
            if turns:
                ratio = float(np.median(np.divide(turns[role]["cpu_s"], turns["ours"]["cpu_s"])))
            row |= {"ratio": ratio, "max_abs_diff": float(more.pop("max_abs_diff"))}
            if samples := more.pop("samples", None):
                paces = {f"{side}_samples_per_s": samples / row[f"{side}_cpu_s"] for side in ("ours", "peer")}
                more |= {name: round(pace, 1) for name, pace in paces.items()}
            yield row | {"floor_cpu_s": floor} | more | {"threads": n_threads}


def _run(case: Case, role: str, folder: str, script: str, n_threads: int) -> tuple[dict[str, float], Arrays]:
    """Figures and outputs of one side, run in a process of its own."""
    _start(case, role, folder, script, n_threads)
    with np.load(Path(folder) / f"{role}.npz") as made:
        outputs = {name: made[name] for name in made.files}
    return json.loads((Path(folder) / f"{role}.json").read_text()), outputs


def _turns(case: Case, folder: str, script: str, n_threads: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of every turn of each side."""
    _start(case, TURNS, folder, script, n_threads)
    return json.loads((Path(folder) / f"{TURNS}.json").read_text())


def _medians(turns: dict[str, dict[str, list[float]]], role: str) -> dict[str, float]:
    return {figure: float(np.median(values)) for figure, values in turns.get(role, {}).items()}


def _start(case: Case, role: str, folder: str, script: str, n_threads: int) -> None:
    """Run a part of a case in a process of its own; it leaves what it found in the folder."""
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(n_threads))
    command = [sys.executable, script, "--case", case.name, "--worker", role, folder]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case.name}: {role} failed\n{done.stderr}")


def _work_in_turns(case: Case, folder: str) -> None:
    """Run the sides one after the other, as often as the case asks for and once to warm up; leave their seconds."""
    inputs = _inputs(folder)
    sides = {role: (side, side.prepare()) for role, side in case.sides.items() if role != "floor"}
    seconds: dict[str, dict[str, list[float]]] = {role: {"cpu_s": [], "wall_s": []} for role in sides}
    for turn in range(case.turns + 1):
        for role, (side, function) in sides.items():
            given = side.build(inputs) if side.build else inputs
            cpu, wall = cpu_seconds(), time.perf_counter()
            function(given)
            if turn:
                seconds[role]["cpu_s"].append(cpu_seconds() - cpu)
                seconds[role]["wall_s"].append(time.perf_counter() - wall)
    (Path(folder) / f"{TURNS}.json").write_text(json.dumps(seconds))


def _inputs(folder: str) -> Arrays:
    return {path.stem: _loaded(path) for path in sorted(Path(folder).glob("*.npy"))}


def _work(side: Side, role: str, folder: str) -> None:
    """Time one side on the inputs in `folder`; leave outputs and figures there."""
    function = side.prepare()
    inputs: Any = _inputs(folder)
    if side.build:
        inputs = side.build(inputs)
    warm = np.ones((200, 200), dtype=np.float32)
    np.linalg.eigh(warm @ warm)
    base = _forget_peak()
    cpu, wall = cpu_seconds(), time.perf_counter()
    outputs = function(inputs)
    figures = {
        "cpu_s": cpu_seconds() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mb": _memory("VmHWM") - base,
    }
    np.savez(Path(folder) / f"{role}.npz", **outputs)
    (Path(folder) / f"{role}.json").write_text(json.dumps(figures))


def cpu_seconds() -> float:
    """Of this process and of those it started that have ended."""
    import resource

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _loaded(path: Path) -> np.ndarray:
    """An input in memory, or mapped where it is larger than 1 GiB."""
    return np.load(path, mmap_mode="r" if path.stat().st_size > 2**30 else None)


def _memory(field: str) -> float:
    """VmRSS or VmHWM of this process in MB; the peak of the whole life where /proc is absent."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def _forget_peak() -> float:
    """Start counting peak memory from now; return what is resident."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
        return _memory("VmRSS")
    return _memory("VmHWM")


def _line(row: Mapping[str, Any], *, header: bool) -> str:
    """A row of the table, under its header where it is the first."""

    def text(name: str, value: Any) -> str:
        if isinstance(value, float):
            value = f"{value:.2g}" if name == "max_abs_diff" or abs(value) < 0.1 else f"{value:.2f}"
        return str(value)

    names = [*COLUMNS, *(name for name in row if name not in COLUMNS)]
    widths = [max(len(name), 22 if name in ("case", "ours", "peer") else 9) for name in names]
    line = "  ".join(text(name, row[name]).ljust(width) for name, width in zip(names, widths, strict=True))
    if not header:
        return line.rstrip()
    head = "  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True))
    return f"{head.rstrip()}\n{line.rstrip()}"
