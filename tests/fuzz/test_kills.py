"""A command that is killed at any time, and run again, also several times, ends as one that was not killed.

Those of `compare` are in tests/scripts/test_killed_comparison.py.
"""

import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from command_lines import SETTINGS, scenery
from results import results

STARTED = 0.3  # share of its time before which a process has done nothing yet
TRAINED = ["--set", "train.steps=60", "--set", "train.save_every=20", "--set", "train.preview_every=60"]
COMMANDS = {
    "train": ["train", "configs/digits/flow.gin", "--run", "new", *SETTINGS, *TRAINED],
    "pairs": ["pairs", "run", "--count", "1500", "--nfe", "15", "--batch", "64"],
    "calibrate": ["calibrate", "run", "--count", "200", "--points", "20"],
    "sample": ["sample", "run", "--count", "500", "--nfe", "20", "--out", "a.png"],
    "data": ["data", "pack", "images", "packed", "--size", "64", "--shard-size", "3"],
}
KILLS = {"train": (2,), "pairs": (2,), "calibrate": (1,), "sample": (1,), "data": (1, 1)}
"""How often in each place before the command may end."""
PLACES = 3 if os.environ.get("FEWSTEP_FUZZ") == "whole" else 1  # times as many


def started(words, place):
    command = [sys.executable, "-m", "fewstep.cli.main", *words]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finished(words, place):
    process = started(words, place)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


@pytest.fixture
def new(trained_run, tmp_path):
    """new() -> an untouched place of its own."""

    def make(name):
        shutil.copytree(trained_run, tmp_path / name / "run")
        scenery(tmp_path / name)
        return tmp_path / name

    return make


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
def test_a_killed_command_is_run_again(new, verb):
    words, rng = COMMANDS[verb], random.Random(verb)
    finished(words, new("compiled"))
    whole, start = new("whole"), time.monotonic()
    finished(words, whole)
    longest, expected, killed = time.monotonic() - start, results(verb, whole), 0
    for i, times in enumerate(PLACES * KILLS[verb]):
        place, waits = new(f"killed{i}"), [rng.uniform(STARTED, 1) * longest for _ in range(times)]
        for wait in waits:
            process = started(words, place)
            time.sleep(wait)
            process.kill()
            process.communicate()
            killed += process.returncode != 0
        if verb != "data" or not (place / "packed").exists():  # which is written whole, and never twice
            finished(words, place)
        assert results(verb, place) == expected, f"{verb}, killed after {waits} s"
        unfinished = [path.name for path in place.rglob("*.tmp")]
        assert not unfinished, f"{verb}, killed after {waits} s"
    assert killed
