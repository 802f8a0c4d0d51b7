"""fewstep fit --method amed: a predictor in a run, which every verb that draws applies."""

import json
import shutil

import numpy as np
import pytest
from one_line import refused

FIT = ("--method", "amed", "--count", 16, "--steps", 2)


@pytest.fixture(scope="module")
def trained_run(moons_run, tmp_path_factory):
    """A run with AMED in 4 calls."""
    from fewstep.cli.options import Levers, Opening
    from fewstep.cli.verbs.fit import main

    folder = shutil.copytree(moons_run, tmp_path_factory.mktemp("amed") / "moons")
    main(str(folder), Levers(), Opening(), 4, None, 16, 2, 500_000, None, None, "amed")
    return folder


@pytest.fixture
def run(trained_run, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(trained_run, tmp_path / "moons")


@pytest.mark.slow
def test_it_is_sampled_and_compared(fewstep, run, tmp_path):
    kept = json.loads((run / "tables/amed-4.json").read_text())
    assert (kept["form"], {*kept["errors"]}, len(kept["table"]["t"])) == ("amed", {"unfitted", "fitted"}, 4)
    words = ("--sampler", "fitted:amed-4", "--count", 8, "--out", tmp_path / "a.png")
    status, _, err = fewstep("sample", run, *words)
    assert (status, "in 4 calls" in err) == (0, True), err
    words = ("--sampler", "fitted:amed-4,dpm_solver_2", "--nfe", 4, "--count", 20, "--metric", "SW,trajectory")
    status, told, err = fewstep("compare", run, *words, "--json")
    assert status == 0, err
    cell = next(cell for cell in json.loads(told)["cells"] if cell["line"] == "fitted:amed-4")
    assert (cell["nfe"], cell["passes"]) == (4, 4)


@pytest.mark.slow
def test_python_draws_what_it_trains(trained_run):
    import fewstep
    from fewstep.train.run.tables import load

    opened = fewstep.open_run(trained_run)
    made = fewstep.fit(opened, 4, method="amed_ipndm", count=16, steps=1)
    assert made.name == "fitted:amed_ipndm-4"
    images = opened.draw(made, 4, range(4))
    np.testing.assert_array_equal(opened.draw("fitted:amed_ipndm-4", 4, range(4)), images)
    assert np.any(images != opened.draw("fitted:amed-4", 4, range(4)))
    assert load(trained_run / "tables/amed_ipndm-4.json").form == "ipndm"


@pytest.mark.slow
def test_guidance_takes_two_passes_a_call(fewstep, run):
    status, _, err = fewstep("fit", run, *FIT, "--nfe", 4, "--lever", "cfg(2)")
    assert (status, "amed-cfg-4.json" in err) == (0, True), err
    words = ("--sampler", "fitted:amed-cfg-4", "--nfe", 4, "--count", 20, "--lever", "cfg(2)", "--metric", "SW")
    status, told, err = fewstep("compare", run, *words, "--json")
    assert (status, "warning" in err) == (0, False), err
    assert json.loads(told)["cells"][0]["passes"] == 8


def test_what_is_refused(fewstep, run):
    file = run / "tables/amed-4.json"
    refused(fewstep("fit", run, "--method", "ames"), "no method is called 'ames'", "amed")
    refused(fewstep("fit", run, "--method", "amed", "--spectral", "ddim"), "leave one of them out")
    refused(fewstep("samplers", "--table", f"fitted:{file}"), "a network that chooses times")
    refused(fewstep("compare", "--exact", "--sampler", f"fitted:{file}", "--nfe", 4), "trained samplers out")
    refused(fewstep("sample", run, "--sampler", "fitted:amed-4", "--nfe", 5), "4 network calls, not of 5")
    refused(fewstep("sample", run, "--sampler", "fitted:amed-4", "--trajectory"), "--trajectory")
    kept = json.loads(file.read_text())
    kept.pop("sha256")
    file.write_text(json.dumps(kept | {"predictor": "AAAA"}))
    refused(fewstep("sample", run, "--sampler", "fitted:amed-4"), str(file), "fit it again")
