"""A training that is killed, at any step or in the middle of writing a checkpoint, ends with the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from brainalign.arrays import sha256_array, sha256_file
from brainalign.errors import DataError
from brainalign.learning import TrainOptions, train
from brainalign.learning.checkpoints import DIGEST, STATE, Checkpoints
from tests.learning.test_trainer import data, net, squared, weights

OPTIONS = TrainOptions(n_epochs=6, batch_size=8, learning_rate=0.02, patience=5, checkpoint_every=3)
N_STEPS = 6 * 7


def noisy(model, batch):
    """Draws from all three global generators, so that each of them must be put back."""
    shift = random.gauss(0, 0.1) + np.random.standard_normal() * 0.1  # noqa: NPY002
    return squared(model, {"x": batch["x"] + shift + 0.1 * torch.randn_like(batch["x"]), "y": batch["y"]})


def run(folder, loss=noisy, options=OPTIONS):
    model = net(dropout=0.3)
    train(model, loss, data(), options, validation=data(20, seed=1), folder=folder)
    return weights(model)


def killed_by(work) -> int:
    """Run in a forked process; the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def die_after(function, n_calls: int):
    calls = 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == n_calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)

    return counted


@pytest.fixture(scope="module")
def whole():
    return run(None)


def test_killed_at_random_steps_again_and_again(tmp_path, whole):
    rng = np.random.default_rng(0)
    for _ in range(20):
        n_calls = int(rng.integers(1, 14))
        ended = killed_by(lambda n_calls=n_calls: run(tmp_path, die_after(noisy, n_calls)))
        assert ended in (signal.SIGKILL, 0)
    assert np.array_equal(run(tmp_path), whole)
    assert len(Checkpoints(tmp_path).steps()) <= 2


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("n_calls", [1, 2, 5, 11])
def test_killed_while_writing(tmp_path, whole, call, n_calls):
    def work():
        setattr(os, call, die_after(getattr(os, call), n_calls))
        run(tmp_path)

    assert killed_by(work) == signal.SIGKILL
    assert np.array_equal(run(tmp_path), whole)
    assert not list((tmp_path / "checkpoints").glob(".*.tmp"))


def test_metrics_are_those_of_an_uninterrupted_run(tmp_path):
    run(tmp_path / "whole")
    killed_by(lambda: run(tmp_path / "cut", die_after(noisy, 40)))
    run(tmp_path / "cut")

    def lines(name):
        text = (tmp_path / name / "metrics.jsonl").read_text()
        return [line.partition(', "seconds"')[0] for line in text.splitlines()]

    assert lines("cut") == lines("whole") and len(lines("cut")) >= 5


@pytest.mark.slow
def test_in_processes_of_their_own(tmp_path, whole):
    code = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[3])); from tests.learning.test_resume import *; "
        "loss = die_after(noisy, int(sys.argv[2])); print(sha256_array(run(sys.argv[1], loss)))"
    )
    threads = str(torch.get_num_threads())
    ends = []
    for n_calls in (17, 9, 1000):
        command = [sys.executable, "-c", code, str(tmp_path), str(n_calls), threads]
        ends.append(subprocess.run(command, capture_output=True, text=True))
    assert [one.returncode for one in ends] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert ends[-1].stdout.strip() == sha256_array(whole)


def test_a_finished_run_is_read_and_not_run_again(tmp_path, whole):
    run(tmp_path)

    def never(model, batch):
        raise AssertionError("trained again")

    assert np.array_equal(run(tmp_path, never), whole)


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(DataError, match="a run with other options"):
        run(tmp_path, options=TrainOptions(n_epochs=6, batch_size=8, learning_rate=0.01, patience=5))
    with pytest.raises(DataError, match="a run with other weights"):
        train(net(9), noisy, data(), OPTIONS, validation=data(20, seed=1), folder=tmp_path)
    with pytest.raises(DataError, match="a run with other data"):
        train(net(), noisy, data(seed=2), OPTIONS, validation=data(20, seed=1), folder=tmp_path)
    with pytest.raises(DataError, match="a run with other validation"):
        train(net(), noisy, data(), OPTIONS, validation=data(20, seed=3), folder=tmp_path)


def test_a_folder_in_use_is_refused(tmp_path):
    with Checkpoints(tmp_path).held(), pytest.raises(DataError, match="another process is training"):
        run(tmp_path)


def test_damage_is_found_and_the_checkpoint_before_it_serves(tmp_path, whole):
    run(tmp_path)
    newest = Checkpoints(tmp_path).steps()[-1]
    content = bytearray((newest / STATE).read_bytes())
    for position in np.random.default_rng(0).integers(0, len(content), 20):
        flipped = content.copy()
        flipped[position] ^= 4
        (newest / STATE).write_bytes(flipped)
        with pytest.raises(DataError, match="not what was written"):
            run(tmp_path)
    (newest / STATE).unlink()
    with pytest.raises(DataError, match="not a checkpoint"):
        run(tmp_path)
    (newest / DIGEST).unlink()
    newest.rmdir()
    assert np.array_equal(run(tmp_path), whole)


@pytest.mark.parametrize("kind", ["pickle", "safetensors"])
def test_foreign_checkpoints_are_refused(tmp_path, kind):
    folder = tmp_path / "checkpoints" / "step-000000003"
    folder.mkdir(parents=True)
    if kind == "pickle":
        torch.save({"model": net().state_dict()}, folder / STATE)
    else:
        save_file(net().state_dict(), folder / STATE)
    (folder / DIGEST).write_text(sha256_file(folder / STATE))
    with pytest.raises(DataError, match="not a checkpoint"):
        run(tmp_path)


def test_other_threads_are_told(tmp_path):
    killed_by(lambda: run(tmp_path, die_after(noisy, 20)))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match=f"began with {before} threads"):
            run(tmp_path)
    finally:
        torch.set_num_threads(before)


def test_tied_weights_and_buffers_come_back(tmp_path):
    def tied():
        made = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
        made[2].weight = made[0].weight
        return made

    def loss(model, batch):
        return ((model(batch["x"])[:, :2] - batch["y"]) ** 2).mean()

    torch.manual_seed(0)
    whole, cut = tied(), tied()
    cut.load_state_dict(whole.state_dict())
    options = TrainOptions(n_epochs=3, batch_size=10)
    train(whole, loss, data(), options)
    killed_by(lambda: train(cut, die_after(loss, 8), data(), options, folder=tmp_path))
    train(cut, loss, data(), options, folder=tmp_path)
    assert np.array_equal(weights(cut), weights(whole))
    assert cut[2].weight is cut[0].weight
