"""Levers from the command line: chains, tuned skips, a second run, larger images, previews."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from one_line import refused
from PIL import Image

from fewstep.diffusion.levers import LEVERS


@pytest.fixture
def run(digits_run, tmp_path):
    """A copy that may be written to."""
    return shutil.copytree(digits_run, tmp_path / "digits")


@pytest.fixture
def drawn(fewstep, tmp_path):
    """drawn(run, lever, ...) -> the images."""

    def draw(run, *levers, words=()):
        out = tmp_path / "drawn.png"
        chain = [word for lever in levers for word in ("--lever", lever)]
        status, _, err = fewstep("sample", run, "--nfe", 3, "--count", 4, "--out", out, *chain, *words)
        assert status == 0, err
        return np.load(out.with_suffix(".npz"))["images"]

    return draw


@pytest.mark.slow
def test_skips_are_tuned_checked_and_kept(fewstep, run, drawn):
    refused(fewstep("sample", run, "--lever", "skip_tuning"), "no tuned skip factors", "tune-skips", "skip_tuning(0.8)")
    words = ("--nfe", 2, "--count", 20, "--values", "1.2,0.6,1", "--features", "pixels", "--refine", "--seed", 4)
    status, out, err = fewstep("tune-skips", run, *words)
    assert status == 0, err
    told = json.loads((run / "stats" / "skips.json").read_text())
    assert {"sampler", "grid", "nfe", "step", "metric", "count", "seed", "checks", "steps"} <= told.keys()
    curve = {round(point["factors"][0], 6): point["distance"][0] for point in told["curve"]}
    assert {0.6, 1.0, 1.2} < curve.keys()  # and what was looked at between them
    assert list(curve) == sorted(curve)
    best = min([*curve.values(), *(step["distance"][0] for step in told["steps"])])
    at = [p["distance"][0] for p in [*told["curve"], *told["steps"]] if p["factors"] == told["factors"]]
    assert min(at) == best
    assert len(told["steps"]) >= 2
    (check,) = told["checks"]
    assert check["difference"][0] == pytest.approx(check["tuned"][0] - check["without"][0])
    assert "FD-pixels" in out
    assert f"--sampler dpmpp_2m --nfe 2 --grid {told['grid']} --lever skip_tuning" in err
    mine = drawn(run, "skip_tuning")
    np.testing.assert_array_equal(mine, drawn(run, f"skip_tuning(({told['factors'][0]},))"))
    assert np.abs(mine - drawn(run)).max() > 1e-4
    refused(fewstep("sample", run, "--step", 3, "--lever", "skip_tuning"), "other weights", "step 3")
    (run / "stats" / "skips.json").write_text("{}")
    refused(fewstep("sample", run, "--lever", "skip_tuning"), "skips.json is damaged")


@pytest.mark.slow
def test_the_curve_is_the_distance_of_what_compare_draws(fewstep, run, tmp_path):
    """At no change, with all held-out images in place of half: near it; and the halves are different ones."""
    assert fewstep("tune-skips", run, "--nfe", 2, "--count", 60, "--values", "1")[0] == 0
    told = json.loads((run / "stats" / "skips.json").read_text())
    assert len(told["curve"]) == 1
    words = ("--nfe", 2, "--sampler", told["sampler"], "--count", 60, "--metric", "FD", "--out", tmp_path / "c")
    assert fewstep("compare", run, *words)[0] == 0
    (cell,) = json.loads((tmp_path / "c" / "table.json").read_text())["cells"]
    tuned, checked = told["curve"][0]["distance"][0], told["checks"][0]["without"][0]
    assert tuned == pytest.approx(cell["metrics"]["FD-pixels"][0], rel=0.15)
    assert tuned != checked
    assert told["checks"][0]["difference"][:3] == [0, 0, 0]


@pytest.mark.slow
def test_factors_hold_in_a_window(fewstep, run, drawn):
    words = ("--nfe", 2, "--count", 20, "--values", "0.5,0.6", "--window", "0.3,2")
    assert fewstep("tune-skips", run, *words)[0] == 0
    (factor,) = json.loads((run / "stats" / "skips.json").read_text())["factors"]
    expected = drawn(run, f"skip_tuning(({factor},))", "interval(0.3, 2)")
    np.testing.assert_array_equal(drawn(run, "skip_tuning"), expected)
    assert np.abs(expected - drawn(run, f"skip_tuning({factor}, {factor})")).max() > 1e-5


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--values", "a"], ["--values", "0.5,0.75,1"]),
        (["--window", "1"], ["--window 1: write LOW,HIGH"]),
        (["--window", "2,1"], ["--window 2,1: write LOW,HIGH"]),
        (["--window", "-1,inf"], ["--window -1,inf"]),
        (["--sampler", "analytic_ddpm"], ["requires a variance", "another sampler"]),
        (["--sampler", "flow_map"], ["flow_map requires jumps to any time", "such as dpmpp_2m"]),
        (["--metric", "precision"], ["no metric that can be tuned on is called 'precision'"]),
        (["--sampler", "dimm"], ["did you mean 'ddim'"]),
        (["--lever", "cgf(2)"], ["did you mean 'cfg'"]),
        (["--features", "classifier"], ["fewstep classifier"]),
    ],
)
def test_mistakes_of_tuning(fewstep, digits_run, words, parts):
    refused(fewstep("tune-skips", digits_run, *words), *parts)
    assert not (digits_run / "stats" / "skips.json").exists()


def test_a_network_without_skips_is_not_tuned(fewstep, moons_run):
    refused(fewstep("tune-skips", moons_run), "skip_tuning is for U-Nets", "no skips")
    refused(fewstep("sample", moons_run, "--lever", "freeu"), "freeu is for U-Nets")
    refused(fewstep("sample", moons_run, "--lever", "attention_scale"), "attention")


@pytest.mark.slow
def test_guidance_away_from_another_run(fewstep, run, drawn, moons_run):
    earlier = f"autoguidance({str(run)!r}, 3, step=3)"
    away = drawn(run, earlier)
    np.testing.assert_allclose(drawn(run, f"autoguidance({str(run)!r}, 3)"), drawn(run), atol=1e-6)
    assert np.abs(away - drawn(run)).max() > 1e-4
    plain, bad = drawn(run), drawn(run, words=("--step", 3))
    assert np.vdot(away - plain, plain - bad) > 0
    refused(fewstep("sample", run, "--lever", "autoguidance('nowhere', 2)"), "nowhere is not a run")
    refused(fewstep("sample", run, "--lever", "autoguidance(3, 2)"), "the folder of a run")
    refused(fewstep("sample", run, "--lever", f"autoguidance({str(run)!r}, 2, step=4)"), "4")
    refused(fewstep("sample", run, "--lever", f"autoguidance({str(moons_run)!r}, 2)"), "shape 2", "8x8x1")


@pytest.mark.slow
def test_larger_images_are_drawn_and_compared(fewstep, run, drawn, tmp_path):
    chain = ("upsample_guidance(2)", "cfg(1.5)")
    images = drawn(run, *chain, words=("--trajectory",))
    assert images.shape == (4, 16, 16, 1)
    assert Image.open(tmp_path / "drawn-trajectory.png").size[0] > 3 * 16
    again = drawn(run, *chain, words=("--from", tmp_path / "drawn.npz", "--strength", 0.3))
    assert again.shape == images.shape
    levers = [word for lever in chain for word in ("--lever", lever)]
    words = ("--sampler", "ddim", "--nfe", 3, "--count", 20, "--out", tmp_path / "c", *levers)
    status, out, err = fewstep("compare", run, *words)
    assert status == 0, err
    assert "ddim: measured on means of 2 x 2 pixels" in out
    (cell,) = json.loads((tmp_path / "c" / "table.json").read_text())["cells"]
    assert cell["passes"] == 2 * 3 * 1.25
    assert np.isfinite(cell["metrics"]["FD-pixels"]).all()
    refused(fewstep("pairs", run, "--lever", "upsample_guidance(2)", "--count", 4), "remove upsample_guidance")
    refused(fewstep("calibrate", run, "--lever", "upsample_guidance(2)"), "remove upsample_guidance")


@pytest.mark.slow
def test_one_compilation_serves_a_chain_of_three_levers_on_four_samplers(fewstep, run, tmp_path):
    loop = sys.modules["fewstep.samplers.loop"]._run
    before = loop._cache_size()
    levers = [word for lever in ("skip_tuning(0.7)", "cfg(2)", "interval(0.1, 3)") for word in ("--lever", lever)]
    words = ("--sampler", "ddim,dpmpp_2m,heun,ddpm", "--nfe", "1,2,3,5", "--count", 13, "--out", tmp_path / "c")
    status, _, err = fewstep("compare", run, *levers, *words)
    assert status == 0, err
    assert loop._cache_size() == before + 1
    cells = json.loads((tmp_path / "c" / "table.json").read_text())["cells"]
    assert {cell["sampler"] for cell in cells} == {"ddim", "dpmpp_2m", "heun", "ddpm"}
    assert all(cell["nfe"] <= cell["passes"] <= 2 * cell["nfe"] for cell in cells)


@pytest.mark.slow
def test_levers_are_listed_with_what_they_cost(fewstep):
    status, out, _ = fewstep("levers")
    assert status == 0
    rows = {found[1]: float(found[2]) for found in re.finditer(r"^ *(\w+)\(.*?\) +([\d.]+) ", out, re.M)}
    costs = {"cfg": 20, "apg": 20, "cfg_pp": 20, "autoguidance": 20, "rescale": 20, "upsample_guidance": 12.5}
    costs["curvature"] = 10 * (1 + 2 * 4)
    assert 10 < rows.pop("interval") < 20
    assert rows == {name: costs.get(name, 10) for name in (*LEVERS, "ema") if name != "interval"}


@pytest.mark.parametrize(
    "name", sorted({*LEVERS} - {"autoguidance", "cfg_pp", "averaged_variance", "upsample_guidance"})
)
def test_a_run_with_levers_of_previews_opens_again(name, tmp_path):
    """What a config says of them, defaults included, can be read; infinity is none of it."""
    from fewstep.cli.config.load import canonical_text, experiment, find, load

    inside = "@cfg(), " if name in ("interval", "rescale") else ""
    overrides = [f"train.levers=({inside}@{name}(),)", "cfg.scale=2", "apg.scale=2", "skip_tuning.rho=0.8"]
    load(find("configs/digits/flow.gin"), overrides)
    assert len(experiment().levers) == 1 + bool(inside)
    (tmp_path / "config.gin").write_text(canonical_text())
    load(tmp_path / "config.gin")
    assert len(experiment().levers) == 1 + bool(inside)


@pytest.mark.slow
def test_levers_of_previews(fewstep, tiny, tmp_path):
    """In the given order, with settings as of gin; what cannot be is said before anything is trained."""
    options = [word for override in [*tiny, "train.steps=2"] for word in ("--set", override)]
    train = ("train", "configs/digits/flow.gin", *options)
    for levers, settings, *parts in (
        ("(@upsample_guidance(),)", (), "remove upsample_guidance"),
        ("(@skip_tuning(),)", (), "skip_tuning without a number", "remove it from train.levers"),
        ("(@rescale(),)", (), "right after cfg"),
        ("(@cfg_pp(),)", ("cfg_pp.strength=0.5",), "previews cannot be drawn", "cfg_pp"),
        ("(@averaged_variance(),)", (), "averaged_variance requires a variance"),
        ("(@cfg,)", ("cfg.scale=2",), "levers with brackets"),
        ("@cfg()", ("cfg.scale=2",), "a tuple of levers with brackets"),
    ):
        words = [word for override in (f"train.levers={levers}", *settings) for word in ("--set", override)]
        refused(fewstep(*train, "--run", tmp_path / "no", *words), *parts)
        assert not (tmp_path / "no" / "checkpoints").exists()
    pictures = []
    for name, more in (
        ("plain", []),
        (
            "clipped",
            ["--set", "train.levers=(@cfg(), @clip_x0())", "--set", "cfg.scale=2", "--set", "clip_x0.high=-0.9"],
        ),
    ):
        status, _, err = fewstep(*train, "--run", tmp_path / name, "--set", "train.preview_every=2", *more)
        assert status == 0, err
        pictures.append(np.asarray(Image.open(tmp_path / name / "samples" / "00000002.png")))
    assert pictures[0].max() > pictures[1].max()
    assert "train.levers = (@cfg(), @clip_x0())" in (tmp_path / "clipped" / "config.gin").read_text()
    config = (tmp_path / "clipped" / "config.gin").read_text()
    assert "cfg.scale = 2" in config
    assert "clip_x0.high = -0.9" in config
