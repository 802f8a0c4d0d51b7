"""`fewstep samplers` shows what a sampler does: its table, and its check on data whose answer is known."""

import re

import numpy as np
import pytest
from one_line import refused

from diffusion import VE, VP, Linear
from samplers import SAMPLERS, exact, table_at
from scripts.samplers import MEAN, STD


def numbers(out):
    """{column: values} of all blocks of a printed table."""
    found = {}
    for block in out.split("\n\n"):
        lines = [line.split() for line in block.splitlines()]
        if lines and lines[0][:1] == ["row"]:
            found |= dict(zip(lines[0], zip(*lines[1:], strict=True), strict=True))
    return found


@pytest.mark.parametrize(
    ("name", "process", "columns"),
    [
        ("ddim", Linear(), {"x0", "eps"}),
        ("heun", VP(), {"x", "x0", "eps", "past_0", "keep_x0", "keep_eps"}),
        ("dpmpp_2m", VE(), {"x", "x0", "past_0"}),
        ("euler_maruyama", VE(), {"x", "x0", "eps", "noise", "path_from", "path_to"}),
    ],
)
def test_a_table_is_printed_in_six_digits(fewstep, name, process, columns):
    status, out, err = fewstep("samplers", "--table", name, "--nfe", 7, "--process", type(process).__name__)
    assert status == 0, err
    assert max(map(len, out.splitlines())) <= 80
    table, shown = table_at(SAMPLERS[name], process, 7), numbers(out)
    assert set(shown) == {"row", "t"} | columns
    for column in ("t", *sorted(columns & {"x", "x0", "eps", "noise"})):
        np.testing.assert_allclose(np.array(shown[column], float), getattr(table, column), rtol=1e-5)


def test_settings_and_grids_reach_the_table(fewstep):
    plain = fewstep("samplers", "--table", "ddim", "--nfe", 3)[1]
    assert "noise" not in numbers(plain)
    noisy = fewstep("samplers", "--table", "ddim", "--nfe", 3, "--set", "ddim.eta=0.5")[1]
    assert float(numbers(noisy)["noise"][0]) > 0
    other = fewstep("samplers", "--table", "ddim", "--nfe", 3, "--grid", "quadratic")[1]
    assert numbers(other)["t"][1] == f"{4 / 9:.6g}"


@pytest.mark.parametrize(
    ("words", "order", "claim"),
    [
        (["dpmpp_2m", "--process", "VP"], "order", "2"),
        (["ddim", "--set", "ddim.eta=0.5"], "weak order", "1"),
    ],
)
def test_a_check_tells_moments_order_and_stability(fewstep, words, order, claim):
    status, out, err = fewstep("samplers", "--nfe", 10, "--check", *words)
    assert status == 0, err
    assert max(map(len, out.splitlines())) <= 80
    found = dict(re.findall(r"^([\w ]+?)  +([\d.e-]+)  +[\d.]", out, re.MULTILINE))
    assert set(found) == {"mean", "std", "Frechet distance", order, "stability"}
    assert float(found[order]) == pytest.approx(int(claim), abs=0.3)
    if "VP" in words:
        got = exact.moments(table_at(SAMPLERS["dpmpp_2m"], VP(), 10), VP(), MEAN, STD**2)
        assert float(found["std"]) == pytest.approx(np.sqrt(got.var[0]), rel=1e-5)
        assert float(found["Frechet distance"]) == pytest.approx(exact.frechet(got, MEAN, STD**2), rel=1e-4)
        assert 1 <= float(found["stability"]) < 2


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--table", "dimm"], ["did you mean 'ddim'"]),
        (["--check", "heum"], ["did you mean 'heun'"]),
        (["--table", "ddim", "--process", "Lnear"], ["no process", "did you mean 'Linear'"]),
        (["--table", "ddim", "--grid", "karas"], ["did you mean 'karras'"]),
        (["--table", "heun", "--nfe", "1"], ["no table of 1 network calls"]),
        (["--table", "ddim", "--nfe", "0"], ["--nfe 0", "at least 1"]),
        (["--table", "euler", "--set", "ddim.eta=0.5"], ["ddim is not used here"]),
        (["--set", "ddim.eta=0.5"], ["ddim is not used here"]),
        (["--table", "ddim", "--grid", "log_snr", "--set", "log_snr.start=1.0"], ["finite ends"]),
    ],
)
def test_mistakes(fewstep, words, parts):
    refused(fewstep("samplers", *words), *parts)
