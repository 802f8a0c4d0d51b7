"""fewstep recommend: the answer of a search, its cost, a tie, an interrupted search, and what is refused."""

import json
import shlex
import shutil

import numpy as np
import pytest
from one_line import refused
from refused import message

from fewstep import open_run
from fewstep.errors import UsageError
from fewstep.evaluation.distances import DISTANCES
from fewstep.evaluation.drawing import Line, labels_to_draw
from fewstep.evaluation.features import Pixels, quantized
from fewstep.evaluation.recommend import SEARCHED, recommend
from fewstep.evaluation.reference import reference
from fewstep.samplers import ddim
from fewstep.samplers.registry import as_sampler
from fewstep.train.run.run import read_description, write_description

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
    plain = {line: calls for line, calls in told["budgets"].items() if "cfg" not in line}
    assert [*plain.values()] == [4] * 6
    assert {*told["budgets"].values()} == {2, 4}  # two passes per guided call
    assert told["drawn"] < told["exhaustive"]
    assert told["rounds"][0]["images"] == 125
    assert min(told["values"], key=lambda name: told["values"][name]["value"]) == told["winner"]
    assert told["decided"] == (not told["apart"]["low"] <= 0 <= told["apart"]["high"])
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


def nearly_ddim(process, grid):
    """The steps of ddim, with so little noise at the first that it makes no difference but a random one."""
    for i, row in enumerate(ddim(process, grid)):
        yield row._replace(noise=1e-4) if i == 0 else row


def searched(run, names, **options):
    """The answer among samplers, or functions, on points."""
    opened = open_run(run)
    lines = [Line(getattr(one, "__name__", one), as_sampler(one)) for one in names]
    options = {"folder": run / "found", "metric": "SW", "features": Pixels((2,)), "count": 125} | options
    return recommend(opened, lines, 4, **options)


def test_rounds_extrapolate_the_frechet_distance(run):
    """That of few images is mostly bias."""
    found = searched(run, ["ddim", "heun", "dpmpp_2m", "er_sde"], metric="FD", count=1000)
    assert (found.metric, found.searched) == ("FD-points", "FDinf-points")
    [only] = found.rounds  # two are left, before --count is reached
    assert (only.images, len(only.values)) == (125, 4)
    assert len(only.kept) <= 2
    assert found.drawn == 4 * 125 + 2 * 1000
    opened = open_run(run)
    real = reference(opened.data, None).held_out
    measure = DISTANCES["FDinf"](real, real)
    label = labels_to_draw(opened.denoiser, opened.data, 1000).label[:125]
    for name, value in only.values.items():
        drawn = opened.draw(name, found.budgets[name], range(SEARCHED, SEARCHED + 125), label=label)
        assert value.value == pytest.approx(measure(quantized(drawn))["FDinf"].value, rel=1e-3, abs=1e-4)


def test_few_images_and_other_distances_are_not_extrapolated(run):
    assert searched(run, ["ddim", "heun"], metric="FD", count=16).searched == "FD-points"
    assert searched(run, ["ddim", "heun"]).searched == "SW-points"


def test_a_tie_is_undecided(run):
    found = searched(run, ["ddim", nearly_ddim])
    assert not found.decided
    assert {found.winner, found.runner_up} == {"ddim", "nearly_ddim"}


def test_two_names_of_one_table_are_one_candidate(run):
    """With few calls, the last of which falls back to lower orders, dpmpp_2m and dpmpp_3m are the same."""
    with np.errstate(over="raise"):
        assert [*searched(run, ["dpmpp_2m", "dpmpp_3m", "ddim"]).budgets] == ["dpmpp_2m", "ddim"]


@pytest.mark.slow
def test_a_lever_that_costs_more_gets_fewer_calls(fewstep, digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "digits")
    words = ("--passes", 4, "--sampler", "ddim", "--grid", "uniform", "--count", 16, "--json")
    status, out, err = fewstep("recommend", run, *words)
    assert status == 0, err
    assert json.loads(out)["budgets"] == {"ddim": 4} | {f"ddim cfg.scale={scale}": 2 for scale in ("1.5", "2", "3")}
    for more in (("--lever", "cfg", "--sweep", "cfg.scale=2,4"), ("--lever", "cfg(4)")):
        status, out, err = fewstep("recommend", run, *words, *more)
        assert status == 0, err
        assert {*json.loads(out)["budgets"].values()} == {2}
        assert "--lever 'cfg(" in json.loads(out)["command"]


@pytest.mark.slow
def test_a_consistency_model_is_searched_among_its_own(fewstep, tiny, tmp_path):
    from trained_run import trained

    trained("configs/digits/ect.gin", tmp_path / "ect", tiny)
    words = ("--passes", 2, "--count", 16, "--json")
    status, out, err = fewstep("recommend", tmp_path / "ect", *words)
    assert status == 0, err
    assert json.loads(out)["winner"] == "consistency"


def test_what_is_refused(fewstep, run):
    refused(fewstep("recommend", run, "--passes", 0), "--passes")
    refused(fewstep("recommend", run, "--metric", "recall"), "metric")
    refused(fewstep("recommend", run, "--features", "pixels,classifier"), "one kind of features decides")
    refused(fewstep("recommend", run, "--sampler", "dpm"), "sampler", "dpm")
    refused(
        fewstep("recommend", run, "--sampler", "ddim", "--grid", "uniform", "--set", "karras.rho=5"),
        "karras is not used here",
    )
    refused(fewstep("recommend", run, "--sampler", "fitted:no"), "no table no")
    refused(fewstep("recommend", run, "--passes", 1, "--sampler", "heun"), "1 network passes")


def test_features_of_the_training_do_not_decide(run):
    class Own(Pixels):
        digest = "abc"

        def __init__(self):
            self.name = "own"

    write_description(run, read_description(run) | {"trained_features": [["own", "abc"]]})
    assert "cannot decide" in message(lambda: searched(run, ["ddim"], features=Own()), UsageError)
