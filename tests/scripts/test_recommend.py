"""fewstep recommend: the answer of a search, its cost, a tie, a killed search, and what is refused."""

import json
import shlex
import shutil

import pytest
from one_line import refused

SMALL = ("--passes", 4, "--sampler", "ddim,dpmpp_2m,euler_maruyama", "--grid", "uniform,quadratic", "--metric", "SW")
SMALL += ("--count", 250)


@pytest.fixture
def run(moons_run, tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(moons_run, tmp_path / "moons")


@pytest.mark.slow
def test_the_answer_is_a_command_and_its_evidence(fewstep, run, tmp_path):
    status, out, err = fewstep("recommend", run, *SMALL, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told == json.loads((run / "recommend/recommend.json").read_text())
    guided = [calls for line, calls in told["calls"].items() if "cfg" in line]  # 3 scales, at two passes per call
    assert (guided, [*told["calls"].values()]) == ([2] * 18, [4] * 6 + [2] * 18)
    assert told["drawn"] < told["exhaustive"]
    assert told["rounds"][0]["images"] == 125
    assert min(told["values"], key=lambda name: told["values"][name][0]) == told["winner"]
    low, high = told["apart"][1:3]
    assert told["decided"] == (not low <= 0 <= high)
    status, _, err = fewstep(*shlex.split(told["command"])[1:], "--count", 4, "--out", tmp_path / "a.png")
    assert status == 0, err
    status, again, err = fewstep("recommend", run, *SMALL)  # from the cells of the first search
    assert status == 0, err
    assert again.startswith(told["winner"])
    assert "cells were drawn before" in err


@pytest.mark.slow
def test_an_interrupted_search_ends_with_the_same_answer(fewstep, run, monkeypatch):
    from fewstep.evaluation import drawing

    status, out, err = fewstep("recommend", run, *SMALL, "--json", "--out", run.parent / "whole")
    assert status == 0, err
    saved, whole = [0], drawing.Cells.save

    def until(self, *cell):
        saved[0] += 1
        if saved[0] > 4:
            raise KeyboardInterrupt
        whole(self, *cell)

    with monkeypatch.context() as patched:
        patched.setattr(drawing.Cells, "save", until)
        status, _, err = fewstep("recommend", run, *SMALL, "--json")
    assert (status, "the same command resumes" in err) == (130, True), err
    status, again, err = fewstep("recommend", run, *SMALL, "--json")
    assert status == 0, err
    for field in ("winner", "runner_up", "apart", "rounds"):
        assert json.loads(again)[field] == json.loads(out)[field]


def test_a_tie_is_undecided(fewstep, run):
    """Of two calls each, dpmpp_2m and dpmpp_3m have one table."""
    words = ("--passes", 2, "--sampler", "dpmpp_2m,dpmpp_3m", "--grid", "uniform", "--metric", "SW", "--count", 250)
    status, out, err = fewstep("recommend", run, *words)
    assert status == 0, err
    assert "undecided" in out


@pytest.mark.slow
def test_a_lever_that_costs_more_gets_fewer_calls(fewstep, digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "digits")
    words = ("--passes", 4, "--sampler", "ddim", "--grid", "uniform", "--sweep", "cfg.scale=2", "--count", 16)
    status, out, err = fewstep("recommend", run, *words, "--json")
    assert status == 0, err
    assert json.loads(out)["calls"] == {"ddim": 4, "ddim cfg.scale=2": 2}


def test_what_is_refused(fewstep, run):
    refused(fewstep("recommend", run, "--passes", 0), "--passes")
    refused(fewstep("recommend", run, "--metric", "recall"), "metric")
    refused(fewstep("recommend", run, "--sampler", "dpm"), "sampler", "dpm")
    refused(fewstep("recommend", run, "--passes", 1, "--sampler", "heun"), "1 network passes")


@pytest.mark.slow
def test_features_of_the_training_do_not_decide(fewstep, run):
    import numpy as np

    import fewstep as package
    from fewstep.errors import UsageError
    from fewstep.evaluation.drawing import Line
    from fewstep.evaluation.features import Pixels
    from fewstep.evaluation.recommend import recommend
    from fewstep.samplers import SAMPLERS
    from fewstep.train.run.run import read_description, write_description

    class Own(Pixels):
        digest = "abc"

        def __init__(self):
            self.name = "own"

    known = read_description(run)
    write_description(run, known | {"trained_features": [["own", "abc"]]})
    opened = package.open_run(run)
    lines = [Line(name, SAMPLERS[name]) for name in ("ddim", "dpmpp_2m")]
    with pytest.raises(UsageError, match="cannot decide"):
        recommend(opened, lines, 2, folder=run / "x", metric="SW", features=[Own()], count=16)
    assert np.isfinite(
        recommend(opened, lines, 2, folder=run / "x", metric="SW", features=[Pixels((2,))], count=16).apart.value
    )
