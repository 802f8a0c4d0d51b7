"""Several processes with --distributed are one run: its losses, its checkpoints, its end."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from one_line import refused

STEPS = 30
OPTIONS = [
    "MLP.width=16", "MLP.depth=1", "points.count=600", "points.held_out=100", "train.batch_size=32",
    "train.log_every=1", "train.save_every=10", "train.preview_every=20",
]  # fmt: skip


def command(folder, *options, steps=STEPS):
    words = [word for option in (*OPTIONS, f"train.steps={steps}", *options) for word in ("--set", option)]
    return ["train", "configs/points/moons.gin", "--run", folder, *words]


def begun(words, count, homes=None):
    """The processes that run one command together, or each its own of several, or each at its home."""
    if count == 1:
        return [_process(words)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        told = ["--distributed", "--coordinator", f"127.0.0.1:{probe.getsockname()[1]}", "--processes", str(count)]
    each = words if isinstance(words[0], list) else [words] * count
    homes = homes or [None] * count
    return [_process([*each[i], *told, "--process", i], homes[i]) for i in range(count)]


def _process(words, home=None):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    words = [sys.executable, "-m", "fewstep.cli.main", *map(str, words)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=home)


def ended(processes, timeout=240):
    """[(exit status, what it said), ...]; none is left behind."""
    try:
        return [(p.returncode, out + err) for p in processes for out, err in [p.communicate(timeout=timeout)]]
    finally:
        for process in processes:
            process.kill()


def together(words, count):
    """What the processes said; all of them ended well."""
    done = ended(begun(words, count))
    assert [status for status, _ in done] == [0] * count, done
    return [said for _, said in done]


def losses(folder):
    """(step, loss, norm) of every line."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([[line["step"], line["loss"], line["grad_norm"]] for line in lines])


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process."""
    folder = tmp_path_factory.mktemp("one") / "run"
    together(command(folder), 1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("count", "mesh"), [(4, "(2, 2, 1)")])
def test_processes_have_the_losses_of_one(one, tmp_path, count, mesh):
    folder = tmp_path / "run"
    said = together(command(folder, f"train.mesh={mesh}"), count)
    assert "30 steps done" in said[0]
    for text in said[1:]:
        assert all(re.match(r"$|\[Gloo\]|process \d of \d: waiting", line) for line in text.splitlines()), text
    np.testing.assert_allclose(losses(folder), losses(one), rtol=1e-5)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in one.iterdir())
    assert len(list((folder / "samples").iterdir())) == 1
    assert len(list((folder / "tensorboard").iterdir())) == 1
    for path in (one, folder):  # and what they have learned
        together(["sample", path, "--count", 6, "--nfe", 4, "--out", path.parent / "images.png"], 1)
    a, b = (np.load(path.parent / "images.npz")["images"] for path in (one, folder))
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_processes_draw_and_compare_as_one_does(one, tmp_path):
    words = ["--count", 6, "--nfe", 4, "--out"]
    images = []
    for count in (1, 2):
        said = together(["sample", one, *words, tmp_path / f"{count}.png"], count)
        assert ["6 images" in text for text in said] == [True, False][:count]
        images.append(np.load(tmp_path / f"{count}.npz")["images"])
    np.testing.assert_allclose(*images, atol=1e-5)
    scores = []
    for count in (1, 2):
        together(
            ["compare", one, "--nfe", 2, "--sampler", "ddim", "--count", 50, "--out", tmp_path / str(count)], count
        )
        cell = json.loads((tmp_path / str(count) / "table.json").read_text())["cells"][0]
        scores.append(cell["metrics"]["FD-points"])
    np.testing.assert_allclose(*scores, rtol=1e-4)


@pytest.mark.slow
def test_processes_begin_with_another_run_as_one_does(digits_run, tiny, tmp_path):
    found = []
    for count in (1, 2):
        words = [word for option in tiny for word in ("--set", option)]
        run = tmp_path / str(count)
        together(["train", "configs/digits/npr.gin", "--run", run, "--init-from", digits_run, *words], count)
        found.append(losses(run))
        assert json.loads((run / "run.json").read_text())["begun"]["run"] == str(digits_run)
    np.testing.assert_allclose(*found, rtol=1e-4)


@pytest.mark.slow
def test_processes_measure_variances_and_bits_as_one_does(digits_run, tmp_path):
    """Statistics, bounds and the flow's bits, which the first process keeps."""
    found = []
    for count in (1, 2):
        run, out = shutil.copytree(digits_run, tmp_path / f"run{count}"), tmp_path / str(count)
        words = ["--sampler", "ddpm,analytic_ddpm", "--nfe", 3, "--count", 20, "--metric", "FD,bpd", "--calibrate"]
        together(["compare", run, *words, "--out", out], count)
        told = json.loads((out / "table.json").read_text())
        bits = [cell["metrics"]["bpd"][0] for cell in told["cells"]]
        variance = np.load(run / "stats" / "variance.npz")["residual"]
        found.append([*bits, *(floor["bpd"][0] for floor in told["floors"].values()), *variance])
    np.testing.assert_allclose(*found, rtol=1e-3)


def ending(process):
    """The line of a process of two whose other one has ended; JAX's own threads may speak before and after it."""
    return re.compile(rf"^fewstep: process {process} of 2 on .* (lost|ended by JAX).*: training resumes", re.M)


def running(words, count, lines):
    """Processes that have just logged so many lines more than there were."""
    path = words[3] / "metrics.jsonl"

    def logged():
        return path.read_text().count("\n") if path.exists() else 0

    before, processes, deadline = logged(), begun(words, count), time.monotonic() + 200
    while logged() < before + lines and time.monotonic() < deadline:
        assert all(p.poll() is None for p in processes), ended(processes)
        time.sleep(0.02)
    return processes


def stopped(words, count, lines):
    """SIGTERM to the last process after so many lines more: all of them save and end well, at one step."""
    processes = running(words, count, lines)
    processes[-1].send_signal(signal.SIGTERM)
    done = ended(processes)
    assert [status for status, _ in done] == [0] * count, done
    assert re.search(r"stopped at step \d+ of 100000; the same command resumes", done[0][1])


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """The losses of a longer run of one process."""
    folder = tmp_path_factory.mktemp("long") / "run"
    stopped(command(folder, steps=100_000), 1, 150)
    return losses(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "then"), [(1, [1, 2])])
def test_a_process_that_dies_ends_the_others_and_the_same_command_goes_on(long, tmp_path, victim, then):
    """Also in one process, and in two after that."""
    folder, words = tmp_path / "run", command(tmp_path / "run", steps=100_000)
    processes = running(words, 2, 40)
    processes[victim].send_signal(signal.SIGKILL)
    begin = time.monotonic()
    done = ended(processes)
    assert time.monotonic() - begin < 60
    status, said = done[1 - victim]
    assert status == 2, said
    assert "Traceback" not in said
    assert ending(1 - victim).search(said), said
    for count in then:
        saved = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
        assert saved >= 20
        stopped(words, count, 20)
    found = losses(folder)
    np.testing.assert_array_equal(found[:, 0], np.arange(1, len(found) + 1))
    n = min(len(found), len(long))
    np.testing.assert_allclose(found[:n], long[:n], rtol=1e-3)  # rounding grows as training goes on
    np.testing.assert_allclose(found[:30], long[:30], rtol=1e-5)


@pytest.mark.slow
def test_an_error_of_all_is_a_line_in_each(tmp_path):
    for status, said in ended(begun(command(tmp_path / "run", "train.batch_size=33"), 2)):
        assert status == 2
        assert "train.batch_size = 33 is not divisible" in said.strip().splitlines()[-1]
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_processes_must_agree_on(tmp_path):
    """The command; and that the folder is one, which two hosts with disks of their own would not have."""
    words = command(tmp_path / "run")
    for status, said in ended(begun([words, [*words, "--set", "train.seed=1"]], 2)):
        assert status == 2
        assert "the processes run different commands" in said
    homes = [tmp_path / "a", tmp_path / "b"]
    for home in homes:
        home.mkdir()
    for status, said in ended(begun(command("run"), 2, homes)):
        assert status == 2
        assert "run is not the same folder for all processes" in said.strip().splitlines()[-1]
        assert "Traceback" not in said


@pytest.mark.slow
def test_an_error_of_the_first_alone_ends_the_others(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (first, why), (other, lost) = ended(begun(command(folder), 2))
    assert first == other == 2
    assert "contains other files (notes.txt)" in why.strip().splitlines()[-1]
    assert ending(1).search(lost), lost
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--process", 1], ["--process is for several processes", "--distributed"]),
        (["--distributed", "--processes", 2], ["--coordinator as well"]),
        (["--distributed", "--coordinator", "a", "--processes", 2, "--process", 0], ["such as 10.0.0.1:1234"]),
        (["--distributed", "--coordinator", "a:99999", "--processes", 2, "--process", 0], ["such as 10.0.0.1:1234"]),
        (["--distributed", "--coordinator", "a:1", "--processes", 0, "--process", 0], ["at least 1"]),
        (["--distributed", "--coordinator", "a:1", "--processes", 2, "--process", 2], ["numbered from 0 to 1"]),
    ],
)
def test_options_that_do_not_fit(fewstep, tmp_path, words, parts):
    refused(fewstep("train", "configs/points/moons.gin", "--run", tmp_path / "run", *words), *parts)
    assert not (tmp_path / "run").exists()
