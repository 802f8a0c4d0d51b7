"""fewstep fit: a table in a run, chosen by name or file in every verb, and refused where it does not fit."""

import json
import shutil

import numpy as np
import pytest
from one_line import refused
from refused import message

FIT = ("--nfe", 3, "--count", 16, "--steps", 4)


@pytest.fixture(scope="module")
def fitted_run(moons_run, tmp_path_factory):
    """A run with the table fit-3."""
    from fewstep.cli.options import Levers, Opening
    from fewstep.cli.verbs.fit import main

    folder = shutil.copytree(moons_run, tmp_path_factory.mktemp("fitted") / "moons")
    main(str(folder), Levers(), Opening(), 3, None, 16, 0, 500_000, None, None)
    return folder


@pytest.fixture
def run(fitted_run, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(fitted_run, tmp_path / "moons")


def test_a_table_is_kept_with_what_it_was_fitted_on(fitted_run):
    kept = json.loads((fitted_run / "tables/fit-3.json").read_text())
    assert (kept["process"], kept["seeds"], kept["levers"]) == ("Linear()", [500_000, 16], [])
    assert {*kept["errors"]} == {"unfitted", "start", "fitted"}
    assert len(kept["table"]["t"]) == 3


@pytest.mark.slow
def test_it_is_sampled_compared_and_printed(fewstep, run, tmp_path):
    out = tmp_path / "a.png"
    status, _, err = fewstep("sample", run, "--sampler", "fitted:fit-3", "--count", 8, "--out", out)
    assert (status, "in 3 calls" in err) == (0, True), err
    file = run / "tables/fit-3.json"
    status, _, err = fewstep("sample", run, "--sampler", f"fitted:{file}", "--count", 8, "--out", tmp_path / "b.png")
    assert status == 0, err
    np.testing.assert_array_equal(*(np.load(tmp_path / f"{name}.npz")["images"] for name in "ab"))
    words = ("--sampler", "fitted:fit-3,ddim", "--nfe", "3,5", "--count", 20, "--metric", "SW,trajectory", "--json")
    status, told, err = fewstep("compare", run, *words)
    assert status == 0, err
    cells = {(cell["line"], cell["budget"]): cell for cell in json.loads(told)["cells"]}
    assert cells.keys() == {("fitted:fit-3", 3), ("ddim", 3), ("ddim", 5)}
    assert cells["fitted:fit-3", 3]["grid"] == "fitted"
    errors = [cells[name, 3]["metrics"]["trajectory"][0] for name in ("fitted:fit-3", "ddim")]
    assert errors[0] < errors[1]
    status, told, err = fewstep("samplers", "--table", f"fitted:{file}", "--check", f"fitted:{file}")
    assert status == 0, err
    assert "a fitted table has one number of calls" in told
    status, _, err = fewstep("compare", "--exact", "--sampler", f"fitted:{file}", "--nfe", 3)
    assert status == 0, err


@pytest.mark.slow
def test_python_draws_it_too(run, monkeypatch):
    import fewstep

    opened = fewstep.open_run(run)
    images = opened.draw("fitted:fit-3", 3, range(4))
    assert images.shape == (4, 2)
    result = fewstep.compare(opened, samplers=["fitted:fit-3"], nfe=[3], count=20, metrics=["SW"])
    assert [cell.nfe for cell in result.cells] == [3]
    table = fewstep.fit(opened, 3, count=16, steps=0, name="again")
    np.testing.assert_array_equal(opened.draw(table, 3, range(4)), images)
    np.testing.assert_array_equal(opened.draw("fitted:again", 3, range(4)), images)
    assert "as texts" in message(lambda: fewstep.fit(opened, 3, levers=fewstep.cfg(2.0)), fewstep.UsageError)


def test_what_is_refused(fewstep, run, moons_run):
    refused(fewstep("fit", run, "--nfe", 3, "--name", "ddim"), "ddim is a sampler")
    refused(fewstep("fit", run, "--nfe", 3, "--name", "../x"), "'../x' is not the name of a table")
    refused(fewstep("fit", run, "--seed", 10**6), "--seed", "999800")
    refused(fewstep("fit", run, "--count", 4), "--count")
    refused(fewstep("fit", run, "--set", "cfg.scale=2", "--lever", "cfg"), "write the settings of a lever in it")
    refused(fewstep("sample", run, "--sampler", "fitted:fit-9"), "no table fit-9", "has fit-3")
    refused(fewstep("sample", moons_run, "--sampler", "fitted:fit-3"), "has none", "fewstep fit")
    refused(fewstep("sample", run, "--sampler", "fitted:fit-3", "--nfe", 4), "3 network calls, not of 4")
    refused(fewstep("sample", run, "--sampler", "fitted:fit-3", "--grid", "karras"), "times of its own")
    np.savez(run / "images.npz", images=np.float32([[-0.5, 0.5], [0.3, -1.0]]))
    begun = ("--from", run / "images.npz", "--sampler", "fitted:fit-3")
    refused(fewstep("sample", run, *begun), "choose another sampler")
    refused(fewstep("samplers", "--table", "fitted:fit-3"), "give its file", "tables/fit-3.json")
    file = run / "tables/fit-3.json"
    refused(fewstep("samplers", "--table", f"fitted:{file}", "--process", "VP"), "fitted on Linear()")
    refused(fewstep("samplers", "--table", f"fitted:{file}", "--grid", "karras"), "times of its own")
    refused(fewstep("samplers", "--table", "fitted:none.json"), "no table none.json")
    file.write_text(file.read_text().replace("0.", "1.", 1))
    refused(fewstep("sample", run, "--sampler", "fitted:fit-3"), str(file), "has changed")
    file.write_text("{}")
    refused(fewstep("sample", run, "--sampler", "fitted:fit-3"), str(file), "fit it again")


@pytest.mark.slow
def test_guidance_and_classes_are_fitted_to_and_told(fewstep, run, tmp_path):
    words = ("--nfe", 3, "--count", 16, "--steps", 2, "--lever", "cfg(2)", "--label", 1)
    status, _, err = fewstep("fit", run, *words)
    assert (status, "--lever 'cfg(2)'" in err) == (0, True), err
    words = ("--sampler", "fitted:fit-cfg-3", "--count", 4, "--out", tmp_path / "a.png", "--lever", "cfg(2)")
    status, _, err = fewstep("sample", run, *words, "--label", 1)
    assert (status, "warning" in err) == (0, False), err
    status, _, err = fewstep("sample", run, *words)
    assert (status, "fitted on the classes (1,), not on [0]" in err) == (0, True), err


@pytest.mark.slow
def test_other_levers_and_weights_are_told(fewstep, run, tmp_path):
    words = ("--sampler", "fitted:fit-3", "--count", 2, "--out", tmp_path / "a.png")
    status, _, err = fewstep("sample", run, *words, "--lever", "clip_x0")
    assert (status, "was fitted without levers" in err) == (0, True), err
    status, _, err = fewstep("sample", run, *words, "--step", 2)
    assert status in (0, 2), err
    if status == 0:
        assert "other weights" in err


@pytest.mark.slow
def test_a_grid_of_the_spectrum_calls_no_network(fewstep, run, tmp_path):
    status, _, err = fewstep("fit", run, "--nfe", 4, "--spectral", "dpmpp_2m")
    assert (status, "spectral-4.json" in err) == (0, True), err
    words = ("--sampler", "fitted:spectral-4", "--count", 2, "--out", tmp_path / "a.png")
    status, _, err = fewstep("sample", run, *words)
    assert status == 0, err
    refused(fewstep("fit", run, "--spectral", "ddpm", "--nfe", 4), "no multistep method without noise")
    refused(fewstep("fit", run, "--spectral", "ddim", "--lever", "clip_x0"), "calls no network")


@pytest.mark.slow
def test_a_second_fit_of_one_name_replaces_the_first(fewstep, run):
    before = (run / "tables/fit-3.json").read_bytes()
    status, _, err = fewstep("fit", run, *FIT, "--seed", 7)
    assert status == 0, err
    assert (run / "tables/fit-3.json").read_bytes() != before
