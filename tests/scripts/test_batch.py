"""--batch auto: measured once for a network on a machine, and remembered."""

import json

import numpy as np
import pytest
from one_line import refused

from fewstep.cli import batch


@pytest.fixture
def remembered(tmp_path, monkeypatch):
    """The file in an empty cache folder."""
    monkeypatch.setattr(batch.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "fewstep" / "batches.json"


def compared(fewstep, run, out, *words):
    found = fewstep(
        "compare", run, "--nfe", "2", "--sampler", "ddim", "--metric", "FD", "--count", "20", "--out", out, *words
    )
    return found, json.loads((out / "table.json").read_text()) if found[0] == 0 else None


def test_it_is_measured_once(fewstep, digits_run, tmp_path, remembered, monkeypatch):
    asked = []

    def rates(*given):
        asked.append(given)
        return {4: 100.0, 8: 200.0, 16: 150.0}

    monkeypatch.setattr(batch, "rates", rates)
    (status, _, err), first = compared(fewstep, digits_run, tmp_path / "a", "--batch", "auto")
    assert status == 0, err
    assert "100 in batches of 4, 200 in batches of 8" in err
    assert list(json.loads(remembered.read_text()).values()) == [8]
    (status, _, err), again = compared(fewstep, digits_run, tmp_path / "b", "--batch", "auto")
    assert (status, len(asked)) == (0, 1), err
    (status, _, err), given = compared(fewstep, digits_run, tmp_path / "c", "--batch", "8")
    assert status == 0, err
    _, other = compared(fewstep, digits_run, tmp_path / "d", "--batch", "20")
    values = [found["cells"][0]["metrics"]["FD-pixels"] for found in (first, again, given, other)]
    assert values[0] == values[1] == values[2]
    np.testing.assert_allclose(values[3], values[0], rtol=1e-3)  # the images are equal up to rounding


def test_a_damaged_file_is_measured_again(remembered, monkeypatch):
    for text in ("[]", "{", '{"a": "b"}', "\x00"):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(text)
        assert batch._known(remembered) == {}


def test_other_words_are_refused(fewstep, digits_run):
    refused(fewstep("compare", digits_run, "--batch", "many"), "--batch many: write a whole number, or auto")
    refused(fewstep("pairs", digits_run, "--batch", "0"), "--batch is a whole number")
