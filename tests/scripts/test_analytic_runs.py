"""fewstep calibrate, and samplers that need it."""

import json
import shutil

import pytest
from one_line import refused

from fewstep.train.utils import npz


@pytest.fixture
def run(digits_run, tmp_path):
    return shutil.copytree(digits_run, tmp_path / "digits")


@pytest.mark.slow
def test_a_sampler_that_needs_a_variance_says_how_to_get_it(fewstep, run, tmp_path):
    words = ("sample", run, "--sampler", "analytic_ddpm", "--nfe", 4, "--count", 4, "--out", tmp_path / "a.png")
    refused(fewstep(*words), "this requires the variance of x0", f"fewstep calibrate {run}")
    refused(fewstep("compare", run, "--sampler", "ddim,analytic_ddim", "--nfe", 4), "fewstep calibrate")
    status, out, err = fewstep("calibrate", run, "--count", 40, "--points", 9)
    assert status == 0, err
    assert "residual" in out
    assert "score norm" in out
    assert fewstep(*words)[0] == 0
    status, out, err = fewstep(
        "compare",
        run,
        "--sampler",
        "ddpm,analytic_ddpm,analytic_ddim",
        "--nfe",
        "1,4",
        "--count",
        20,
        "--out",
        tmp_path,
    )
    assert status == 0, err
    assert "analytic_ddim" in out
    words = (
        "compare",
        run,
        "--sampler",
        "ddpm",
        "--grid",
        "uniform,dp",
        "--nfe",
        "4",
        "--count",
        20,
        "--out",
        tmp_path,
    )
    status, out, err = fewstep(*words)
    assert status == 0, err
    assert "ddpm dp" in out
    words = ("sample", run, "--sampler", "ddpm", "--nfe", 4, "--grid", "dp", "--count", 4, "--out", tmp_path / "b.png")
    assert fewstep(*words)[0] == 0
    refused(fewstep(*words, "--lever", "cfg(1.5)"), "no statistics", "the same levers and settings")
    assert fewstep("calibrate", run, "--count", 40, "--points", 9, "--lever", "cfg(1.5)")[0] == 0
    assert fewstep(*words, "--lever", "cfg(1.5)")[0] == 0
    back = ("--from", tmp_path / "a.npz", "--invert", "--out", tmp_path / "c.png")
    assert fewstep(*words[:-2], *back)[0] == 0


@pytest.mark.slow
def test_a_lever_tells_it_too(fewstep, run, tmp_path):
    words = ("--sampler", "ddpm,analytic_ddpm", "--lever", "curvature(2)", "--nfe", 3, "--count", 8, "--out", tmp_path)
    status, out, err = fewstep("compare", run, *words, "--json")
    assert status == 0, err
    assert [cell["passes"] for cell in json.loads(out)["cells"]] == [3, 3 * (1 + 2 * 2)]


@pytest.mark.slow
def test_statistics_of_something_else_are_refused(fewstep, run, tmp_path):
    words = ("sample", run, "--sampler", "analytic_ddpm", "--nfe", 4, "--count", 4, "--out", tmp_path / "a.png")
    assert fewstep("calibrate", run, "--count", 20, "--points", 4)[0] == 0
    refused(fewstep(*words, "--lever", "cfg(1.5)"), "no statistics", "the same levers and settings")
    file = run / "stats" / "variance.npz"
    whole = npz.read(file)
    for what, value in (("step", 1), ("process", "VP()"), ("EMA or training", "0")):
        told = json.loads(str(whole["told"])) | {what: value}
        npz.write(file, **whole | {"told": json.dumps(told)})
        refused(fewstep(*words), f"another {what}", "fewstep calibrate")
    file.write_bytes(b"PK")
    refused(fewstep(*words), "variance.npz is damaged")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--estimate", "best"], ["no estimate", "'best'"]),
        (["--statistics", "all"], ["no kind of statistics is called 'all'"]),
        (["--statistics", "ems", "--estimate", "score_norm"], ["--estimate score_norm is for the variance"]),
        (["--count", "1"], ["--count is a whole number in [2, 1000000]: got 1"]),
        (["--lever", "cfgg(2)"], ["did you mean 'cfg'"]),
        (["--set", "ddim.eta=1"], ["ddim is not used here"]),
    ],
)
def test_what_is_wrong_is_one_line(fewstep, digits_run, words, parts):
    refused(fewstep("calibrate", digits_run, *words), *parts)


@pytest.mark.slow
def test_the_parameterization_of_dpm_solver_v3(fewstep, run, tmp_path):
    words = ("sample", run, "--sampler", "dpm_solver_v3", "--nfe", 4, "--count", 4, "--out", tmp_path / "a.png")
    refused(fewstep(*words), "has no statistics of it", f"fewstep calibrate {run} --statistics ems")
    assert fewstep("calibrate", run, "--count", 40, "--points", 9)[0] == 0  # the variance is something else
    refused(fewstep(*words), "has no statistics of it")
    status, out, err = fewstep("calibrate", run, "--count", 20, "--points", 9, "--statistics", "ems")
    assert status == 0, err
    assert "data form" in out
    assert fewstep(*words)[0] == 0
    refused(fewstep(*words, "--lever", "cfg(1.5)"), "no statistics", "--statistics ems", "the same levers and settings")
    assert fewstep(*words, "--lever", "cfg(1.5)", "--calibrate")[0] == 0
    assert len(list((run / "stats").glob("ems*.npz"))) == 2


@pytest.mark.slow
def test_bits_per_dimension_are_those_of_the_chain(fewstep, run, tmp_path):
    assert fewstep("calibrate", run, "--count", 60, "--points", 12)[0] == 0
    words = ("--sampler", "ddpm,analytic_ddpm,ddim", "--sweep", "ddpm.variance=small,large", "--nfe", "1,8")
    asked = ("compare", run, *words, "--count", 30, "--out", tmp_path, "--json")
    status, out, err = fewstep(*asked, "--metric", "FD,bpd")
    assert status == 0, err
    told = json.loads(out)
    assert told["metrics"] == ["FD-pixels", "bpd"]
    cells = {(cell["line"], cell["budget"]): cell["metrics"] for cell in told["cells"]}
    assert {at for at, metrics in cells.items() if "bpd" in metrics} == {
        (line, 8) for line in ("ddpm ddpm.variance=small", "ddpm ddpm.variance=large", "analytic_ddpm")
    }  # not of a deterministic sampler, nor of one step alone
    small, large, analytic = (
        cells[line, 8]["bpd"] for line in ("ddpm ddpm.variance=small", "ddpm ddpm.variance=large", "analytic_ddpm")
    )
    assert all(low < value < high for value, low, high in (small, large, analytic))
    assert analytic[0] < min(small[0], large[0])
    status, out, err = fewstep(*asked, "--metric", "bpd")
    assert "cells were drawn before" in err
    assert json.loads(out)["cells"][0]["ms_per_image"] == told["cells"][0]["ms_per_image"]
    refused(fewstep("compare", run, "--metric", "bpd", "--sampler", "ddim", "--nfe", 4), "bpd", "analytic_ddpm")


@pytest.mark.slow
def test_what_is_missing_is_measured_at_once(fewstep, run, tmp_path):
    words = ("sample", run, "--sampler", "analytic_ddpm", "--nfe", 2, "--count", 2, "--out", tmp_path / "a.png")
    status, _, err = fewstep(*words, "--calibrate")
    assert status == 0, err
    before = (run / "stats" / "variance.npz").stat().st_mtime_ns
    for more in ((), ("--calibrate",)):
        assert fewstep(*words, *more)[0] == 0
    assert (run / "stats" / "variance.npz").stat().st_mtime_ns == before
