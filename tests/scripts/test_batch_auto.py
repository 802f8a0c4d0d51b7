"""--batch auto: measured once for a network on a machine, and remembered."""

import json

import numpy as np
import pytest
from one_line import refused

from fewstep.cli import batches
from fewstep.cli.config.open_run import open_run
from fewstep.cli.errors import UserError


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """The file in an empty cache folder."""
    monkeypatch.setattr(batches.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "fewstep" / "batches.json"


def measuring(monkeypatch, size):
    """The calls of a search that finds this size."""
    asked = []

    def fastest(*given):
        asked.append(given)
        return size, {4: 100.0, 8: 200.0}

    monkeypatch.setattr(batches, "fastest", fastest)
    return asked


def compared(fewstep, run, out, *words):
    found = fewstep(
        "compare", run, "--nfe", "2", "--sampler", "ddim", "--metric", "FD", "--count", "20", "--out", out, *words
    )
    return found, json.loads((out / "table.json").read_text()) if found[0] == 0 else None


def test_it_is_measured_once(fewstep, digits_run, tmp_path, remembered, monkeypatch):
    asked = measuring(monkeypatch, 8)
    (status, _, err), first = compared(fewstep, digits_run, tmp_path / "a", "--batch", "auto")
    assert status == 0, err
    assert "by batch: 100 at 4, 200 at 8; from now on --batch 8" in err
    assert list(json.loads(remembered.read_text()).values()) == [8]
    (status, _, err), again = compared(fewstep, digits_run, tmp_path / "b", "--batch", "auto")
    assert (status, len(asked)) == (0, 1), err
    (status, _, err), given = compared(fewstep, digits_run, tmp_path / "c", "--batch", "8")
    assert status == 0, err
    _, other = compared(fewstep, digits_run, tmp_path / "d", "--batch", "20")
    values = [found["cells"][0]["metrics"]["FD-pixels"] for found in (first, again, given, other)]
    assert values[0] == values[1] == values[2]
    np.testing.assert_allclose(values[3], values[0], rtol=1e-3)  # the images are equal up to rounding


def test_a_damaged_file_is_measured_again(digits_run, remembered, monkeypatch):
    asked, run = measuring(monkeypatch, 8), open_run(digits_run)
    remembered.parent.mkdir(parents=True, exist_ok=True)
    for k, text in enumerate(("[]", "{", '{"a": "b"}', "\x00")):
        remembered.write_text(text)
        assert (batches.chosen(None, [run], 20), len(asked)) == (8, k + 1)
    assert (batches.chosen(None, [run], 20), len(asked)) == (8, 4)


def test_it_is_that_of_every_run_and_at_most_the_count(monkeypatch):
    sizes = {"a": 64, "b": 16}
    monkeypatch.setattr(batches, "_fastest", sizes.__getitem__)
    assert batches.chosen(None, ["a"], 500) == 64
    assert batches.chosen(None, ["a", "b"], 500) == 16
    assert batches.chosen(None, ["a", "b"], 10) == 10
    assert batches.chosen(250, ["a"], 10) == 250


def test_several_processes_are_told_a_number(monkeypatch):
    monkeypatch.setattr(batches.jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="--batch auto is for one process: give a number"):
        batches.parsed("auto")


def test_pairs_too(fewstep, digits_run, tmp_path, remembered, monkeypatch):
    measuring(monkeypatch, 8)
    status, _, err = fewstep("pairs", digits_run, "--count", "20", "--out", tmp_path / "pairs", "--batch", "auto")
    assert status == 0, err
    assert [*json.loads(remembered.read_text()).values()] == [8]


def test_other_words_are_refused(fewstep, digits_run):
    refused(fewstep("compare", digits_run, "--batch", "many"), "--batch many: write a whole number, or auto")
    refused(fewstep("pairs", digits_run, "--batch", "0"), "--batch is a whole number")
