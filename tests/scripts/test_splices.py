"""Splices and the noise of a path, from the command line."""

import json

import numpy as np
import pytest


def test_a_splice_is_sampled_with_settings_of_its_parts(fewstep, digits_run, tmp_path):
    words = ("sample", digits_run, "--sampler", "ddpm:0.5:dpmpp_2m", "--nfe", 6, "--count", 4)
    drawn = []
    for name, more in (("plain", ()), ("large", ("--set", "ddpm.variance=large"))):
        status, out, err = fewstep(*words, *more, "--out", tmp_path / f"{name}.png")
        assert status == 0, err
        assert "ddpm:0.5:dpmpp_2m in 6 calls" in out + err
        drawn.append(np.load(tmp_path / f"{name}.npz")["images"])
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    status, _, err = fewstep(*words, "--set", "ddim.eta=1.0", "--out", tmp_path / "a.png")
    assert status == 2
    assert "ddim is not used here" in err


def test_a_splice_is_a_line_of_a_comparison_and_swept(fewstep):
    words = ("compare", "Linear", "--exact", "--sampler", "ddpm:0.5:dpmpp_2m,ddpm", "--nfe", 8, "--json")
    status, out, err = fewstep(*words, "--sweep", "ddpm.variance=small,large")
    assert status == 0, err
    names = {cell["line"] for cell in json.loads(out)["cells"]}
    assert "ddpm:0.5:dpmpp_2m ddpm.variance=large" in names
    assert len(names) == 4


@pytest.mark.slow
def test_a_path_is_an_option_of_a_sampler(fewstep, digits_run, tmp_path):
    """Images of more calls move less than with fresh noise."""
    moved = {}
    for noise in ("path", "fresh"):
        drawn = []
        for nfe in (16, 32):
            words = ("sample", digits_run, "--sampler", "dpmpp_2m_sde", "--nfe", nfe, "--count", 4)
            out = tmp_path / f"{noise}{nfe}.png"
            status, _, err = fewstep(*words, "--set", f"dpmpp_2m_sde.noise={noise}", "--out", out)
            assert status == 0, err
            drawn.append(np.load(out.with_suffix(".npz"))["images"])
        moved[noise] = np.abs(drawn[0] - drawn[1]).mean()
    assert moved["path"] < 0.7 * moved["fresh"]
